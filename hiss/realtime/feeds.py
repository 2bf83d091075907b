"""What the loop reads: frames with their arrival stamps, from a source and its decoder, or out of a recording.

A feed is a context manager and iterates (arrival_ns, items): monotonic ns, and the frames and events that came with it.
No items is a tick, so that whoever reads can look at signals and time-outs.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hiss.realtime.devices.csv import CsvDecoder
from hiss.realtime.framing import Counts, Decoder, Event, Frame
from hiss.realtime.sources import REPLUGGED, TICK_S, Source
from hiss.recording import Channel, Recording

Items = Sequence[Frame | Event]
HEAD = 512  # bytes kept to explain a stream that gives no frames
LONGEST_OPENING = 1 << 16  # bytes
COUNTED = tuple(field.name for field in dataclasses.fields(Counts))


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
    """The bytes of a source, decoded.

    renew: makes the decoder anew for a port that came back: half a frame from before must not meet half a frame of
    now. A text stream that named its columns at its start need not name them again.
    """

    def __init__(self, source: Source, decoder: Decoder, renew: Callable[[], Decoder] | None = None):
        self.name = source.name
        self.ends = source.ends
        self.head = b""
        self.source = source
        self.how: dict[str, Any] = {}  # how the bytes are decoded, for the header of a log
        self.decoder = decoder
        self.counts = decoder.counts  # one object from the start to the end, whatever decoders come
        self._renew = renew
        self._counted = decoder.counts
        self._opening = _Opening(isinstance(decoder, CsvDecoder))
        self._torn_line = False

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The decoder's channels."""
        return self.decoder.channels

    @property
    def wall_ns(self) -> int | None:
        """See `recorded_wall_ns`."""
        return getattr(self.source, "wall_ns", None)

    @property
    def own_time(self) -> bool:
        """See `tells_own_time`."""
        return bool(getattr(self.source, "own_time", self.ends))

    @property
    def opening(self) -> bytes:
        """What a text stream said before its first frame, as whole lines: a decoder that reads it knows the columns."""
        return self._opening.data

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return self.decoder.pending

    def __enter__(self) -> DecodedFeed:
        self.source.__enter__()
        if opening := getattr(self.source, "opening", b""):
            self._take_opening(opening)
        if lead := getattr(self.source, "lead", b""):  # of a log that goes on in the middle of a stream
            self._learn(lead)
        return self

    def __exit__(self, *error: object) -> None:
        self.source.__exit__(*error)

    def __iter__(self) -> Iterator[tuple[int, Items]]:
        begun, alone = False, None
        for arrival_ns, data in self.source:
            if isinstance(data, Event):
                if data.kind == REPLUGGED:
                    self._begin_again()
                begun, alone = False, None
                yield arrival_ns, (data,)
            elif alone is not None and (frame := alone(data)):
                yield arrival_ns, (frame,)
            elif begun and data:
                yield arrival_ns, self.decoder.feed(data)
            else:
                yield arrival_ns, self._decode(data) if data else ()
                begun = self._begun()
                alone = getattr(self.decoder, "alone", None) if begun else None

    def _begun(self) -> bool:
        """Whether from here on bytes are decoded and nothing else."""
        waits = len(self.head) < HEAD or self._torn_line or self._opening.wanted
        return not waits and self.decoder.counts is self.counts

    def _decode(self, data: bytes) -> Items:
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        if self._torn_line:
            data = self._after_torn_line(data)
        items = self.decoder.feed(data)
        if self.decoder.counts is not self.counts:
            self._count()
        if self._opening.wanted:
            self._opening.take(data, self.counts.frames)
        return items

    def _begin_again(self) -> None:
        if self._renew is None:
            return
        self.counts.skipped += self.decoder.pending
        channels = self.decoder.channels
        self.decoder = self._renew()
        self._counted = dataclasses.replace(self.decoder.counts)
        self._opening.wanted = False
        if self._opening.text and channels:
            self._take_opening(self.opening)
            self._torn_line = True

    def _take_opening(self, opening: bytes) -> None:
        """Let the decoder learn the columns."""
        self._opening.data, self._opening.wanted = opening, False
        self._learn(opening)

    def _learn(self, data: bytes) -> None:
        """Bring the decoder to where it is behind these bytes; what it finds in them has been counted before."""
        self.decoder.feed(data)
        if self.decoder.counts is self.counts:
            for name in COUNTED:
                setattr(self.counts, name, 0)
        self._counted = dataclasses.replace(self.decoder.counts)

    def _after_torn_line(self, data: bytes) -> bytes:
        torn, end, rest = data.partition(b"\n")
        self._torn_line = not end
        lost = len(torn) + len(end)
        self.counts.bytes += lost
        self.counts.skipped += lost
        return rest

    def _count(self) -> None:
        """Add what the decoder of now has counted since it was looked at."""
        for name in COUNTED:
            now = getattr(self.decoder.counts, name)
            setattr(self.counts, name, getattr(self.counts, name) + now - getattr(self._counted, name))
            setattr(self._counted, name, now)


@dataclass(slots=True)
class _Opening:
    """The lines of a text stream until the one that gave the first frame."""

    text: bool
    data: bytes = b""
    wanted: bool = True

    def __post_init__(self) -> None:
        self.wanted = self.text

    def take(self, data: bytes, frames: int) -> None:
        """Keep the bytes, until frames have come; then whole lines stay."""
        self.data += data
        if frames or len(self.data) > LONGEST_OPENING:
            self.wanted = False
            self.data = self.data[: self.data.rfind(b"\n") + 1]


def recorded_wall_ns(feed: Feed) -> int | None:
    """Of a replayed log: the wall clock's lead over its stamps. None: the stamps are of this host and of now."""
    wall_ns: int | None = getattr(feed, "wall_ns", None)
    return wall_ns


def tells_own_time(feed: Feed) -> bool:
    """Whether the times to tell are the data's own; of a log, what they were when it was recorded."""
    return bool(getattr(feed, "own_time", feed.ends))


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
