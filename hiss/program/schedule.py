"""The schedule of a step, the same in every arithmetic: what runs when, what commits when, what restarts.

An arithmetic evaluates ops; this file decides which. All states commit together at the end of the step.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hiss.program import ops as o
from hiss.program.program import Program, Stage

Array = NDArray[Any]
State = dict[str, Array]
Values = dict[str, Array]


class Arithmetic(Protocol):
    """Floating point or integers: what an op computes.  dtype: of the values."""

    dtype: Any

    def initial(self, op: o.Op, width: int, batch: tuple[int, ...]) -> State:
        """The state of one op after reset; `width` is the length of the value it reads."""

    def evaluate(self, op: o.Op, values: Values) -> Array:
        """The value of an op without memory."""

    def update(self, op: o.Op, state: State, values: Values) -> State:
        """The state after a step."""

    def read(self, op: o.Op, before: State, after: State, values: Values) -> Array:
        """The value of an op with memory, from the states before and after the step."""

    def input_value(self, op: o.Input, state: State, x: Array) -> Array:
        """z of a raw sample."""

    def tare_step(self, op: o.Input, state: State, x: Array) -> State:
        """The state after one more sample of the tare."""


def input_op(program: Program) -> o.Input:
    """The op that reads the sample."""
    op = program.stages[0].every[0]
    assert isinstance(op, o.Input)  # validate() has seen to it
    return op


def tared(state: State) -> bool:
    """True once the tare has been measured, or there is none."""
    return int(state["tare.left"]) == 0


def fresh(program: Program, arithmetic: Arithmetic, batch: tuple[int, ...]) -> State:
    """All states after reset, of ops, of the stages' phases and what a tail holds; the tare is not among them."""
    state: State = {f"phase.{i}": np.array(0) for i in range(len(program.stages))}
    for _, _, op in program.ops():
        state |= named(op, arithmetic.initial(op, _width(program, op), batch))
    if program.slots is not None:
        held = program.tail.held
        state |= {f"held.{name}": np.zeros((*batch, program.widths[name]), arithmetic.dtype) for name in held}
        state["tail.pending"] = np.array(0)
    return state


def named(op: o.Op, parts: State) -> State:
    """The parts of one op's state under the names they have in the program's."""
    return {f"{op.out}.{part}": array for part, array in parts.items()}


def state_of(op: o.Op, state: State) -> State:
    """The parts of one op's state."""
    prefix = op.out + "."
    return {key[len(prefix) :]: array for key, array in state.items() if key.startswith(prefix)}


def step(program: Program, arithmetic: Arithmetic, state: State, x: Array) -> tuple[Array | None, State]:
    """One sample x (..., C) -> (estimate (..., D) or None, next state). No argument is changed."""
    op = input_op(program)
    if not tared(state):
        return None, arithmetic.tare_step(op, state, x)
    values = {op.out: arithmetic.input_value(op, state, x)}
    if program.slots is not None:
        return _spread_step(program, arithmetic, dict(state), values)
    state = dict(state)
    for i, stage in enumerate(program.stages):
        complete = _completes(program, i, state)
        values, changed = stage_step(program, arithmetic, stage, state, values, complete)
        state |= changed | _next_phase(i, state, complete)
        if not complete:
            return None, state
        values = {name: values[name] for name in stage.hands}
    return np.concatenate(list(values.values()), axis=-1), state


def stage_step(
    program: Program, arithmetic: Arithmetic, stage: Stage, state: State, values: Values, complete: bool
) -> tuple[Values, State]:
    """One step of a stage: the values it made, and the states that changed."""
    values = dict(values)
    changed: State = {}
    for op in stage.ops:
        changed |= _op_step(arithmetic, op, complete or op in stage.every, state, values)
    for op in stage.ops:  # the input of a Delay may have been made after it
        if isinstance(op, o.Delay):
            changed |= named(op, arithmetic.update(op, state_of(op, state), values))
    if complete:
        changed |= _restarted(program, arithmetic, stage, state)
    return values, changed


