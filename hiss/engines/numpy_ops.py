"""Ops as functions on preallocated numpy buffers: what the numpy Stepper is made of.

v: the buffers of all values by name, (n,) each;  a part owns its state and works in place. Which parts run when is the
Stepper's business; the meaning of every op stands in `hiss.program.interpreter`, and a law says that both agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.program import ops as o
from hiss.program.interpreter import MAPS

Array = NDArray[Any]
Values = dict[str, Array]
Action = Callable[[], None]


def _nothing() -> None:
    """The action of a part that has nothing to do."""


@dataclass(frozen=True)
class Part:
    """One op: `read` makes its value; with memory, `advance` goes before it, `push` ends the step, `clear` restarts.

    `get` and `put` hand its state out and back, as named by the interpreter.
    """

    read: Action
    advance: Action = _nothing
    push: Action = _nothing
    clear: Action = _nothing
    get: Callable[[], Values] = dict
    put: Callable[[Values], None] = field(default=lambda state: None)


def part(op: o.Op, v: Values) -> Part:
    """The part of an op; its value's buffer v[op.out] is there already."""
    return _PARTS[type(op)](op, v)


# ---- without memory --------------------------------------------------------------------------------------------------


def _affine(op: o.Affine, v: Values) -> Part:
    y, bias = v[op.out], op.bias
    terms = [(np.ascontiguousarray(w), v[name]) for name, w in zip(op.inputs, op.weights, strict=True)]
    (first, x), rest, scratch = terms[0], terms[1:], np.empty_like(y)

    def read() -> None:
        np.dot(first, x, out=y)
        for weight, u in rest:
            np.dot(weight, u, out=scratch)
            np.add(y, scratch, out=y)
        np.add(y, bias, out=y)

    return Part(read)


def _map(op: o.Map, v: Values) -> Part:
    u, y = v[op.input], v[op.out]
    half = u.dtype.type(0.5)
    root = u.dtype.type(math.sqrt(0.5))
    erf = math.erf

    def sigmoid() -> None:
        np.multiply(u, half, out=y)
        np.tanh(y, out=y)
        np.multiply(y, half, out=y)
        np.add(y, half, out=y)

    def silu() -> None:
        sigmoid()
        np.multiply(y, u, out=y)

    def gelu() -> None:
        np.multiply(u, root, out=y)
        y[:] = [erf(z) for z in y.tolist()]
        np.add(y, 1, out=y)
        np.multiply(y, u, out=y)
        np.multiply(y, half, out=y)

    def clip() -> None:
        np.clip(u, u.dtype.type(op.lo), u.dtype.type(op.hi), out=y)

    def other() -> None:
        y[:] = MAPS[op.function](u)

    return Part({"sigmoid": sigmoid, "silu": silu, "gelu": gelu, "clip": clip}.get(op.function, other))


def _norm(op: o.Norm, v: Values) -> Part:
    u, y = v[op.input], v[op.out]
    gain, bias, eps = op.gain, op.bias, u.dtype.type(op.eps)
    share = u.dtype.type(1 / len(u))
    mean = np.full(len(u), share, u.dtype)
    layer = op.kind == "layer"

    def read() -> None:
        np.subtract(u, np.dot(mean, u) if layer else 0, out=y)
        np.multiply(y, 1 / np.sqrt(np.dot(y, y) * share + eps), out=y)
        np.multiply(y, gain, out=y)
        np.add(y, bias, out=y)

    return Part(read)


def _add(op: o.Add, v: Values) -> Part:
    y, first, sign = v[op.out], v[op.inputs[0]], op.signs[0]
    rest = [(np.add if s > 0 else np.subtract, v[n]) for n, s in zip(op.inputs[1:], op.signs[1:], strict=True)]

    def read() -> None:
        np.multiply(first, sign, out=y)
        for function, u in rest:
            function(y, u, out=y)

    return Part(read)


def _mul(op: o.Mul, v: Values) -> Part:
    y, a, b = v[op.out], v[op.inputs[0]], v[op.inputs[1]]

    def read() -> None:
        np.multiply(a, b, out=y)

    return Part(read)


# ---- with memory -----------------------------------------------------------------------------------------------------


def _holding(state: Values) -> dict[str, Any]:
    """clear, get and put of a state that is plain arrays."""

    def clear() -> None:
        for array in state.values():
            array.fill(0)

    def put(given: Values) -> None:
        for key, array in state.items():
            array[...] = given[key]

    return {"clear": clear, "get": lambda: {key: array.copy() for key, array in state.items()}, "put": put}


