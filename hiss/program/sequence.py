"""A program over whole sequences, in any arithmetic: op by op instead of sample by sample.

Ops without memory run on all steps at once; a state steps through them (chunks that restart side by side); a memory of
past values is looked up. Integers come out as those of step() in every bit; floating point but for the order of sums.
S: steps of a stage, on axis -2;  W: those of them whose value is wanted;  k: period of the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq

import numpy as np

from hiss.program import interpreter as it
from hiss.program import loops, schedule
from hiss.program import ops as o
from hiss.program.ops import Index
from hiss.program.program import Program, Stage
from hiss.program.schedule import Arithmetic, Array, State, Values, primed

Observer = Callable[[str, Array], None]
BLOCK = 2**15
"""Samples, of all recordings together, that run_together() takes at once: a bound on its memory."""


def predict(program: Program, x: Array, *, tared: bool = False) -> Array:
    """x (..., T, C) raw samples from fresh state -> estimates (..., n, D).

    tared: the samples are tared already, so no tare is measured.
    """
    x = in_time(program, np.asarray(x))
    state = it.init_state(program.plain, x.shape[:-2])
    if tared:
        state["tare.left"] = np.array(0)
    return run(program.plain, state, x)[0]


def run_together(
    program: Program,
    recordings: Seq[Array],
    by: Arithmetic | None = None,
    observe: Observer | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Array]:
    """Estimates (n, D) of each tared recording (T, C) from fresh state; recordings of any lengths run side by side.

    observe is given each value with its name, (recordings that go on, S, n); progress samples done, of how many.
    """
    by, plain = by or it.Floating(program), program.plain
    samples = [in_time(program, x) for x in recordings]
    order = sorted(range(len(samples)), key=lambda i: -len(samples[i]))
    made: list[list[Array]] = [[np.zeros((0, len(program.outputs)), by.dtype)] for _ in samples]
    state, done, of = fresh(plain, by, (len(samples),)), 0, sum(map(len, samples))
    for begin, stop, alive in _stretches([len(samples[i]) for i in order]):
        progress(done, of)
        state = {key: part[:alive] if part.ndim else part for key, part in state.items()}
        y, state = run(plain, state, np.stack([samples[i][begin:stop] for i in order[:alive]]), observe, by)
        for i, estimates in zip(order[:alive], y, strict=True):
            made[i].append(estimates)
        done += alive * (stop - begin)
    progress(done, of)
    return [np.concatenate(pieces) for pieces in made]


def in_time(program: Program, x: Array) -> Array:
    """Without the samples whose estimates a spread program still keeps inside: else it makes those of the plain one."""
    return x[..., : max(0, x.shape[-2] - program.latency), :]


def fresh(program: Program, by: Arithmetic, batch: tuple[int, ...]) -> State:
    """Fresh state, the tare behind it."""
    mean = np.zeros((*batch, len(it.input_op(program).offset)), by.dtype)
    return {"tare.mean": mean, "tare.left": np.array(0), **schedule.fresh(program, by, batch)}


def _stretches(lengths: Seq[int]) -> Iterator[tuple[int, int, int]]:
    """(first sample, last + 1, recordings that reach so far) of recordings with falling `lengths`."""
    begin = 0
    while alive := sum(n > begin for n in lengths):
        stop = min(lengths[alive - 1], begin + max(1, BLOCK // alive))
        yield begin, stop, alive
        begin = stop


def run(
    program: Program, state: State, x: Array, observe: Observer | None = None, by: Arithmetic | None = None
) -> tuple[Array, State]:
    """step() over x (..., T, C): estimates (..., n, D) and the state after the last sample.

    by: the arithmetic, that of floating point unless it is given; x and the estimates are in its units. observe is
    given each value with its name, (..., S, n). A spread program runs step by step; predict() is sooner.
    """
    by, op = by or it.Floating(program), it.input_op(program)
    x = np.asarray(x, by.dtype)
    if program.slots is not None:
        return _run_by_steps(program, by, state, x, observe)
    while not it.tared(state) and x.shape[-2] > 0:
        state, x = by.tare_step(op, state, x[..., 0, :]), x[..., 1:, :]
    values = {op.out: by.input_value(op, {"tare.mean": state["tare.mean"][..., None, :]}, x)}
    state = dict(state)
    observe = observe or (lambda name, value: None)
    observe(op.out, values[op.out])
    for i, stage in enumerate(program.stages):
        values, changed = _stage_run(program, by, i, state, values, observe)
        state |= changed
        values = {name: values[name] for name in stage.hands}
    return np.concatenate(list(values.values()), axis=-1), state


def _run_by_steps(
    program: Program, by: Arithmetic, state: State, x: Array, observe: Observer | None
) -> tuple[Array, State]:
    if observe is not None:
        raise ValueError("the values of a spread program are those of program.plain: observe that one")
    made: list[Array] = []
    for t in range(x.shape[-2]):
        y, state = schedule.step(program, by, state, x[..., t, :])
        made += [] if y is None else [y]
    empty = np.zeros((*x.shape[:-2], 0, len(program.outputs)), x.dtype)
    return np.stack(made, axis=-2) if made else empty, state


def _stage_run(
    program: Program, by: Arithmetic, index: int, state: State, values: Values, observe: Observer
) -> tuple[Values, State]:
    """All steps of one stage; the values that come back stand at its last steps only."""
    stage = program.stages[index]
    phase, steps = int(state[f"phase.{index}"]), _steps(values)
    ends = _ends(steps, stage.period, phase)
    values, changed = dict(values), {f"phase.{index}": np.array((phase + steps) % stage.period)}
    at_ends: Values = {name: value[..., ends, :] for name, value in values.items()}
    for group in loops.groups(stage):
        if loops.is_loop(group):
            made, after = loops.run(program, by, stage, group, state, values, phase)
            values |= made
            at_ends |= {name: made[name][..., ends, :] for name in made}
            changed |= after
            for name, value in made.items():
                observe(name, value)
            continue
        op = group[0]
        each = op in stage.every
        if op.remembers:
            read = {name: values[name] if name in values else _spread(at_ends[name], ends, steps) for name in op.reads}
            y, after = _remembered(program, op, by, it.state_of(op, state), read, stage, phase, each)
            changed |= it.named(op, after)
        else:
            y = by.evaluate(op, values if each else at_ends)
        if each:
            values[op.out] = y
        at_ends[op.out] = y[..., ends, :] if each else y
        observe(op.out, y)
    return at_ends, changed


def _steps(values: Values) -> int:
    return int(next(iter(values.values())).shape[-2])


def _ends(steps: int, k: int, phase: int) -> Index:
    """The steps that complete a period, where `phase` steps of one are behind."""
    return np.arange(k - 1 - phase, steps, k)


def _spread(at_ends: Array, ends: Index, steps: int) -> Array:
    """Selective's C may be made on last steps alone: a place on every step, unread elsewhere."""
    full = np.zeros((*at_ends.shape[:-2], steps, at_ends.shape[-1]), at_ends.dtype)
    full[..., ends, :] = at_ends
    return full


