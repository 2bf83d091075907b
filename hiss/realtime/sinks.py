"""Where estimates and events go. A sink is a context manager, called in the loop's own thread: it must be quick."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy.typing as npt

from hiss.errors import HissError
from hiss.program import Port
from hiss.realtime.drain import Drain, descriptor_writer
from hiss.realtime.framing import F32, Event
from hiss.recording import Channel

if TYPE_CHECKING:
    from hiss.realtime.summary import Summary


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Estimate:
    """What the model said, and of when.

    t: s, of the sample that it belongs to, which is the newest one unless the program is spread (Program.latency);
        the wall clock for a live stream, the data's own time for a recording
    seq: index of that sample at the program's rate, from the stream's first (seq / rate_hz = s since the start)
    y: (n_outputs,);  latency_ns: from the read of the bytes to here;  flags: kinds of events since the last estimate
    """

    t: float
    seq: int
    y: npt.NDArray[Any]
    latency_ns: int
    flags: tuple[str, ...] = ()


class Sink:
    """Takes what the loop gives; a subclass overrides what it is interested in.

    name: what a summary calls it;  unsent: messages dropped because the reader was slow
    """

    name = ""
    unsent = 0

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def begin(self, channels: tuple[Channel, ...]) -> None:
        """The first frame has come, and it has these channels."""

    def frame(self, t: float, x: F32) -> None:
        """A frame as it was decoded: t in s on the stream's clock, x (C,)."""

    def estimate(self, estimate: Estimate) -> None:
        """An estimate has been made."""

    def event(self, event: Event) -> None:
        """Something happened."""

    def control(self, event: Event) -> None:
        """A user's command has been obeyed."""
        self.event(event)

    def watch(self, summary: Summary) -> None:
        """Before anything else: the loop's numbers, which grow while it runs."""

    def tick(self, now_ns: int) -> None:
        """Behind each chunk of bytes, and at least every 0.1 s without any; now_ns is monotonic."""


class JsonText:
    """An estimate as a line of JSON: {"t", "seq", "y": {name: value}, "lat_us"}, "flags" where there are any.

    A value that is not finite is null.
    """

    def __init__(self, outputs: Sequence[Port]):
        names = [json.dumps(port.name).replace("%", "%%") for port in outputs]
        self._line, self._text_line = (self._format(names, number) for number in ("%.9g", "%s"))

    def __call__(self, estimate: Estimate) -> str:
        """The line, with its end."""
        values, line = estimate.y.tolist(), self._line
        if not math.isfinite(sum(values)):
            values, line = [_number(value) for value in values], self._text_line
        flags = f',"flags":{json.dumps(estimate.flags)}' if estimate.flags else ""
        return line % (estimate.t, estimate.seq, *values, estimate.latency_ns / 1e3, flags)

    @staticmethod
    def _format(names: list[str], number: str) -> str:
        """One format for the whole line: a call instead of one per value."""
        values = ",".join(f"{name}:{number}" for name in names)
        return f'{{"t":%.6f,"seq":%d,"y":{{{values}}},"lat_us":%.1f%s}}\n'


class JsonLines(Sink):
    """A line of JSON per estimate, flushed, so that a reader has it at once. A slow reader is waited for."""

    def __init__(self, stream: TextIO, outputs: Sequence[Port]):
        self.stream = stream
        self.text = JsonText(outputs)

    def estimate(self, estimate: Estimate) -> None:
        """Write the line."""
        self.stream.write(self.text(estimate))
        self.stream.flush()


class LiveJsonLines(Sink):
    """The same lines to a descriptor whose reader is never waited for: the oldest are dropped."""

    name = "json lines"

    def __init__(self, fd: int, outputs: Sequence[Port]):
        self.text = JsonText(outputs)
        self._drain = Drain(descriptor_writer(fd))

    @property
    def unsent(self) -> int:  # type: ignore[override]
        """Lines dropped."""
        return self._drain.dropped

    def __exit__(self, *error: object) -> None:
        self._drain.close()

    def estimate(self, estimate: Estimate) -> None:
        """Queue the line, and send what the reader takes."""
        self._drain.put(self.text(estimate).encode())

    def tick(self, now_ns: int) -> None:
        """Send what the reader takes."""
        self._drain.push()


class TextFile(Sink):
    """A file with a line per estimate, each as soon as it comes; nothing is dropped. Raises HissError."""

    def __init__(self, path: str | os.PathLike[str], text: Callable[[Estimate], str], header: str = ""):
        self.path = Path(path)
        self.text = text
        self.header = header

    def __enter__(self) -> TextFile:
        with self._named():
            self._file = open(self.path, "w", encoding="utf-8", buffering=1)
            self._file.write(self.header)
        return self

    def __exit__(self, *error: object) -> None:
        with self._named():
            self._file.close()

    def estimate(self, estimate: Estimate) -> None:
        """Write the line."""
        with self._named():
            self._file.write(self.text(estimate))

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HissError(f"{self.path} cannot be written: {error.strerror or error}") from error


class JsonOut(TextFile):
    """The lines of JsonText."""

    def __init__(self, path: str | os.PathLike[str], outputs: Sequence[Port]):
        super().__init__(path, JsonText(outputs))


class CsvOut(TextFile):
    """Rows of time (s), seq, the outputs with their units, lat_us."""

    def __init__(self, path: str | os.PathLike[str], outputs: Sequence[Port]):
        columns = ["time (s)", "seq", *(f"{p.name} ({p.unit})" if p.unit else p.name for p in outputs), "lat_us"]
        super().__init__(path, _row, ",".join(columns) + "\n")


def _row(estimate: Estimate) -> str:
    values = ",".join(f"{y:.9g}" for y in estimate.y.tolist())
    return f"{estimate.t:.6f},{estimate.seq},{values},{estimate.latency_ns / 1e3:.1f}\n"


def stdout_lines(outputs: Sequence[Port], ends: bool) -> Sink:
    """Estimates on stdout: a live stream waits for no reader, data that ends waits for every one."""
    try:
        fd = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file: a notebook, a test
        return JsonLines(sys.stdout, outputs)
    return JsonLines(sys.stdout, outputs) if ends else LiveJsonLines(fd, outputs)


class EventLines(Sink):
    """Events for people: the first of each kind as they come, then at most one a second, with the number not shown."""

    SHOWN = 5

    def __init__(self, stream: TextIO):
        self.stream = stream
        self._seen: dict[str, int] = {}
        self._hidden: dict[str, int] = {}
        self._last_s: dict[str, float] = {}

    def event(self, event: Event) -> None:
        """Write the line, or count it."""
        now_s, seen = time.monotonic(), self._seen.get(event.kind, 0)
        self._seen[event.kind] = seen + 1
        if seen >= self.SHOWN and now_s - self._last_s[event.kind] < 1.0:
            self._hidden[event.kind] = self._hidden.get(event.kind, 0) + 1
            return
        hidden = self._hidden.pop(event.kind, 0)
        self._last_s[event.kind] = now_s
        more = f" ({hidden} more like it before)" if hidden else ""
        self.stream.write(f"{event.kind}: {event.text}{more}\n")
        self.stream.flush()


def _number(value: float) -> str:
    return f"{value:.9g}" if math.isfinite(value) else "null"
