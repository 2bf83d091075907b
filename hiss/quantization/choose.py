"""Formats of a program: of values by calibration, of states and sums by proof.

A format is the finest that its number fits: frac_bits grow until an integer, or what it is proven to reach, would not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError
from hiss.program import Program, Stage, bounds, interpreter, sequence
from hiss.program import ops as o
from hiss.program.constants import constants, poles
from hiss.program.formats import POLE_FRAC, TARE_BITS, Format, uniform
from hiss.program.ops import Index, Modes
from hiss.quantization.report import Moved, Report, Value
from hiss.recording import Recording, check_channels

Floats = NDArray[np.float64]
Trial = dict[str, dict[str, Format]]

WEIGHTS = ("int8", "int16")
STATES = ("int32", "int16")
HEADROOM = 1.25
"""A value may become this many times larger than in calibration before it saturates."""
INPUT_HEADROOM = 2.0
DEAD_ZONE = 1e-3
"""Share of its range below which a 16 bit state may stop decaying."""
FINEST = 24
DOWN = 30
"""A sum has at most this many bits below its value."""
INT16, INT32 = 2**15 - 1, 2**31 - 1


def quantize(
    program: Program, calibration: Seq[Recording], *, weights: str = "int8", states: str = "int32"
) -> tuple[Program, Report]:
    """The integer program, and what was proven. The calibration recordings are raw or tared, at any rate.

    weights: int8 or int16; layers that read samples or lags are int16 always. states: int32, or int16 wherever the
    dead zone of an op's states is below 0.1 % of their range. Raises ProgramError, RecordingError; ValueError for
    other choices.
    """
    return quantized(program, [prepared(program, r) for r in calibration], weights=weights, states=states)


def quantized(
    program: Program, samples: Seq[NDArray[Any]], *, weights: str = "int8", states: str = "int32"
) -> tuple[Program, Report]:
    """The same from samples (..., T, C) at the program's rate, tared where the program has a tare."""
    if weights not in WEIGHTS or states not in STATES:
        raise ValueError(f"weights {weights!r}, states {states!r}; known: int8, int16 and int32, int16")
    if program.formats is not None:
        raise ProgramError("the program has number formats already; quantize the floating point program")
    largest, whole = _observed(program, samples)
    formats: Trial = {}
    for name, width in program.widths.items():
        formats[name] = {"out": uniform(_finest(INT16, HEADROOM * largest[name]), width)}
    first = interpreter.input_op(program)
    formats[first.out] = _input(first, samples, largest[first.out], whole)
    _share_formats_of_delays(program, formats)
    moved: list[Moved] = []
    periods = {op.out: stage.period for stage in program.stages for op in stage.ops}
    sampled = _sampled(program)

    def formatted(op: o.Op) -> o.Op:
        match op:
            case o.Affine():
                bits = 16 if weights == "int16" or sampled & set(op.inputs) else 8
                formats[op.out]["weights"] = _rows(op, "weights", formats, bits)
            case o.Fir():
                formats[op.out]["taps"] = _rows(op, "taps", formats, 8 if weights == "int8" else 16)
            case o.Diagonal():
                op = _poles(op, formats, moved)
                _states(op, formats, periods[op.out] if op.restart else None, states)
            case o.Selective():
                _selective(op, formats)
            case o.Norm():
                _gain(op, formats)
        return op

    stages = tuple(
        Stage(s.period, tuple(map(formatted, s.every)), tuple(map(formatted, s.last)), s.hands) for s in program.stages
    )
    made = dataclasses.replace(program, stages=stages, formats=formats)
    return made, _report(made, weights, largest, moved)


# ---- calibration ---------------------------------------------------------------------------------------------------


def prepared(program: Program, recording: Recording) -> NDArray[Any]:
    """Samples (T, C) as the program takes them: its rate, its channels, tared. Raises RecordingError."""
    r = recording.resampled(program.rate_hz)
    check_channels(r, [port.name for port in program.inputs])
    if program.tare and not r.tared:
        r = r.tare(program.tare).cut(program.tare)
    return r.x


def _observed(program: Program, samples: Seq[NDArray[Any]]) -> tuple[dict[str, float], bool]:
    """The largest magnitude of every value, and whether all raw samples are whole numbers."""
    largest = dict.fromkeys(program.widths, 0.0)

    def observe(name: str, value: NDArray[Any]) -> None:
        if value.size:
            largest[name] = max(largest[name], float(np.abs(value).max()))

    program = interpreter.cast(program.plain, np.float64)
    for x in samples:
        if np.shape(x)[-2] < program.period:
            raise ProgramError(f"a calibration recording of {np.shape(x)[-2]} samples is shorter than a period")
        state = interpreter.init_state(program, x.shape[:-2])
        state["tare.left"] = np.array(0)
        sequence.run(program, state, x, observe)
    wrong = [name for name, size in largest.items() if not np.isfinite(size)]
    if wrong or not samples:
        raise ProgramError(f"calibration: {wrong[0]!r} overflows" if wrong else "calibration takes a recording")
    return largest, all(bool(np.all(x == np.floor(x))) for x in samples)


