"""Ops as functions on preallocated numpy buffers: what the numpy Stepper is made of.

v: the buffers of all values by name, (n,) each (numpy_plan.py);  a part owns its state and works in place.
Which parts run when is the Stepper's business; the meaning of every op stands in `hiss.program.interpreter`, and a law
says that both agree.

What it costs is the number of calls, so: arrays of full length (a scalar or a broadcast axis doubles a call), `out` by
position, x.dot instead of np.dot, np.positive to copy (np.dot and np.copyto ask their arguments for overrides first).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.numpy_plan import Buffers, Glu
from hiss.program import ops as o

Array = NDArray[Any]
Values = dict[str, Array]
Action = Callable[[], object]

_WALK = 32
"""Steps that a window of the past walks before it returns to the top."""


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


def part(op: o.Op, v: Buffers) -> Part:
    """The part of an op; its value's buffer v[op.out] is there already."""
    return _PARTS[type(op)](op, v)


# ---- without memory --------------------------------------------------------------------------------------------------


def _affine(op: o.Affine, v: Buffers) -> Part:
    return _product(_augmented(op), op.inputs, v[op.out], v)


def _augmented(op: o.Affine) -> Array:
    """[W_1 W_2 .. b]."""
    return np.hstack([*op.weights, op.bias[:, None]])


def _product(weight: Array, inputs: tuple[str, ...], y: Array, v: Buffers) -> Part:
    x, copies = v.row(inputs)
    dot = weight.dot

    def read() -> None:
        for part, u in copies:
            np.positive(u, part)
        dot(x, y)

    return Part(read)


def _glu(op: Glu, v: Buffers) -> Part:
    y = v[op.out]
    one, both = v.full(len(y), 1), v.scratch(2 * len(y))
    value, gate = both[: len(y)], both[len(y) :]
    # v sigmoid(g) = (v / 2) (1 + tanh(g / 2)), never overflows; the halves are exact in the weights
    half = np.vstack([_augmented(op.value), _augmented(op.gate)]) / 2
    product = _product(half, op.inputs, both, v).read

    def read() -> None:
        product()
        np.tanh(gate, gate)
        np.add(gate, one, gate)
        np.multiply(value, gate, y)

    return Part(read)


def _map(op: o.Map, v: Buffers) -> Part:
    u, y, n = v[op.input], v[op.out], len(v[op.out])
    zero, one, half, root, lo, hi = (v.full(n, number) for number in (0, 1, 0.5, math.sqrt(0.5), op.lo, op.hi))
    erf, fromiter, kind = math.erf, np.fromiter, y.dtype

    def sigmoid() -> None:
        np.multiply(u, half, y)
        np.tanh(y, y)
        np.multiply(y, half, y)
        np.add(y, half, y)

    def silu() -> None:
        sigmoid()
        np.multiply(y, u, y)

    def gelu() -> None:
        np.multiply(u, root, y)
        np.add(fromiter(map(erf, y.tolist()), kind, n), one, y)
        np.multiply(y, u, y)
        np.multiply(y, half, y)

    def clip() -> None:
        np.maximum(u, lo, y)
        np.minimum(y, hi, y)

    reads = {
        "gelu": gelu,
        "silu": silu,
        "sigmoid": sigmoid,
        "tanh": lambda: np.tanh(u, y),
        "relu": lambda: np.maximum(u, zero, y),
        "softplus": lambda: np.logaddexp(u, zero, y),
        "exp": lambda: np.exp(u, y),
        "clip": clip,
    }
    return Part(reads[op.function])


def _norm(op: o.Norm, v: Buffers) -> Part:
    u, y = v[op.input], v[op.out]
    gain, bias, eps, share = op.gain, op.bias, float(op.eps), 1 / len(u)
    scale, centre = v.scratch(len(u)), v.centring(len(u)).dot
    centred, plain = y if op.kind == "layer" else u, bool((gain == 1).all() and not bias.any())

    def read() -> None:
        if centred is y:
            centre(u, y)
        scale.fill(1 / math.sqrt(float(centred.dot(centred)) * share + eps))
        np.multiply(centred, scale, y)
        if not plain:
            np.multiply(y, gain, y)
            np.add(y, bias, y)

    return Part(read)


def _add(op: o.Add, v: Buffers) -> Part:
    y, first = v[op.out], v[op.inputs[0]]
    rest = [(np.add if s > 0 else np.subtract, v[n]) for n, s in zip(op.inputs[1:], op.signs[1:], strict=True)]

    def read() -> None:
        total = first
        for function, u in rest:
            function(total, u, y)
            total = y

    def negative() -> None:
        np.negative(first, y)
        for function, u in rest:
            function(y, u, y)

    return Part(negative if op.signs[0] < 0 else read if rest else lambda: np.positive(first, y))


def _mul(op: o.Mul, v: Buffers) -> Part:
    y, a, b = v[op.out], v[op.inputs[0]], v[op.inputs[1]]

    def read() -> None:
        np.multiply(a, b, y)

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


