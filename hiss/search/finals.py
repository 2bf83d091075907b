"""The finals of a search: its best candidates trained in full, from several seeds each, and the best of them kept.

Trials are short, so their order is not that of full trainings; and on little data two seeds of one candidate differ
more than two candidates do.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from hiss.errors import HissError
from hiss.files import write_text
from hiss.search.candidate import Candidate
from hiss.search.study import Row
from hiss.search.trial import Outcome, OverBudget, Price, Task, run_trial
from hiss.training import TrainOptions

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Final:
    """One full training. trial: None where none was made of it;

    key: of everything that it depends on; what is kept under another key is done again.
    """

    trial: int | None
    candidate: Candidate
    seed: int
    folder: Path
    key: str
    options: TrainOptions


@dataclass(frozen=True)
class Played:
    """What came of a final: outcome, or why it has none."""

    final: Final
    outcome: Outcome | None
    why: str = ""

    @property
    def rank(self) -> float:
        """To be small: the mean error on validation and on what was learned from; inf without an outcome.

        What fits a small chip has far fewer weights than there are samples: the recordings that it learned from tell
        as much of it as a few held-out ends, and there is more of them.
        """
        return math.inf if self.outcome is None else (self.outcome.error + self.outcome.learned) / 2

    def text(self) -> str:
        """One line for people."""
        known = self.final.candidate.text() if self.final.trial is None else f"trial {self.final.trial}"
        head = f"{self.final.options.n_steps:,} updates of {known}, seed {self.final.seed}"
        if self.outcome is None:
            return f"{head}: {self.why}"
        rmse = ", ".join(f"{name} {value:.4g}" for name, value in self.outcome.rmse.items())
        errors = f"NMSE {self.outcome.error:.4g}, of what it learned from {self.outcome.learned:.4g}"
        return f"{head}: RMSE {rmse} ({errors}); {self.outcome.seconds:.0f} s"


def finals(
    rows: Sequence[Row], count: int, seeds: Sequence[int], out: Path, key: str, options: TrainOptions
) -> list[Final]:
    """Of the `count` best candidates among done trials, by the mean error of all that each was given.

    Candidates that became the same program count as one.
    """
    trials: dict[Candidate, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.number):
        if row.candidate is not None:
            trials.setdefault(row.candidate, []).append(row)
    best: dict[tuple[float, Price | None], Row] = {}
    for same in sorted(trials.values(), key=lambda same: fmean(row.error for row in same)):
        if len(best) < count:
            best.setdefault((same[0].error, same[0].price), same[0])
    return [
        Final(row.number, row.candidate, seed, out / f"{row.number:04d}-{seed}", f"{key} {options.to_json()}", options)
        for row in best.values()
        if row.candidate is not None
        for seed in seeds
    ]


def finals_alone(
    candidates: Sequence[Candidate], seeds: Sequence[int], out: Path, key: str, options: TrainOptions
) -> list[Final]:
    """Of candidates that no trial was made of."""
    return [
        Final(None, c, seed, out / f"alone-{i}-{seed}", f"{key} {c.to_json()} {options.to_json()}", options)
        for i, c in enumerate(candidates)
        for seed in seeds
    ]


def least(played: Sequence[Played], count: int) -> list[Candidate]:
    """The candidates of the best ranks, without those that have no outcome."""
    ranked = sorted((p for p in played if p.outcome is not None), key=lambda p: p.rank)
    return [p.final.candidate for p in ranked[:count]]


def play(todo: Sequence[Final], task: Task, jobs: int) -> Iterator[Played]:
    """Train and score each, in `jobs` processes; those that are done already come at once.

    One that is over budget or fails has no outcome.
    """
    work = functools.partial(_play, task=task)
    if jobs == 1:
        yield from map(work, todo)
        return
    from hiss.training.worker import as_done

    yield from as_done(work, todo, jobs)


def _play(final: Final, task: Task) -> Played:
    if (kept := _kept(final)) is not None:
        return Played(final, kept)
    shutil.rmtree(final.folder, ignore_errors=True)
    try:
        outcome = run_trial(replace(task, options=final.options, seed=final.seed), final.candidate, final.folder)
    except OverBudget as error:  # training moved a format
        return Played(final, None, f"over budget ({error})")
    except HissError as error:
        return Played(final, None, f"failed ({error})")
    write_text(final.folder / OUTCOME, json.dumps({"key": final.key, **outcome.to_json()}, indent=1) + "\n")
    return Played(final, outcome)


def _kept(final: Final) -> Outcome | None:
    try:
        said: dict[str, Any] = json.loads((final.folder / OUTCOME).read_text(encoding="utf-8"))
        if said.pop("key", None) != final.key:
            return None
        nested = {"candidate": Candidate(**said["candidate"]), "price": Price(**said["price"])}
        return Outcome(**{**said, **nested, "curve": [(step, error) for step, error in said["curve"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None
