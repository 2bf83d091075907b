"""The floating point definition of a program: step, and the same over whole sequences.

u, x: (..., n) values, leading axes are a batch;  h: state, (..., H, N);  S: steps of a stage on axis -2.
An op without memory is one function of its values, for a step and for a sequence alike. An op with memory is two:
`update` makes the next state, `read` the value: Delay and Fir read what was there before the step, Diagonal and
Selective the state that it has made. When each runs stands in schedule.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from hiss.program import ops as o
from hiss.program import schedule
from hiss.program.exact import refuse_float64_only
from hiss.program.program import Program, Stage
from hiss.program.schedule import Array, State, Values, fresh, input_op, named, primed, pushed, state_of, tared

__all__ = ["Array", "State", "Values", "cast", "init_state", "input_op", "named", "reset", "state_of", "step", "tared"]


def cast(program: Program, dtype: DTypeLike) -> Program:
    """The program with its constants in the arithmetic of `dtype` (float32 or float64), without number formats.

    Raises ProgramError for float32 where the program needs float64.
    """
    real = np.dtype(dtype)
    if real != np.float64:
        refuse_float64_only(program, str(real))
    modes = np.result_type(real, np.complex64)

    def converted(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(converted(item) for item in value)
        if not isinstance(value, np.ndarray) or value.dtype.kind == "i":
            return value
        return value.astype(modes if value.dtype.kind == "c" else real)

    def op(op: o.Op) -> o.Op:
        return dataclasses.replace(op, **{f.name: converted(getattr(op, f.name)) for f in dataclasses.fields(op)})

    stages = tuple(
        dataclasses.replace(stage, every=tuple(map(op, stage.every)), last=tuple(map(op, stage.last)))
        for stage in program.stages
    )
    return dataclasses.replace(program, stages=stages, formats=None)


# ---- ops without memory ----------------------------------------------------------------------------------

_erf = np.frompyfunc(math.erf, 1, 1)  # numpy has no erf


def _gelu(u: Array) -> Array:
    root = u.dtype.type(math.sqrt(0.5))
    return u * (1 + _erf(u * root).astype(u.dtype)) * u.dtype.type(0.5)


def _sigmoid(u: Array) -> Array:
    half = u.dtype.type(0.5)
    return half * np.tanh(half * u) + half  # never overflows


MAPS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "silu": lambda u: u * _sigmoid(u),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda u: np.maximum(u, 0),
    "softplus": lambda u: np.logaddexp(u, u.dtype.type(0)),
    "exp": np.exp,
}


def _map(op: o.Map, values: Values) -> Array:
    u = values[op.input]
    if op.function == "clip":
        return np.clip(u, u.dtype.type(op.lo), u.dtype.type(op.hi))
    return MAPS[op.function](u)


def _affine(op: o.Affine, values: Values) -> Array:
    y = op.bias
    for name, weight in zip(op.inputs, op.weights, strict=True):
        y = y + values[name] @ weight.T
    return y


def _norm(op: o.Norm, values: Values) -> Array:
    u = values[op.input]
    if op.kind == "layer":
        u = u - u.mean(-1, keepdims=True)
    power = (u * u).mean(-1, keepdims=True)
    return op.gain * (u / np.sqrt(power + u.dtype.type(op.eps))) + op.bias


def _add(op: o.Add, values: Values) -> Array:
    total = values[op.inputs[0]] * op.signs[0]
    for name, sign in zip(op.inputs[1:], op.signs[1:], strict=True):
        total = total + values[name] if sign > 0 else total - values[name]
    return total


def _mul(op: o.Mul, values: Values) -> Array:
    return values[op.inputs[0]] * values[op.inputs[1]]


EVALUATE: dict[type[o.Op], Callable[[Any, Values], Array]] = {
    o.Affine: _affine,
    o.Map: _map,
    o.Norm: _norm,
    o.Add: _add,
    o.Mul: _mul,
}

# ---- ops with memory -------------------------------------------------------------------------------------


def initial(op: o.Op, width: int, dtype: Any, batch: tuple[int, ...] = ()) -> State:
    """The state of one op after reset; `width` is the length of the value it reads."""
    match op:
        case o.Diagonal():
            return {"h": np.zeros(batch + op.a.shape, np.result_type(dtype, np.complex64))}
        case o.Selective():
            return {"h": np.zeros(batch + op.a.shape, dtype)}
        case o.Fir():
            return {"past": np.zeros((*batch, op.taps.shape[1] - 1, width), dtype)}
        case o.Delay(initial="zero"):
            return {"past": np.zeros((*batch, int(op.ages.max()), width), dtype)}
        case o.Delay():
            return {"past": np.zeros((*batch, int(op.ages.max()), width), dtype), "primed": np.zeros(batch, bool)}
    return {}


def update(op: o.Op, state: State, values: Values) -> State:
    """The state after a step."""
    match op:
        case o.Diagonal():
            return {"h": op.a * state["h"] + values[op.input][..., None]}
        case o.Selective():
            step = values[op.delta][..., None]  # (..., H, 1)
            drive = (step * values[op.input][..., None]) * values[op.b][..., None, :]
            return {"h": np.exp(step * op.a) * state["h"] + drive}
        case o.Fir():
            return {"past": pushed(state["past"], values[op.input])}
        case o.Delay():
            u = values[op.input]
            new = {"past": pushed(primed(op, state, u), u)}
            return new if op.initial == "zero" else {**new, "primed": np.ones_like(state["primed"])}
    raise TypeError(f"{type(op).__name__} has no state")


def read(op: o.Op, before: State, after: State, values: Values) -> Array:
    """The value of a step, from the states before and after it."""
    match op:
        case o.Diagonal():
            h = after["h"]
            modes = (op.c.real * h.real - op.c.imag * h.imag).sum(-1)
            return modes + op.d * values[op.input]
        case o.Selective():
            return (after["h"] * values[op.c][..., None, :]).sum(-1) + op.d * values[op.input]
        case o.Fir():
            past = np.swapaxes(before["past"], -1, -2)  # (..., H, K-1)
            return op.bias + op.taps[:, 0] * values[op.input] + (op.taps[:, 1:] * past).sum(-1)
        case o.Delay():
            past = primed(op, before, values[op.input]) if op.initial == "first" else before["past"]
            return past[..., op.ages - 1, op.channels]
    raise TypeError(f"{type(op).__name__} has no state")


# ---- the tare --------------------------------------------------------------------------------------------


def input_value(op: o.Input, tare: Array, x: Array) -> Array:
    """z of raw samples x (..., C) with the tare (..., C) taken off; a NaN becomes lo."""
    return (np.fmin(np.fmax(x - tare, op.lo), op.hi) - op.offset) * np.exp2(-op.shift).astype(op.offset.dtype)


def tare_step(op: o.Input, state: State, x: Array) -> State:
    """The state after one more sample x (..., C) of the tare; one that is not finite (in any batch) does not count."""
    if not np.isfinite(x).all():
        return state
    left = int(state["tare.left"])
    seen = op.tare - left
    # a running mean, as the generated code keeps it: no sum to overflow
    mean = x if seen == 0 else state["tare.mean"] + (x - state["tare.mean"]) / x.dtype.type(seen + 1)
    return {**state, "tare.mean": mean, "tare.left": np.array(left - 1)}


# ---- a step ----------------------------------------------------------------------------------------------


class Floating:
    """The arithmetic of this file, in the type of the program's constants, for schedule.step."""

    def __init__(self, program: Program):
        self.dtype = input_op(program).offset.dtype

    def initial(self, op: o.Op, width: int, batch: tuple[int, ...]) -> State:
        """The state of one op after reset."""
        return initial(op, width, self.dtype, batch)

    def evaluate(self, op: o.Op, values: Values) -> Array:
        """The value of an op without memory."""
        return EVALUATE[type(op)](op, values)

    def update(self, op: o.Op, state: State, values: Values) -> State:
        """The state after a step."""
        return update(op, state, values)

    def read(self, op: o.Op, before: State, after: State, values: Values) -> Array:
        """The value of an op with memory."""
        return read(op, before, after, values)

    def input_value(self, op: o.Input, state: State, x: Array) -> Array:
        """z of a raw sample."""
        return input_value(op, state["tare.mean"], x)

    def tare_step(self, op: o.Input, state: State, x: Array) -> State:
        """The state after one more sample of the tare."""
        return tare_step(op, state, x)