def _diagonal(op: o.Diagonal, v: Buffers) -> Part:
    u, y, modes = v[op.input], v[op.out], op.a.shape[1]
    # one mode more with the pole 0 is u itself: d u is its part of the sum
    a = np.ascontiguousarray(np.vstack([op.a.T, np.zeros(len(y))]), op.a.dtype)  # (N + 1, H)
    reads = np.ascontiguousarray(np.vstack([op.c.T, op.d]).conj(), op.a.dtype)
    c = reads.view(y.dtype)  # Re(c h) = re c re h - im c im h
    h = np.zeros(a.shape, a.dtype)
    pairs, driven = h.view(y.dtype), h.real  # (N + 1, 2 H): re, im of each channel;  (N + 1, H)
    terms, sums = v.scratch(c.size).reshape(c.shape), v.scratch(2 * len(y), "sums")
    total = sums.reshape(-1, 2)
    dot, both = v.full(modes + 1, 1).dot, v.full(2, 1)

    def advance() -> None:
        np.multiply(a, h, h)
        np.add(driven, u, driven)

    def read() -> None:
        np.multiply(c, pairs, terms)
        dot(terms, sums)
        total.dot(both, y)

    def clear() -> None:
        h.fill(0)

    def put(given: Values) -> None:
        h[:modes], h[modes] = given["h"].T, 0

    return Part(read, advance, clear=clear, get=lambda: {"h": h[:modes].T.copy()}, put=put)


def _selective(op: o.Selective, v: Buffers) -> Part:
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
        h.dot(c, y)
        np.multiply(d, u, out=pulse)
        np.add(y, pulse, out=y)

    return Part(read, advance, **_holding({"h": h}))


class _Past:
    """The last `length` values of u, newest first: a window that walks down a strip, and from its foot back to the top.

    Rows and windows are made beforehand, as a slice costs as much as a sum.
    """

    def __init__(self, length: int, like: Array):
        self.strip = np.zeros((_WALK + length, len(like)), like.dtype)
        self.rows = list(self.strip[: _WALK + 1])
        self.windows = [self.strip[i : i + length] for i in range(_WALK + 1)]
        self.at = _WALK

    @property
    def window(self) -> Array:
        """(length, n), newest first."""
        return self.windows[self.at]

    def push(self, u: Array) -> None:
        """u is the newest from here on."""
        if self.at == 0:
            self.windows[_WALK][1:] = self.windows[0][:-1]
            self.at = _WALK
        else:
            self.at -= 1
        np.positive(u, self.rows[self.at])

    def put(self, past: Array | float) -> None:
        """Replace all; `past` (length, n), or one row or number for all."""
        self.window[:] = past


def _fir(op: o.Fir, v: Buffers) -> Part:
    u, y, taps = v[op.input], v[op.out], np.ascontiguousarray(op.taps.T)
    window = _Past(len(taps), u)  # the present sample too: pushed before it is read
    terms = np.vstack([np.zeros_like(taps), op.bias])
    products, dot = terms[:-1], v.full(len(terms), 1).dot

    def read() -> None:
        np.multiply(taps, window.window, products)
        dot(terms, y)

    def put(state: Values) -> None:
        window.put(np.vstack([state["past"], np.zeros_like(u)]))  # the oldest is never read again

    return Part(
        read,
        advance=lambda: window.push(u),
        clear=lambda: window.put(0),
        get=lambda: {"past": window.window[:-1].copy()},
        put=put,
    )


def _one_step(op: o.Delay, v: Buffers) -> Part:
    """A Delay of all values by one step, read in that step only: its value is the memory."""
    u, y, first = v[op.input], v[op.out], op.initial == "first"
    begun = not first

    def read() -> None:
        nonlocal begun
        if not begun:
            np.positive(u, y)
            begun = True

    def push() -> None:
        nonlocal begun
        np.positive(u, y)
        begun = True

    def clear() -> None:
        nonlocal begun
        y.fill(0)
        begun = not first

    def get() -> Values:
        return {"past": y[None].copy()} | ({"primed": np.array(begun)} if first else {})

    def put(state: Values) -> None:
        nonlocal begun
        y[:] = state["past"][0]
        begun = bool(state.get("primed", True))

    return Part(read, push=push, clear=clear, get=get, put=put)


def _delay(op: o.Delay, v: Buffers) -> Part:
    if op.out in v.passing and (op.ages == 1).all() and np.array_equal(op.channels, np.arange(len(v[op.input]))):
        return _one_step(op, v)
    u, y, past = v[op.input], v[op.out], _Past(int(op.ages.max()), v[op.input])
    flat, places = [window.reshape(-1) for window in past.windows], (op.ages - 1) * len(u) + op.channels
    from_first = op.initial == "first"
    primed = np.array(not from_first)

    def prime() -> None:
        if not primed:
            past.put(u)
            primed[...] = True

    def read() -> None:
        prime()
        flat[past.at].take(places, out=y, mode="clip")  # the mode in which numpy does not buffer y

    def push() -> None:
        prime()
        past.push(u)

    def clear() -> None:
        past.put(0)
        primed[...] = not from_first

    def get() -> Values:
        state = {"past": past.window.copy()}
        return {**state, "primed": primed.copy()} if from_first else state

    def put(state: Values) -> None:
        past.put(state["past"])
        primed[...] = state.get("primed", True)

    return Part(read, push=push, clear=clear, get=get, put=put)


_PARTS: dict[type[o.Op], Callable[[Any, Buffers], Part]] = {
    o.Affine: _affine,
    o.Map: _map,
    o.Norm: _norm,
    o.Add: _add,
    o.Mul: _mul,
    Glu: _glu,
    o.Diagonal: _diagonal,
    o.Selective: _selective,
    o.Fir: _fir,
    o.Delay: _delay,
}
