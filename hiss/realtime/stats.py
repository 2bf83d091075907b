"""A stream's numbers while it runs: a line every N seconds, for people or as JSON, and limits that they must keep."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from hiss.errors import HissError
from hiss.realtime.bins import LogBins
from hiss.realtime.sinks import Sink
from hiss.realtime.summary import Summary, quantiles_text

TIMES = ("service", "queue_age", "inter_arrival")


class Stats(Sink):
    """Says every `every_s` what the stream was like since it last said so: a line of text, a line of JSON, or both.

    Counts are of the whole stream, rates and times of the last interval: a bad second does not vanish in a good day.
    """

    def __init__(self, every_s: float, text: TextIO | None = None, path: Path | None = None):
        self.every_s = every_s
        self.text = text
        self.path = path
        self._file: TextIO | None = None
        self._summary: Summary | None = None
        self._due_ns = 0
        self._since_ns = 0
        self._frames = 0
        self._before: dict[str, LogBins] = {}

    def __enter__(self) -> Stats:
        if self.path is not None:
            try:
                self._file = open(self.path, "a", encoding="utf-8", buffering=1)
            except OSError as error:
                raise HissError(f"{self.path} cannot be written: {error.strerror}") from error
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def watch(self, summary: Summary) -> None:
        """The numbers to tell."""
        self._summary = summary
        self._before = _taken(summary)

    def tick(self, now_ns: int) -> None:
        """Say it when it is time; missed turns are left out."""
        if not self._due_ns:
            self._since_ns, self._due_ns = now_ns, now_ns + round(self.every_s * 1e9)
        if now_ns < self._due_ns or self._summary is None:
            return
        self._say(self._summary, (now_ns - self._since_ns) * 1e-9)
        self._since_ns, self._due_ns = now_ns, now_ns + round(self.every_s * 1e9)

    def _say(self, summary: Summary, seconds: float) -> None:
        times = {name: getattr(summary, name).since(before) for name, before in self._before.items()}
        rate_hz = (summary.counts.frames - self._frames) / seconds
        self._frames, self._before = summary.counts.frames, _taken(summary)
        if self.text is not None:
            self.text.write(_line(summary, rate_hz, times) + "\n")
            self.text.flush()
        if self._file is not None:
            interval = {"rate_hz": round(rate_hz, 3), "seconds": round(seconds, 3)}
            figures = interval | {name: bins.as_dict() for name, bins in times.items()}
            self._write(self._file, summary.as_dict() | {"interval": figures})

    def _write(self, file: TextIO, figures: dict[str, Any]) -> None:
        try:
            file.write(json.dumps(figures) + "\n")
        except OSError as error:
            raise HissError(f"{self.path} cannot be written: {error.strerror}") from error


def _taken(summary: Summary) -> dict[str, LogBins]:
    return {name: copy.deepcopy(getattr(summary, name)) for name in TIMES}


def _line(summary: Summary, rate_hz: float, times: dict[str, LogBins]) -> str:
    """Text of one interval."""
    counts = summary.counts
    parts = [
        f"{summary.span_s:.0f} s: {rate_hz:.1f} Hz, {counts.frames} frames",
        f"drops {summary.drops}",
        f"resyncs {counts.resyncs}",
        f"skipped {counts.skipped} bytes",
        f"checksum {counts.checksum}",
        f"gaps {summary.gaps}",
    ]
    names = {"service": "service", "queue_age": "queue", "inter_arrival": "arrival"}
    parts += [f"{names[name]} {quantiles_text(bins)}" for name, bins in times.items()]
    return " | ".join(parts)


@dataclass(frozen=True)
class Budget:
    """What a stream must keep.  max_p99_us: of the service time, us;  max_drops: see Summary.drops."""

    max_p99_us: float | None = None
    max_drops: int | None = None

    def broken(self, summary: Summary) -> Sequence[str]:
        """A sentence for each limit that was passed."""
        said = []
        p99_us = summary.service.quantile_ns(0.99) / 1e3
        if self.max_p99_us is not None and not p99_us <= self.max_p99_us:  # NaN: nothing was measured
            said.append(f"service p99 is {p99_us:.1f} us, at most {self.max_p99_us:g} us was wanted")
        if self.max_drops is not None and summary.drops > self.max_drops:
            said.append(f"{summary.drops} drops, at most {self.max_drops} were wanted")
        return said
