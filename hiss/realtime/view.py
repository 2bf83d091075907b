"""The dashboard as a sink: it looks on, and draws ten times a second at most; see view_text.py for what is shown."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable

from hiss.program import Program
from hiss.realtime.framing import F32, Event
from hiss.realtime.sinks import Estimate, Sink
from hiss.realtime.summary import Summary
from hiss.realtime.terminal import Screen
from hiss.realtime.view_text import Curves, Shown, lines
from hiss.recording import Channel

EVERY_S = 0.1
SPAN_NS = round(EVERY_S * 1e9)
COMMANDS = {"t": "tare", "r": "reset"}  # by key
SHARE = 0.02  # of the time, at most, is spent on drawing: a slow computer draws less often
EVENTS = 20
KEYS = "q quit, t tare, r reset"


class View(Sink):
    """Takes the terminal from its entry to its exit.  quit: q was typed;  obeys: t and r are commands."""

    def __init__(self, program: Program, screen: Screen | None = None, utf8: bool | None = None, obeys: bool = False):
        self.screen = screen or Screen()
        self.quit = False
        self.obeys = obeys
        self._asked: list[str] = []
        self._utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8" if utf8 is None else utf8
        self._outputs = [(port.name, port.unit) for port in program.outputs]
        self._title = f"-> {', '.join(name for name, _ in self._outputs)}"
        self._events: deque[str] = deque(maxlen=EVENTS)
        self._shown: Shown | None = None
        self._due_ns = 0
        self._turn_ns = 0
        self._counted: deque[tuple[int, int]] = deque(maxlen=round(1 / EVERY_S) + 1)

    def __enter__(self) -> View:
        self.screen.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown is not None and not self.quit:
            self._shown.channels.past.turn()
            self._shown.estimates.past.turn()
            self._draw(self._shown)
        self.screen.__exit__(*error)

    def watch(self, summary: Summary) -> None:
        """What the numbers are read from."""
        title = f"hiss | {summary.source} {self._title}"
        self._shown = Shown(title, summary, Curves.of(self._outputs, holds=True), Curves(), span_s=EVERY_S)
        if self.obeys:
            self._shown.keys = KEYS
        self._put: Callable[[F32], None] = lambda x: None
        self._put_estimate = self._shown.estimates.past.put

    def begin(self, channels: tuple[Channel, ...]) -> None:
        """The channels are known."""
        if self._shown is not None:
            self._shown.channels = Curves.of([(c.name, c.unit) for c in channels])
            self._put = self._shown.channels.past.put

    def frame(self, t: float, x: F32) -> None:
        """Keep lowest, highest and newest."""
        self._put(x)

    def estimate(self, estimate: Estimate) -> None:
        """The same."""
        self._put_estimate(estimate.y)

    def event(self, event: Event) -> None:
        """Keep the last ones."""
        self._events.append(f" {time.strftime('%H:%M:%S')} {event.kind}: {event.text}")

    def tick(self, now_ns: int) -> None:
        """Draw when it is time and the terminal has taken the last picture; look at the keys."""
        if self._shown is None:
            return
        if now_ns >= self._turn_ns:
            self._turn(self._shown, now_ns)
        if now_ns >= self._due_ns:
            began_ns = time.perf_counter_ns()
            self._typed(self.screen.keys().lower())
            self._draw(self._shown)
            self._due_ns = now_ns + max(SPAN_NS, round((time.perf_counter_ns() - began_ns) / SHARE))

    def asked(self) -> list[str]:
        """The commands that were typed since the last call."""
        asked, self._asked = self._asked, []
        return asked

    def _typed(self, keys: str) -> None:
        self.quit = self.quit or "q" in keys
        if self.obeys:
            self._asked += [COMMANDS[key] for key in keys if key in COMMANDS]

    def _turn(self, shown: Shown, now_ns: int) -> None:
        """The next span of the curves begins (or several, after a pause), and the rate is that of the last second."""
        spans = min((now_ns - self._turn_ns) // SPAN_NS + 1, 400) if self._turn_ns else 1
        for _ in range(spans):
            shown.channels.past.turn()
            shown.estimates.past.turn()
        self._turn_ns = now_ns + SPAN_NS if spans > 1 else (self._turn_ns or now_ns) + SPAN_NS
        self._counted.append((now_ns, shown.summary.counts.frames))
        (then_ns, then), (_, now) = self._counted[0], self._counted[-1]
        shown.rate_hz = (now - then) / ((now_ns - then_ns) * 1e-9) if now_ns > then_ns else 0.0

    def _draw(self, shown: Shown) -> None:
        if self.screen.busy:
            return
        shown.events = self._events
        size = self.screen.size
        self.screen.draw(lines(shown, *size, self._utf8), size)
