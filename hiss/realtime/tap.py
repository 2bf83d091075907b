"""A source whose chunks and events go into a raw log on their way, before anything is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hiss.realtime.framing import Event
from hiss.realtime.sources import REPLUGGED, Source

LEAD = 1 << 14  # bytes: some frames of any device


class Tap:
    """A source as it is, and put(stamp_ns, data) for what it gives; what put raises ends the stream.

    wall_ns: the wall clock's lead over the stamps, the log's own, so that a replay of the log tells the same times.
    lead: the last bytes; a decoder that has read them goes on in the middle of the stream as the one here does.
    """

    def __init__(self, source: Source, put: Callable[[int, bytes | Event], None], wall_ns: int):
        self.source = source
        self.name = source.name
        self.torn_start = source.torn_start
        self.ends = source.ends
        self.wall_ns = wall_ns
        self.lead = b""
        self._put = put

    def __enter__(self) -> Tap:
        self.source.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.source.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def __iter__(self) -> Iterator[tuple[int, bytes | Event]]:
        for stamp_ns, data in self.source:
            if data:
                self._put(stamp_ns, data)
            if not isinstance(data, Event):
                self.lead = (self.lead + data)[-LEAD:]
            elif data.kind == REPLUGGED:
                self.lead = b""
            yield stamp_ns, data
