"""The study: Optuna proposes, what was found is kept in its storage, and several processes or machines may share it.

Two objectives, both to be small: the error in integers on validation, and instructions per sample on average. Being
over budget is a constraint. The one file that imports optuna.
"""

from __future__ import annotations

import logging
import statistics
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hiss.errors import HissError, MissingExtraError, TrainingError
from hiss.search.candidate import Candidate, Space
from hiss.search.trial import Curve, Outcome, OverBudget, Price, Task, run_trial

CANDIDATE, SEED, PRICE, EXCESS = "candidate", "seed", "price", "excess"
CURVE, FOUND, WHY = "curve", "found", "why"
HEARTBEAT_S = 60
WARM_UP = 1 / 3  # of the updates: before that no training is given up
PATIENCE = 1.1  # times the median error of cheaper candidates at the same update: worse ones are given up


@dataclass(frozen=True)
class Row:
    """A trial as it is kept. state: done, over (budget), given up, failed, running;  error: of a done one.

    seed: of its training; a candidate that is drawn again is trained from another one.  update_s: of an update, 0 where
    that is not known.
    """

    number: int
    state: str
    candidate: Candidate | None
    seed: int
    price: Price | None
    error: float
    rmse: dict[str, float]
    seconds: float
    why: str
    update_s: float = 0.0

    def text(self) -> str:
        """One line for people."""
        what = self.candidate.text() if self.candidate else "not begun"
        rmse = ", ".join(f"{name} {value:.4g}" for name, value in self.rmse.items())
        said = f"RMSE {rmse}" if self.state == "done" else f"{self.state}{': ' + self.why if self.why else ''}"
        cost = ""
        if self.price:
            p = self.price
            cost = f"; {p.average:,.0f} instructions (worst {p.worst:,}), flash {p.flash:,}, RAM {p.ram:,}"
        return f"{self.number:>4}  {what}: {said}{cost}; {self.seconds:.0f} s"


class Study:
    """A search that is kept in `storage`; opening the same one again goes on with it.

    storage: a URL that Optuna knows, such as sqlite:///study.db; what it holds of another task is refused.
    Raises MissingExtraError without optuna, TrainingError where the storage cannot be used or is of another search.
    """

    def __init__(self, storage: str, name: str, key: str, seed: int = 0):
        self._study = _kept_study(storage, name, seed)
        if (before := self._study.user_attrs.get("key", key)) != key:
            raise TrainingError(
                f"{storage}: holds a search of other recordings, targets, limits or options ({before}, not {key}); "
                "give another folder (-o) or another --storage"
            )
        self._study.set_user_attr("key", key)

    def ask_first(self, space: Space) -> None:
        """Put the space's first candidates at the head, unless the study has begun."""
        if not self._study.trials:
            for candidate in space.first():
                self._study.enqueue_trial(candidate.to_json(), skip_if_exists=True)

    @property
    def done(self) -> int:
        """Trials that have ended, whichever way."""
        return sum(row.state != "running" for row in self.rows())

    def work(self, task: Task, space: Space, out: Path, trials: int, end_s: Callable[[], float]) -> None:
        """Trials in this process, one after another, until the study has `trials` or end_s() seconds are left: 0.

        Raises KeyboardInterrupt; a candidate that fails is kept as failed, with why.
        """
        while self.done < trials and end_s() > 0:
            self._study.optimize(lambda trial: self._objective(trial, task, space, out), n_trials=1)

    def rows(self) -> list[Row]:
        """All trials, in their order."""
        return [_row(trial) for trial in self._study.get_trials(deepcopy=False) if trial.state.name != "WAITING"]

    def front(self) -> list[Row]:
        """Done trials that no other one beats in both error and instructions, the cheapest first."""
        return list(_front(self.rows()))

    def done_rows(self) -> list[Row]:
        """Trials that were trained and scored, and keep the budget."""
        return [row for row in self.rows() if row.state == "done"]

    def winner(self) -> Row | None:
        """The least error within budget; among equal ones the cheapest. None where nothing is done."""
        return min(self.done_rows(), key=lambda row: (row.error, row.price.average if row.price else 0.0), default=None)

    def _objective(self, trial: Any, task: Task, space: Space, out: Path) -> tuple[float, float]:
        optuna = _optuna()
        candidate = space.draw(trial.suggest_categorical)
        task = replace(task, seed=task.seed + self._drawn_before(trial.number, candidate))
        trial.set_user_attr(CANDIDATE, candidate.to_json())
        trial.set_user_attr(SEED, task.seed)

        def judge(price: Price, curve: Curve) -> None:
            if not curve:
                trial.set_user_attr(PRICE, vars(price))
                trial.set_user_attr(EXCESS, task.excess(price))
                return
            if self._beaten(price, curve, task.options.settled(bool(candidate.window_s)).n_steps):
                trial.set_user_attr(CURVE, curve)
                trial.set_user_attr(WHY, f"after {curve[-1][0]} updates cheaper ones were better")
                raise optuna.TrialPruned

        try:
            found = run_trial(task, candidate, out / f"{trial.number:04d}", judge)
        except OverBudget as error:
            trial.set_user_attr(PRICE, vars(error.price))
            trial.set_user_attr(EXCESS, error.excess)
            trial.set_user_attr(WHY, str(error))
            raise optuna.TrialPruned from error
        except HissError as error:
            trial.set_user_attr(WHY, str(error))
            trial.set_user_attr(EXCESS, {"failed": 1.0})
            raise optuna.TrialPruned from error
        self._keep(trial, found)
        return found.error, found.price.average

    def _drawn_before(self, number: int, candidate: Candidate) -> int:
        """How many earlier trials had this candidate, but for those that a stopped process left."""
        known, trials = candidate.to_json(), self._study.get_trials(deepcopy=False)
        earlier = [t for t in trials if t.number < number and t.state.name != "FAIL"]
        return sum(t.user_attrs.get(CANDIDATE) == known for t in earlier)

    def _keep(self, trial: Any, found: Outcome) -> None:
        trial.set_user_attr(PRICE, vars(found.price))
        trial.set_user_attr(CURVE, found.curve)
        trial.set_user_attr(FOUND, {"rmse": dict(found.rmse), "seconds": found.seconds, "update_s": found.update_s})

    def _beaten(self, price: Price, curve: Curve, steps: int) -> bool:
        """Whether done candidates that cost no more were clearly better at the same update."""
        step, error = curve[-1]
        if step < WARM_UP * steps:
            return False
        cheaper = [
            at
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.name == "COMPLETE" and trial.user_attrs[PRICE]["average"] <= price.average
            if (at := _error_at(trial.user_attrs.get(CURVE, []), step)) is not None
        ]
        return len(cheaper) >= 2 and error > PATIENCE * statistics.median(cheaper)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError("optuna", "search") from error
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna


