"""integer.run() over whole sequences, op by op instead of sample by sample: the same integers in every bit, sooner.

Always from fresh state, the tare behind it. Sums are exact in integers, so their order cannot matter.
x: (..., T, C);  S: steps of a stage, on axis -2;  k: its period.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.program import integer, loops, schedule
from hiss.program import ops as o
from hiss.program.integer import Integer
from hiss.program.ops import Index
from hiss.program.program import Program, Stage
from hiss.program.schedule import State, Values


def predict(program: Program, x: NDArray[Any], by: Integer | None = None) -> NDArray[np.float64]:
    """Tared samples (..., T, C), each recording from fresh state -> estimates (..., n, D) in their units."""
    return integer.estimates(program, run(program, integer.samples(program, x), by))


def run(program: Program, x: Index, by: Integer | None = None) -> Index:
    """Integers of tared samples (..., T, C) -> integer estimates (..., (T - latency) // period, D)."""
    by = by or integer.arithmetic(program)
    # a spread program makes the same estimates later, so what the last samples give stays inside
    x, program = x[..., : max(0, x.shape[-2] - program.latency), :], program.plain
    state = integer.init_state(program, x.shape[:-2])
    state["tare.left"] = np.array(0)
    first = schedule.input_op(program)
    values: Values = {first.out: by.input_value(first, {"tare.mean": state["tare.mean"][..., None, :]}, x)}
    for stage in program.stages:
        values = _stage(program, stage, by, values, state)
    return np.concatenate(list(values.values()), axis=-1)


def _stage(program: Program, stage: Stage, by: Integer, values: Values, fresh: State) -> Values:
    """What a stage hands on, at the last steps of its periods."""
    k = stage.period
    steps = next(iter(values.values())).shape[-2] // k * k
    values = {name: value[..., :steps, :] for name, value in values.items()}
    ends = {name: value[..., k - 1 :: k, :] for name, value in values.items()}
    for group in loops.groups(stage):
        if loops.is_loop(group):
            made, _ = loops.run(program, by, stage, group, fresh, values, 0)
            values |= made
            ends |= {name: value[..., k - 1 :: k, :] for name, value in made.items()}
            continue
        op = group[0]
        each = op in stage.every
        if op.remembers:
            y = _remembered(program, op, by, values, ends, k, each)
        else:
            y = by.evaluate(op, values if each else ends)
        if each:
            values[op.out] = y
        ends[op.out] = y[..., k - 1 :: k, :] if each else y
    return {name: ends[name] for name in stage.hands}


def _remembered(program: Program, op: o.Op, by: Integer, values: Values, ends: Values, k: int, each: bool) -> Index:
    """The value of an op with memory: on each step, or at the ends alone."""
    read = {name: values[name] if name in values else _spread(ends[name], k) for name in op.reads}
    width = program.widths[op.reads[0]]
    if not getattr(op, "restart", False):
        return _scan(op, by, read, width, np.arange(_steps(read)) if each else np.arange(k - 1, _steps(read), k))
    cut = {n: v.reshape(*v.shape[:-2], v.shape[-2] // k, k, v.shape[-1]) for n, v in read.items()}
    y = _scan(op, by, cut, width, np.arange(k) if each else np.array([k - 1]))
    return y.reshape(*y.shape[:-3], -1, y.shape[-1])


def _spread(value: Index, k: int) -> Index:
    """Selective's C may be made at the ends alone: a place on every step, unread elsewhere."""
    return np.repeat(value, k, axis=-2)


def _steps(values: Values) -> int:
    return int(next(iter(values.values())).shape[-2])


def _scan(op: o.Op, by: Integer, values: Values, width: int, wanted: Index) -> Index:
    """The value of `op` from fresh state at the steps `wanted`."""
    u = values[op.reads[0]]
    fresh = by.initial(op, width, u.shape[:-2])
    if isinstance(op, o.Delay):
        return _delayed(op, u, wanted)
    if isinstance(op, o.Fir):
        ages = np.arange(1, op.taps.shape[1])
        past = _past(u, np.zeros_like(u[..., :1, :]), wanted[:, None] - ages)  # (..., wanted, K - 1, H)
        return by.read(op, {"past": past}, fresh, {op.input: u[..., wanted, :]})
    return _stepped(op, by, values, fresh, set(wanted.tolist()))


def _delayed(op: o.Delay, u: Index, wanted: Index) -> Index:
    """Each channel at its own age; before the first step lies 0, or the first value."""
    before = np.zeros_like(u[..., :1, :]) if op.initial == "zero" else u[..., :1, :]
    padded = np.concatenate([before, u], axis=-2)
    return padded[..., np.maximum(wanted[:, None] - op.ages + 1, 0), op.channels]


def _past(u: Index, before: Index, steps: Index) -> Index:
    """u at `steps` (any shape), `before` where they are negative."""
    return np.concatenate([before, u], axis=-2)[..., np.maximum(steps + 1, 0), :]


def _stepped(op: o.Op, by: Integer, values: Values, state: State, wanted: set[int]) -> Index:
    made: list[Index] = []
    for t in range(_steps(values)):
        now = {name: value[..., t, :] for name, value in values.items()}
        after = by.update(op, state, now)
        if t in wanted:
            made.append(by.read(op, state, after, now))
        state = after
    if made:
        return np.stack(made, axis=-2)
    u = values[op.reads[0]]
    return np.zeros((*u.shape[:-2], 0, u.shape[-1]), np.int64)
