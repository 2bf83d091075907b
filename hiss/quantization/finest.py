"""The finest formats: frac_bits grow until a constant, or what a state or a sum is proven to reach, would not fit.

Each function here sets the formats of one op's parts in `formats`, where those of all values stand already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError
from hiss.program import bounds
from hiss.program import ops as o
from hiss.program.constants import NORM_FRAC, STATE_SHIFT
from hiss.program.formats import BIASED, DOWN, POLE_FRAC, Format, computed, uniform
from hiss.program.ops import Index, Modes
from hiss.quantization.report import Moved

Floats = NDArray[np.float64]
Trial = dict[str, dict[str, Format]]

DEAD_ZONE = 1e-3
"""Share of the range that 16 bit states may not see."""
FINEST = 24
SPARE = 2
"""Bits of int16 weights that a row gives up rather than add up in 64 bits: with 3, eFlesh normal lost 0.13 %."""
CLEAR = 2**8
"""Least integer of |1 - a| where the poles of a channel share a format: its decay is right to 0.2 %."""
INT16, INT32, INT29 = 2**15 - 1, 2**31 - 1, 2**28 - 1


def finest(limit: int, size: float) -> int:
    """The largest f with size 2^f <= limit."""
    return int(finest_each(limit, np.array(size)))


def finest_each(limit: int, size: Floats, most: int = FINEST) -> Index:
    """Per element the largest f with size 2^f <= limit, at most `most`."""
    with np.errstate(divide="ignore"):
        room = np.floor(np.log2(limit / np.maximum(size, 1e-300)))
    return np.minimum(room, most).astype(np.int64)


def lowered(formats: Trial, op: o.Op, part: str, reach: Callable[[], Floats], limit: float) -> None:
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


def halves(formats: Trial, op: o.Op, part: str) -> Floats:
    """What rounding adds to a sum."""
    return np.ldexp(0.5, np.maximum(formats[op.out][part].frac_bits - formats[op.out]["out"].frac_bits, 0))


def rows(op: o.Affine | o.Fir, part: str, formats: Trial, bits: int) -> None:
    """The finest format of each row's sum. int8: 32 bits, proven; int16 of an Affine: more where needed."""
    limit, out = 2 ** (bits - 1) - 1, formats[op.out]["out"].frac_bits
    if isinstance(op, o.Affine):
        reads = [formats[name]["out"].frac_bits for name in op.inputs]
        sizes = [np.abs(w) * np.exp2(-f) for w, f in zip(op.weights, reads, strict=True)]
        size = np.concatenate([s.max(1, keepdims=True) for s in sizes], 1).max(1)
    else:
        size = np.abs(op.taps).max(1) * np.exp2(-formats[op.input]["out"].frac_bits)
    facc = np.minimum(finest_each(limit, size, FINEST + 40), out + DOWN)
    for most in (INT32, 2**52):  # sums of 53 bits are exact in float64 too
        formats[op.out][part] = Format(bits, facc)
        lowered(formats, op, part, lambda: bounds.row_reach(op, formats) + halves(formats, op, part), most)
        lost = facc - formats[op.out][part].frac_bits
        if bits == 8 or isinstance(op, o.Fir) or lost.max() <= SPARE:
            break


def coarsened(formats: Trial, op: o.Op) -> None:
    """A value has no more bits than what it comes from: none that could say anything; beside a bias one less."""
    out, most = formats[op.out]["out"], computed(op, formats).min() - int(isinstance(op, BIASED))
    formats[op.out]["out"] = Format(out.bits, np.minimum(out.frac_bits, most))


def room_for_bias(formats: Trial, op: o.Affine | o.Fir | o.Norm) -> None:
    """A value is coarse enough for its bias to fit 16 bits in halves of its unit, the half that rounds included."""
    out, size = formats[op.out]["out"], float(np.abs(op.bias).max(initial=0))
    most = finest(INT16 - 2, 2 * size) if size else FINEST
    formats[op.out]["out"] = Format(out.bits, np.minimum(out.frac_bits, most))


def inside(op: o.Diagonal, formats: Trial, moved: list[Moved]) -> o.Diagonal:
    """The op with poles as integers say them, all inside the circle."""
    d = np.stack([1 - op.a.real, -op.a.imag], -1)
    frac = finest_each(INT16, np.abs(d).max(-1), POLE_FRAC[1])
    frac -= np.abs(np.floor(np.ldexp(d, frac[..., None]) + 0.5)).max(-1) > INT16  # rounding up to 2^15
    shared = frac.min(1, keepdims=True)
    if np.all(np.ldexp(np.abs(1 - op.a), shared) >= CLEAR):
        frac = shared + 0 * frac
    formats[op.out]["a"] = Format(16, frac)
    whole = np.floor(np.ldexp(d, frac[..., None]) + 0.5)
    made = _pole(whole, frac[..., None])
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


