"""Calibration: what the values of a program become on recordings, and the formats that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError
from hiss.program import Program, interpreter, sequence
from hiss.program import ops as o
from hiss.program.formats import TABLES, TARE_BITS, Format, uniform
from hiss.quantization.finest import INT16, Trial, finest, finest_each
from hiss.recording import Recording, check_channels

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""What is done, how many times it was, how many it will be."""

HEADROOM = 1.25
"""A value may become this many times larger than in calibration before it saturates."""
INPUT_HEADROOM = 2.0


@dataclass(frozen=True, eq=False)
class Observed:
    """largest: value -> its largest magnitude;  reach (C,): that of the raw samples;  whole: all are whole numbers."""

    largest: dict[str, float]
    reach: Floats
    whole: bool


def prepared(program: Program, recording: Recording) -> Recording:
    """The recording as the program takes it: its rate, its channels, tared. Raises RecordingError."""
    r = recording.resampled(program.rate_hz)
    check_channels(r, [port.name for port in program.inputs])
    if program.tare and not r.tared:
        r = r.tare(program.tare).cut(program.tare)
    return r


def observe(program: Program, samples: Seq[NDArray[Any]], progress: Progress) -> Observed:
    """Run the program in float64 over tared samples (..., T, C). Raises ProgramError."""
    if not samples:
        raise ProgramError("calibration takes at least one recording")
    largest = dict.fromkeys(program.widths, 0.0)

    def seen(name: str, value: NDArray[Any]) -> None:
        if value.size:
            largest[name] = max(largest[name], float(np.abs(value).max()))

    samples = [x for some in samples for x in some.reshape(-1, *some.shape[-2:])]
    if (short := min(map(len, samples))) < program.period:
        raise ProgramError(
            f"a calibration recording of {short} samples is shorter than a period, {program.period}: leave it out"
        )
    sequence.run_together(
        interpreter.cast(program.plain, np.float64),
        samples,
        observe=seen,
        progress=lambda done, of: progress("calibrating", done, of),
    )
    wrong = [name for name, size in largest.items() if not np.isfinite(size)]
    if wrong:
        raise ProgramError(f"calibration: {wrong[0]!r} overflows")
    channels = len(program.inputs)
    reach = np.max([np.abs(x).reshape(-1, channels).max(0) for x in samples], axis=0)
    return Observed(largest, reach, all(bool(np.all(x == np.floor(x))) for x in samples))


def value_formats(program: Program, observed: Observed, most: Mapping[str, int]) -> Trial:
    """The formats of all values, and of the raw sample.   most: frac_bits that a value has at most."""
    formats: Trial = {
        name: {"out": uniform(finest(INT16, HEADROOM * observed.largest[name]), width)}
        for name, width in program.widths.items()
    }
    for name, size in _clipped(program).items():  # larger: saturated, which is what clip does
        formats[name]["out"] = uniform(max(finest(INT16, size), *formats[name]["out"].frac_bits), program.widths[name])
    first = interpreter.input_op(program)
    formats[first.out] = _input(first, observed)
    for name, frac in most.items():
        held = formats[name]["out"]
        formats[name]["out"] = Format(16, np.minimum(held.frac_bits, frac))
    for _, _, op in program.ops():
        if isinstance(op, o.Map) and op.function in TABLES:  # larger than what a table reads: saturated
            held = formats[op.input]["out"]
            formats[op.input]["out"] = Format(16, np.clip(held.frac_bits, *TABLES[op.function]))
            if op.function != "exp":  # nor is what it makes larger
                formats[op.out]["out"] = Format(16, np.maximum(formats[op.out]["out"].frac_bits, 0))
    _keep_steps_exact(program, formats)
    _share_formats_of_delays(program, formats)
    return formats


def _clipped(program: Program) -> dict[str, float]:
    """Values that only clips read -> the largest of their bounds."""
    sizes: dict[str, float] = {}
    for _, _, op in program.ops():
        for name in op.reads:
            clip = isinstance(op, o.Map) and op.function == "clip"
            sizes[name] = max(sizes.get(name, 0.0), max(-op.lo, op.hi) if clip else np.inf)  # type: ignore[attr-defined]
    handed = {name for stage in program.stages for name in stage.hands}
    return {name: size for name, size in sizes.items() if np.isfinite(size) and name not in handed}


def _keep_steps_exact(program: Program, formats: Trial) -> None:
    """A value whose own steps are summed up again has no digits that its steps lack: their sum loses nothing then."""
    made = {op.out: op for _, _, op in program.ops()}
    for op in list(made.values()):
        if not (isinstance(op, o.Add) and op.signs == (1, -1)):
            continue
        now, before = op.inputs
        past = made[before]
        if isinstance(past, o.Delay) and past.input == now and not isinstance(made[now], o.Input):
            held, step = formats[now]["out"], formats[op.out]["out"]
            formats[now]["out"] = Format(16, np.minimum(held.frac_bits, step.frac_bits.min()))


def _input(op: o.Input, observed: Observed) -> dict[str, Format]:
    """Whole samples stay as they are; others get the grid of z, so that rounding them costs no more than z's own."""
    n = len(op.offset)
    out = uniform(finest(INT16, INPUT_HEADROOM * observed.largest[op.out]), n)
    bounds = np.stack([np.abs(op.lo), np.abs(op.hi)])
    reach = np.maximum(observed.reach, np.where(np.isfinite(bounds), bounds, 0).max(0)) + np.abs(op.offset)
    room = finest_each(2**30 - 1, 2 * reach) - TARE_BITS
    frac = np.zeros(n, np.int64) if observed.whole else np.minimum(out.frac_bits - op.shift, room)
    narrow = observed.whole and reach.max() <= INT16 and not op.tare  # before its tare a sample may be anything
    return {"x": Format(16 if narrow else 32, frac), "offset": Format(32, frac + TARE_BITS), "out": out}


def _share_formats_of_delays(program: Program, formats: Trial) -> None:
    """A lag has the format of what it delays; a ring of Delays alone keeps its own."""
    delays = [op for _, _, op in program.ops() if isinstance(op, o.Delay)]
    for _ in delays:
        for op in delays:
            formats[op.out]["out"] = Format(16, formats[op.input]["out"].frac_bits[op.channels])
