"""How scales are made of training data: each column's own deviation, or the fixed rules of published benchmarks.

    x' = (x - m) / s      per column; differences are columns of their own, scaled by the same rule

The named rules are those of CSP-Bench (arXiv 2402.10211), read in its published code, with these changes: statistics
are of the training recordings alone, and of what is left after the clip; TotalCapture's s = 1 is for its orientations
only, not for the differences of its accelerations as well.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

SMALLEST_STD = 1e-5


@dataclass(frozen=True)
class Rule:
    """m: the mean, or 0;  s: factor times the deviation, the range (max - min) or one."""

    centred: bool = True
    spread: str = "std"  # or range, one
    factor: float = 1.0
    plain: tuple[str, ...] = ()  # patterns of channels that keep m = 0, s = 1; their differences do not
    limit: float | None = None  # channels are clipped to +- this, None: to their range with a margin
    y_centred: bool = True
    y_factor: float = 1.0  # times the deviation of each target
    y_like: tuple[tuple[int, int], ...] = ()  # (i, j): target i takes the scale of target j

    def columns(self, values: F64) -> tuple[F64, F64]:
        """(m, s) of columns: (n, C) -> (C,), (C,)."""
        spreads = {"std": values.std(0), "range": np.ptp(values, axis=0), "one": np.ones(values.shape[1])}
        s = self.factor * spreads[self.spread]
        m = values.mean(0) if self.centred else np.zeros(values.shape[1])
        return m, np.maximum(s, SMALLEST_STD)

    def channels(self, values: F64, names: Seq[str]) -> tuple[F64, F64]:
        """(m, s) of channels, of which some stay as they are."""
        m, s = self.columns(values)
        kept = [any(fnmatch.fnmatchcase(name, p) for p in self.plain) for name in names]
        return np.where(kept, 0.0, m), np.where(kept, 1.0, s)

    def targets(self, values: F64) -> tuple[F64, F64]:
        """(m, s) of targets (n, D)."""
        s = np.maximum(values.std(0), SMALLEST_STD)
        for i, j in self.y_like:
            if max(i, j) < len(s):
                s[i] = s[j]
        return values.mean(0) if self.y_centred else np.zeros(values.shape[1]), self.y_factor * s


RULES = {
    "standard": Rule(),
    "marker_writing": Rule(factor=3, limit=3000),
    "intrinsic_slip": Rule(centred=False, spread="range", factor=1 / 5, limit=3000, y_centred=False, y_like=((1, 0),)),
    "joystick_control": Rule(centred=False, spread="one", factor=1000, limit=1000, y_factor=2),
    "ronin": Rule(factor=3),
    "vector": Rule(centred=False, spread="range", factor=1 / 5),
    "total_capture": Rule(centred=False, spread="range", plain=("*_r[123][12]",), y_factor=3),
}
"""The clips act on skins only: no IMU reaches 3000 m/s^2, and a range so wide would cost an integer model its bits."""
