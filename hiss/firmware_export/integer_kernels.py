"""Integers: one small function per op, its kernel calls in C under the equation they compute.

Shifts are differences of formats; here they become tables, one number a row or channel, or plain arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hiss.firmware_export.context import Context, Lines, count, shift_of
from hiss.firmware_export.kernels import delay, push, signed_sum
from hiss.firmware_export.lags import read_in_place
from hiss.firmware_export.schedule import fir_taps
from hiss.firmware_export.streams import ENDS, affine_stream, channel_stream, fir_stream, packs
from hiss.program import ops as o
from hiss.program.constants import STATE_SHIFT
from hiss.program.formats import POLE_FRAC, SUMS, Format
from hiss.program.ops import Index

_INT32 = 2**31 - 1


def _format(c: Context, op: o.Op, part: str) -> Format:
    assert c.program.formats is not None
    return c.program.formats[op.out][part]


def _shifts(c: Context, op: o.Op, part: str, shift: Index) -> str:
    """A table of shifts; equal ones are shared under a name that says them."""
    shift = shift_of(shift)
    said = f"{np.size(shift)} shifts"
    if np.ptp(shift) == 0:
        by = int(np.ravel(shift)[0])
        name = f"shift_{'up_' if by < 0 else ''}{abs(by)}_x{np.size(shift)}"
        return c.tables.integers("int8_t", name, shift, f"{said} of {by}")
    return c.integers("int8_t", op, part, shift, said)


def _biased(c: Context, op: o.Op, bias: Index) -> Index:
    """The bias, and the half that rounds: after it a sum only shifts."""
    shift = _format(c, op, SUMS[type(op)]).frac_bits - c.frac(op.out)
    return bias + ((np.int64(1) << shift) >> 1)


def _ends(c: Context, op: o.Op, bias: Index) -> tuple[Index, Index]:
    """What ends each row of a sum: its bias in halves of y's unit, with the half that rounds, and the places before."""
    shift = _format(c, op, SUMS[type(op)]).frac_bits - c.frac(op.out) - 1
    return (bias >> shift) + 1, shift


def _bits(bits: int) -> str:
    return f"int{bits}_t"


def _input(op: o.Input, _kind: str, c: Context) -> Lines:
    held, n = c.numbers.integers[op.out], c.width(op.out)
    grid = _format(c, op, "offset").frac_bits
    equation = f"/* {op.out} = (clip(x{' - tare' if op.tare else ''}, lo, hi) - offset) 2^-shift */"
    (one, *more) = shift_of(grid + op.shift - c.frac(op.out)).tolist()
    if not more and one >= 0:
        return [equation, _input_one(op, one, c)]
    alike = all(np.ptp(held[part]) == 0 for part in ("offset", "lo", "hi")) and {one} == {one, *more}
    if alike and not op.tare and c.numbers.x == "int16_t" and -15 <= one <= 14:
        numbers = [f"INT32_C({number})" for number in _bounds(op, one, c)]
        return [equation, f"hiss_input_alike_s16({', '.join((c.names[op.out], 'x', *numbers, str(one), n))});"]
    tables = [c.integers("int32_t", op, part, held[part], n) for part in ("offset", "lo", "hi")]
    shift = _shifts(c, op, "shift", grid + op.shift - c.frac(op.out))
    mean = "self->tare" if op.tare else "NULL"
    kernel = f"hiss_input_{'s16' if c.numbers.x == 'int16_t' else 's32'}"
    return [equation, f"{kernel}({', '.join((c.names[op.out], 'x', mean, *tables, shift, n))});"]


def _bounds(op: o.Input, shift: int, c: Context) -> tuple[int, int, int]:
    """offset, lo and hi of the first channel; what saturates beyond them does so at them, too."""
    offset, lo, hi = (int(c.numbers.integers[op.out][part][0]) for part in ("offset", "lo", "hi"))
    full = 2**15 << max(shift, 0)
    return offset, max(lo, offset - full), min(hi, offset + full)


def _input_one(op: o.Input, shift: int, c: Context) -> str:
    """Of one channel: its numbers stand in the call, so that the compiler makes of it what they need and no more."""
    offset, lo, hi = _bounds(op, shift, c)
    numbers = [f"INT32_C({n})" for n in (offset, lo, min(hi, offset + (2**15 - 1 << shift)))]
    x = "x[0]" if c.numbers.x == "int16_t" else "hiss_sample(x[0])"
    mean = "self->tare[0]" if op.tare else "0"
    return f"{c.names[op.out]}[0] = hiss_input_one({', '.join((x, mean, *numbers, str(shift)))});"


