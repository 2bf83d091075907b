"""How long things take, in fixed log-spaced bins: p50, p99, p99.9 and max in constant memory."""

from __future__ import annotations

import math


class LogBins:
    """Durations in fixed bins, 40 per decade from 1 ns (6 % wide): any number of them in constant memory."""

    PER_DECADE = 40
    DECADES = 12  # 1 ns to 1000 s

    def __init__(self) -> None:
        self.bins = [0] * (self.PER_DECADE * self.DECADES + 1)
        self.count = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        place = int(self.PER_DECADE * math.log10(duration_ns)) if duration_ns > 1 else 0
        self.bins[min(place, len(self.bins) - 1)] += 1
        self.count += 1
        self.max_ns = max(self.max_ns, duration_ns)

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
        made.bins = [now - then for now, then in zip(self.bins, before.bins, strict=True)]
        made.count = self.count - before.count
        highest = max((place for place, count in enumerate(made.bins) if count), default=-1)
        made.max_ns = 0 if highest < 0 else min(self.max_ns, round(10 ** ((highest + 1) / self.PER_DECADE)))
        return made

    def as_dict(self) -> dict[str, float | int | None]:
        """p50, p99, p99.9 and max in us, and the count; None where nothing was counted."""
        quantiles = {"p50_us": 0.5, "p99_us": 0.99, "p99.9_us": 0.999}
        if self.count == 0:
            return {**dict.fromkeys(quantiles), "max_us": None, "count": 0}
        figures = {name: round(self.quantile_ns(q) / 1e3, 2) for name, q in quantiles.items()}
        return {**figures, "max_us": round(self.max_ns / 1e3, 2), "count": self.count}
