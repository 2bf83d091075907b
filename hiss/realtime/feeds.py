"""What the loop reads: frames with their arrival stamps, from a source and its decoder, or out of a recording.

A feed is a context manager and iterates (arrival_ns, items): monotonic ns, and the frames and events that came with it.
No items is a tick, so that whoever reads can look at signals and time-outs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from hiss.realtime.framing import Counts, Decoder, Event, Frame
from hiss.realtime.sources import TICK_S, Source
from hiss.recording import Channel, Recording

Items = Sequence[Frame | Event]
HEAD = 512  # bytes kept to explain a stream that gives no frames


class Feed(Protocol):
    """What the loop reads."""

    name: str
    ends: bool  # the data has an end: silence is no fault, and times are the data's own
    head: bytes  # the first bytes of the stream

    @property
    def counts(self) -> Counts:
        """What happened to the bytes."""
        ...

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Names and units of a frame's columns; () while they are not known yet."""
        ...

    def __enter__(self) -> Feed: ...

    def __exit__(self, *error: object) -> None: ...

    def __iter__(self) -> Iterator[tuple[int, Items]]: ...


class DecodedFeed:
    """The bytes of a source, decoded."""

    def __init__(self, source: Source, decoder: Decoder):
        self.name = source.name
        self.ends = source.ends
        self.head = b""
        self.source = source
        self.decoder = decoder

    @property
    def counts(self) -> Counts:
        """What happened to the bytes."""
        return self.decoder.counts

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The decoder's channels."""
        return self.decoder.channels

    def __enter__(self) -> DecodedFeed:
        self.source.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.source.__exit__(*error)

    def __iter__(self) -> Iterator[tuple[int, Items]]:
        feed = self.decoder.feed
        for arrival_ns, data in self.source:
            if len(self.head) < HEAD:
                self.head += data[: HEAD - len(self.head)]
            yield arrival_ns, feed(data) if data else ()


class RecordingFeed:
    """The samples of a recording at their recorded times, `speed` times as fast; speed None = as fast as they are read.

    The schedule is absolute: a sample is due at the start plus its own time, so late ones catch up and nothing drifts.
    """

    ends = True
    head = b""

    def __init__(self, recording: Recording, speed: float | None = None):
        if speed is not None and not speed > 0:
            raise ValueError(f"speed {speed!r}; it is a positive number, or None for as fast as possible")
        self.name = recording.name
        self.counts = Counts()
        self.channels = recording.channels
        self.recording = recording
        self.speed = speed

    def __enter__(self) -> RecordingFeed:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[tuple[int, Items]]:
        r, start_ns = self.recording, time.monotonic_ns()
        for t, x in zip(r.t.tolist(), r.x, strict=True):
            if self.speed is not None:
                for now_ns in wait_until(start_ns + round((t - r.t[0]) / self.speed * 1e9)):
                    yield now_ns, ()
            self.counts.frames += 1
            yield time.monotonic_ns(), (Frame(x, t),)


def wait_until(due_ns: int) -> Iterator[int]:
    """Sleep until a monotonic stamp; gives a tick at least every TICK_S, so that a long wait can be left."""
    while (left_s := (due_ns - time.monotonic_ns()) * 1e-9) > 0:
        time.sleep(min(left_s, TICK_S))
        if left_s > TICK_S:
            yield time.monotonic_ns()
