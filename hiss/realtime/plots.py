"""Curves as characters: block elements for a line of text, braille for several; ASCII where a terminal has no more.

A curve is an envelope, lows and highs (n,) of successive spans of time, oldest first; NaN where nothing came.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " _.-~=+*#"
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # of a braille character, 4 rows of 2


def limits(lows: F64, highs: F64) -> tuple[F64, F64]:
    """Lowest and highest of each curve, (rows, n) -> (rows,); NaN where nothing came."""
    empty = np.isnan(lows)
    lo, hi = np.where(empty, np.inf, lows).min(-1), np.where(empty, -np.inf, highs).max(-1)
    nothing = empty.all(-1)
    return np.where(nothing, np.nan, lo), np.where(nothing, np.nan, hi)


def sparks(lows: F64, highs: F64, width: int, utf8: bool = True) -> list[str]:
    """A line of `width` characters for each curve (rows, n), each as high as its own range."""
    if width <= 0:
        return [""] * len(lows)
    lows, highs = lows[:, -width:], highs[:, -width:]
    lo, hi = (edge[:, None] for edge in limits(lows, highs))
    range_ = np.where(hi > lo, hi - lo, 1.0)
    share = np.where(hi > lo, ((lows + highs) / 2 - lo) / range_, 0.5)
    level = np.where(np.isnan(share), 0, 1 + np.clip(np.nan_to_num(share) * 8, 0, 7)).astype(int)
    signs = BLOCKS if utf8 else ASCII
    return ["".join([signs[i] for i in row]).rjust(width) for row in level.tolist()]


def braille(lows: F64, highs: F64, width: int, height: int) -> list[str]:
    """One curve (n,) as `height` lines of `width` characters: two spans of time a character, filled low to high."""
    columns, rows = 2 * width, 4 * height
    low, high = lows[-columns:].copy(), highs[-columns:].copy()
    (lo,), (hi,) = limits(low[None], high[None])
    dots = np.zeros((rows, columns), bool)
    if not np.isnan(lo):
        size = hi - lo if hi > lo else 1.0
        middle = 0.0 if hi > lo else 0.5
        empty = np.isnan(low)
        # joined to the span before: a steep rise is a line, not two points
        low[1:], high[1:] = np.fmin(low[1:], high[:-1]), np.fmax(high[1:], low[:-1])
        bottom = (rows - 1) * (1 - np.nan_to_num((low - lo) / size + middle))
        top = (rows - 1) * (1 - np.nan_to_num((high - lo) / size + middle))
        row = np.arange(rows)[:, None]
        filled = (row >= np.floor(top + 0.5)) & (row <= np.floor(bottom + 0.5)) & ~empty
        dots[:, columns - len(low) :] = filled
    codes = 0x2800 + (dots.reshape(height, 4, width, 2) * DOTS[:, None, :]).sum((1, 3))
    return ["".join(map(chr, line)) for line in codes.tolist()]


class Envelope:
    """The last spans of several columns, each as its lowest and highest value, in constant memory.

    holds: a span without a sample repeats the newest one (estimates may come less often than spans).
    """

    def __init__(self, columns: int, spans: int = 400, holds: bool = False):
        self.holds = holds
        self.last = np.full(columns, np.nan)
        self._lows = np.full((columns, spans), np.nan)
        self._highs = self._lows.copy()
        self._low, self._high = np.full(columns, np.nan, np.float32), np.full(columns, np.nan, np.float32)
        self._at = 0
        self._newest: npt.NDArray[np.float32] | None = None

    def put(self, x: npt.NDArray[np.float32]) -> None:
        """A sample (columns,) of the present span."""
        np.fmin(self._low, x, self._low)
        np.fmax(self._high, x, self._high)
        self._newest = x

    def turn(self) -> None:
        """The next span begins."""
        at = self._at
        for edge in (self._low, self._high):
            edge[np.isinf(edge)] = np.nan
        if self.holds:
            for edge in (self._low, self._high):
                np.copyto(edge, self.last, where=np.isnan(edge), casting="same_kind")
        self._lows[:, at], self._highs[:, at] = self._low, self._high
        self._low.fill(np.nan)
        self._high.fill(np.nan)
        self._at = (at + 1) % self._lows.shape[1]
        if self._newest is not None:
            self.last[:] = self._newest

    def curves(self, spans: int) -> tuple[F64, F64]:
        """Lows and highs of the last spans, oldest first, (columns, at most spans)."""
        order = np.arange(self._at - min(spans, self._lows.shape[1]), self._at)
        return self._lows[:, order], self._highs[:, order]