def _input(op: o.Input, samples: Seq[NDArray[Any]], largest: float, whole: bool) -> dict[str, Format]:
    """Whole samples stay as they are; others get the grid of z, so that rounding them costs no more than z's own."""
    n = len(op.offset)
    out = uniform(_finest(INT16, INPUT_HEADROOM * largest), n)
    reach = np.max([np.abs(x).reshape(-1, n).max(0) for x in samples], axis=0)
    bounds_ = np.stack([np.abs(op.lo), np.abs(op.hi)])
    reach = np.maximum(reach, np.where(np.isfinite(bounds_), bounds_, 0).max(0)) + np.abs(op.offset)
    room = _finest_each(2**30 - 1, 2 * reach) - TARE_BITS
    frac = np.zeros(n, np.int64) if whole else np.minimum(out.frac_bits - op.shift, room)
    narrow = whole and reach.max() <= INT16
    return {"x": Format(16 if narrow else 32, frac), "offset": Format(32, frac + TARE_BITS), "out": out}


def _share_formats_of_delays(program: Program, formats: Trial) -> None:
    """A lag has the format of what it delays; a ring of Delays alone keeps its own."""
    delays = [op for _, _, op in program.ops() if isinstance(op, o.Delay)]
    for _ in delays:
        for op in delays:
            formats[op.out]["out"] = Format(16, formats[op.input]["out"].frac_bits[op.channels])


def _sampled(program: Program) -> set[str]:
    """The sample, every lag, and sums of them: what is correlated, so that weights cancel and int8 is too coarse."""
    names = {interpreter.input_op(program).out}
    for _, _, op in program.ops():
        if isinstance(op, o.Delay) or (isinstance(op, o.Add) and set(op.inputs) <= names):
            names.add(op.out)
    return names


# ---- the finest formats ----------------------------------------------------------------------------------------------


def _finest(limit: int, size: float) -> int:
    return int(_finest_each(limit, np.array(size)))


def _finest_each(limit: int, size: Floats, most: int = FINEST) -> Index:
    """Per element the largest f with size 2^f <= limit, at most `most`."""
    with np.errstate(divide="ignore"):
        room = np.floor(np.log2(limit / np.maximum(size, 1e-300)))
    return np.minimum(room, most).astype(np.int64)


def _lowered(formats: Trial, op: o.Op, part: str, reach: Callable[[], Floats], limit: float) -> None:
    """Take bits off until the constants fit and what is reached stays within the limit."""
    for _ in range(80):
        try:
            over = reach() > limit
        except ProgramError:  # a constant that rounding took over its width
            over = np.ones(formats[op.out][part].frac_bits.shape, bool)
        if not over.any():
            return
        held = formats[op.out][part]
        formats[op.out][part] = Format(held.bits, held.frac_bits - over)
    raise ProgramError(f"{op.out!r}: no format of {part} keeps it from overflowing")


def _halves(formats: Trial, op: o.Op, part: str) -> Floats:
    """What rounding adds to a sum."""
    return np.ldexp(0.5, np.maximum(formats[op.out][part].frac_bits - formats[op.out]["out"].frac_bits, 0))


def _rows(op: o.Affine | o.Fir, part: str, formats: Trial, bits: int) -> Format:
    """The finest format of each row's sum. int8: 32 bits, proven; int16 of an Affine: more where needed."""
    limit, out = 2 ** (bits - 1) - 1, formats[op.out]["out"].frac_bits
    if isinstance(op, o.Affine):
        reads = [formats[name]["out"].frac_bits for name in op.inputs]
        sizes = [np.abs(w) * np.exp2(-f) for w, f in zip(op.weights, reads, strict=True)]
        size = np.concatenate([s.max(1, keepdims=True) for s in sizes], 1).max(1)
    else:
        size = np.abs(op.taps).max(1) * np.exp2(-formats[op.input]["out"].frac_bits)
    facc = np.minimum(_finest_each(limit, size, FINEST + 40), out + DOWN)
    formats[op.out][part] = Format(bits, facc)
    narrow = bits == 8 or isinstance(op, o.Fir)
    most = INT32 if narrow else 2**52  # sums of 53 bits are exact in float64 too
    _lowered(formats, op, part, lambda: bounds.row_reach(op, formats) + _halves(formats, op, part), most)
    return formats[op.out][part]