def _kept_study(storage: str, name: str, seed: int) -> Any:
    """The study of this name, made where there is none. Raises TrainingError."""
    optuna = _optuna()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that releases 5 deprecate and releases 3 need
            kept = optuna.storages.RDBStorage(
                storage,
                heartbeat_interval=HEARTBEAT_S,
                failed_trial_callback=optuna.storages.RetryFailedTrialCallback(max_retry=2),
                engine_kwargs={"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else None,
            )
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constraints_func=_constraints, constant_liar=True, n_startup_trials=12
            )
            return optuna.create_study(
                storage=kept,
                study_name=name,
                directions=["minimize", "minimize"],
                load_if_exists=True,
                sampler=sampler,
            )
    except Exception as error:
        raise TrainingError(f"storage {storage}: {str(error).splitlines()[0]}") from error


def _constraints(trial: Any) -> list[float]:
    """Above 0 where the budget is passed, by item."""
    return list(trial.user_attrs.get(EXCESS, {}).values()) or [0.0]


def _error_at(curve: Curve, step: int) -> float | None:
    """The best error until that update; None where the training did not get so far."""
    return next((error for at, error in curve if at >= step), None)


def _row(trial: Any) -> Row:
    attributes = trial.user_attrs
    found = attributes.get(FOUND, {})
    took = (trial.datetime_complete - trial.datetime_start).total_seconds() if trial.datetime_complete else 0.0
    return Row(
        number=trial.number,
        state=_state(trial),
        candidate=Candidate(**attributes[CANDIDATE]) if CANDIDATE in attributes else None,
        seed=attributes.get(SEED, 0),
        price=Price(**attributes[PRICE]) if PRICE in attributes else None,
        error=float(trial.values[0]) if trial.values else float("nan"),
        rmse=dict(found.get("rmse", {})),
        seconds=float(found.get("seconds", took)),
        why=str(attributes.get(WHY, "")),
        update_s=float(found.get("update_s", 0.0)),
    )


def _state(trial: Any) -> str:
    excess = trial.user_attrs.get(EXCESS, {})
    if trial.state.name == "PRUNED":
        if "failed" in excess:
            return "failed"
        return "over budget" if any(share > 0 for share in excess.values()) else "given up"
    return {"COMPLETE": "done", "FAIL": "failed"}.get(trial.state.name, "running")


def _front(rows: list[Row]) -> Iterator[Row]:
    best = float("inf")
    done = [row for row in rows if row.state == "done" and row.price]
    for row in sorted(done, key=lambda row: (row.price.average if row.price else 0.0, row.error)):
        if row.error < best:
            best = row.error
            yield row
