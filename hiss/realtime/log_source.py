"""A raw log as a source: the same chunks with the same stamps, so that all that follows from them follows again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from hiss.realtime.framing import Event
from hiss.realtime.rawlog import BYTES, CONTROL, LogReader, Record, is_log
from hiss.realtime.sources import TICK_S

__all__ = ["LogSource", "is_log"]


class LogSource:
    """The chunks and control events of one source of a raw log, `speed` times as fast as recorded; None = at once.

    The stamps are the recorded ones. `wall_ns` is what turns them into wall clock time. `next_ns` is the stamp of what
    comes next: who reads several asks the earliest. Raises RecordingError for a source that the log does not have.
    """

    ends = True

    def __init__(self, path: str, speed: float | None = None, source: int = 0):
        self.name = str(path)
        self.reader = LogReader(path)
        self.speed = speed
        self.source = source
        self.wall_ns = self.reader.wall_ns
        about = self.reader.source(source)
        self.own_time = bool(about.get("ends", False))
        self.torn_start = bool(about.get("torn_start", True))
        self.opening = str(about.get("opening", "")).encode("latin-1")
        self.lead = str(about.get("lead", "")).encode("latin-1")
        self._began_ns = next((record.stamp_ns for record in self.reader if record.stamp_ns), 0)

    @property
    def next_ns(self) -> float:
        """Stamp of what comes next; inf at the end."""
        return math.inf if self._next is None else self._next.stamp_ns

    def __enter__(self) -> LogSource:
        self._records = (r for r in self.reader if r.source == self.source and r.kind in (BYTES, CONTROL))
        self._next: Record | None = next(self._records, None)
        self._start_ns = time.monotonic_ns()
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[tuple[int, bytes | Event]]:
        while (record := self._next) is not None:
            if self.speed is not None:
                due_ns = self._start_ns + (record.stamp_ns - self._began_ns) / self.speed
                yield from self._until(due_ns, record.stamp_ns)
            self._next = next(self._records, None)
            yield record.stamp_ns, record.payload if record.kind == BYTES else record.event

    @staticmethod
    def _until(due_ns: float, stamp_ns: int) -> Iterator[tuple[int, bytes]]:
        """Wait, on an absolute schedule, with ticks."""
        while (left_s := (due_ns - time.monotonic_ns()) * 1e-9) > 0:
            time.sleep(min(left_s, TICK_S))
            if left_s > TICK_S:
                yield stamp_ns, b""
