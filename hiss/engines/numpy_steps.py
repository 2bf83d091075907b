"""What runs when in the numpy stepper: the steps of a stage, and the slots of a spread program's tail.

The schedule of `hiss.program.schedule`, as lists of actions made beforehand.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

from hiss.engines.numpy_part import Action, Part, nothing
from hiss.engines.numpy_plan import fused, fused_ops
from hiss.program import Program, Stage
from hiss.program import ops as o
from hiss.program.tail import with_copies

Parts = dict[str, Part]
Ops = tuple[o.Op, ...]


class Steps:
    """What one stage does on an ordinary step, and on the one that completes its period."""

    def __init__(self, stage: Stage, parts: Parts):
        self.period, self.phase = stage.period, 0
        self.ordinary, self.completing = _actions(stage.every, stage.last, _delays(stage.ops), parts)
        self.completing += _clears(stage, parts)
        self.settling = [parts[op.out].settle for op in stage.every if op.out in parts]
        self.settling = [action for action in self.settling if action is not nothing]
        self.due = False  # of what `settling` does for the next step

    def settle(self) -> None:
        """Do for the next step what this one has left."""
        if self.due:
            self.due = False
            for action in self.settling:
                action()

    def step(self) -> bool:
        """True when the period is complete. What the step before has left is done."""
        self.due = bool(self.settling)
        complete = self.phase == self.period - 1
        for action in self.completing if complete else self.ordinary:
            action()
        self.phase = 0 if complete else self.phase + 1
        return complete


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """What one stage does in one slot: ops of its `every` and its `last`, and Delays whose input is stored then."""

    stage: int
    every: Ops
    last: Ops
    pushes: Ops


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A spread program for the stepper: stage 0 without what waits, and the pieces of each slot."""

    head: Stage
    slots: tuple[tuple[Piece, ...], ...]

    @property
    def ops(self) -> list[o.Op]:
        """All ops in an order in which they may run."""
        pieces = [piece for slot in self.slots for piece in slot]
        return [*self.head.ops, *(op for piece in pieces for op in piece.every + piece.last)]


def planned(program: Program) -> Plan:
    """Gates become one product where their parts stand in one slot."""
    view, tail = with_copies(program), program.tail
    waiting = {op.out: op for _, _, op in view.ops() if op.out in (program.slots or {})}
    first = view.stages[0]
    now = tuple(op for op in first.last if op.out not in waiting)
    readers = Counter([*view.stages[-1].hands, *(name for op in waiting.values() for name in op.reads)])
    head = dataclasses.replace(first, last=now, hands=tuple(readers))

    def pieces(slot: int) -> Iterable[Piece]:
        for index in range(len(program.stages)):
            own = [d for d in tail.slots[slot] if d.stage == index]
            every, last = (tuple(waiting[d.op.out] for d in own if d.each is each) for each in (True, False))
            pushes = tuple(d.op for d in tail.pushes[slot] if d.stage == index)
            if own or pushes:
                yield Piece(index, fused_ops(every, readers), fused_ops(last, readers), pushes)

    return Plan(fused(head), tuple(tuple(pieces(slot)) for slot in range(first.period)))


class TailSteps:
    """The slots of a spread program, and the phases of its stages from 1 on.  pending: a chunk has been completed."""

    def __init__(self, program: Program, plan: Plan, parts: Parts):
        self.pending = False
        self.periods = [stage.period for stage in program.stages]
        self.phases = [0] * len(program.stages)
        self.slots = [
            [(piece.stage, *_actions(piece.every, piece.last, piece.pushes, parts)) for piece in pieces]
            for pieces in plan.slots
        ]
        self.clears = [_clears(stage, parts) for stage in program.stages]

    def step(self, slot: int) -> bool:
        """True when an estimate comes with this slot."""
        last = len(self.periods) - 1
        done = 0  # stages up to this one complete their period, the one after it steps
        while done < last and self.phases[done + 1] == self.periods[done + 1] - 1:
            done += 1
        for index, ordinary, completing in self.slots[slot]:
            if index <= done + 1:
                for action in completing if index <= done else ordinary:
                    action()
        if slot < self.periods[0] - 1:
            return False
        for index in range(1, min(done + 1, last) + 1):
            self._next_phase(index, index <= done)
        return done == last

    def _next_phase(self, index: int, complete: bool) -> None:
        self.phases[index] = 0 if complete else self.phases[index] + 1
        if complete:
            for clear in self.clears[index]:
                clear()


def _actions(every: Ops, last: Ops, pushed: Ops, parts: Parts) -> tuple[list[Action], list[Action]]:
    """Those of an ordinary step, and those of one that completes the period."""
    advances = [parts[op.out].advance for op in last if _advances(op)]
    pushes = [parts[op.out].push for op in pushed]
    now = _now(every, parts)
    ordinary, completing = [*now, *advances, *pushes], [*now, *_now(last, parts), *pushes]
    return [action for action in ordinary if action is not nothing], [a for a in completing if a is not nothing]


def _now(ops: Ops, parts: Parts) -> list[Action]:
    """Advance, where there is memory, and read, in the order of the ops."""
    made: list[Action] = []
    for op in ops:
        if op.out in parts:
            made += [parts[op.out].advance, parts[op.out].read] if _advances(op) else [parts[op.out].read]
    return made


def _advances(op: o.Op) -> bool:
    return isinstance(op, o.Diagonal | o.Fir | o.Selective)


def _delays(ops: Ops) -> Ops:
    return tuple(op for op in ops if isinstance(op, o.Delay))


def _clears(stage: Stage, parts: Parts) -> list[Action]:
    return [parts[op.out].clear for op in stage.ops if getattr(op, "restart", False)]
