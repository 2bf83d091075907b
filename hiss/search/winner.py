"""The winner of a search, written as a run, an integer program, and C with its bill."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
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
from hiss.search.finals import Played
from hiss.search.study import Row
from hiss.search.trial import MODEL, Outcome, OverBudget, Task, held_out, run_trial

Say = Callable[[str], None]
FIRMWARE = "model"


def make_winner(task: Task, searched: Row, played: Sequence[Played], folder: Path, say: Say) -> tuple[Outcome, Bill]:
    """The final of the best rank; where none has an outcome, the best trial as it was searched.

    folder gets run/, model.int.hiss and firmware/ with bill.json. Raises HissError.
    """
    best = min(played, key=lambda p: p.rank, default=None)
    if best is not None and best.outcome is not None:
        outcome = best.outcome
        _copied(best.final.folder, folder)
    else:
        say("no final is within budget, or all failed: the best trial is kept as it was searched")
        outcome = _again(task, searched, folder)
    program = load_program(folder / MODEL)
    bill = _bill(task, program)
    package = make_package((Model(program, FIRMWARE),), About())
    text = json.dumps({"models": [bill.to_json()]}, indent=2) + "\n"
    export_package(package, "plain", folder / "firmware", {"bill.json": text})
    return outcome, bill


def _copied(source: Path, folder: Path) -> None:
    """The run and the program of a final, as one: a folder that is half copied has another name."""
    made = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(source, made)
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def _again(task: Task, searched: Row, folder: Path) -> Outcome:
    assert searched.candidate is not None  # of every trial that is done
    try:
        return run_trial(replace(task, seed=searched.seed), searched.candidate, folder)
    except OverBudget as over:
        raise TrainingError(f"the winner is over budget on this computer ({over}): another compiler?") from over


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
