"""The winner of a search: trained in full, and written as a run, an integer program, and C with its bill."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hiss import scoring
from hiss.engines.core_bill import core_bill
from hiss.errors import TrainingError
from hiss.firmware_export.bill import Bill, bill_of, errors_between, floating
from hiss.firmware_export.c import Model
from hiss.firmware_export.export import export_c
from hiss.firmware_export.packages import About, export_package, make_package
from hiss.program import Program, load_program
from hiss.search.candidate import Candidate
from hiss.search.trial import MODEL, Outcome, OverBudget, Task, held_out, run_trial
from hiss.training import TrainOptions

Say = Callable[[str], None]
FIRMWARE = "model"


def make_winner(
    task: Task, candidate: Candidate, error: float, folder: Path, full: TrainOptions, say: Say
) -> tuple[Outcome, Bill]:
    """Train with `full` options; where that is over budget or no better than `error`, as it was searched.

    folder gets run/, model.int.hiss and firmware/ with bill.json. Raises HissError.
    """
    outcome = None
    try:
        outcome = run_trial(replace(task, options=full), candidate, folder)
    except OverBudget as over:
        say(f"trained in full the winner is over budget ({over})")
    if outcome is None or outcome.error > error:
        say("trained in full the winner is no better: it is kept as it was searched")
        try:
            outcome = run_trial(task, candidate, folder)
        except OverBudget as over:
            raise TrainingError(f"the winner is over budget on this computer ({over}): another compiler?") from over
    program = load_program(folder / MODEL)
    bill = _bill(task, program)
    package = make_package((Model(program, FIRMWARE),), About())
    text = json.dumps({"models": [bill.to_json()]}, indent=2) + "\n"
    export_package(package, "plain", folder / "firmware", {"bill.json": text})
    return outcome, bill


def _bill(task: Task, program: Program) -> Bill:
    """Its bill on the core, with its error beside floating point on the validation recordings."""
    ready = scoring.ready(program, held_out(task))
    exact = scoring.estimator(floating(program), np.float64)
    estimates, reference = (_pooled(f, ready) for f in (scoring.estimator(program), exact))
    with tempfile.TemporaryDirectory() as sources:
        export_c(program, sources, FIRMWARE)
        core = core_bill(program, Path(sources), FIRMWARE, task.core, task.compiler)
    errors = errors_between(program, estimates, reference)
    return bill_of(Model(program, FIRMWARE), errors, "the validation recordings", [core])


def _pooled(estimate: scoring.Estimator, recordings: Any) -> Any:
    return np.concatenate(estimate([r.x for r in recordings]))