def _poles(op: o.Diagonal, formats: Trial, moved: list[Moved]) -> o.Diagonal:
    """The op with poles as integers say them, all inside the circle."""
    d = np.stack([1 - op.a.real, -op.a.imag], -1)
    frac = _finest_each(INT16, np.abs(d), POLE_FRAC[1])
    frac -= np.abs(np.floor(np.ldexp(d, frac) + 0.5)) > INT16  # rounding up to 2^15
    formats[op.out]["a"] = Format(16, frac)
    whole = np.floor(np.ldexp(d, frac) + 0.5)
    made = _pole(whole, frac)
    for index in np.argwhere(np.abs(made) >= 1):
        h, n = index.tolist()
        steps = 0
        while abs(made[h, n]) >= 1:
            part = 0 if abs(made[h, n].real) >= abs(made[h, n].imag) else 1
            toward = made[h, n].real if part == 0 else made[h, n].imag
            whole[h, n, part] += 1 if toward > 0 else -1  # d = 1 - a grows where a shrinks
            made[h, n], steps = _pole(whole[h, n], frac[h, n]), steps + 1
        moved.append(Moved(op.out, h, n, float(abs(op.a[h, n])), float(abs(made[h, n])), steps))
    return dataclasses.replace(op, a=made)


def _pole(whole: Floats, frac: Index) -> Modes:
    d = np.ldexp(whole, -frac)
    return (1 - d[..., 0]) - 1j * d[..., 1]


def _states(op: o.Diagonal, formats: Trial, steps: int | None, states: str) -> None:
    """h by its exact bound, then the sum that reads it."""
    own, drive = formats[op.out], formats[op.input]["out"].frac_bits[:, None]
    small = states == "int16" and _dead_zone(op.a) < DEAD_ZONE
    bits, limit = (16, INT16) if small else (32, INT32)
    sums = bounds.l1_sums(op.a, steps).max(-1)
    own["h"] = Format(bits, _finest_each(limit, sums * np.ldexp(float(bounds.FULL), -drive), FINEST + 16))
    if not small:
        own["h"] = Format(bits, own["h"].frac_bits.min(1, keepdims=True) + 0 * own["h"].frac_bits)
    own["c"] = Format(16, np.zeros(len(op.d), np.int64))
    _lowered(formats, op, "h", lambda: _reach_of_states(op, formats, steps), limit)
    reach = _reach_of_modes(op, formats, steps)
    dropped = 16 if bits == 32 else 0
    c = np.maximum(np.abs(op.c.real), np.abs(op.c.imag))
    facc = (_finest_each(INT16, c, 60) + own["h"].frac_bits - dropped).min(1)
    facc = np.minimum(facc, _finest_each(INT16, np.abs(op.d), 60) + drive[:, 0])
    own["c"] = Format(16, np.minimum(facc, own["out"].frac_bits + DOWN))
    _lowered(formats, op, "c", lambda: bounds.read_reach(op, formats, reach) + _halves(formats, op, "c"), INT32)


def _reach_of_modes(op: o.Diagonal, formats: Trial, steps: int | None) -> Floats:
    coarse = dataclasses.replace(op, c=0 * op.c, d=0 * op.d)  # only the pole counts here
    return bounds.diagonal_reach(coarse, formats, steps)


def _reach_of_states(op: o.Diagonal, formats: Trial, steps: int | None) -> Floats:
    """(H, N) the larger part of each state; of 32 bits, the largest of the channel, which shares a format."""
    reach = _reach_of_modes(op, formats, steps).max(-1)
    return reach if formats[op.out]["h"].bits == 16 else reach.max(1, keepdims=True) + 0 * reach


def _dead_zone(a: Modes) -> float:
    """Below half a unit over |1 - a| a state stays where it is; as a share of a 16 bit range."""
    return float((0.5 / np.maximum(np.abs(1 - a), 1e-300)).max()) / INT16


def _selective(op: o.Selective, formats: Trial) -> None:
    own = formats[op.out]
    own["a"] = Format(16, _finest_each(INT16, np.abs(op.a)))
    own["d"] = Format(16, _finest_each(INT16, np.abs(op.d)))
    own["h"] = uniform(0, len(op.d), 32)
    size = bounds.selective_reach(op, formats).max(1)
    own["h"] = Format(32, _finest_each(INT32, size, FINEST + 16))
    _lowered(formats, op, "h", lambda: bounds.selective_reach(op, formats).max(1), INT32)


def _gain(op: o.Norm, formats: Trial) -> None:
    own, n = formats[op.out], len(op.gain)
    size = np.abs(op.gain) * np.sqrt(n)
    own["gain"] = Format(16, np.minimum(_finest_each(INT16, size, 40) + 15, own["out"].frac_bits + DOWN))
    _lowered(formats, op, "gain", lambda: bounds.norm_reach(op, formats) + _halves(formats, op, "gain"), INT32)


def _report(program: Program, weights: str, largest: dict[str, float], moved: list[Moved]) -> Report:
    formats = program.formats or {}
    values = [
        Value(name, size, INT16 * 2.0 ** -int(frac.max()), int(frac.max()))
        for name, size in largest.items()
        for frac in [formats[name]["out"].frac_bits]
    ]
    diagonals = [op for _, _, op in program.ops() if isinstance(op, o.Diagonal)]
    circle = max((float(np.abs(poles(op, formats)).max()) for op in diagonals), default=0.0)
    states = {name: parts["h"].bits for name, parts in formats.items() if "h" in parts}
    for _, _, op in program.ops():
        constants(op, formats)  # all fit
    return Report(weights, states, tuple(values), tuple(moved), circle, bounds.prove(program))
