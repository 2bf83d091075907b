"""Whether all samples came, once and in order, and how the device's clock runs against this host's.

Which clock is which: the model's grid (rate_hz) lies on the stream's clock, the device's own where it sends one, since
a recording of that device, which training used, has the same stamps. So a device that runs 500 ppm fast changes neither
the grid nor an estimate. The times that are TOLD follow the host's clock, or they would be 1.8 s off in an hour.
"""

from __future__ import annotations

import math

from hiss.realtime.clock import ClockFit, Lost

REPEATED = "repeated sequence"


class Continuity:
    """Follows a stream's frames: `lost` counts samples that the device made and that did not come, by its sequence, or
    else by its clock."""

    def __init__(self) -> None:
        self.clock = ClockFit()
        self.host = HostTime()
        self.lost = Lost()
        self.seq: int | None = None  # of the last frame

    def begin(self, same_clock: bool) -> None:
        """A segment begins; the device's clock goes on in it, or starts again. What was counted stays."""
        self.host.reset()
        if not same_clock:
            self.clock.reset()

    def order(self, seq: int) -> str:
        """Take a frame's place in the sequence: "" in order, REPEATED, or "restart" where the device began again."""
        before, self.seq = self.seq, seq
        if before is None:
            return ""
        if seq > before:
            self.lost.by_sequence(before, seq)
            return ""
        return REPEATED if seq == before else "restart"

    def stepped(self, step_s: float) -> None:
        """Take the step of the device's clock to a frame without a place in a sequence; NaN for the first."""
        if not math.isnan(step_s):
            self.lost.by_clock(step_s)


class HostTime:
    """How much later than by the device's clock it is on the host's, in s since the segment's first frame: `lag_s`.

    The least delay of a window is what the clocks differ by: a frame arrives late, never early. The lag moves there
    slowly, so that times told with it go on increasing.
    """

    WINDOW_S = 1.0
    FASTEST = 0.05  # s of change per s

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The device's clock started again."""
        self.lag_s = 0.0
        self._first: tuple[float, int] | None = None
        self._t = 0.0
        self._goal_s = 0.0
        self._least_s = math.inf
        self._window_end_s = 0.0

    def put(self, t: float, arrival_ns: int) -> None:
        """A frame of device time t, s."""
        if self._first is None:
            self._first, self._t, self._window_end_s = (t, arrival_ns), t, t + self.WINDOW_S
        t0, first_ns = self._first
        self._least_s = min(self._least_s, (arrival_ns - first_ns) * 1e-9 - (t - t0))
        if t >= self._window_end_s:
            self._goal_s, self._least_s, self._window_end_s = self._least_s, math.inf, t + self.WINDOW_S
        most_s = self.FASTEST * (t - self._t)
        self.lag_s += max(-most_s, min(most_s, self._goal_s - self.lag_s))
        self._t = t
