"""Feedback over whole sequences: the ops of a loop step together, all others still run op by op.

A Delay may read a value that is made after it (an LSTM's output, a closed loop). Such a loop is the stretch of ops from
the Delay to the maker of that value.   S: steps on axis -2;  k: period of the stage.
"""

from __future__ import annotations

import numpy as np

from hiss.program import ops as o
from hiss.program import schedule
from hiss.program.program import Program, Stage
from hiss.program.schedule import Arithmetic, State, Values

Group = tuple[o.Op, ...]


def groups(stage: Stage) -> list[Group]:
    """The ops of a stage in their order, those of a loop together; the Input is left out."""
    ops = [op for op in stage.ops if not isinstance(op, o.Input)]
    place = {op.out: i for i, op in enumerate(ops)}
    found: list[Group] = []
    group: Group = ()
    end = -1
    for i, op in enumerate(ops):
        group = (*group, op)
        end = max(end, i, *(place.get(name, -1) for name in op.reads))
        if i == end:
            found.append(group)
            group = ()
    return found


def is_loop(group: Group) -> bool:
    """False for an op that stands alone and does not read itself."""
    return len(group) > 1 or group[0].out in group[0].reads


def fed_back(program: Program) -> tuple[str, ...]:
    """Values that a Delay takes back to what they are made of."""
    return tuple(
        dict.fromkeys(
            op.input
            for stage in program.stages
            for group in groups(stage)
            for op in group
            if isinstance(op, o.Delay) and op.input in {maker.out for maker in group}
        )
    )


def run(
    program: Program, arithmetic: Arithmetic, stage: Stage, group: Group, state: State, values: Values, phase: int
) -> tuple[Values, State]:
    """All that a loop makes of values (..., S, n), and its own states after the last step.

    state: of the program, its tare too; phase: steps of the period that are behind. Chunks of a loop that restarts
    run side by side.
    """
    k, own = stage.period, {op.out for op in group}
    part = Stage(k, group, (), (group[-1].out,))
    steps = next(iter(values.values())).shape[-2]
    values = {name: values[name] for op in group for name in op.reads if name not in own}
    tare = {"tare.mean": state["tare.mean"]}
    state = tare | {key: part for op in group for key, part in schedule.named(op, schedule.state_of(op, state)).items()}

    def stepped(state: State, begin: int, stop: int) -> tuple[Values, State]:
        some = {name: value[..., begin:stop, :] for name, value in values.items()}
        return _stepped(program, arithmetic, part, state, some, stop - begin, (phase + begin) % k)

    if not all(getattr(op, "restart", False) for op in group if op.remembers):
        made, after = stepped(state, 0, steps)
        return made, _without(after, tare)
    head = min((k - phase) % k, steps)  # the rest of a chunk begun before
    body = head + (steps - head) // k * k
    first, state = stepped(state, 0, head)
    middle = _side_by_side(
        program,
        arithmetic,
        part,
        state,
        {name: value[..., head:body, :] for name, value in values.items()},
        body - head,
    )
    rest, state = stepped(state, body, steps)
    made = {name: np.concatenate([first[name], middle[name], rest[name]], axis=-2) for name in own}
    return made, _without(state, tare)


def _without(state: State, others: State) -> State:
    return {key: part for key, part in state.items() if key not in others}


def _side_by_side(
    program: Program, arithmetic: Arithmetic, part: Stage, state: State, values: Values, steps: int
) -> Values:
    """Whole chunks, each from fresh state."""
    k = part.period
    batch = (*state["tare.mean"].shape[:-1], steps // k)
    cut = {name: v.reshape(*batch, k, v.shape[-1]) for name, v in values.items()}
    fresh = {"tare.mean": np.zeros((*batch, 0), arithmetic.dtype)}
    for op in part.ops:
        if op.remembers:
            fresh |= schedule.named(op, arithmetic.initial(op, program.widths[op.reads[0]], batch))
    made, _ = _stepped(program, arithmetic, part, fresh, cut, k, 0)
    return {name: v.reshape(*batch[:-1], steps, v.shape[-1]) for name, v in made.items()}


def _stepped(
    program: Program, arithmetic: Arithmetic, part: Stage, state: State, values: Values, steps: int, phase: int
) -> tuple[Values, State]:
    """One step after the other."""
    made: dict[str, list[schedule.Array]] = {op.out: [] for op in part.ops}
    state = dict(state)
    for t in range(steps):
        now = {name: value[..., t, :] for name, value in values.items()}
        complete = (phase + t) % part.period == part.period - 1
        out, changed = schedule.stage_step(program, arithmetic, part, state, now, complete)
        state |= changed
        for name, rows in made.items():
            rows.append(out[name])
    batch = state["tare.mean"].shape[:-1]
    empty = {name: np.zeros((*batch, 0, program.widths[name]), arithmetic.dtype) for name in made}
    return {name: np.stack(rows, axis=-2) for name, rows in made.items()} if steps else empty, state
