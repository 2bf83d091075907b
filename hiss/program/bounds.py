"""Proofs of an integer program: what each state and each sum can reach at most, for any input at all.

h <- a h + u with |u| <= M and a rounding error of at most e per part and step:
    |Re h| <= M sum |Re a^k| + e sum (|Re a^k| + |Im a^k|),  |Im h| likewise,  k over the steps until a restart.
The sums are exact but for a tail below 1e-6 of them, which is added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError
from hiss.program import ops as o
from hiss.program.constants import NORM_FRAC, STATE_SHIFT, WIDE_STATE, constants, poles
from hiss.program.formats import Formats
from hiss.program.ops import Index, Modes
from hiss.program.program import Program
from hiss.program.tables import TABLE_FRAC, table

Floats = NDArray[np.float64]

FULL = 2**15
"""The largest magnitude of an int16 value."""
_BLOCK, _BLOCKS = 256, 800


@dataclass(frozen=True)
class Proof:
    """What a state or a sum can reach, in integers, and the width that holds it."""

    out: str
    what: str  # "state", "sum"
    reach: float  # largest magnitude, rounding included
    bits: int

    @property
    def holds(self) -> bool:
        """True when the width holds what can be reached."""
        return self.reach <= 2 ** (self.bits - 1) - 1


def prove(program: Program) -> tuple[Proof, ...]:
    """Every state and sum of an integer program. Raises ProgramError where one can overflow."""
    assert program.formats is not None
    steps = {op.out: stage.period for stage in program.stages for op in stage.ops}
    made: list[Proof] = []
    for _, _, op in program.ops():
        made += _proofs(op, program.formats, steps[op.out] if getattr(op, "restart", False) else None)
    for proof in made:
        if not proof.holds:
            raise ProgramError(
                f"{proof.out!r}: a {proof.what} can reach {proof.reach:.4g}, beyond {proof.bits} bits; "
                "quantize the program again"
            )
    return tuple(made)


def _proofs(op: o.Op, formats: Formats, steps: int | None) -> list[Proof]:
    out = formats[op.out]["out"].frac_bits
    match op:
        case o.Affine() | o.Fir():
            part = "weights" if isinstance(op, o.Affine) else "taps"
            return [_sum(op, row_reach(op, formats), formats[op.out][part].frac_bits - out)]
        case o.Diagonal():
            circle = np.abs(poles(op, formats))
            if np.any(circle >= 1):
                raise ProgramError(f"{op.out!r}: a rounded pole has modulus {circle.max()!r}; expected below 1")
            reach = diagonal_reach(op, formats, steps)
            total = _sum(op, read_reach(op, formats, reach), formats[op.out]["c"].frac_bits - out)
            bits = min(formats[op.out]["h"].bits, WIDE_STATE)
            return [Proof(op.out, "state", float(reach.max(initial=0)), bits), total]
        case o.Selective():
            reach = selective_reach(op, formats)
            facc = formats[op.out]["h"].frac_bits + formats[op.c]["out"].frac_bits[0] - STATE_SHIFT
            total = _sum(op, selective_read_reach(op, formats, reach), facc - out)
            return [Proof(op.out, "state", float(reach.max()), 32), total]
        case o.Add():
            reads = np.stack([formats[name]["out"].frac_bits for name in op.inputs])
            finest = reads.max(0)
            return [_sum(op, np.ldexp(float(FULL), finest - reads).sum(0), finest - out)]
        case o.Norm():
            return [_sum(op, norm_reach(op, formats), formats[op.out]["gain"].frac_bits - out)]
    return []


def _sum(op: o.Op, reach: Floats, shift: Index) -> Proof:
    """A sum with the half that rounding adds: 32 bits where they hold it, else 64."""
    total = float((reach + np.ldexp(0.5, np.maximum(shift, 0))).max())
    return Proof(op.out, "sum", total, 32 if total <= 2**31 - 1 else 63)


def row_reach(op: o.Affine | o.Fir, formats: Formats) -> Floats:
    """sum |W| max|x| + |b| per row."""
    integers = constants(op, formats)
    weights = [w for part, w in integers.items() if part != "bias"]
    return sum(np.abs(w).sum(-1) for w in weights) * float(FULL) + np.abs(integers["bias"])


def product_error(state_bits: int) -> float:
    """Largest error of a part of (1 - a) h, in units of h: rounded once in 16 bits; in 32 its two products round down
    13 bits below it at the least, and then their sum."""
    return 0.5 if state_bits == 16 else 2.0


def diagonal_reach(op: o.Diagonal, formats: Formats, steps: int | None) -> Floats:
    """(H, N, 2) what |Re h| and |Im h| can reach, in integers, with the rounded pole."""
    own, drive = formats[op.out], formats[op.input]["out"].frac_bits[:, None]
    sums = l1_sums(poles(op, formats), steps)
    error = product_error(own["h"].bits) * np.any(constants(op, formats)["a"] != 0, axis=-1)
    # u rounded to h's grid: both ends of int16 round to whole powers of two, so rounding adds nothing to the largest
    full = np.maximum(np.ldexp(float(FULL), own["h"].frac_bits - drive), 1.0)
    return full[..., None] * sums + (error * sums.sum(-1))[..., None]


def read_reach(op: o.Diagonal, formats: Formats, reach: Floats) -> Floats:
    """(H,) what the sum of y = Re(sum c h) + d u can reach, each product's lost bits counted."""
    integers, wide = constants(op, formats), formats[op.out]["h"].bits == 32
    modes = np.abs(integers["c"]) * reach * (2.0**-STATE_SHIFT if wide else 1.0) + (1.0 if wide else 0.0)
    return modes.sum((-1, -2)) + np.abs(integers["d"]) * float(FULL)


