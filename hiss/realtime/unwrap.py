"""Counters of a few bytes that start again at 0 when they are full, made ones that only grow."""

from __future__ import annotations


class Unwrapped:
    """Raw values modulo `span` -> values that grow on; they go back only when the device has started again.

    A raw value below the one before it is a wrap if that makes a step of `largest` at most (never more than half the
    span: of a larger step the direction cannot be told), else the device has started again from there.
    """

    def __init__(self, span: int, largest: int | None = None):
        self.span = span
        self.largest = min(span // 2, largest or span)
        self.raw = 0  # the last one
        self.before = 0  # what was counted before the last wrap

    def __call__(self, raw: int) -> int:
        """The value of the next raw one."""
        if raw < self.raw:
            wraps = (raw - self.raw) % self.span <= self.largest
            self.before = self.before + self.span if wraps else 0
        self.raw = raw
        return self.before + raw


WRAP_S = 10.0  # a pause over the end of a clock that is longer is taken as a new start: a loop gives up a silent board


class DeviceClock:
    """Raw ticks of a device's clock with `bits` -> s that grow on."""

    def __init__(self, bits: int, tick_s: float):
        self.tick_s = tick_s
        self.ticks = Unwrapped(1 << bits, max(1, round(WRAP_S / tick_s)))

    def __call__(self, ticks: int) -> float:
        """The time of the next stamp, s."""
        return self.ticks(ticks) * self.tick_s
