"""Causal linear resampling onto a regular grid; the same arithmetic for a whole recording and for one sample at a time.

t0  first stamp, s          grid point k lies at t0 + k / rate_hz
A grid point is made as soon as a sample at or after it has arrived, out of that sample and the one before it, so a gap
is interpolated across; or, with hold_s, the sample before a longer one is repeated. A sample within SNAP of a period of
a grid point counts as lying on it: stamps that were rounded when they were written neither delay a point nor change it,
and a regular recording passes its own rate unchanged.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hiss.errors import RecordingError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

SNAP = 1e-3  # of a grid period
MOST_POINTS = 1_000_000  # of the grid between two samples; stamps further apart are wrong, or of two sessions


def grid_stamps(first_s: float, last_s: float, rate_hz: float) -> F64:
    """The grid points from first_s that samples up to last_s complete: first_s + k / rate_hz, (n,) s."""
    rate = _checked(rate_hz)
    grid: F64 = first_s + np.arange(int((last_s - first_s) * rate) + 2) / rate
    return grid[grid - SNAP / rate <= last_s]


def check_gaps(t: F64, rate_hz: float) -> None:
    """Raise RecordingError where stamps t (n,) lie so far apart that the grid between them would fill the memory."""
    steps = np.diff(t)
    if len(steps) and steps.max() * rate_hz > MOST_POINTS:
        i = int(steps.argmax())
        raise RecordingError(
            f"{steps[i]:g} s pass between the stamps {t[i]:g} s and {t[i + 1]:g} s; that is more than {MOST_POINTS:,} "
            f"samples at {rate_hz:g} Hz: are the stamps in s? Otherwise cut the recording there"
        )


def resample_linear(t: F64, x: npt.NDArray[Any], grid: F64, snap_s: float = 0.0, hold_s: float = math.inf) -> F32:
    """Values of the samples x (n, C) at stamps t (n,) on the grid (m,): (m, C) float32.

    Between stamps that are more than hold_s apart the first of both is held.
    t must increase strictly; ValueError where the grid leaves t[0] .. t[-1] by more than snap_s.
    """
    after = np.searchsorted(t, grid - snap_s, side="left")  # the first sample at or after each grid point
    if len(grid) and (after[-1] >= len(t) or grid[0] < t[0] - snap_s):
        raise ValueError(f"grid {grid[0]:g} .. {grid[-1]:g} s leaves the samples' {t[0]:g} .. {t[-1]:g} s")
    before = np.maximum(after - 1, 0)
    x = np.asarray(x, np.float32)
    made = _between(grid[:, None], t[before, None], x[before], t[after, None], x[after], snap_s=snap_s)
    held = (t[after] - t[before] > hold_s) & (grid < t[after] - snap_s)
    return np.where(held[:, None], x[before], made)


class Resampler:
    """Turns irregular samples into samples at rate_hz, one push at a time; equal in every bit to `resample_linear`."""

    def __init__(self, rate_hz: float, width: int, hold_s: float = math.inf):
        self.rate_hz = _checked(rate_hz)
        self.width = width
        self.hold_s = hold_s
        self.snap_s = SNAP / self.rate_hz
        self.reset()

    def reset(self) -> None:
        """Forget all samples: the next one starts a new grid."""
        self.first_s: float | None = None
        self.last_s = -math.inf
        self.last_x: F32 = np.zeros(self.width, np.float32)
        self.k = 0  # the next grid point

    def push(self, t: float, x: npt.ArrayLike) -> list[tuple[int, F32]]:
        """Take the sample x (width,) of time t, s; give the grid points it completes as (k, sample), k = 0, 1, ...

        Raises RecordingError when t is not finite or not after the last stamp, ValueError when x has another width.
        """
        now = np.array(x, np.float32)
        if now.shape != (self.width,):
            raise ValueError(f"a sample of shape {now.shape}; this resampler takes ({self.width},)")
        return self.take(t, now)

    def take(self, t: float, now: F32) -> list[tuple[int, F32]]:
        """push() of a sample (width,) that nobody changes later: it is not copied, and its width not looked at."""
        if self.first_s is not None and t > self.last_s:
            k, snap_s = self.k, self.snap_s
            at = self.first_s + k / self.rate_hz
            if at - snap_s <= t and at >= t - snap_s:  # on the next point, so on no other: the usual case
                self.k, self.last_s, self.last_x = k + 1, t, now
                return [(k, now)]
        if not (math.isfinite(t) and t > self.last_s):
            raise RecordingError(f"stamp {t!r} s does not come after {self.last_s!r} s; stamps must increase")
        if self.first_s is None:
            self.first_s, self.last_s, self.last_x = t, t, now
        if (t - self.last_s) * self.rate_hz > MOST_POINTS:
            check_gaps(np.array([self.last_s, t]), self.rate_hz)
        made = []
        before_s, before = self.last_s, self.last_x
        self.last_s, self.last_x = t, now
        while (at := self.first_s + self.k / self.rate_hz) - self.snap_s <= t:
            # most points of a stream at the model's rate lie on a sample: nothing is to compute
            if at >= t - self.snap_s:
                sample = now
            else:
                sample = before if t - before_s > self.hold_s else _between(at, before_s, before, t, now)
            made.append((self.k, sample))
            self.k += 1
        return made


def _between(at: Any, t0: Any, x0: F32, t1: Any, x1: F32, *, snap_s: float = 0.0) -> F32:
    """The one formula: linear between (t0, x0) and (t1, x1), and x1 itself from snap_s before t1 on."""
    on_sample = at >= t1 - snap_s
    w = np.where(on_sample, 1.0, (at - t0) / np.where(on_sample, 1.0, t1 - t0))
    # cast by hand: a single float64 w times float32 samples would be computed in float32 by numpy 1
    sample = ((1.0 - w) * x0.astype(np.float64) + w * x1.astype(np.float64)).astype(np.float32)
    return np.where(on_sample, x1, sample)


def _checked(rate_hz: float) -> float:
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz is {rate_hz!r}; it must be a positive number")
    return float(rate_hz)