def norm_reach(op: o.Norm, formats: Formats) -> Floats:
    """(n,) of gain w + bias, |w| <= 1 but for the error of 1 / sqrt."""
    integers = constants(op, formats)
    return np.abs(integers["gain"]) * 2.0**NORM_FRAC * (1 + 2**-12) + 1 + np.abs(integers["bias"])


def l1_sums(a: Modes, steps: int | None = None) -> Floats:
    """(..., 2): sum over k of |Re a^k| and of |Im a^k|, k < steps, or all k (|a| < 1)."""
    flat = a.reshape(-1)
    if steps is not None:
        powers = flat[:, None] ** np.arange(steps)
        return np.stack([np.abs(powers.real).sum(-1), np.abs(powers.imag).sum(-1)], -1).reshape(*a.shape, 2)
    block = flat[:, None] ** np.arange(_BLOCK)  # (modes, block)
    factor, sums = flat**_BLOCK, np.zeros((len(flat), 2))
    scale, tail = np.ones(len(flat), np.complex128), 1 / np.maximum(1 - np.abs(flat), 1e-300)
    live = np.arange(len(flat))
    for _ in range(_BLOCKS):
        powers = block[live] * scale[live, None]
        sums[live, 0] += np.abs(powers.real).sum(-1)
        sums[live, 1] += np.abs(powers.imag).sum(-1)
        scale[live] *= factor[live]
        live = live[(np.abs(scale) * tail)[live] > 1e-6]
        if not len(live):
            break
    rest = np.abs(scale) * tail
    return (sums + np.stack([rest, np.where(flat.imag == 0, 0.0, rest)], -1)).reshape(*a.shape, 2)


# ---- selective ---------------------------------------------------------------------------------------------


def decay(t: Index, frac_bits: Index) -> Index:
    """1 - exp(-t) in units of 2^-30, of t >= 0 with its frac_bits: t g(t), g = (1 - exp(-t)) / t out of a table."""
    g = table("decay")
    last = len(g.entries) - 1
    down = frac_bits - (g.segments_log2 + 15)
    t = np.minimum(t, np.int64(last) << np.maximum(frac_bits - g.segments_log2, 0))  # 16 and more are as 16
    place = shifted(t, down)
    index, part = place >> 15, place & 32767
    low = g.entries[np.minimum(index, last)]
    slope = g.entries[np.minimum(index + 1, last)] - low
    share = shifted(t * (low + shifted(slope * part, 15)), frac_bits + TABLE_FRAC - 30)
    return np.where(index >= last, 2**30, np.minimum(share, 2**30))


def shifted(x: Index, shift: Index | int) -> Index:
    """x 2^-shift, rounded half up; to the left where shift is negative."""
    shift = np.asarray(shift, np.int64)
    down = np.maximum(shift, 0)
    half = (np.int64(1) << down) >> 1
    return ((x + half) >> down) << np.maximum(-shift, 0)


def selective_read_reach(op: o.Selective, formats: Formats, reach: Floats) -> Floats:
    """(H,) what the sum of y = C h + d u can reach."""
    own, f_u = formats[op.out], formats[op.input]["out"].frac_bits
    facc = own["h"].frac_bits + formats[op.c]["out"].frac_bits[0] - STATE_SHIFT
    direct = np.ldexp(np.abs(constants(op, formats)["d"]) * float(FULL), facc - own["d"].frac_bits - f_u)
    return (reach * FULL / 2.0**STATE_SHIFT + 1).sum(-1) + direct + 1


def selective_reach(op: o.Selective, formats: Formats) -> Floats:
    """(H, N) what |h| can reach: the largest (drive + rounding) / (1 - decay) over every delta that int16 can say."""
    a = constants(op, formats)["a"]
    own = formats[op.out]
    f_delta, f_u = formats[op.delta]["out"].frac_bits, formats[op.input]["out"].frac_bits
    f_b = formats[op.b]["out"].frac_bits
    delta = np.arange(1, FULL, dtype=np.int64)
    reach = np.zeros(a.shape)
    for h, n in np.ndindex(a.shape):
        share = decay(delta * a[h, n], f_delta[h] + own["a"].frac_bits[h, n])
        shift = f_delta[h] + f_u[h] + f_b[n] - own["h"].frac_bits[h]
        drive = np.ldexp(delta * float(FULL) ** 2, -shift) + 1.0  # two roundings of half a unit
        with np.errstate(divide="ignore"):
            reach[h, n] = (drive / (share / 2.0**30)).max()
    return reach
