"""Time: where on its stream's clock each frame lies, in strictly increasing seconds.

The clock is the device's own where it sends one, else monotonic nanoseconds of this host, taken when a chunk of bytes
has been read. A segment lasts until the device's own clock goes back, because the board started again.
"""

from __future__ import annotations

import math
import time

STEP_NS = 1  # the least difference between two stamps
DROPPED = ("without time", "repeated time")


class Timeline:
    """Gives each frame its time.

    Frames that arrive in one chunk have one arrival stamp. How they were spread before is not known, and a made-up
    spread would put samples where none was measured; but a resampler needs increasing stamps. So each gets the least
    increment, 1 ns, after the one before it: the newest sample of the chunk is the value at the arrival.
    """

    def __init__(self, own_time: bool = False):
        """own_time: what is told is the data's own time (a recording); else the wall clock (a live stream)."""
        self.own_time = own_time
        self.t = math.nan  # s, of the last frame on the stream's clock: what a resampler is given
        self.step_s = math.nan  # from the frame before it
        self.first_t = math.nan  # of this segment
        self.first_ns: int | None = None  # arrival of the first frame of all
        self.origin_s = 0.0  # of this segment's first frame, on the clock to tell
        self._wall_ns = time.time_ns() - time.monotonic_ns()  # taken once, so that a set clock bends nothing
        self._last_ns = 0
        self._span_before_s = 0.0

    @property
    def span_s(self) -> float:
        """Time from the first frame to the last, without what passed between segments."""
        return 0.0 if math.isnan(self.t) else self._span_before_s + self.t - self.first_t

    def put(self, arrival_ns: int, t_device: float | None = None, pause_s: float = 0.0) -> str:
        """Place a frame: "" in order, "first", "restart" (with pause_s put between), or one of DROPPED."""
        if self.first_ns is None:
            self.first_ns, self._last_ns = arrival_ns, arrival_ns - STEP_NS
        self._last_ns = max(arrival_ns, self._last_ns + STEP_NS)
        t = (self._last_ns - self.first_ns) * 1e-9 if t_device is None else t_device
        if not math.isfinite(t):
            return "without time"
        if t == self.t:
            return "repeated time"
        what = "first" if math.isnan(self.t) else "restart" if t < self.t else ""
        if what:
            self._span_before_s = self.span_s + pause_s if what == "restart" else 0.0
            self.first_t = t
            keeps_own = self.own_time and t_device is not None
            self.origin_s = t if keeps_own else (arrival_ns + self._wall_ns) * 1e-9
        self.step_s = math.nan if what else t - self.t
        self.t = t
        return what
