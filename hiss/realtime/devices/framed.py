"""What the decoders of binary frames share: a framer in front, and one function that reads its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from hiss.realtime.framing import Counts, Event, Frame
from hiss.recording import Channel


class Framer(Protocol):
    """Cuts a stream of bytes into frames."""

    counts: Counts

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        ...

    def feed(self, data: bytes) -> list[bytes | Event]:
        """The frames and events that these bytes complete."""
        ...


class FramedDecoder:
    """A framer and `read`, which a device defines: the bytes of one frame -> the samples and events it gives.

    alone: what feed() asks first where a device has it: the frame that a chunk is, or None, and nothing has changed
    """

    alone: Callable[[bytes], Frame | None] | None = None

    def __init__(self, framer: Framer, channels: tuple[Channel, ...] = ()):
        self.channels = channels
        self.counts = framer.counts
        self._framer = framer

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return self._framer.pending

    def feed(self, data: bytes) -> list[Frame | Event]:
        """What these bytes complete, in the order of the stream."""
        found: list[Frame | Event] = []
        for item in self._framer.feed(data):
            if isinstance(item, Event):
                found.append(item)
            else:
                found += self.read(item)
        return found

    def read(self, frame: bytes) -> Iterable[Frame | Event]:
        """The samples and events of one frame; counts its samples."""
        raise NotImplementedError

    def refused(self, frame_size: int, text: str) -> tuple[Event]:
        """Counts a frame that was delimited well and cannot be read."""
        self.counts.malformed += 1
        self.counts.skipped += frame_size
        return (Event("malformed", text),)


def axes(name: str, unit: str, of: str = "xyz") -> tuple[Channel, ...]:
    """The channels of a vector: name_x, name_y, name_z."""
    return tuple(Channel(f"{name}_{axis}", unit) for axis in of)
