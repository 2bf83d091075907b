"""Bytes in, frames and events out: what every device decoder shares. Pure: no port, no clock, no thread.

A decoder is fed the bytes as they come, cut anywhere, and gives what they completed. Arbitrary bytes never raise; each
byte ends in a frame, or is counted as skipped, or waits as `pending`. How the bytes were cut changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hiss.recording import Channel

F32 = npt.NDArray[np.float32]


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Frame:
    """One sample as it came: x (C,), which nobody changes, and what else the device sends with it.

    t: the device's own time in s, unwrapped: it goes back only when the device started again
    seq: the device's own count of samples, unwrapped: one more per sample, further on where samples are missing, the
    same again for a repeated one, and back only when the device started again
    """

    x: F32
    t: float | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something a user may want to know. kind: a word for programs; text: a sentence for people."""

    kind: str
    text: str


@dataclass(slots=True)
class Counts:
    """What happened to the bytes of one stream."""

    bytes: int = 0  # all that came
    frames: int = 0  # whole frames given out
    skipped: int = 0  # bytes that were part of no frame
    resyncs: int = 0  # times the frame boundary was lost and found again
    malformed: int = 0  # lines or frames that were delimited well and could not be read
    checksum: int = 0  # frames in their place whose checksum is wrong

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return dataclasses.asdict(self)


class Decoder(Protocol):
    """What a device is: a decoder knows its channels at the latest when it gives its first frame."""

    counts: Counts

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Names and units of a frame's columns; () while they are not known yet."""
        ...

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        ...

    def feed(self, data: bytes) -> list[Frame | Event]:
        """What these bytes complete, in the order of the stream."""
        ...


class TailFramer:
    """Frames of a fixed size that only a fixed tail marks: no sync word, no checksum.

    In step, a frame is the next `size` bytes if they end in the tail. Out of step (at the start, after a lost or an
    extra byte), the boundary is searched one byte at a time: the first window that ends in the tail and looks right is
    a frame. Until a first frame looked right, a window is also taken when the tail comes again one frame later: a
    sensor that sends odd numbers is still a sensor. Who reads the frames counts them.
    """

    def __init__(self, size: int, tail: bytes, looks_right: Callable[[bytes], bool]):
        self.size = size
        self.tail = tail
        self.looks_right = looks_right
        self.counts = Counts()
        self._buffer = bytearray()
        self._in_step = False
        self._seen_right = False
        self._started = False
        self._lost = 0  # bytes skipped since the last frame

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes | Event]:
        """The frames (tail included) and events that these bytes complete."""
        self.counts.bytes += len(data)
        self._buffer += data
        found: list[bytes | Event] = []
        start = 0
        while (frame_at := self._next(start)) is not None:
            if frame_at > start or not self._in_step:
                found += self._resynchronised()
            start = frame_at + self.size
            found.append(bytes(self._buffer[frame_at:start]))
        del self._buffer[: start if self._in_step else self._searched]
        return found

    def _next(self, start: int) -> int | None:
        """Where the next frame begins, at or after `start`; None when more bytes are needed."""
        if self._in_step:
            if len(self._buffer) < start + self.size:
                return None
            if self._ends_well(start):
                return start
            self._in_step = False
        return self._search(start)

    def _search(self, start: int) -> int | None:
        body = self.size - len(self.tail)
        at = start
        while True:
            tail_at = self._buffer.find(self.tail, at + body)
            new = max(at, len(self._buffer) - self.size + 1) if tail_at < 0 else tail_at - body
            self._skip(new - at)
            at = self._searched = new
            if tail_at < 0:
                return None
            verdict = self._judge(at)
            if verdict is None:
                return None
            if verdict:
                return at
            self._skip(1)
            at += 1

    def _judge(self, at: int) -> bool | None:
        """Whether the window at `at` is a frame; None when that cannot be said yet."""
        if self.looks_right(bytes(self._buffer[at : at + self.size])):
            self._seen_right = True
            return True
        if self._seen_right:
            return False
        if len(self._buffer) < at + 2 * self.size:
            return None
        return self._ends_well(at + self.size)

    def _ends_well(self, at: int) -> bool:
        end = at + self.size
        return self._buffer[end - len(self.tail) : end] == self.tail

    def _skip(self, n: int) -> None:
        self._lost += n
        self.counts.skipped += n

    def _resynchronised(self) -> list[Event]:
        lost, self._lost, self._in_step = self._lost, 0, True
        if not self._started:
            self._started = True
            return [Event("start", f"first frame after {lost} bytes of an incomplete one")] if lost else []
        self.counts.resyncs += 1
        return [Event("resync", f"frame boundary lost and found again: {lost} bytes skipped")]
