"""Where each frame lies in time, and what the stream lost: timeline, sequence and clocks, told as events."""

from __future__ import annotations

import math
from collections.abc import Callable

from hiss.realtime.clock import DROPPED, Timeline
from hiss.realtime.continuity import REPEATED, Continuity
from hiss.realtime.feeds import Feed, recorded_wall_ns, tells_own_time
from hiss.realtime.framing import Event, Frame
from hiss.realtime.sources import REPLUGGED
from hiss.realtime.summary import Summary

GAP = "gap"
BEGINS_AGAIN = {
    "restart": "the device's clock went back: it started again, and so does the model",
    REPEATED: "the device's count of samples went back: it started again, and so does the model",
    REPLUGGED: "the port came back: the model starts again",
    GAP: "the pause was longer than allowed: the model starts again",
}


class Placing:
    """Takes frames in the order in which they come; counts in the summary, and says what happened.

    gap_s: a longer pause is told;  cut_s: behind a longer one a new segment begins;  pause_s: put between two segments
    where it is not known;  restart(why): a new segment begins, why is a key of BEGINS_AGAIN
    """

    def __init__(
        self,
        feed: Feed,
        summary: Summary,
        *,
        gap_s: float,
        cut_s: float,
        pause_s: float,
        say: Callable[[Event], None],
        restart: Callable[[str], None],
    ):
        self.timeline = Timeline(tells_own_time(feed), recorded_wall_ns(feed), cut_s)
        self.continuity = Continuity()
        self.summary = summary
        self._gap_s = gap_s
        self._pause_s = pause_s
        self._say = say
        self._restart = restart
        # the stamps of data that is read at once tell nothing of its clock
        self._stamped = not feed.ends or recorded_wall_ns(feed) is not None
        self._why = ""  # a new segment begins with the next frame
        self._before = b""  # the values of the last frame
        self._unsettled: tuple[float, int] | None = None  # the last frame's time and arrival, for both clocks
        summary.clock = self.continuity.clock

    def put(self, frame: Frame, arrival_ns: int) -> bool:
        """Whether the frame has a place: it is not a repeated one, and not without time.

        What nobody waits for is done in settle().
        """
        if self._unsettled is not None:
            self.settle()
        timeline, continuity, t, seq = self.timeline, self.continuity, frame.t, frame.seq
        if seq is not None and seq - 1 == continuity.seq:
            continuity.seq = seq
        elif seq is not None and not self._in_order(seq):
            return False
        why = ""
        if what := timeline.put(arrival_ns, t, self._pause_s):
            if what in DROPPED:
                self.summary.drop(what)
                return False
            why = self._begun(what)
        if t is None and seq is None:
            self._count_repeat(frame.x.tobytes())
        elif t is not None:
            if seq is None:
                continuity.stepped(timeline.step_s if not what or why == GAP else math.nan)
            self._unsettled = (t, arrival_ns) if self._stamped else None
        self.summary.span_s = timeline.span_s
        if continuity.lost.count != self.summary.lost:
            self._tell_lost()
        if timeline.step_s > self._gap_s:
            self._tell_gap(timeline.step_s)
        return True

    def settle(self) -> None:
        """Follow the clocks with the last frame; for the loop to call behind the sinks."""
        if self._unsettled is not None:
            self.continuity.host.put(*self._unsettled)
            self.continuity.clock.put(*self._unsettled)
            self._unsettled = None

    def _count_repeat(self, values: bytes) -> None:
        """A board that reads its sensor sooner than that converts sends a value twice; without a count or a clock only
        the values tell it. Such frames are fed: training had them too."""
        self.summary.repeats += values == self._before
        self._before = values

    def replugged(self) -> None:
        """The port went away and came back: whatever the device counted, it counts anew."""
        self.continuity.seq = None
        self._cut(REPLUGGED)

    def told_s(self, since_s: float) -> float:
        """The time to tell of a moment so long after the segment's first frame: it follows the host's clock, up to the
        last frame that is settled, but the data's own time is told as it is."""
        lag_s = 0.0 if self.timeline.own_time else self.continuity.host.lag_s
        return self.timeline.origin_s + since_s + lag_s

    def _in_order(self, seq: int) -> bool:
        what = self.continuity.order(seq)
        if what == REPEATED:
            self.summary.drop(what)
            return False
        if what:
            self._cut(REPEATED)
        return True

    def _cut(self, why: str) -> None:
        self._why = why
        self.timeline.cut()

    def _begun(self, what: str) -> str:
        """A segment begins with this frame: why, "" for the first one."""
        why, self._why = self._why, ""
        if what == "first":
            return ""
        why = why or (GAP if what == "cut" else "restart")
        self.continuity.begin(same_clock=why == GAP)
        self.summary.restarts += 1
        self._restart(why)
        self._say(Event("restart", BEGINS_AGAIN[why]))
        return why

    def _tell_lost(self) -> None:
        lost = self.continuity.lost.count - self.summary.lost
        self.summary.lost += lost
        self._say(Event("lost", f"{lost} sample{'s' if lost > 1 else ''} of the device did not come"))

    def _tell_gap(self, seconds: float) -> None:
        self.summary.gaps += 1
        self.summary.longest_gap_s = max(self.summary.longest_gap_s, seconds)
        self._say(Event(GAP, f"no frame for {seconds:.3g} s"))
