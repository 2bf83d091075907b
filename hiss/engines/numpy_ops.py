"""Ops as functions on preallocated numpy buffers: what the numpy Stepper is made of (the Diagonal: numpy_diagonal.py).

v: the buffers of all values by name, (n,) each (numpy_plan.py);  a part owns its state and works in place.
Which parts run when is the Stepper's business; the meaning of every op stands in `hiss.program.interpreter`, and a law
says that both agree.

What it costs is the number of calls, so: arrays of full length (a scalar or a broadcast axis doubles a call), `out` by
position, x.dot instead of np.dot, np.positive to copy (np.dot and np.copyto ask their arguments for overrides first).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hiss.engines.numpy_diagonal import diagonal
from hiss.engines.numpy_part import Array, Part, Past, Values, nothing
from hiss.engines.numpy_plan import Buffers, Gelu, Glu
from hiss.program import ops as o


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


def _erfc_gelu(op: Gelu, v: Buffers) -> Part:
    u, y, n = v[op.input], v[op.out], len(v[op.out])
    erfc, fromiter, kind, multiply, listed = math.erfc, np.fromiter, y.dtype, np.multiply, u.tolist

    def read() -> None:
        multiply(fromiter(map(erfc, listed()), kind, n), u, y)

    return Part(read)


def _norm(op: o.Norm, v: Buffers) -> Part:
    u, y = v[op.input], v[op.out]
    gain, bias, eps, share = op.gain, op.bias, float(op.eps), 1 / len(u)
    scale, centre = v.scratch(len(u)), v.centring(len(u)).dot
    centred, plain = y if op.kind == "layer" else u, bool((gain == 1).all() and not bias.any())

    past = v.window(op.out) if op.out in v.direct else None  # its one reader, a Fir, finds it there

    def read() -> None:
        if centred is y:
            centre(u, y)
        scale.fill(1 / math.sqrt(float(centred.dot(centred)) * share + eps))
        made = y if past is None else past.step()
        np.multiply(centred, scale, made)
        if not plain:
            np.multiply(made, gain, made)
            np.add(made, bias, made)

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


def _fir(op: o.Fir, v: Buffers) -> Part:
    u, y, taps = v[op.input], v[op.out], np.ascontiguousarray(op.taps.T)
    direct = op.input in v.direct
    # the present sample too: pushed before it is read
    window = v.window(op.input) if direct else Past(len(taps), u)
    terms = np.vstack([np.zeros_like(taps), op.bias])
    products, dot = terms[:-1], v.full(len(terms), 1).dot

    def read() -> None:
        np.multiply(taps, window.window, products)
        dot(terms, y)

    def put(state: Values) -> None:
        window.put(np.vstack([state["past"], np.zeros_like(u)]))  # the oldest is never read again

    return Part(
        read,
        advance=nothing if direct else lambda: window.push(u),
        clear=window.clear,
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
    u, y, past = v[op.input], v[op.out], Past(int(op.ages.max()), v[op.input])
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
        past.clear()
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
    Gelu: _erfc_gelu,
    o.Diagonal: diagonal,
    o.Selective: _selective,
    o.Fir: _fir,
    o.Delay: _delay,
}