MOST_RECENT = 127
"""Lags that hiss_recent_one reads: more products would pass the columns that an AVR sums them in."""


def _recent(op: o.Affine, past: o.Delay, c: Context) -> Lines:
    held, names, rows = c.numbers.integers[op.out], c.names, c.width(op.out)
    weights = np.concatenate([held["weights.0"], held["weights.1"]], axis=1)
    weight = c.integers("int16_t", op, "w", weights, f"{rows[:-1]} x {weights.shape[1]}")
    bias, shift = _biased(c, op, held["bias"]), _format(c, op, "weights").frac_bits - c.frac(op.out)
    read = (weight, names[past.input], c.state(past), count(len(past.ages)), c.place(past))
    equation = f"/* {op.out} = W {past.input} + W {past.input}[-1, ..., -{len(past.ages)}] + b */"
    if len(bias) == 1 and len(past.ages) <= MOST_RECENT:
        numbers = (f"INT64_C({int(bias[0])})", str(int(np.ravel(shift)[0])))
        return [equation, f"{names[op.out]}[0] = hiss_recent_one({', '.join((*read, *numbers))});"]
    tables = (c.integers("int64_t", op, "b", bias, rows), _shifts(c, op, "shift", shift), rows)
    return [equation, f"hiss_recent_s16({', '.join((names[op.out], *read, *tables))});"]


def _affine(op: o.Affine, _kind: str, c: Context) -> Lines:
    past = read_in_place(c.program).get(op.out)
    if past is not None:
        return _recent(op, past, c)
    held, rows = c.numbers.integers[op.out], c.width(op.out)
    bits, wide = _format(c, op, "weights").bits, op.out in c.numbers.wide
    parts = [held[f"weights.{i}"] for i in range(len(op.inputs))]
    weights, columns = np.concatenate(parts, axis=1), sum(c.widths[name] for name in op.inputs)
    said, ends = f"{rows[:-1]} x {columns}", tuple[str, ...]()
    if wide:
        bias = c.integers("int64_t", op, "b", _biased(c, op, held["bias"]), rows)
        ends = (bias, _shifts(c, op, "shift", _format(c, op, "weights").frac_bits - c.frac(op.out)))
    else:
        weights = affine_stream(weights, *_ends(c, op, held["bias"]), bits)
        said = f"{said}, four rows at a time with what ends them"
    weight = c.integers(_bits(bits), op, "w", weights, said, words=True)
    x, joining = _joined(op, columns, c)
    if wide:
        calls = [f"hiss_affine_wide_s16({', '.join((c.names[op.out], weight, x, count(columns), *ends, rows))});"]
    else:
        calls = _fours_and_rows(c.names[op.out], weight, x, columns, c.widths[op.out], bits)
    equation = f"/* {op.out} = {' + '.join(f'W {name}' for name in op.inputs)} + b */"
    return [equation, *(["{", *(f"    {line}" for line in (*joining, *calls)), "}"] if joining else calls)]


