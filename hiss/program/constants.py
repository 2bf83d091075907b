"""The integers of an integer program: each constant in its format, rounded half up.

What a generator writes into tables. C: channels;  H: channels of a state;  N: modes;  facc: frac_bits of an op's sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError
from hiss.program import ops as o
from hiss.program.formats import Formats
from hiss.program.ops import Index

Integers = dict[str, Index]

STATE_SHIFT = 16
"""A product of a 32 bit state drops its low 16 bits first: one SMULWB on Armv7E-M, one multiply-high elsewhere."""
WIDE_SPARE = 3
"""Bits that a 32 bit state of a Diagonal leaves to its products, so that all of them shift right."""
WIDE_STATE = 32 - WIDE_SPARE
NORM_FRAC = 13
"""frac_bits of a normalised value over sqrt(n), once the low 16 of 29 are dropped in its product with the gain."""
SAMPLE_LIMIT = 2**26
"""Raw samples beyond it count as it: on the finer grid of the tare all differences fit 32 bits."""
RANGE_LIMIT = 2**30 - 1
"""Bounds of the declared range saturate here (a range may be infinite)."""


def rounded(x: NDArray[np.float64] | float, frac_bits: Any) -> Index:
    """round half up of x 2^frac_bits, exact: a power of two changes no digit."""
    return np.floor(np.ldexp(np.asarray(x, np.float64), frac_bits) + 0.5).astype(np.int64)


def fits(name: str, x: Index, bits: int) -> Index:
    """x itself; raises ProgramError where it needs more than `bits` bits."""
    if x.size and (x.max() > 2 ** (bits - 1) - 1 or x.min() < -(2 ** (bits - 1))):
        raise ProgramError(f"{name}: {np.abs(x).max()} does not fit {bits} bits; quantize the program again")
    return x


def constants(op: o.Op, formats: Formats) -> Integers:
    """The integers of one op by part. Raises ProgramError where one does not fit its format."""
    own = formats[op.out]

    def frac(name: str) -> Index:
        return formats[name]["out"].frac_bits

    match op:
        case o.Input():
            grid = own["offset"].frac_bits
            lo, hi = (np.clip(a, -(2.0**40), 2.0**40) for a in (op.lo, op.hi))
            bounds = {k: np.clip(rounded(a, grid), -RANGE_LIMIT, RANGE_LIMIT) for k, a in (("lo", lo), ("hi", hi))}
            return {"offset": fits(f"{op.out}.offset", rounded(op.offset, grid), 31), **bounds}
        case o.Affine():
            facc, bits = own["weights"].frac_bits, own["weights"].bits
            made = {
                f"weights.{i}": fits(f"{op.out}.weights.{i}", rounded(w, facc[:, None] - frac(name)), bits)
                for i, (name, w) in enumerate(zip(op.inputs, op.weights, strict=True))
            }
            return {**made, "bias": _bias(op, facc, frac(op.out))}
        case o.Diagonal():
            return _diagonal(op, formats)
        case o.Fir():
            facc = own["taps"].frac_bits
            taps = rounded(op.taps, (facc - frac(op.input))[:, None])
            return {"taps": fits(f"{op.out}.taps", taps, own["taps"].bits), "bias": _bias(op, facc, frac(op.out))}
        case o.Selective():
            return {
                "a": fits(f"{op.out}.a", rounded(-op.a, own["a"].frac_bits), 16),
                "d": fits(f"{op.out}.d", rounded(op.d, own["d"].frac_bits), 16),
            }
        case o.Norm():
            facc = own["gain"].frac_bits
            gain = rounded(op.gain * math.sqrt(len(op.gain)), facc - NORM_FRAC)
            bias = _bias(op, facc, frac(op.out))
            return {"gain": fits(f"{op.out}.gain", gain, 16), "bias": bias, "eps": _eps(op, formats)}
        case o.Map():
            f = frac(op.input)
            return {k: np.clip(rounded(v, f), -(2**15), 2**15 - 1) for k, v in (("lo", op.lo), ("hi", op.hi))}
    return {}


def _bias(op: o.Affine | o.Fir | o.Norm, facc: Index, out: Index) -> Index:
    """The bias in units of the sum: whole halves of the value's unit, with which the half that rounds fits 16 bits."""
    halves = rounded(op.bias, np.minimum(out + 1, facc))
    return (fits(f"{op.out}.bias", halves + 1, 16) - 1) << np.maximum(facc - out - 1, 0)


def _diagonal(op: o.Diagonal, formats: Formats) -> Integers:
    own = formats[op.out]
    step = np.stack([1 - op.a.real, -op.a.imag], -1)  # 1 - a, (H, N, 2)
    facc, state = own["c"].frac_bits, own["h"]
    dropped = STATE_SHIFT if state.bits == 32 else 0
    parts = np.stack([op.c.real, -op.c.imag], -1)  # Re(c h) = c_re h_re + (-c_im) h_im
    c = rounded(parts, (facc[:, None] + dropped - state.frac_bits)[..., None])
    return {
        "a": fits(f"{op.out}.a", rounded(step, own["a"].frac_bits[..., None]), 16),
        "c": fits(f"{op.out}.c", c, own["c"].bits),
        "d": fits(f"{op.out}.d", rounded(op.d, facc - formats[op.input]["out"].frac_bits), 16),
    }


def _eps(op: o.Norm, formats: Formats) -> Index:
    """eps in the units of the power that Norm computes: n^3 or n squares of integers."""
    n, f = len(op.gain), int(formats[op.input]["out"].frac_bits[0])
    scale = n**3 if op.kind == "layer" else n
    eps = rounded(op.eps * scale, 2 * f)
    if n**3 * 2**33 + int(eps) >= 2**62:
        raise ProgramError(f"{op.out!r}: the power of {n} channels does not fit 62 bits")
    return np.maximum(eps, 1)


def poles(op: o.Diagonal, formats: Formats) -> NDArray[np.complex128]:
    """(H, N) the poles that the integers stand for; exact in float64."""
    a, frac = constants(op, formats)["a"], formats[op.out]["a"].frac_bits[..., None]
    d = np.ldexp(a.astype(np.float64), -frac)
    return (1 - d[..., 0]) - 1j * d[..., 1]
