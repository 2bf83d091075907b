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
    """Floating point or integers: what an op computes."""

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
    """The states of all ops and the phases of all stages after reset; the tare is not among them."""
    state: State = {f"phase.{i}": np.array(0) for i in range(len(program.stages))}
    for _, _, op in program.ops():
        state |= named(op, arithmetic.initial(op, _width(program, op), batch))
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
    state = dict(state)
    for i, stage in enumerate(program.stages):
        complete = int(state[f"phase.{i}"]) == stage.period - 1
        values, changed = stage_step(program, arithmetic, stage, state, values, complete)
        state |= changed
        state[f"phase.{i}"] = np.array(0 if complete else int(state[f"phase.{i}"]) + 1)
        if not complete:
            return None, state
        values = {name: values[name] for name in stage.hands}
    return np.concatenate(list(values.values()), axis=-1), state


def stage_step(
    program: Program, arithmetic: Arithmetic, stage: Stage, state: State, values: Values, complete: bool
) -> tuple[Values, State]:
    """One step of a stage: the values it made, and the states that changed."""
    values = dict(values)
    feedback: list[o.Op] = []
    changed: State = {}
    for op in stage.ops:
        reading = complete or op in stage.every
        if op.remembers and not isinstance(op, o.Input):
            before = state_of(op, state)
            if isinstance(op, o.Delay):
                after = before
                feedback.append(op)
            else:
                after = arithmetic.update(op, before, values)
                changed |= named(op, after)
            if reading:
                values[op.out] = arithmetic.read(op, before, after, values)
        elif reading and not isinstance(op, o.Input):
            values[op.out] = arithmetic.evaluate(op, values)
    for op in feedback:  # the input of a Delay may have been made after it
        changed |= named(op, arithmetic.update(op, state_of(op, state), values))
    if complete:
        for op in stage.ops:
            if getattr(op, "restart", False):
                changed |= named(op, arithmetic.initial(op, _width(program, op), state["tare.mean"].shape[:-1]))
    return values, changed


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
