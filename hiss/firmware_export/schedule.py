"""The order in which the parts of the ops run in a step: what liveness and the emitter both follow.

An op without memory is one action, `run`. An op with memory may be several: `start` (first sample into the past), `run`
or, where it stands in `last`, `step` (its state, on every step) and `read` (its value, on the last one), and `push`
(u into the ring, at the end of the step, since a Delay may read a value that is made after it).
"""

from __future__ import annotations

from dataclasses import dataclass

from hiss.program import Program, Stage
from hiss.program import ops as o


@dataclass(frozen=True)
class Action:
    """kind: run, step, read, start or push;  reads: values;  makes: the value, or None."""

    kind: str
    op: o.Op
    reads: tuple[str, ...]
    makes: str | None = None


@dataclass(frozen=True)
class Schedule:
    """One stage: `every` on each step; `last` on the completing one; `pushes` at the end; `restarts` after the last."""

    index: int
    period: int
    every: tuple[Action, ...]
    last: tuple[Action, ...]
    pushes: tuple[Action, ...]
    restarts: tuple[o.Op, ...]
    hands: tuple[str, ...]

    @property
    def actions(self) -> tuple[Action, ...]:
        """All actions in the order of a completing step."""
        return self.every + self.last + self.pushes


def schedules(program: Program) -> tuple[Schedule, ...]:
    """The schedule of every stage."""
    return tuple(_schedule(index, stage) for index, stage in enumerate(program.stages))


def _schedule(index: int, stage: Stage) -> Schedule:
    # With a period of 1 every step is the last one
    always, last = (stage.every, stage.last) if stage.period > 1 else (stage.ops, ())
    early = [action for op in always for action in _whole(op)]
    early += [action for op in last for action in _on_each_step(op)]
    late = [action for op in last for action in _on_last_step(op)]
    pushes = [Action("push", op, op.reads) for op in stage.ops if has_past(op, stage.period)]
    # A Fir that restarts needs no clearing: it never reads further back than the chunk has come
    restarts = [op for op in stage.ops if getattr(op, "restart", False) and not isinstance(op, o.Fir)]
    return Schedule(index, stage.period, tuple(early), tuple(late), tuple(pushes), tuple(restarts), stage.hands)


def has_past(op: o.Op, period: int) -> bool:
    """True for an op that keeps earlier values of what it reads."""
    return isinstance(op, o.Delay) or (isinstance(op, o.Fir) and fir_taps(op, period) > 1)


def fir_taps(op: o.Fir, period: int) -> int:
    """Taps that can ever be reached: a chunk holds no more than `period` samples."""
    return min(op.taps.shape[1], period) if op.restart else int(op.taps.shape[1])


def _starts(op: o.Op) -> list[Action]:
    if isinstance(op, o.Delay) and op.initial == "first":
        return [Action("start", op, op.reads)]
    return []


def _whole(op: o.Op) -> list[Action]:
    if isinstance(op, o.Delay):
        return [*_starts(op), Action("run", op, (), op.out)]
    return [Action("run", op, op.reads, op.out)]


def _on_each_step(op: o.Op) -> list[Action]:
    match op:
        case o.Diagonal():
            return [Action("step", op, op.reads)]
        case o.Selective():
            return [Action("step", op, (op.input, op.delta, op.b))]
        case o.Delay():
            return _starts(op)
    return []


def _on_last_step(op: o.Op) -> list[Action]:
    match op:
        case o.Diagonal():
            return [Action("read", op, op.reads, op.out)]
        case o.Selective():
            return [Action("read", op, (op.input, op.c), op.out)]
        case o.Delay():
            return [Action("run", op, (), op.out)]
    return [Action("run", op, op.reads, op.out)]
