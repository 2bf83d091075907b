"""How long things take, in fixed log-spaced bins: p50, p99, p99.9 and max in constant memory."""

from __future__ import annotations

import math

import numpy as np

WAITING = 512  # durations that are put into their bins together


class LogBins:
    """Durations in fixed bins, 40 per decade from 1 ns (6 % wide): any number of them in constant memory.

    They are put into their bins some hundred at a time, or when somebody looks: many logarithms cost what three do.
    """

    PER_DECADE = 40
    DECADES = 12  # 1 ns to 1000 s

    def __init__(self) -> None:
        self._bins = [0] * (self.PER_DECADE * self.DECADES + 1)
        self._count = 0
        self._max_ns = 0
        self._waiting: list[int] = []

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        self._waiting.append(duration_ns)
        if len(self._waiting) >= WAITING:
            self._sort()

    @property
    def bins(self) -> list[int]:
        """How many lie in each bin."""
        self._sort()
        return self._bins

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count + len(self._waiting)

    @property
    def max_ns(self) -> int:
        """The longest; 0 when nothing was counted."""
        self._sort()
        return self._max_ns

    def quantile_ns(self, q: float) -> float:
        """The upper edge of the bin that holds the quantile, at most the maximum; NaN when nothing was counted."""
        if self.count == 0:
            return math.nan
        wanted, seen = q * self.count, 0
        for place, count in enumerate(self.bins):
            seen += count
            if count and seen >= wanted:
                return min(10 ** ((place + 1) / self.PER_DECADE), float(self.max_ns))
        return float(self.max_ns)

    def since(self, before: LogBins) -> LogBins:
        """What was counted after `before`, an earlier copy of these bins; its maximum is the upper edge of a bin."""
        made = LogBins()
        made._bins = [now - then for now, then in zip(self.bins, before.bins, strict=True)]
        made._count = self.count - before.count
        highest = max((place for place, count in enumerate(made._bins) if count), default=-1)
        made._max_ns = 0 if highest < 0 else min(self.max_ns, round(10 ** ((highest + 1) / self.PER_DECADE)))
        return made

    def as_dict(self) -> dict[str, float | int | None]:
        """p50, p99, p99.9 and max in us, and the count; None where nothing was counted."""
        quantiles = {"p50_us": 0.5, "p99_us": 0.99, "p99.9_us": 0.999}
        if self.count == 0:
            return {**dict.fromkeys(quantiles), "max_us": None, "count": 0}
        figures = {name: round(self.quantile_ns(q) / 1e3, 2) for name, q in quantiles.items()}
        return {**figures, "max_us": round(self.max_ns / 1e3, 2), "count": self.count}

    def _sort(self) -> None:
        if not self._waiting:
            return
        ns = np.maximum(np.array(self._waiting, np.int64), 1)
        places = np.minimum((self.PER_DECADE * np.log10(ns)).astype(np.intp), len(self._bins) - 1)
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            self._bins[int(place)] += int(count)
        self._count += len(ns)
        self._max_ns = max(self._max_ns, *self._waiting)
        self._waiting.clear()
