"""A program over whole sequences: the functions of interpreter.py, op by op instead of sample by sample.

Ops without memory run on all steps at once, ops with memory step through them (chunks that restart side by side), so
the numbers are those of step() but for the order of sums in matrix products.   S: steps of a stage, on axis -2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiss.program import interpreter as it
from hiss.program import loops
from hiss.program import ops as o
from hiss.program.interpreter import Array, State, Values
from hiss.program.program import Program, Stage
from hiss.program.validate import made_width


def predict(program: Program, x: Array, *, tared: bool = False) -> Array:
    """x (..., T, C) raw samples from fresh state -> estimates (..., n, D).

    tared: the samples are tared already, so no tare is measured.
    """
    x = np.asarray(x)
    # a spread program makes the same estimates, each `latency` samples later: what the last samples give stays inside
    x, program = x[..., : max(0, x.shape[-2] - program.latency), :], program.plain
    state = it.init_state(program, x.shape[:-2])
    if tared:
        state["tare.left"] = np.array(0)
    return run(program, state, x)[0]


Observer = Callable[[str, Array], None]


def run(program: Program, state: State, x: Array, observe: Observer | None = None) -> tuple[Array, State]:
    """step() over x (..., T, C): estimates (..., n, D) and the state after the last sample.

    Ops without memory run on the whole sequence at once, so sums may be ordered otherwise than in step(). observe is
    given each value with its name, (..., S, n). A spread program runs step by step; predict() is sooner.
    """
    op = it.input_op(program)
    x = np.asarray(x, op.offset.dtype)
    if program.slots is not None:
        return _run_by_steps(program, state, x, observe)
    while not it.tared(state) and x.shape[-2] > 0:
        state, x = it.tare_step(op, state, x[..., 0, :]), x[..., 1:, :]
    values = {op.out: it.input_value(op, state["tare.mean"][..., None, :], x)}
    state = dict(state)
    observe = observe or (lambda name, value: None)
    observe(op.out, values[op.out])
    for i, stage in enumerate(program.stages):
        values, changed = _stage_run(program, i, state, values, observe)
        state |= changed
        values = {name: values[name] for name in stage.hands}
    return np.concatenate(list(values.values()), axis=-1), state


def _run_by_steps(program: Program, state: State, x: Array, observe: Observer | None) -> tuple[Array, State]:
    if observe is not None:
        raise ValueError("the values of a spread program are those of program.plain: observe that one")
    made: list[Array] = []
    for t in range(x.shape[-2]):
        y, state = it.step(program, state, x[..., t, :])
        made += [] if y is None else [y]
    empty = np.zeros((*x.shape[:-2], 0, len(program.outputs)), x.dtype)
    return np.stack(made, axis=-2) if made else empty, state


def _stage_run(program: Program, index: int, state: State, values: Values, observe: Observer) -> tuple[Values, State]:
    """All steps of one stage; the values that come back stand at its last steps only."""
    stage = program.stages[index]
    phase, steps = int(state[f"phase.{index}"]), next(iter(values.values())).shape[-2]
    ends = slice(stage.period - 1 - phase, None, stage.period)
    values, changed = dict(values), {f"phase.{index}": np.array((phase + steps) % stage.period)}
    at_ends: Values = {name: value[..., ends, :] for name, value in values.items()}
    for group in loops.groups(stage):
        if loops.is_loop(group):
            made, after = loops.run(program, it.Floating(program), stage, group, state, values, phase)
            values |= made
            at_ends |= {name: made[name][..., ends, :] for name in made}
            changed |= {key: after[key] for op in group for key in it.named(op, it.state_of(op, after))}
            for name, value in made.items():
                observe(name, value)
            continue
        op = group[0]
        last = op not in stage.every
        if op.remembers:
            fresh = it.initial(op, values[op.reads[0]].shape[-1], it.input_op(program).offset.dtype)
            y, after = _scan(
                op, it.state_of(op, state), values | _spread(op, at_ends, values, ends), fresh, stage, phase
            )
            changed |= it.named(op, after)
        else:
            y = it.EVALUATE[type(op)](op, at_ends if last else values)
        if not last:
            values[op.out] = y
        at_ends[op.out] = y[..., ends, :] if not last or op.remembers else y
        observe(op.out, at_ends[op.out] if last else y)
    return at_ends, changed


def _spread(op: o.Op, at_ends: Values, values: Values, ends: slice) -> Values:
    """Selective's C may be made on last steps alone: give it a place on every step (unread elsewhere)."""
    spread: Values = {}
    for name in op.reads:
        if name not in values:
            steps = values[op.reads[0]].shape[-2]
            full = np.zeros((*at_ends[name].shape[:-2], steps, at_ends[name].shape[-1]), at_ends[name].dtype)
            full[..., ends, :] = at_ends[name]
            spread[name] = full
    return spread


def _scan(op: o.Op, state: State, values: Values, fresh: State, stage: Stage, phase: int) -> tuple[Array, State]:
    """it.update() and it.read() over a sequence; chunks of an op that restarts run side by side."""
    values = {name: values[name] for name in op.reads}
    steps, k = next(iter(values.values())).shape[-2], stage.period
    if not getattr(op, "restart", False):
        return _scan_steps(op, state, values)
    head = min((k - phase) % k, steps)  # the rest of a chunk begun before
    body = head + (steps - head) // k * k
    first, chunks, rest = (
        {name: value[..., begin:stop, :] for name, value in values.items()}
        for begin, stop in ((0, head), (head, body), (body, steps))
    )
    y_first, state = _scan_steps(op, state, first)
    if (phase + head) % k == 0:
        state = _broadcast(fresh, next(iter(values.values())).shape[:-2])
    y_rest, state = _scan_steps(op, state, rest)
    return np.concatenate([y_first, _scan_chunks(op, fresh, chunks, k), y_rest], axis=-2), state


def _scan_chunks(op: o.Op, fresh: State, values: Values, k: int) -> Array:
    """Whole chunks of k steps side by side, each from the `fresh` state of one."""
    cut = {n: v.reshape(*v.shape[:-2], v.shape[-2] // k, k, v.shape[-1]) for n, v in values.items()}
    batch = next(iter(cut.values())).shape[:-2]
    y, _ = _scan_steps(op, _broadcast(fresh, batch), cut)
    return y.reshape(*batch[:-1], -1, y.shape[-1])


def _broadcast(state: State, batch: tuple[int, ...]) -> State:
    return {part: np.broadcast_to(array, batch + array.shape).copy() for part, array in state.items()}


def _scan_steps(op: o.Op, state: State, values: Values) -> tuple[Array, State]:
    steps = next(iter(values.values())).shape[-2]
    made: list[Array] = []
    for t in range(steps):
        now = {name: value[..., t, :] for name, value in values.items()}
        after = it.update(op, state, now)
        made.append(it.read(op, state, after, now))
        state = after
    if made:
        return np.stack(made, axis=-2), state
    u = values[op.reads[0]]
    return np.zeros((*u.shape[:-1], made_width(op) or 0), u.dtype), state
