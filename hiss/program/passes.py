"""Passes: Program -> Program, each with the law that it changes no output.

dead_values        what no output needs is removed
last_sample_only   what only the hand-over needs runs on the last step of a period
fir_form           a diagonal recurrence that restarts becomes a k-tap filter, where that is cheaper
spread             what runs once per chunk runs during the next one, in even slots: the same estimates, a chunk later
"""

from __future__ import annotations

import dataclasses

import numpy as np

from hiss.errors import FoldError
from hiss.program import cost, pace
from hiss.program import ops as o
from hiss.program.program import Program, Stage
from hiss.program.tail import check_spreadable


def optimized(program: Program) -> Program:
    """All passes that leave the time of an estimate alone, in their order."""
    return fir_form(last_sample_only(dead_values(program)))


def dead_values(program: Program) -> Program:
    """Without the ops and hand-overs that no output needs. The Input stays: it reads the sample."""
    stages: list[Stage] = []
    wanted = set(program.stages[-1].hands)
    for stage in reversed(program.stages):
        hands = tuple(name for name in stage.hands if name in wanted) or stage.hands[:1]
        wanted = _needed(stage.ops, set(hands))
        every = tuple(op for op in stage.every if op.out in wanted or isinstance(op, o.Input))
        last = tuple(op for op in stage.last if op.out in wanted)
        stages.insert(0, Stage(stage.period, every, last, hands))
    return dataclasses.replace(program, stages=tuple(stages))


def _needed(ops: tuple[o.Op, ...], wanted: set[str]) -> set[str]:
    """`wanted` and all that it is made from; feedback through a Delay makes this a fixed point."""
    live, makers = set(wanted), {op.out: op for op in ops}
    todo = list(wanted)
    while todo:
        op = makers.get(todo.pop())
        for name in op.reads if op else ():
            if name not in live:
                live.add(name)
                todo.append(name)
    return live


def last_sample_only(program: Program) -> Program:
    """Ops whose value nothing needs on every step move to `last`; states still update on every step."""
    return dataclasses.replace(program, stages=tuple(map(_last_only, program.stages)))


def _last_only(stage: Stage) -> Stage:
    if stage.period == 1:
        return dataclasses.replace(stage, every=stage.ops, last=())
    each_step: set[str] = set()
    for op in stage.ops:
        if op.remembers:
            each_step |= set(op.reads[:3] if isinstance(op, o.Selective) else op.reads)  # its C is for the read-out
    each_step = _needed(stage.ops, each_step)
    every = tuple(op for op in stage.ops if op.out in each_step or isinstance(op, o.Input))
    last = tuple(op for op in stage.ops if op not in every)
    return dataclasses.replace(stage, every=every, last=last)


def fir_form(program: Program) -> Program:
    """Every Diagonal that restarts as a Fir, where that takes fewer products."""

    def form(stage: Stage, op: o.Op) -> o.Op:
        if not isinstance(op, o.Diagonal) or not op.restart:
            return op
        fir = as_fir(op, stage.period)
        reads_each = op in stage.every
        cheaper = cost.average_macs(fir, stage.period, reads_each) < cost.average_macs(op, stage.period, reads_each)
        return fir if cheaper else op

    def converted(stage: Stage) -> Stage:
        every, last = (tuple(form(stage, op) for op in ops) for ops in (stage.every, stage.last))
        return dataclasses.replace(stage, every=every, last=last)

    return dataclasses.replace(program, stages=tuple(map(converted, program.stages)))


def as_fir(op: o.Op, period: int) -> o.Fir:
    """The `period`-tap filter that equals `op` from restart to restart: t_k = Re(sum_n c a^k), d added to t_0.

    Raises FoldError for what is not a linear time-invariant recurrence that restarts.
    """
    if isinstance(op, o.Selective):
        raise FoldError(
            f"{op.out!r} is selective: its decay depends on the input, so it has no fixed impulse response and no FIR "
            "form; keep the recurrence"
        )
    if not isinstance(op, o.Diagonal):
        raise FoldError(f"{op.out!r} is a {type(op).__name__}; only a Diagonal has a FIR form")
    if not op.restart:
        raise FoldError(f"{op.out!r} carries its state from chunk to chunk; its impulse response does not end")
    powers = op.a[..., None] ** np.arange(period)  # (H, N, k)
    taps = np.einsum("hn,hnk->hk", op.c, powers).real
    taps[:, 0] += op.d
    return o.Fir(op.out, op.input, taps, np.zeros(len(op.d)), restart=True)


def spread(program: Program, factors: pace.Factors | None = None) -> Program:
    """What runs once per chunk in slots of the next chunk (tail.py), so that the longest sample is shortest (pace.py).

    The last of all passes. Estimates are the same, one period of stage 0 later: `latency` says it. factors: what ops
    take, by default what they take on a Cortex-M4F in the program's arithmetic. Raises ProgramError where there is
    nothing to spread.
    """
    check_spreadable(program)
    return dataclasses.replace(program, slots=pace.even_slots(program.plain, factors))
