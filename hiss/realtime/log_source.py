"""A raw log as a source: the same chunks with the same stamps, so that all that follows from them follows again."""

from __future__ import annotations

import time
from collections.abc import Iterator

from hiss.realtime.framing import Event
from hiss.realtime.rawlog import BYTES, CONTROL, LogReader, is_log
from hiss.realtime.sources import TICK_S

__all__ = ["LogSource", "is_log"]


class LogSource:
    """The chunks and control events of a raw log, `speed` times as fast as recorded; None = as fast as they are read.

    The stamps are the recorded ones. `wall_ns` is what turns them into wall clock time.
    """

    ends = True

    def __init__(self, path: str, speed: float | None = None):
        self.name = str(path)
        self.reader = LogReader(path)
        self.speed = speed
        self.wall_ns = self.reader.wall_ns
        self.torn_start = bool(self.reader.header.get("torn_start", True))
        self.opening = str(self.reader.header.get("opening", "")).encode("latin-1")

    def __enter__(self) -> LogSource:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[tuple[int, bytes | Event]]:
        start_ns, first_ns = time.monotonic_ns(), None
        for record in self.reader:
            first_ns = record.stamp_ns if first_ns is None else first_ns
            if self.speed is not None:
                yield from self._until(start_ns + (record.stamp_ns - first_ns) / self.speed, record.stamp_ns)
            if record.kind == BYTES:
                yield record.stamp_ns, record.payload
            elif record.kind == CONTROL:
                yield record.stamp_ns, record.event

    @staticmethod
    def _until(due_ns: float, stamp_ns: int) -> Iterator[tuple[int, bytes]]:
        """Wait, on an absolute schedule, with ticks."""
        while (left_s := (due_ns - time.monotonic_ns()) * 1e-9) > 0:
            time.sleep(min(left_s, TICK_S))
            if left_s > TICK_S:
                yield stamp_ns, b""
