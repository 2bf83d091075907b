"""Tables of the integer definition: functions of |x| with linear interpolation, and a first guess for 1 / sqrt.

The entries belong to the definition: other entries, other bits.   v: |x|;  2^m segments per unit of v.

    even   y = max(x, 0) + T(v)       gelu, silu, softplus: the remainder, which decays to 0
    odd    y = centre + sign(x) T(v)  sigmoid, tanh
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from hiss.program.ops import Index

TABLE_FRAC = 15
"""frac_bits of every entry."""


@dataclass(frozen=True, eq=False)
class Table:
    """Entries at v = i 2^-segments_log2; past the last one, the last one holds."""

    entries: Index  # (segments + 1,)
    segments_log2: int
    odd: bool = False
    centre: int = 0  # in units of 2^-15


def _gelu(v: float) -> float:
    return -v * 0.5 * math.erfc(v * math.sqrt(0.5))


def _silu(v: float) -> float:
    return -v / (1 + math.exp(v))


def _softplus(v: float) -> float:
    return math.log1p(math.exp(-v))


def _sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v)) - 0.5


def _decay(v: float) -> float:
    return -math.expm1(-v) / v if v else 1.0


# function, where it ends, segments per unit: ends where the rest is below half an entry's step
_REMAINDERS: dict[str, tuple[Callable[[float], float], int, int]] = {
    "gelu": (_gelu, 5, 5),
    "silu": (_silu, 14, 5),
    "softplus": (_softplus, 11, 5),
    "sigmoid": (_sigmoid, 11, 4),
    "tanh": (math.tanh, 6, 6),
    "decay": (_decay, 16, 5),
}


@cache
def table(function: str) -> Table:
    """gelu silu softplus sigmoid tanh, and decay = (1 - exp(-v)) / v for Selective."""
    f, end, m = _REMAINDERS[function]
    entries = [math.floor(f(i * 2.0**-m) * 2**TABLE_FRAC + 0.5) for i in range(end * 2**m + 1)]
    if function != "decay":
        entries = [min(entry, 2**TABLE_FRAC - 1) for entry in entries]  # int16: tanh ends one step below 1
    odd = function in ("sigmoid", "tanh")
    return Table(np.array(entries, np.int64), m, odd, 2**14 if function == "sigmoid" else 0)


EXP_SEGMENTS_LOG2 = 6
LOG2_E = 23637
"""log2(e) in units of 2^-14."""


@cache
def powers_of_two() -> Index:
    """2^(i / 64) for i = 0..64 in units of 2^-14."""
    n = 2**EXP_SEGMENTS_LOG2
    return np.array([math.floor(2 ** (14 + i / n) + 0.5) for i in range(n + 1)], np.int64)


@cache
def rsqrt_guesses() -> Index:
    """1 / sqrt(x) in the middle of [i, i + 1) / 64 for i = 16..63, in units of 2^-15; error up to 1.6 %."""
    return np.array([math.floor(2**15 / math.sqrt((i + 0.5) / 64) + 0.5) for i in range(16, 64)], np.int64)