def _op_step(arithmetic: Arithmetic, op: o.Op, reading: bool, state: State, values: Values) -> State:
    """The state that one op changes now (a Delay's is changed later); its value, if it is read, goes into `values`."""
    if isinstance(op, o.Input):
        return {}
    if not op.remembers:
        if reading:
            values[op.out] = arithmetic.evaluate(op, values)
        return {}
    before = state_of(op, state)
    after = before if isinstance(op, o.Delay) else arithmetic.update(op, before, values)
    if reading:
        values[op.out] = arithmetic.read(op, before, after, values)
    return {} if isinstance(op, o.Delay) else named(op, after)


def _restarted(program: Program, arithmetic: Arithmetic, stage: Stage, state: State) -> State:
    """The states of a stage that return to their initial value after the last step of its period."""
    batch, restarted = state["tare.mean"].shape[:-1], State()
    for op in stage.ops:
        if getattr(op, "restart", False):
            restarted |= named(op, arithmetic.initial(op, _width(program, op), batch))
    return restarted


def _completes(program: Program, index: int, state: State) -> bool:
    """Whether the next step of a stage completes its period."""
    return int(state[f"phase.{index}"]) == program.stages[index].period - 1


def _next_phase(index: int, state: State, complete: bool) -> State:
    return {f"phase.{index}": np.array(0 if complete else int(state[f"phase.{index}"]) + 1)}


# ---- a spread program (tail.py) --------------------------------------------------------------------------


def _spread_step(program: Program, arithmetic: Arithmetic, state: State, values: Values) -> tuple[Array | None, State]:
    """A slot of the tail of the chunk before, then stage 0, whose last step hands on what the next tail needs."""
    tail, complete, estimate = program.tail, _completes(program, 0, state), None
    if int(state["tail.pending"]):
        estimate, changed = _tail_step(program, arithmetic, state)
        state |= changed
    values, changed = stage_step(program, arithmetic, tail.head, state, values, complete)
    state |= changed | _next_phase(0, state, complete)
    if complete:
        state |= {f"held.{name}": values[name] for name in tail.takes} | {"tail.pending": np.array(1)}
    return estimate, state


def _tail_step(program: Program, arithmetic: Arithmetic, state: State) -> tuple[Array | None, State]:
    """The slot of this phase: the estimate, if one comes with it, and the states that changed."""
    tail, slot, last = program.tail, int(state["phase.0"]), len(program.stages) - 1
    done = 0  # stages up to this one complete their period, the one after it steps
    while done < last and _completes(program, done + 1, state):
        done += 1
    values = {name: state[f"held.{name}"] for name in tail.held}
    changed: State = {}
    for d in tail.slots[slot]:
        if d.stage <= done + 1:
            changed |= _op_step(arithmetic, d.op, d.each or d.stage <= done, state, values)
    for d in tail.pushes[slot]:
        if d.stage <= done + 1:
            changed |= named(d.op, arithmetic.update(d.op, state_of(d.op, state), values))
    changed |= {f"held.{name}": values[name] for name in tail.keeps}
    if slot < program.stages[0].period - 1:
        return None, changed
    for i in range(1, min(done + 1, last) + 1):
        changed |= _next_phase(i, state, i <= done)
        changed |= _restarted(program, arithmetic, program.stages[i], state) if i <= done else {}
    if done < last:
        return None, changed
    return np.concatenate([values[name] for name in program.stages[-1].hands], axis=-1), changed


def _width(program: Program, op: o.Op) -> int:
    return program.widths[op.reads[0]] if op.reads else 0


def pushed(past: Array, u: Array) -> Array:
    """past (..., K, n), newest first, after one more value u (..., n)."""
    return np.concatenate([u[..., None, :], past], axis=-2)[..., : past.shape[-2], :]


def primed(op: o.Delay, state: State, u: Array) -> Array:
    """The past of a Delay, (..., K, n); with initial = "first", what lay before the first value equals it."""
    if op.initial == "zero":
        return state["past"]
    return np.where(state["primed"][..., None, None], state["past"], u[..., None, :])