def init_state(program: Program, batch: tuple[int, ...] = ()) -> State:
    """Fresh state, the tare not yet measured.

    Keys: `<value>.<part>`, `phase.<stage>`, `tare.mean` and `tare.left`; of a spread program `held.<value>` and
    `tail.pending` too.
    """
    op = input_op(program)
    mean = np.zeros((*batch, len(op.offset)), op.offset.dtype)
    return {"tare.mean": mean, "tare.left": np.array(op.tare), **fresh(program, Floating(program), batch)}


def reset(program: Program, state: State) -> State:
    """Fresh state that keeps the tare."""
    batch = state["tare.mean"].shape[:-1]
    kept = {"tare.mean": state["tare.mean"], "tare.left": state["tare.left"]}
    return {**kept, **fresh(program, Floating(program), batch)}


def step(program: Program, state: State, x: Array) -> tuple[Array | None, State]:
    """One sample x (..., C) in raw units -> (estimate (..., D) or None, next state). No argument is changed."""
    return schedule.step(program, Floating(program), state, np.asarray(x, input_op(program).offset.dtype))


def stage_step(program: Program, stage: Stage, state: State, values: Values, complete: bool) -> tuple[Values, State]:
    """One step of a stage: the values it made, and the states that changed."""
    return schedule.stage_step(program, Floating(program), stage, state, values, complete)