def _remembered(
    program: Program, op: o.Op, by: Arithmetic, state: State, values: Values, stage: Stage, phase: int, each: bool
) -> tuple[Array, State]:
    """The value of an op with memory on each step, or on last steps alone, and its state behind them."""
    steps, k = _steps(values), stage.period
    width = program.widths[op.out]

    def scan(begin: int, stop: int, phase: int, state: State) -> tuple[Array, State]:
        some = {name: value[..., begin:stop, :] for name, value in values.items()}
        wanted = np.arange(stop - begin) if each else _ends(stop - begin, k, phase)
        return _scan(op, by, state, some, wanted, width)

    if not getattr(op, "restart", False):
        return scan(0, steps, phase, state)
    head = min((k - phase) % k, steps)  # the rest of a chunk begun before
    body = head + (steps - head) // k * k
    batch, width_in = values[op.reads[0]].shape[:-2], program.widths[op.reads[0]]
    first, state = scan(0, head, phase, state)
    if (phase + head) % k == 0:
        state = by.initial(op, width_in, batch)
    cut = {
        n: v[..., head:body, :].reshape(*v.shape[:-2], (body - head) // k, k, v.shape[-1]) for n, v in values.items()
    }
    wanted = np.arange(k) if each else np.array([k - 1])
    middle, _ = _scan(op, by, by.initial(op, width_in, (*batch, (body - head) // k)), cut, wanted, width)
    rest, state = scan(body, steps, 0, state)
    return np.concatenate([first, middle.reshape(*batch, -1, width), rest], axis=-2), state


def _scan(op: o.Op, by: Arithmetic, state: State, values: Values, wanted: Index, width: int) -> tuple[Array, State]:
    """The value at the steps `wanted`, (..., W, width), and the state after the last step."""
    u = values[op.reads[0]]
    if u.shape[-2] == 0:
        return np.zeros((*u.shape[:-2], 0, width), u.dtype), state
    match op:
        case o.Delay():
            past, after = _behind(primed(op, state, u[..., 0, :]), u)
            ages = past.shape[-2] - u.shape[-2] + wanted[:, None] - op.ages
            more = {} if op.initial == "zero" else {"primed": np.ones_like(state["primed"])}
            return past[..., ages, op.channels], {"past": after, **more}
        case o.Fir():
            past, after = _behind(state["past"], u)
            ages = past.shape[-2] - u.shape[-2] + wanted[:, None] - np.arange(1, op.taps.shape[1])
            return by.read(op, {"past": past[..., ages, :]}, {}, {op.input: u[..., wanted, :]}), {"past": after}
    return _stepped(op, by, state, values, wanted, width)


def _behind(past: Array, u: Array) -> tuple[Array, Array]:
    """The past (..., K, n), newest first, and u (..., S, n) behind each other in time; the past after that."""
    both = np.concatenate([past[..., ::-1, :], u], axis=-2)
    return both, both[..., u.shape[-2] :, :][..., ::-1, :]


def _stepped(op: o.Op, by: Arithmetic, state: State, values: Values, wanted: Index, width: int) -> tuple[Array, State]:
    u = values[op.reads[0]]
    y, place = np.empty((*u.shape[:-2], len(wanted), width), u.dtype), 0
    for t in range(u.shape[-2]):
        now = {name: value[..., t, :] for name, value in values.items()}
        after = by.update(op, state, now)
        if place < len(wanted) and wanted[place] == t:
            y[..., place, :] = by.read(op, state, after, now)
            place += 1
        state = after
    return y, state