def _diagonal(op: o.Diagonal, v: Values) -> Part:
    u, y, column = v[op.input], v[op.out], v[op.input][:, None]
    h = np.zeros(op.a.shape, op.a.dtype)
    scratch, direct, a, c, d = np.empty_like(h), np.empty_like(y), op.a, op.c, op.d
    real = scratch.real

    def advance() -> None:
        np.multiply(a, h, out=h)
        np.add(h, column, out=h)

    def read() -> None:
        np.multiply(c, h, out=scratch)
        np.add.reduce(real, axis=1, out=y)
        np.multiply(d, u, out=direct)
        np.add(y, direct, out=y)

    return Part(read, advance, **_holding({"h": h}))


def _selective(op: o.Selective, v: Values) -> Part:
    u, y, step, drive, c = v[op.input], v[op.out], v[op.delta], v[op.b], v[op.c]
    h = np.zeros(op.a.shape, op.a.dtype)
    scratch, pulse, a, d = np.empty_like(h), np.empty_like(y), op.a, op.d

    def advance() -> None:
        np.multiply(a, step[:, None], out=scratch)
        np.exp(scratch, out=scratch)
        np.multiply(h, scratch, out=h)
        np.multiply(step, u, out=pulse)
        np.multiply(pulse[:, None], drive, out=scratch)
        np.add(h, scratch, out=h)

    def read() -> None:
        np.dot(h, c, out=y)
        np.multiply(d, u, out=pulse)
        np.add(y, pulse, out=y)

    return Part(read, advance, **_holding({"h": h}))


class _Past:
    """The last `length` values of u, newest first in `view`; kept twice in a ring, so that nothing is ever moved."""

    def __init__(self, length: int, like: Array):
        self.length, self.ring, self.at = length, np.zeros((2 * length, len(like)), like.dtype), 0

    @property
    def view(self) -> Array:
        """(length, n), newest first."""
        return self.ring[self.at : self.at + self.length]

    def push(self, u: Array) -> None:
        """u is the newest from here on."""
        if self.length:
            self.at = (self.at or self.length) - 1
            self.ring[self.at] = u
            self.ring[self.at + self.length] = u

    def put(self, past: Array) -> None:
        """Replace all; `past` (length, n) or one row for all."""
        self.at = 0
        self.ring[: self.length] = past
        self.ring[self.length :] = past


def _fir(op: o.Fir, v: Values) -> Part:
    u, y, past = v[op.input], v[op.out], _Past(op.taps.shape[1] - 1, v[op.input])
    first, rest, bias = np.ascontiguousarray(op.taps[:, 0]), np.ascontiguousarray(op.taps[:, 1:].T), op.bias
    scratch = np.empty((past.length, len(y)), y.dtype)
    tail = np.empty_like(y)

    def read() -> None:
        np.multiply(first, u, out=y)
        if past.length:
            np.multiply(rest, past.view, out=scratch)
            np.add.reduce(scratch, axis=0, out=tail)
            np.add(y, tail, out=y)
        np.add(y, bias, out=y)

    return Part(
        read,
        push=lambda: past.push(u),
        clear=lambda: past.put(np.zeros_like(u)),
        get=lambda: {"past": past.view.copy()},
        put=lambda state: past.put(state["past"]),
    )


def _delay(op: o.Delay, v: Values) -> Part:
    u, y, past = v[op.input], v[op.out], _Past(int(op.ages.max()), v[op.input])
    places = (op.ages - 1) * len(u) + op.channels
    from_first = op.initial == "first"
    primed = np.array(not from_first)

    def prime() -> None:
        if not primed:
            past.put(u)
            primed[...] = True

    def read() -> None:
        prime()
        np.take(past.view.reshape(-1), places, out=y, mode="clip")

    def push() -> None:
        prime()
        past.push(u)

    def clear() -> None:
        past.put(np.zeros_like(u))
        primed[...] = not from_first

    def get() -> Values:
        state = {"past": past.view.copy()}
        return {**state, "primed": primed.copy()} if from_first else state

    def put(state: Values) -> None:
        past.put(state["past"])
        primed[...] = state.get("primed", True)

    return Part(read, push=push, clear=clear, get=get, put=put)


_PARTS: dict[type[o.Op], Callable[[Any, Values], Part]] = {
    o.Affine: _affine,
    o.Map: _map,
    o.Norm: _norm,
    o.Add: _add,
    o.Mul: _mul,
    o.Diagonal: _diagonal,
    o.Selective: _selective,
    o.Fir: _fir,
    o.Delay: _delay,
}