def state(op: o.Diagonal, formats: Trial, steps: int | None, states: str) -> None:
    """h by its exact bound."""
    own, drive = formats[op.out], formats[op.input]["out"].frac_bits[:, None]
    sums = bounds.l1_sums(op.a, steps).max(-1)
    small = states == "int16" and _dead_zone(op.a, sums) < DEAD_ZONE
    bits, limit = (16, INT16) if small else (32, INT29)
    own["h"] = Format(bits, finest_each(limit, sums * np.ldexp(float(bounds.FULL), -drive), FINEST + 16))
    if not small:
        own["h"] = Format(bits, own["h"].frac_bits.min(1, keepdims=True) + 0 * own["h"].frac_bits)
    own["c"] = Format(8, np.zeros(len(op.d), np.int64))
    lowered(formats, op, "h", lambda: _reach_of_states(op, formats, steps), limit)


def read_out(op: o.Diagonal, formats: Trial, steps: int | None, bits: int) -> None:
    """The sum of y = Re(sum c h) + d u, with c of so many bits."""
    own, drive = formats[op.out], formats[op.input]["out"].frac_bits[:, None]
    reach = _reach_of_modes(op, formats, steps)
    dropped = STATE_SHIFT if own["h"].bits == 32 else 0
    c = np.maximum(np.abs(op.c.real), np.abs(op.c.imag))
    facc = (finest_each(2 ** (bits - 1) - 1, c, 60) + own["h"].frac_bits - dropped).min(1)
    facc = np.minimum(facc, finest_each(INT16, np.abs(op.d), 60) + drive[:, 0])
    own["c"] = Format(bits, np.minimum(facc, own["out"].frac_bits + DOWN))
    lowered(formats, op, "c", lambda: bounds.read_reach(op, formats, reach) + halves(formats, op, "c"), INT32)


def _reach_of_modes(op: o.Diagonal, formats: Trial, steps: int | None) -> Floats:
    coarse = dataclasses.replace(op, c=0 * op.c, d=0 * op.d)  # only the pole counts here
    return bounds.diagonal_reach(coarse, formats, steps)


def _reach_of_states(op: o.Diagonal, formats: Trial, steps: int | None) -> Floats:
    """(H, N) the larger part of each state; of 32 bits, the largest of the channel, which shares a format."""
    reach = _reach_of_modes(op, formats, steps).max(-1)
    return reach if formats[op.out]["h"].bits == 16 else reach.max(1, keepdims=True) + 0 * reach


def _dead_zone(a: Modes, sums: Floats) -> float:
    """What 16 bit states do not see, as a share of the range; sums: how many times its input a state can become.

    Below half a unit over |1 - a| a state stays where it is; an input below half a unit of the state is nothing.
    """
    stays = float((0.5 / np.maximum(np.abs(1 - a), 1e-300)).max()) / INT16
    unseen = 0.5 / np.exp2(np.floor(np.log2(INT16 / sums.max())))
    return max(stays, float(unseen))


def selective(op: o.Selective, formats: Trial) -> None:
    """a and d by their size, h by the largest that drive over decay can make it."""
    own = formats[op.out]
    own["a"] = Format(16, finest_each(INT16, np.abs(op.a)))
    own["d"] = Format(16, finest_each(INT16, np.abs(op.d)))
    own["h"] = uniform(0, len(op.d), 32)
    size = bounds.selective_reach(op, formats).max(1)
    own["h"] = Format(32, finest_each(INT32, size, FINEST + 16))
    lowered(formats, op, "h", lambda: bounds.selective_reach(op, formats).max(1), INT32)


def gain(op: o.Norm, formats: Trial) -> None:
    """The sum of a Norm: what it divides is at most sqrt(n)."""
    own, n = formats[op.out], len(op.gain)
    size = np.abs(op.gain) * np.sqrt(n)
    frac = np.minimum(finest_each(INT16, size, 40) + NORM_FRAC, own["out"].frac_bits + DOWN)
    own["gain"] = Format(16, frac.min() + 0 * frac)

    def reach() -> Floats:
        return 0 * size + (bounds.norm_reach(op, formats) + halves(formats, op, "gain")).max()

    lowered(formats, op, "gain", reach, INT32)
