"""Step operations as operators of TensorFlow Lite.   n: channels;  N: modes per channel;  K: samples of a past.

A value is a tensor (1, n). States, as they go in and come out:

    Diagonal   h (N, n) where all poles are real, else (2 N, n): real parts on imaginary ones; in int16 each mode is
               divided by the power of two that it stays below
    Selective  h (N, n)
    Fir        past (K, n), newest first
    Delay      past (K, n), newest first; primed (1,), bool, where the past before the first value equals that value
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.tflite.floats import Floats
from hiss.firmware_export.tflite.graph import Graph
from hiss.firmware_export.tflite.lowering import Lowering
from hiss.firmware_export.tflite.maps import UNIT, lower_map, lower_norm
from hiss.firmware_export.tflite.whole import FULL, Whole
from hiss.program import ops as o

Array = NDArray[Any]


def lower(low: Lowering, op: o.Op) -> None:
    """Add the operators of an op; of a Delay those that read it."""
    begin = len(low.graph.operators)
    made = _LOWER[type(op)](low, low.arithmetic(op), op)
    if low.settings is not None and op.out in low.settings.summed and not isinstance(op, o.Delay):
        made = _between(low.floats, made, *_reach(low, op.out))  # as an integer would
    low.give(op, made)
    own = [made for made in low.graph.operators[begin:] if made.kind not in ("QUANTIZE", "DEQUANTIZE")]
    shapes = [low.graph.tensors[made.outputs[0]].shape for made in own]
    low.taken[op.out] = (len(own), sum(math.prod(shape) for shape in shapes))


def push(low: Lowering, op: o.Delay) -> None:
    """Add the operators that store the input of a Delay."""
    a = low.arithmetic(op)
    held, u = low.states[f"{op.out}.past"], low.read(op.input, a)
    low.keep(op, "past", held.before, _first_rows(low.graph, [u, held.after], low.graph.tensors[held.before].shape[0]))


# ---- without memory --------------------------------------------------------------------------------------------------


def _input(low: Lowering, a: Floats, op: o.Input) -> int:
    """MAXIMUM takes a NaN to lo: it keeps its first operand only where that is larger."""
    shape = (1, len(op.offset))
    low.inputs |= {name: a.tensor(name, shape) for name in (("x", "tare") if op.tare else ("x",))}
    z = low.inputs["x"]
    if op.tare:
        z = a.binary("SUB", z, low.inputs["tare"], "tared")
    lo, hi = op.lo, op.hi
    if low.settings is not None:
        ends = [op.offset + np.ldexp(end, op.shift) for end in _reach(low, op.out)]
        lo, hi = np.clip(lo, *ends), np.clip(hi, *ends)
    z = _between(a, z, lo, hi)
    z = a.binary("SUB", z, a.constant("offset", op.offset[None]), "centred")
    return a.scaled(z, np.exp2(-op.shift.astype(float))[None], op.out)


def _between(a: Floats, x: int, lo: Array | float, hi: Array | float) -> int:
    """Bounds for float32, per element of x (1, n) or the same for all."""
    n, largest = a.graph.tensors[x].shape[-1], float(np.finfo(np.float32).max)
    for kind, end in (("MAXIMUM", lo), ("MINIMUM", hi)):
        ends = np.clip(np.broadcast_to(end, (1, n)), -largest, largest)
        x = a.binary(kind, x, a.constant("end", ends), "clamped")
    return x


def _reach(low: Lowering, name: str) -> tuple[float, float]:
    """The least and the largest that a value of int16 can be."""
    assert low.settings is not None
    scale = low.settings.scales[name]
    return -(FULL + 1) * scale, FULL * scale


def _affine(low: Lowering, a: Floats | Whole, op: o.Affine) -> int:
    return a.dense([low.read(name, a) for name in op.inputs], op.weights, op.bias, op.out, _bits(low, op))


def _map(low: Lowering, a: Floats | Whole, op: o.Map) -> int:
    return lower_map(a, op, low.read(op.input, a))


def _norm(low: Lowering, a: Floats, op: o.Norm) -> int:
    return lower_norm(a, op, low.read(op.input, a))


def _add(low: Lowering, a: Floats | Whole, op: o.Add) -> int:
    terms = sorted(zip(op.signs, op.inputs, strict=True), key=lambda term: -term[0])  # a positive one comes first
    signs, read = [sign for sign, _ in terms], [low.read(name, a) for _, name in terms]
    out = a.tensor(op.out, low.graph.tensors[read[0]].shape)
    if signs[0] < 0 or len(read) == 1:
        factor = a.constant("sign", np.full((1, 1), float(signs[0])))
        first = out if len(read) == 1 else a.like(read[0], f"{op.out}.first", low.graph.tensors[out].shape)
        read[0] = a.into("MUL", read[0], factor, first)
    return read[0] if len(read) == 1 else a.sum(read, [1, *signs[1:]], out)


def _mul(low: Lowering, a: Floats | Whole, op: o.Mul) -> int:
    return a.binary("MUL", low.read(op.inputs[0], a), low.read(op.inputs[1], a), op.out)


# ---- with memory -----------------------------------------------------------------------------------------------------


def _diagonal(low: Lowering, a: Floats | Whole, op: o.Diagonal) -> int:
    u, graph = low.read(op.input, a), low.graph
    m = Modes(op, low.settings.modes[op.out] if isinstance(a, Whole) and low.settings else None)
    rows = m.kept.shape
    h = low.state(op, "h", rows, a.dtype, (UNIT,) if isinstance(a, Whole) else ())

    def new(part: str) -> int:
        return a.like(h, f"{op.out}.{part}", rows)

    after = a.into("MUL", h, a.bound(f"{op.out}.a", h, m.kept), new("kept"))
    if m.turned is not None:
        order = graph.constant("order", np.roll(np.arange(rows[0], dtype=np.int32), rows[0] // 2))
        other = graph.add("GATHER", (h, order), new("other"), axis=0)
        turned = a.into("MUL", other, a.bound(f"{op.out}.turn", h, m.turned), new("turned"))
        after = a.into("ADD", after, turned, new("rotated"))
    driven = a.into("MUL", u, a.constant(f"{op.out}.gain", m.gain), new("driven"))
    after = a.into("ADD", after, driven, new("after"))
    low.keep(op, "h", h, after)
    zero = np.zeros(len(op.d))
    if not op.d.any():
        return a.windowed(after, m.read, zero, op.out, _bits(low, op))
    y = a.windowed(after, m.read, zero, f"{op.out}.modes", _bits(low, op))
    direct = a.scaled(u, op.d[None], f"{op.out}.direct")
    return a.sum([y, direct], [1, 1], a.tensor(op.out, (1, len(op.d))))


class Modes:
    """The constants of a Diagonal, a row per part of a mode: h <- kept h + turned swapped(h) + gain u;  y = read . h.

    reach (H, N): in int16, what |h| becomes; the state is h divided by the power of two above. Poles are then
    multiples of 2^-15 inside the circle, and c makes up for what rounding does to the mode's gain at rest, 1 / (1 - a).
    """

    def __init__(self, op: o.Diagonal, reach: Array | None):
        a, c, real = op.a, op.c, not op.a.imag.any()
        scale = np.ones(a.shape)
        if reach is not None:
            scale = np.exp2(np.ceil(np.log2(np.maximum(reach, 2.0**-30) / (FULL * UNIT))))
            a = _whole_poles(op.a)
            c = op.c * (1 - a) / (1 - op.a) * scale
        gain = 1 / scale.T
        self.turned: Array | None = None
        self.kept, self.gain, self.read = a.real.T, gain, c.real.T
        if not real:
            self.turned = np.concatenate([-a.imag.T, a.imag.T])
            self.kept, self.gain = np.concatenate([a.real.T, a.real.T]), np.concatenate([gain, 0 * gain])
            self.read = np.concatenate([c.real.T, -c.imag.T])


def _whole_poles(a: Array) -> Array:
    """Poles as multiples of 2^-15; one that rounding would put on or outside the circle moves toward 0."""
    parts = np.stack([a.real, a.imag]) / UNIT
    whole = np.clip(np.rint(parts), -FULL, FULL)
    outside = np.hypot(*whole) >= FULL + 1
    whole = np.where(outside, np.fix(parts), whole) * UNIT
    return whole[0] + 1j * whole[1]


def _fir(low: Lowering, a: Floats | Whole, op: o.Fir) -> int:
    u, taps = low.read(op.input, a), op.taps.T  # (K, n)
    if len(taps) == 1:
        return a.windowed(u, taps, op.bias, op.out, _bits(low, op))
    past = low.state(op, "past", (len(taps) - 1, taps.shape[1]), a.dtype, low.graph.tensors[u].scale)
    window = _stacked(low.graph, [u, past])
    low.keep(op, "past", past, _cut(low.graph, window, len(taps) - 1))
    return a.windowed(window, taps, op.bias, op.out, _bits(low, op))


def _delay(low: Lowering, a: Floats | Whole, op: o.Delay) -> int:
    graph, longest, n = low.graph, int(op.ages.max()), low.program.widths[op.input]
    scale = (a.values[op.input],) if isinstance(a, Whole) else ()
    past = now = low.state(op, "past", (longest, n), a.dtype, scale)
    if op.initial == "first":
        primed = low.state(op, "primed", (1,), "bool")
        known = graph.tensor(f"{op.out}.known", (longest, n), a.dtype, scale)
        now = graph.add("SELECT_V2", (primed, past, low.read(op.input, a)), known)
        low.keep(op, "primed", primed, given(graph, np.ones(1, bool)))
    low.keep(op, "past", past, now)  # push() puts the input before it
    shape = graph.constant("shape", np.array([1, longest * n], np.int32))
    flat = graph.add("RESHAPE", (now, shape), graph.tensor(f"{op.out}.flat", (1, longest * n), a.dtype, scale))
    places = graph.constant("places", ((op.ages - 1) * n + op.channels).astype(np.int32))
    return graph.add("GATHER", (flat, places), graph.tensor(op.out, (1, len(op.ages)), a.dtype, scale), axis=1)


def _selective(low: Lowering, a: Floats, op: o.Selective) -> int:
    u, delta = low.read(op.input, a), low.read(op.delta, a)
    modes = op.a.shape[1]
    tall = low.graph.constant("shape", np.array([modes, 1], np.int32))
    b, c = (
        low.graph.add("RESHAPE", (low.read(name, a), tall), a.tensor(f"{name}.tall", (modes, 1)))
        for name in (op.b, op.c)
    )
    h = low.state(op, "h", (modes, len(op.d)), a.dtype)
    decay = a.unary("EXP", a.scaled(delta, op.a.T, f"{op.out}.rate"), f"{op.out}.decay")
    drive = a.binary("MUL", a.binary("MUL", delta, u, f"{op.out}.step"), b, f"{op.out}.drive")
    after = a.binary("ADD", a.binary("MUL", decay, h, f"{op.out}.kept"), drive, f"{op.out}.after")
    low.keep(op, "h", h, after)
    axis = low.graph.constant("axis", np.array([0], np.int32))
    seen = a.binary("MUL", after, c, f"{op.out}.seen")
    y = low.graph.add("SUM", (seen, axis), a.tensor(f"{op.out}.sum", (1, len(op.d))), keep_dims=True)
    return a.binary("ADD", y, a.scaled(u, op.d[None], f"{op.out}.direct"), op.out)


# ---- rows ------------------------------------------------------------------------------------------------------------


def _stacked(graph: Graph, rows: list[int]) -> int:
    """Tensors of one type and scale, one above the other."""
    t = graph.tensors[rows[-1]]
    count = sum(graph.tensors[index].shape[0] for index in rows)
    return graph.add("CONCATENATION", rows, graph.tensor("window", (count, t.shape[1]), t.dtype, t.scale), axis=0)


def _cut(graph: Graph, window: int, count: int) -> int:
    """The first rows of a window."""
    t = graph.tensors[window]
    begin, size = (graph.constant("place", np.array(v, np.int32)) for v in ([0, 0], [count, t.shape[1]]))
    return graph.add("SLICE", (window, begin, size), graph.tensor("past", (count, t.shape[1]), t.dtype, t.scale))


def given(graph: Graph, data: Array, scale: tuple[float, ...] = ()) -> int:
    """A constant as a tensor that an operator makes: what goes out of a graph must be one."""
    shape = graph.constant("shape", np.array(data.shape, np.int32))
    made = graph.tensor("given", data.shape, data.dtype.name, scale)
    return graph.add("RESHAPE", (graph.constant("constant", data, scale), shape), made)


def _first_rows(graph: Graph, rows: list[int], count: int) -> int:
    return rows[0] if count == 1 else _cut(graph, _stacked(graph, rows), count)


def _bits(low: Lowering, op: o.Op) -> int:
    return low.settings.bits[op.out] if low.settings else 16


_LOWER: dict[type[o.Op], Callable[[Lowering, Any, Any], int]] = {
    o.Input: _input,
    o.Affine: _affine,
    o.Map: _map,
    o.Norm: _norm,
    o.Add: _add,
    o.Mul: _mul,
    o.Diagonal: _diagonal,
    o.Fir: _fir,
    o.Delay: _delay,
    o.Selective: _selective,
}
