"""Float32: one small function per op, its kernel calls in C under the equation they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.context import Context, Lines, count
from hiss.firmware_export.layout import past_shape
from hiss.firmware_export.schedule import fir_taps
from hiss.firmware_export.tables import float_text
from hiss.program import ops as o


def _input(op: o.Input, _kind: str, c: Context) -> Lines:
    z, n = c.names[op.out], c.width(op.out)
    tables = [
        c.table(op, "offset", op.offset, n),
        c.table(op, "scale", np.exp2(-op.shift.astype(float)), "2^-shift"),
        c.table(op, "lo", _finite(op.lo), n),
        c.table(op, "hi", _finite(op.hi), n),
    ]
    lines = [f"/* {op.out} = (clip(x{' - tare' if op.tare else ''}, lo, hi) - offset) scale */"]
    if op.tare:
        lines.append(c.call("sub", z, "x", "self->tare", n))
    return [*lines, c.call("input", z, z if op.tare else "x", *tables, n)]


def _affine(op: o.Affine, _kind: str, c: Context) -> Lines:
    y, rows = c.names[op.out], c.width(op.out)
    lines = [f"/* {op.out} = {' + '.join(f'W {name}' for name in op.inputs)} + b */"]
    bias = c.table(op, "b", op.bias, rows)
    for i, (name, weight) in enumerate(zip(op.inputs, op.weights, strict=True)):
        part = "w" if len(op.inputs) == 1 else f"w{i}"
        table = c.table(op, part, weight, f"{rows[:-1]} x {c.widths[name]}")
        more = (table, c.names[name], rows, c.width(name))
        lines.append(c.call("affine", y, bias, *more) if i == 0 else c.call("affine_more", y, *more))
    return lines


def _diagonal(op: o.Diagonal, kind: str, c: Context) -> Lines:
    channels, modes = op.a.shape
    shape = f"{channels} x {modes} (re, im)"
    u, h, sizes = c.names[op.input], c.state(op), (count(channels), count(modes))
    update = f"h <- a h + {op.input}"
    output = f"{op.out} = Re(sum c h) + d {op.input}"

    def table(part: str, values: NDArray[Any]) -> str:
        return c.table(op, part, np.stack([values.real, values.imag], axis=-1), shape)

    if kind == "step":
        return [f"/* {update}   (read on the last step) */", c.call("diagonal_step", h, table("a", op.a), u, *sizes)]
    d = c.table(op, "d", op.d, sizes[0])
    if kind == "read":
        return [f"/* {output} */", c.call("diagonal_read", c.names[op.out], h, table("c", op.c), d, u, *sizes)]
    tables = (table("a", op.a), table("c", op.c), d)
    return [f"/* {update};  {output} */", c.call("diagonal", c.names[op.out], h, *tables, u, *sizes)]


def _fir(op: o.Fir, kind: str, c: Context) -> Lines:
    taps = fir_taps(op, c.stage.period)
    rows, channels = taps - 1, len(op.bias)
    u, at = c.names[op.input], c.place(op)
    if kind == "push":
        return push(op, rows, channels, c)
    table = c.table(op, "t", op.taps[:, :taps].T, f"{taps} taps x {channels}, present sample first")
    bias = c.table(op, "b", op.bias, count(channels))
    history = c.state(op) if rows else u  # a single tap reads no past
    return [
        f"/* {op.out} = b + sum_k t_k {op.input}[-k]{', within the chunk' if op.restart else ''} */",
        c.call("fir", c.names[op.out], history, table, bias, u, count(channels), count(taps), at, c.past(op, taps)),
    ]


def push(op: o.Fir, rows: int, channels: int, c: Context) -> Lines:
    """The input of a Fir takes its place in the ring."""
    return [*pushed(c.state(op), c.names[op.input], 0, channels, c.place(op), c), *c.advance(op, rows)]


def pushed(past: str, u: str, first: int, width: int, place: str, c: Context) -> Lines:
    """u[first], ..., width of them, into their row of the ring: one number is an assignment."""
    if width == 1:
        return [f"{past}[{place}] = {u}[{first}];"]
    return [c.call("push", past, u + (f" + {first}" if first else ""), count(width), place)]


def delay(op: o.Delay, kind: str, c: Context) -> Lines:
    """The same in every arithmetic: values are moved as they are."""
    rows, width = past_shape(op, c.stage.period, 0)
    past, first = c.state(op), int(op.channels.min())
    u = c.names[op.input] + (f" + {first}" if first else "")
    if kind == "push":
        return [*pushed(past, c.names[op.input], first, width, c.place(op), c), *c.advance(op, rows)]
    if kind == "start":
        start = c.call("delay_start", past, u, count(rows), count(width))
        if width == 1 and c.numbers.whole:
            start = c.call("fill", past, f"{c.names[op.input]}[{first}]", count(rows))
        elif rows == 1:
            start = c.call("copy", past, u, count(width))
        return _delay_start(op, start, c)
    y, place = c.names[op.out], (count(rows), count(width), c.place(op))
    lags = _whole_rows(op, width)
    if lags is not None and rows == 1:
        return [f"/* {op.out} = {op.input}[-1] */", c.call("copy", y, past, count(width))]
    if lags is not None:
        ages = c.tables.uint16(f"{op.out}_ages", lags, f"ages of {op.out}, in steps")
        equation = f"/* {op.out} = {op.input}[-{lags[0]}]{', ...' if len(lags) > 1 else ''} */"
        return [equation, c.call("lags", y, past, ages, count(len(lags)), *place)]
    ages = c.tables.uint16(f"{op.out}_ages", op.ages, f"ages of {op.out}, in steps")
    channels = c.tables.uint16(f"{op.out}_channels", op.channels - first, f"channels of {op.out}")
    equation = f"/* {op.out}_i = {op.input}[-age_i], channel_i */"
    return [equation, c.call("delay", y, past, ages, channels, count(len(op.ages)), *place)]


def _delay_start(op: o.Delay, start: str, c: Context) -> Lines:
    first = f"self->started_{c.stage.index} == 0U"
    if op.restart:
        first = "phase == 0U" if c.stage.period > 1 else ""
    said = f"/* the past of {op.input} before its first step is that step */"
    return [said, *([f"if ({first}) {{", f"    {start}", "}"] if first else [start])]


def _whole_rows(op: o.Delay, width: int) -> NDArray[Any] | None:
    """The ages, where each of them takes all the stored channels in order; None where the op picks single ones."""
    if len(op.ages) % width:
        return None
    ages = op.ages.reshape(-1, width)
    in_order = np.arange(op.channels.min(), op.channels.min() + width)
    if np.all(ages == ages[:, :1]) and np.all(op.channels.reshape(-1, width) == in_order):
        return np.asarray(ages[:, 0])
    return None


def _selective(op: o.Selective, kind: str, c: Context) -> Lines:
    channels, modes = op.a.shape
    names, h, sizes = c.names, c.state(op), (count(channels), count(modes))
    step: Lines = []
    if kind != "read":
        a = c.table(op, "a", op.a, f"{channels} x {modes}")
        step.append(f"/* h <- exp(D a) h + D B {op.input};  D = {op.delta}, B = {op.b} */")
        step.append(c.call("selective_step", h, a, names[op.delta], names[op.b], names[op.input], *sizes))
    if kind == "step":
        return step
    d = c.table(op, "d", op.d, sizes[0])
    read = c.call("selective_read", names[op.out], h, names[op.c], d, names[op.input], *sizes)
    return [*step, f"/* {op.out} = {op.c} h + d {op.input} */", read]


def _map(op: o.Map, _kind: str, c: Context) -> Lines:
    bounds = (float_text(op.lo), float_text(op.hi)) if op.function == "clip" else ()
    return [
        f"/* {op.out} = {op.function}({op.input}) */",
        c.call(op.function, c.names[op.out], c.names[op.input], *bounds, c.width(op.out)),
    ]


def _norm(op: o.Norm, _kind: str, c: Context) -> Lines:
    n = c.width(op.out)
    tables = (c.table(op, "gain", op.gain, n), c.table(op, "bias", op.bias, n))
    return [
        f"/* {op.out} = gain {op.kind}norm({op.input}) + bias */",
        c.call(f"norm_{op.kind}", c.names[op.out], c.names[op.input], *tables, float_text(op.eps), n),
    ]


def _add(op: o.Add, _kind: str, c: Context) -> Lines:
    y, n = c.names[op.out], c.width(op.out)
    terms = [(sign, c.names[name]) for sign, name in zip(op.signs, op.inputs, strict=True)]
    lines = [f"/* {op.out} = {signed_sum(op)} */", *_first_terms(y, terms[:2], n, c)]
    return lines + [c.call("add" if sign > 0 else "sub", y, y, name, n) for sign, name in terms[2:]]


def signed_sum(op: o.Add) -> str:
    """The right side of the equation of an Add."""
    terms = [f"{'+' if sign > 0 else '-'} {name}" for sign, name in zip(op.signs, op.inputs, strict=True)]
    return " ".join(terms).removeprefix("+ ")


def _first_terms(y: str, terms: list[tuple[int, str]], n: str, c: Context) -> Lines:
    signs, (a, *b) = tuple(sign for sign, _ in terms), [name for _, name in terms]
    match signs:
        case (1,):
            return [c.call("copy", y, a, n)]
        case (-1,):
            return [c.call("neg", y, a, n)]
        case (1, 1):
            return [c.call("add", y, a, *b, n)]
        case (1, -1):
            return [c.call("sub", y, a, *b, n)]
        case (-1, 1):
            return [c.call("sub", y, *b, a, n)]
    return [c.call("add", y, a, *b, n), c.call("neg", y, y, n)]


def _mul(op: o.Mul, _kind: str, c: Context) -> Lines:
    a, b = op.inputs
    return [f"/* {op.out} = {a} {b} */", c.call("mul", c.names[op.out], c.names[a], c.names[b], c.width(op.out))]


def _finite(bound: NDArray[Any]) -> NDArray[Any]:
    """An open range in C: the largest float32."""
    largest = float(np.finfo(np.float32).max)
    return np.clip(bound, -largest, largest)


EMIT: dict[type[o.Op], Callable[[Any, str, Context], Lines]] = {
    o.Input: _input,
    o.Affine: _affine,
    o.Diagonal: _diagonal,
    o.Fir: _fir,
    o.Delay: delay,
    o.Selective: _selective,
    o.Map: _map,
    o.Norm: _norm,
    o.Add: _add,
    o.Mul: _mul,
}
"""Every op of the ceiling has its line here: a test looks."""
