"""The order in which the parts of the ops run in a step: what liveness and the emitter both follow.

An op without memory is one action, `run`. An op with memory may be several: `start` (first sample into the past), `run`
or, where it stands in `last`, `step` (its state, on every step) and `read` (its value, on the last one), and `push`
(u into the ring, at the end of the step, since a Delay may read a value that is made after it).

A spread program (hiss.program.tail) is scheduled from its view with copies: stage 0 without what waits, and for each
slot the part of each stage that runs in it. The stages from 1 on count their steps when the tail ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hiss.firmware_export.glu import gated_branch
from hiss.firmware_export.lags import read_in_place
from hiss.program import Program, Stage
from hiss.program import ops as o
from hiss.program.tail import Deferred, copies, with_copies


@dataclass(frozen=True)
class Action:
    """kind: run, step, read, start, push or glu;  reads: values;  makes: the value, or None.

    before: what a glu does at once with its op (glu.py).
    """

    kind: str
    op: o.Op
    reads: tuple[str, ...]
    makes: str | None = None
    before: tuple[o.Op, ...] = ()


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


@dataclass(frozen=True)
class Plan:
    """All that a program does.

    view: the program as it is written in C;  stages: of a spread program the first without what waits, the others for
    their counters and restarts alone;  slots: what runs in each;  kept: values that outlive a step.
    """

    view: Program
    stages: tuple[Schedule, ...]
    slots: tuple[tuple[Schedule, ...], ...] = ()
    kept: frozenset[str] = frozenset()

    @property
    def hands(self) -> tuple[str, ...]:
        """The values that become the outputs."""
        return self.view.stages[-1].hands

    @property
    def spread(self) -> bool:
        """True for a spread program."""
        return bool(self.slots)

    @property
    def running(self) -> tuple[Schedule, ...]:
        """What runs, in an order in which each value is made before it is read: stage 0, then the tail slot by slot."""
        return (self.stages[0], *(part for slot in self.slots for part in slot)) if self.spread else self.stages


def plan_of(program: Program) -> Plan:
    """The plan of a program."""
    if program.slots is None:
        in_place = read_in_place(program)
        stages = tuple(_lying(_schedule(i, stage), in_place) for i, stage in enumerate(program.stages))
        return _gated(Plan(program, stages))
    view, tail, names = with_copies(program), program.tail, copies(program)
    first, *rest = view.stages
    head = dataclasses.replace(first, last=tuple(op for op in first.last if op.out not in program.slots))
    ops = {op.out: op for _, _, op in view.ops()}
    slots = tuple(tuple(_parts(view, ops, runs, pushes)) for runs, pushes in zip(tail.slots, tail.pushes, strict=True))
    kept = frozenset(names.get(name, name) for name in tail.held)
    # what the tail makes is not there yet when stage 0 hands on
    stages = (
        _schedule(0, dataclasses.replace(head, hands=())),
        *(_schedule(i, stage) for i, stage in enumerate(rest, 1)),
    )
    return _gated(Plan(view, stages, slots, kept))


def _gated(plan: Plan) -> Plan:
    """Gated branches of integers in one go."""
    seen: dict[str, int] = {}
    for name in (*(r for s in plan.running for a in s.actions for r in a.reads), *plan.kept, *plan.hands):
        seen[name] = seen.get(name, 0) + 1
    for stage in plan.view.stages:
        for name in stage.hands:
            seen[name] = seen.get(name, 0) + 1

    def joined(s: Schedule) -> Schedule:
        return dataclasses.replace(s, every=_joined(s.every, plan.view, seen), last=_joined(s.last, plan.view, seen))

    slots = tuple(tuple(map(joined, slot)) for slot in plan.slots)
    return dataclasses.replace(plan, stages=tuple(map(joined, plan.stages)), slots=slots)


def _joined(actions: tuple[Action, ...], program: Program, readers: Mapping[str, int]) -> tuple[Action, ...]:
    """Three actions that are a gated branch (glu.py) become one."""
    made: list[Action] = []
    for action in actions:
        branch = gated_branch([a.op for a in (*made[-2:], action)], program, readers)
        # the product takes the place of branch[1]: made here, and read by nobody else
        own = branch is not None and readers[branch[1]] == 1 and any(a.makes == branch[1] for a in made)
        if branch is not None and own and all(a.kind == "run" for a in (*made[-2:], action)):
            made[-2:] = [Action("glu", action.op, branch, action.makes, (made[-2].op, made[-1].op))]
        else:
            made.append(action)
    return tuple(made)


def _lying(stage: Schedule, in_place: dict[str, o.Delay]) -> Schedule:
    """Without the copies of lags that an affine map reads where they lie."""
    lags = {past.out for past in in_place.values()}

    def left(actions: tuple[Action, ...]) -> tuple[Action, ...]:
        some = (a for a in actions if a.makes not in lags)
        return tuple(dataclasses.replace(a, reads=tuple(r for r in a.reads if r not in lags)) for a in some)

    return dataclasses.replace(stage, every=left(stage.every), last=left(stage.last)) if lags else stage


def _parts(
    view: Program, ops: dict[str, o.Op], runs: tuple[Deferred, ...], pushes: tuple[Deferred, ...]
) -> Iterator[Schedule]:
    """What each stage does in one slot; ops: of the view, by value. What is left of stage 0 has no memory."""
    for index, stage in enumerate(view.stages):
        every, last, late = (
            tuple(ops[d.op.out] for d in found if d.stage == index)
            for found in ([d for d in runs if d.each], [d for d in runs if not d.each], pushes)
        )
        if every or last or late:
            period = stage.period if index else 1
            part = _schedule(index, Stage(period, every, last, ()))
            own = [a for a in part.pushes if isinstance(a.op, o.Fir)] + [Action("push", op, op.reads) for op in late]
            yield dataclasses.replace(part, pushes=tuple(own), restarts=())


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
