"""Time: where on its stream's clock each frame lies, in strictly increasing seconds.

The clock is the device's own where it sends one, else monotonic nanoseconds of this host, taken when a chunk of bytes
has been read. A segment lasts until the device's own clock goes back, because the board started again, or until the
stream was cut: the port went away and came back, or a gap was longer than allowed.
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

    def __init__(self, own_time: bool = False, wall_ns: int | None = None, cut_after_s: float = math.inf):
        """own_time: what is told is the data's own time (a recording); else the wall clock (a live stream).

        wall_ns: the wall clock's lead over the stamps' monotonic one; None = of this host, now.
        cut_after_s: a longer pause begins a new segment.
        """
        self.own_time = own_time
        self.cut_after_s = cut_after_s
        self.t = math.nan  # s, of the last frame on the stream's clock: what a resampler is given
        self.step_s = math.nan  # from the frame before it
        self.first_t = math.nan  # of this segment
        self.first_ns: int | None = None  # arrival of the first frame of all
        self.origin_s = 0.0  # of this segment's first frame, on the clock to tell
        self.span_s = 0.0  # from the first frame to the last; of the pauses between segments what is known
        # taken once, so that a set clock bends nothing
        self._wall_ns = time.time_ns() - time.monotonic_ns() if wall_ns is None else wall_ns
        self._last_ns = 0
        self._span_before_s = 0.0
        self._cut = False

    def cut(self) -> None:
        """What comes next is another segment, whatever its time."""
        self._cut = True

    def put(self, arrival_ns: int, t_device: float | None = None, pause_s: float = 0.0) -> str:
        """Place a frame: "" in order, "first", "restart" (with pause_s put between), "cut", or one of DROPPED."""
        if self.first_ns is None:
            self.first_ns, self._last_ns = arrival_ns, arrival_ns - STEP_NS
        before_ns = self._last_ns
        self._last_ns = max(arrival_ns, before_ns + STEP_NS)
        t = (self._last_ns - self.first_ns) * 1e-9 if t_device is None else t_device
        if 0.0 < t - self.t <= self.cut_after_s and t < math.inf and not self._cut:  # the usual case
            self.step_s = t - self.t
            self.t = t
            self.span_s = self._span_before_s + t - self.first_t
            return ""
        if not math.isfinite(t):
            return "without time"
        if t == self.t:
            return "repeated time"
        what = self._what(t)
        if what:
            host_s = (self._last_ns - before_ns) * 1e-9
            between_s = t - self.t if t > self.t else host_s if self._cut else pause_s
            self._span_before_s = 0.0 if what == "first" else self.span_s + between_s
            self.first_t = t
            keeps_own = self.own_time and t_device is not None
            self.origin_s = t if keeps_own else (arrival_ns + self._wall_ns) * 1e-9
            self._cut = False
        self.step_s = t - self.t
        self.t = t
        self.span_s = self._span_before_s + t - self.first_t
        return what

    def _what(self, t: float) -> str:
        if math.isnan(self.t):
            return "first"
        if self._cut or t - self.t > self.cut_after_s:
            return "cut"
        return "restart" if t < self.t else ""


class ClockFit:
    """How fast a device's clock runs, from its stamps and their arrivals, in constant memory.

    A frame arrives late, never early, so the earliest arrivals lie on a line: of every window the frame with the least
    delay is kept, and a line is fitted through those (least squares). Windows double when there are too many.
    """

    WINDOWS = 64
    LEAST_S = 10.0  # before that a jitter of 1 ms would be 100 ppm

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The device's clock started again."""
        self._first: tuple[float, int] | None = None
        self._window_s = 0.25
        self._best: dict[int, tuple[float, float]] = {}  # window -> (device s, delay s), both from the first frame

    def put(self, t: float, arrival_ns: int) -> None:
        """A frame of device time t, s."""
        if self._first is None:
            self._first = (t, arrival_ns)
        device_s = t - self._first[0]
        delay_s = (arrival_ns - self._first[1]) * 1e-9 - device_s
        window = int(device_s / self._window_s)
        kept = self._best.get(window)
        if kept is None or delay_s < kept[1]:
            self._best[window] = (device_s, delay_s)
            if len(self._best) > self.WINDOWS:
                self._double()

    @property
    def ppm(self) -> float | None:
        """How much faster than this host's the device's clock runs, in millionths; None before LEAST_S on both clocks.

        What is read from a file or a full buffer comes at once: its stamps span no time of this host.
        """
        points = list(self._best.values())
        if len(points) < 4 or min(points[-1][0], sum(points[-1])) < self.LEAST_S:
            return None
        points = points[:-1]  # the newest window is not complete
        n = len(points)
        mean_t, mean_d = sum(t for t, _ in points) / n, sum(d for _, d in points) / n
        slope = sum((t - mean_t) * (d - mean_d) for t, d in points) / sum((t - mean_t) ** 2 for t, _ in points)
        return -slope / (1.0 + slope) * 1e6

    def _double(self) -> None:
        self._window_s *= 2
        pairs: dict[int, tuple[float, float]] = {}
        for window, point in self._best.items():
            kept = pairs.get(window // 2)
            if kept is None or point[1] < kept[1]:
                pairs[window // 2] = point
        self._best = pairs


class Lost:
    """Samples that a device made and that did not come, from its sequence numbers, or else from its own clock.

    By the clock: the device samples at a constant rate, so a step of about m periods lost m - 1. The period is the
    median of the last steps; nothing is counted before SURE steps have been seen, or while they are not regular.
    """

    SURE = 15
    REGULAR = 0.2  # of a period

    def __init__(self) -> None:
        self.count = 0
        self._steps: list[float] = []
        self._period_s = 0.0

    def by_sequence(self, before: int, now: int) -> int:
        """Samples between two of the device's own counts (unwrapped); 0 where it repeats or began again."""
        lost = max(0, now - before - 1)
        self.count += lost
        return lost

    def by_clock(self, step_s: float) -> int:
        """Samples lost within a step of the device's clock."""
        lost = round(step_s / self._period_s) - 1 if self._period_s else 0
        if lost > 0:
            self.count += lost
            return lost
        self._steps.append(step_s)
        if len(self._steps) >= self.SURE:
            middle = sorted(self._steps)[self.SURE // 2]
            regular = all(abs(step - middle) <= self.REGULAR * middle for step in self._steps)
            self._period_s = middle if regular else 0.0
            self._steps.clear()
        return 0
