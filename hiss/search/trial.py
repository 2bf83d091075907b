"""One trial: the price of a candidate before it is trained, its training, and its error in integers.

The price is that of the C of the quantized program on the core: a candidate that is over budget costs seconds, not the
training. The error is that of the integer program on the validation recordings, whole, each from fresh state. Where
those are the ends of recordings, the program runs from their start, as on a chip, so that a drift is seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hiss import scoring
from hiss.dataset import hold_out, prepare
from hiss.errors import HissError
from hiss.firmware_export.budget import Budget
from hiss.program import Program
from hiss.recording import Recording, choose_inputs, choose_targets
from hiss.search.candidate import Candidate
from hiss.training import Run, TrainOptions, fit

MODEL, RUN = "model.int.hiss", "run"
Curve = list[tuple[int, float]]
"""(updates, best validation error so far) at each validation."""


@dataclass(frozen=True)
class Price:
    """Of one image: bytes of flash and RAM, instructions of a sample on average and at worst, bytes of stack."""

    flash: int
    ram: int
    average: float
    worst: int
    stack: int | None

    def found(self) -> dict[str, int | None]:
        """By the names of a Budget, whose insn is the worst sample."""
        return {"flash": self.flash, "ram": self.ram, "insn": self.worst, "stack": self.stack}


@dataclass(frozen=True)
class Task:
    """What every candidate is trained on, and the chip that it is to fit."""

    train: tuple[Recording, ...]
    target: tuple[str, ...]
    rate_hz: float
    inputs: tuple[str, ...] = ()
    tare: int | None = None
    options: TrainOptions = field(default_factory=TrainOptions)
    seed: int = 0
    budget: Budget = field(default_factory=lambda: Budget({}))
    core: str = "m4f"
    compiler: str = "gcc"

    def price(self, program: Program) -> Price:
        """What an integer program takes on the core. Raises HissError."""
        from hiss.engines.core_bill import priced

        model, core = priced(program, self.core, self.compiler)
        return Price(core.flash_bytes, model.ram_bytes, core.average, core.worst, core.stack_bytes)

    def excess(self, price: Price) -> dict[str, float]:
        """How far each item of the budget is passed, as a share of it: 0 or less where it is kept."""
        found = price.found()
        return {
            item: math.inf if (value := found[item]) is None else value / most - 1
            for item, most in self.budget.limits.items()
        }


@dataclass(frozen=True)
class Outcome:
    """error: NMSE of the integer program on validation;  learned: the same on what it was fitted on;

    rmse: on validation, per output, in its unit;  curve: of the training;  seconds: of all, prices too;

    update_s: of an update of the training, its validations too.
    """

    candidate: Candidate
    price: Price
    error: float
    learned: float
    rmse: Mapping[str, float]
    curve: Curve
    seconds: float
    update_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class OverBudget(Exception):
    """A candidate that does not fit the chip: its price, and by how much it is over."""

    def __init__(self, price: Price, excess: Mapping[str, float]):
        self.price, self.excess = price, dict(excess)
        super().__init__(", ".join(f"{k} {100 * v:+.0f} %" for k, v in self.excess.items() if v > 0))


Judge = Callable[[Price, Curve], None]
"""Is told the price and the curve so far, at each validation; what it raises ends the trial."""


def run_trial(task: Task, candidate: Candidate, folder: Path, judge: Judge = lambda price, curve: None) -> Outcome:
    """Price, train and score a candidate; its run and its integer program are kept in `folder`.

    Raises OverBudget, HissError, and what judge raises.
    """
    began = time.perf_counter()
    train = _chosen(task)
    curve: Curve = []
    first: list[Price] = []
    ready: list[float] = []

    def watch(step: int, error: float, now: Callable[[], Run]) -> None:
        if not first:
            first.append(_affordable(task, _integers(task, candidate, now())))
            ready.append(time.perf_counter())
        else:
            curve.append((step, error))
        judge(first[0], curve)

    run = _trained(task, candidate, train, watch)
    update_s = (time.perf_counter() - ready[0]) / curve[-1][0] if curve else 0.0
    program = _integers(task, candidate, run)
    price = _affordable(task, program)
    run.save(folder / RUN)
    program.save(folder / MODEL)
    learned, held = (_scored(program, recordings) for recordings in _parts(task))
    rmse = {t.name: float(e) for t, e in zip(run.targets, held.rmse(), strict=True)}
    errors = held.nmse(run.target_std), learned.nmse(run.target_std)
    return Outcome(candidate, price, *errors, rmse, curve, time.perf_counter() - began, update_s)


class _Enough(Exception):
    """Nothing more is to be known."""


def fits(task: Task, candidate: Candidate) -> bool:
    """Whether it keeps the budget before it is trained; what makes no program does not."""

    def watch(step: int, error: float, now: Callable[[], Run]) -> None:
        _affordable(task, _integers(task, candidate, now()))
        raise _Enough

    try:
        _trained(task, candidate, _chosen(task), watch)
    except _Enough:
        return True
    except (OverBudget, HissError):
        return False
    return False


def held_out(task: Task) -> list[Recording]:
    """The validation recordings, tared and at the task's rate; ends of recordings with what came before, not valid."""
    return _parts(task)[1]


def _parts(task: Task) -> tuple[list[Recording], list[Recording]]:
    """(what is learned from, what is held out), tared and at the task's rate."""
    prepared = prepare(_chosen(task), task.target, task.rate_hz, task.tare)
    return hold_out(prepared, None, task.options.val_fraction, lead=True)


def _scored(program: Program, recordings: Seq[Recording]) -> scoring.Scored:
    return scoring.score_whole(scoring.estimator(program), scoring.ready(program, recordings), program.period)


def _chosen(task: Task) -> list[Recording]:
    return [choose_inputs(choose_targets(r, task.target), task.inputs) for r in task.train]


def _trained(task: Task, candidate: Candidate, train: Seq[Recording], watch: Any) -> Run:
    return fit(
        candidate.spec(),
        train,
        task.target,
        inputs=task.inputs,
        rate_hz=task.rate_hz,
        tare=task.tare,
        options=task.options,
        seed=task.seed,
        device="cpu",
        progress=False,
        watch=watch,
    )


def _integers(task: Task, candidate: Candidate, run: Run) -> Program:
    """The candidate in integers, its formats from the recordings that it learns from."""
    from hiss.folding import fold
    from hiss.quantization import quantize

    program = fold(run)
    made, _ = quantize(program, _parts(task)[0], weights=candidate.weights, states=candidate.states)
    return made


def _affordable(task: Task, program: Program) -> Price:
    price = task.price(program)
    excess = task.excess(price)
    if any(share > 0 for share in excess.values()):
        raise OverBudget(price, excess)
    return price
