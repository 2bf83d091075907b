"""The tail of a spread program: what waits for the next chunk, in which slot, and what is held until then.

Stage 0 steps once per sample, P steps to a chunk. On the step that completes it only `now` runs beside `every`: what
reads states of stage 0, since these go on with the next sample. All else, the tail, runs in slots 0..P-1 of the next
chunk: slot s before stage 0 on its step of phase s. The estimate comes out with slot P-1, one chunk later than without.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hiss.errors import ProgramError
from hiss.program import ops as o

if TYPE_CHECKING:
    from hiss.program.program import Program, Stage


@dataclass(frozen=True, eq=False)
class Deferred:
    """An op that waits. stage: its index;  each: it stands in `every` of its stage, not in `last`."""

    op: o.Op
    stage: int
    each: bool


@dataclass(frozen=True, eq=False)
class Tail:
    """What a spread program does when.

    head: stage 0 without the ops that wait
    slots: the ops of each slot;  pushes: the Delays whose input is stored at the end of each slot
    takes: values of stage 0 that are kept when its chunk completes;  keeps: values made in a slot for a later one
    """

    head: Stage
    slots: tuple[tuple[Deferred, ...], ...]
    pushes: tuple[tuple[Deferred, ...], ...]
    takes: tuple[str, ...]
    keeps: tuple[str, ...]

    @property
    def held(self) -> tuple[str, ...]:
        """All values that outlive a step: part of the state."""
        return self.takes + self.keeps


def now_ops(stage: Stage) -> tuple[o.Op, ...]:
    """The ops of `last` that read a state, and those that make what they read."""
    makers = {op.out: op for op in stage.last}
    needed: set[str] = set()
    todo = [op.out for op in stage.last if op.remembers]
    while todo:
        name = todo.pop()
        if name in makers and name not in needed:
            needed.add(name)
            todo += makers[name].reads
    return tuple(op for op in stage.last if op.out in needed)


def deferred(stages: Sequence[Stage]) -> tuple[Deferred, ...]:
    """The ops of the tail in their order."""
    now = now_ops(stages[0])
    waiting = [Deferred(op, 0, False) for op in stages[0].last if op not in now]
    for index, stage in enumerate(stages[1:], 1):
        waiting += [Deferred(op, index, True) for op in stage.every]
        waiting += [Deferred(op, index, False) for op in stage.last]
    return tuple(waiting)


def tail_of(program: Program) -> Tail:
    """The tail of a program with slots."""
    slot = program.slots
    assert slot is not None  # Program.tail has seen to it
    waiting, count = deferred(program.stages), program.stages[0].period
    push = {d.op.out: max(slot[d.op.out], slot.get(d.op.reads[0], 0)) for d in waiting if isinstance(d.op, o.Delay)}
    until = last_reads(program, {d.op.out: push.get(d.op.out, slot[d.op.out]) for d in waiting})
    return Tail(
        dataclasses.replace(program.stages[0], last=now_ops(program.stages[0])),
        tuple(tuple(d for d in waiting if slot[d.op.out] == s) for s in range(count)),
        tuple(tuple(d for d in waiting if push.get(d.op.out) == s) for s in range(count)),
        tuple(name for name in until if name not in slot),
        tuple(name for name in until if name in slot and until[name] > slot[name]),
    )


def last_reads(program: Program, reading: dict[str, int]) -> dict[str, int]:
    """The last slot that reads a value; `reading`: op -> its slot (of a Delay the one that stores its input)."""
    until: dict[str, int] = {}
    for d in deferred(program.stages):
        for name in d.op.reads:
            until[name] = max(until.get(name, 0), reading[d.op.out])
    return until | dict.fromkeys(program.stages[-1].hands, program.stages[0].period - 1)


def copies(program: Program) -> dict[str, str]:
    """Values that stage 0 makes on every step and the tail reads -> the name of the copy that is kept for it."""
    return {op.out: f"held.{op.out}" for op in program.stages[0].every if op.out in program.tail.takes}


def with_copies(program: Program) -> Program:
    """A spread program as a plain one in which all that is kept has a name: the tail reads copies (Add of one value).

    Stage 0's `last` is: what does not wait, the copies, what waits. What slots there are, `program` says.
    """
    names, (first, *rest) = copies(program), program.stages
    made = tuple(o.Add(copy, (name,), (1,)) for name, copy in names.items())
    now = program.tail.head.last

    def renamed(ops: tuple[o.Op, ...]) -> tuple[o.Op, ...]:
        return tuple(o.renamed(op, names) for op in ops)

    def handed(stage: Stage) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in stage.hands)

    waiting = renamed(tuple(op for op in first.last if op not in now))
    head = dataclasses.replace(first, last=now + made + waiting, hands=handed(first))
    stages = [dataclasses.replace(s, every=renamed(s.every), last=renamed(s.last), hands=handed(s)) for s in rest]
    formats = program.formats
    if formats is not None:
        formats = {**formats, **{copy: {"out": formats[name]["out"]} for name, copy in names.items()}}
    return dataclasses.replace(program, stages=(head, *stages), formats=formats, slots=None)


def check_slots(program: Program) -> None:
    """Raise ProgramError where slots do not fit the ops, or where there is nothing to spread."""
    if program.slots is None:
        return
    order, period = check_spreadable(program), program.stages[0].period
    if set(program.slots) != set(order):
        found = sorted(set(program.slots) ^ set(order))
        raise ProgramError(f"slots of {found[:3]} do not fit the ops; expected one for each op that can wait: {order}")
    for name, slot in program.slots.items():
        if type(slot) is not int or not 0 <= slot < period:
            raise ProgramError(f"{name!r} stands in slot {slot!r}; expected a whole number of 0..{period - 1}")
    for before, after in itertools.pairwise(order):
        if program.slots[after] < program.slots[before]:
            raise ProgramError(
                f"{after!r} stands in slot {program.slots[after]}, but it runs after {before!r}, which stands in slot "
                f"{program.slots[before]}; slots follow the order of the ops"
            )


def check_spreadable(program: Program) -> list[str]:
    """The names of the ops that can wait. Raises ProgramError where there are none."""
    if program.stages[0].period == 1:
        raise ProgramError("stage 0 has a period of 1, so all samples take the same time: there is nothing to spread")
    order = [d.op.out for d in deferred(program.stages)]
    if not order:
        raise ProgramError("all ops run on every sample or read states on the last one: there is nothing to spread")
    for _, _, op in program.ops():
        if op.out == "held" or op.out.startswith("held."):
            raise ProgramError(f"a value is named {op.out!r}, as the held values of a spread program are; rename it")
    return order