def _fours_and_rows(y: str, weight: str, x: str, columns: int, rows: int, bits: int) -> Lines:
    """A call for the rows that make fours, one for those that do not."""
    full, by8 = rows // 4 * 4, "by8_" if bits == 8 and columns % 8 == 0 else ""
    calls = [(f"affine_{by8}", 0, 0, full), ("rows_", full, full * columns + full // 4 * ENDS[bits], rows - full)]
    return [
        f"hiss_{kernel}s{bits}({_at(y, row)}, {_at(weight, at)}, {x}, {count(columns)}, {count(n)});"
        for kernel, row, at, n in calls
        if n
    ]


def _at(array: str, offset: int) -> str:
    return f"{array} + {offset}" if offset else array


def _joined(op: o.Affine, columns: int, c: Context) -> tuple[str, Lines]:
    """What the terms of a sum read, one after the other: one term costs less than many."""
    if len(op.inputs) == 1:
        return c.names[op.inputs[0]], []
    lines, at = [f"int16_t terms[{count(columns)}];"], 0
    for name in op.inputs:
        to = f"terms + {at}" if at else "terms"
        lines.append(f"hiss_copy_s16({to}, {c.names[name]}, {c.width(name)});")
        at += c.widths[name]
    return "terms", lines


def _fir(op: o.Fir, kind: str, c: Context) -> Lines:
    taps = fir_taps(op, c.stage.period)
    channels = len(op.bias)
    if kind == "push":
        return push(op, taps - 1, channels, c)
    held, own, u = c.numbers.integers[op.out], _format(c, op, "taps"), c.names[op.input]
    said = f"{taps} taps x {channels}, four channels at a time after what ends them, present sample first"
    stream = fir_stream(held["taps"][:, :taps], *_ends(c, op, held["bias"]), own.bits)
    table = c.integers(_bits(own.bits), op, "t", stream, said, words=True)
    history = c.state(op) if taps > 1 else u  # a single tap reads no past
    sizes = (count(channels), count(taps), c.place(op), c.past(op, taps))
    full = channels // 4 * 4
    calls = [("fir", 0, 0, full), ("filters", full, full * taps + full // 4 * ENDS[own.bits], channels - full)]
    return [
        f"/* {op.out} = b + sum_k t_k {op.input}[-k]{', within the chunk' if op.restart else ''} */",
        *(
            f"hiss_{kernel}_s{own.bits}({_at(c.names[op.out], first)}, {_at(history, first)}, {_at(table, at)}, "
            f"{_at(u, first)}, {', '.join(sizes)}, {count(n)});"
            for kernel, first, at, n in calls
            if n
        ),
    ]


def _diagonal(op: o.Diagonal, kind: str, c: Context) -> Lines:
    step, read = f"h <- h - (1 - a) h + {op.input}", f"{op.out} = Re(sum c h) + d {op.input}"
    h, y, u = c.state(op), c.names[op.out], c.names[op.input]
    sizes = (u, *map(count, op.a.shape))
    state = f"s{_format(c, op, 'h').bits}"
    both = f"{state}_s{_format(c, op, 'c').bits}"
    channels = _channels(op, c) if kind not in ("step", "read") and both == "s32_s16" else None
    if channels is not None:
        kernel = f"hiss_diagonal_{'real_' if _real(op, c) else ''}{both}"
        return [f"/* {step}; {read} */", f"{kernel}({', '.join((y, h, channels, *sizes))});"]
    lines: Lines = []
    if kind != "read":
        call = f"hiss_diagonal_step_{state}({', '.join((h, *_stepping(op, c), *sizes))});"
        lines += [f"/* {step} */", call]
    if kind != "step":
        call = f"hiss_diagonal_read_{both}({', '.join((y, h, *_reading(op, c), *sizes))});"
        lines += [f"/* {read} */", call]
    return lines


def _real(op: o.Diagonal, c: Context) -> bool:
    """Whether all poles are real: the imaginary parts of their states stay 0. And shifts as that kernel wants them."""
    finer = np.all(_format(c, op, "h").frac_bits[:, 0] >= c.frac(op.input))
    down = np.all(_format(c, op, "c").frac_bits > c.frac(op.out))
    return bool(finer and down) and not np.any(c.numbers.integers[op.out]["a"][..., 1])


def _channels(op: o.Diagonal, c: Context) -> str | None:
    """One table for both, channel by channel, where the modes of each share their shifts."""
    held, poles, own = c.numbers.integers[op.out], _format(c, op, "a").frac_bits, _format(c, op, "c").frac_bits
    drive = c.frac(op.input) - _format(c, op, "h").frac_bits[:, 0]
    shifts = (poles[:, 0] - POLE_FRAC[0], own - c.frac(op.out), drive)
    if np.ptp(poles, axis=1).any() or not packs(shifts):
        return None
    channels, modes = op.a.shape
    said = f"{channels} channels: feed, shifts, then 1 - a and c of {modes} modes"
    parts = slice(0, 1 if _real(op, c) else 2)
    stream = channel_stream(held["a"][..., parts], held["c"][..., parts], held["d"], shifts)
    return c.integers("int16_t", op, "m", stream, said, words=True)


def _stepping(op: o.Diagonal, c: Context) -> tuple[str, ...]:
    channels, modes = op.a.shape
    poles, state = _format(c, op, "a").frac_bits, _format(c, op, "h")
    drive = c.frac(op.input)[:, None] - state.frac_bits
    shifts = poles - POLE_FRAC[0] if state.bits == 32 else poles
    return (
        c.integers("int16_t", op, "d", c.numbers.integers[op.out]["a"], f"1 - a, {channels} x {modes} (re, im)"),
        _shifts(c, op, "shifts", shifts),
        _shifts(c, op, "drive", drive[:, 0] if state.bits == 32 else drive),
    )


def _reading(op: o.Diagonal, c: Context) -> tuple[str, ...]:
    channels, modes = op.a.shape
    held = c.numbers.integers[op.out]
    return (
        c.integers(_bits(_format(c, op, "c").bits), op, "c", held["c"], f"{channels} x {modes} (re, -im)"),
        c.integers("int16_t", op, "feed", held["d"], str(channels)),
        _shifts(c, op, "shift", _format(c, op, "c").frac_bits - c.frac(op.out)),
    )


def _selective(op: o.Selective, kind: str, c: Context) -> Lines:
    channels, modes = op.a.shape
    held, names, sizes = c.numbers.integers[op.out], c.names, (count(channels), count(modes))
    state, lines = _format(c, op, "h").frac_bits, []
    if kind != "read":
        a = c.integers("int16_t", op, "a", held["a"], f"{channels} x {modes}")
        frac = _shifts(c, op, "frac", c.frac(op.delta)[:, None] + _format(c, op, "a").frac_bits)
        drive = _shifts(c, op, "drive", c.frac(op.delta) + c.frac(op.input) + c.frac(op.b)[0] - state)
        arguments = (c.state(op), a, frac, drive, names[op.delta], names[op.b], names[op.input], *sizes)
        lines.append(f"/* h <- exp(D a) h + D B {op.input};  D = {op.delta}, B = {op.b} */")
        lines.append(c.call("selective_step", *arguments))
    if kind != "step":
        total = state + c.frac(op.c)[0] - STATE_SHIFT
        feed = c.integers("int16_t", op, "feed", held["d"], str(channels))
        direct = _shifts(c, op, "direct", _format(c, op, "d").frac_bits + c.frac(op.input) - total)
        shift = _shifts(c, op, "shift", total - c.frac(op.out))
        arguments = (names[op.out], c.state(op), names[op.c], feed, direct, shift, names[op.input], *sizes)
        lines.append(f"/* {op.out} = {op.c} h + d {op.input} */")
        lines.append(c.call("selective_read", *arguments))
    return lines


def _map(op: o.Map, _kind: str, c: Context) -> Lines:
    frac, out = int(c.frac(op.input)[0]), int(c.frac(op.out)[0])
    how = [str(frac), str(out)]
    if op.function in ("relu", "clip"):
        held = c.numbers.integers[op.out]
        bounds = [str(int(held["lo"][0])), str(int(held["hi"][0]))] if op.function == "clip" else []
        how = [*bounds, str(int(shift_of(frac - out)))]
    call = c.call(op.function, c.names[op.out], c.names[op.input], *how, c.width(op.out))
    return [f"/* {op.out} = {op.function}({op.input}) */", call]


def _norm(op: o.Norm, _kind: str, c: Context) -> Lines:
    held, n = c.numbers.integers[op.out], c.width(op.out)
    halves, shift = _ends(c, op, held["bias"])
    gain = c.integers("int16_t", op, "gain", np.stack([held["gain"], halves], -1), f"and halves, {n}", words=True)
    how = (f"INT64_C({int(held['eps'])})", str(int(shift[0])))
    return [
        f"/* {op.out} = gain {op.kind}norm({op.input}) + bias */",
        c.call(f"norm_{op.kind}", c.names[op.out], c.names[op.input], gain, *how, n),
    ]


def _add(op: o.Add, _kind: str, c: Context) -> Lines:
    y, n, names = c.names[op.out], c.width(op.out), c.names
    reads = [int(c.frac(name)[0]) for name in op.inputs]
    ups = [max(reads) - f for f in reads]
    shift = int(shift_of(max(reads) - c.frac(op.out))[0])
    equation = f"/* {op.out} = {signed_sum(op)} */"
    if len(reads) == 2 and 1 in op.signs and op.out not in c.numbers.wide:
        terms = sorted(zip(op.signs, op.inputs, ups, strict=True), key=lambda term: -term[0])
        (_, a, up_a), (sign, b, up_b) = terms
        kernel = "add" if sign > 0 else "sub"
        return [equation, c.call(kernel, y, names[a], str(up_a), names[b], str(up_b), str(shift), n)]
    parts = zip(op.signs, op.inputs, ups, strict=True)
    return [
        equation,
        "{",
        f"    int64_t sum[{n}] = {{0}};",
        *(f"    {c.call('sum', 'sum', names[name], str(up), str(sign), n)}" for sign, name, up in parts),
        f"    {c.call('sum_end', y, 'sum', str(shift), n)}",
        "}",
    ]


def _mul(op: o.Mul, _kind: str, c: Context) -> Lines:
    a, b = op.inputs
    shift = int(shift_of(c.frac(a) + c.frac(b) - c.frac(op.out))[0])
    call = c.call("mul", c.names[op.out], c.names[a], c.names[b], str(shift), c.width(op.out))
    return [f"/* {op.out} = {a} {b} */", call]


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
