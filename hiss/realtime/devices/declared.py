"""A device that a TOML file declares: any frame of fixed fields, behind a sync word, of a fixed size, COBS or SLIP.

    framing = "sync"              # sync | fixed (a tail or a checksum marks it) | cobs | slip
    sync = "AA 55"                # hex
    endian = "little"             # or "big"
    checksum = "crc16-ccitt"      # sum8 sum16 xor8 crc16-ccitt crc32; or a table: type, first, start, endian
    fields = [
      { role = "length", type = "u8", adds = 5 },              # a frame of another length is passed over
      { role = "constant", type = "u8", value = 0x51 },        # and so is one with another value here
      { role = "sequence", type = "u16" },
      { role = "clock", type = "u32", unit = "us" },
      { names = ["acc_x", "acc_y", "acc_z"], type = "i16", scale = 0.000488, unit = "g" },
      { role = "skip", bytes = 2 },
    ]

Without a checksum, sync frames are taken on trust while they follow each other: a lost byte can give one wrong sample.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hiss.realtime.devices.declared_layout import ENDS, TICKS, Layout, read_layout
from hiss.realtime.devices.declared_plain import is_plain, plain_reader
from hiss.realtime.devices.framed import FramedDecoder, Framer
from hiss.realtime.framing import Event, Frame, TailFramer
from hiss.realtime.stuffing import (
    SLIP_END,
    DelimitedFramer,
    cobs_decode,
    cobs_encode,
    slip_decode,
    slip_encode,
)
from hiss.realtime.sync_framer import SizeOf, SyncFramer
from hiss.realtime.unwrap import DeviceClock, Unwrapped
from hiss.recording import Channel

Bytes = npt.NDArray[np.uint8]
LARGEST = 4096  # bytes that a length field can ask for


class DeclaredDecoder(FramedDecoder):
    """Bytes of a declared device -> its channels, with clock and sequence where it declares them.

    The frames of a chunk are read together: column by column, not frame by frame.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        channels = tuple(Channel(name, f.unit) for f in layout.channel_fields for name in f.names)
        super().__init__(_framer(layout), channels)
        self._runs: list[Run] = []  # of the channels
        self._constants: list[tuple[Run, int]] = []
        self._clock: tuple[Run, DeviceClock] | None = None
        self._sequence: tuple[Run, Unwrapped] | None = None
        self._place_fields()
        every = [(f.scale, f.offset) for f in layout.channel_fields for _ in f.names]
        self._scale, self._offset = np.array(every).T
        self._scaled = bool((self._scale != 1).any() or self._offset.any())
        clock = self._clock[1] if self._clock else None
        sequence = self._sequence[1] if self._sequence else None
        self._plain = plain_reader(layout, self._framer, clock, sequence) if is_plain(layout) else None
        self.alone = self._plain

    def feed(self, data: bytes) -> list[Frame | Event]:
        """What these bytes complete, in the order of the stream."""
        if self.alone and (frame := self.alone(data)):
            return [frame]
        items = self._framer.feed(data)
        sized = [item for item in items if isinstance(item, bytes) and len(item) == self.layout.size]
        read = (
            [self._plain(sized[0], True)] if self._plain and len(sized) == 1 else self._frames(sized) if sized else []
        )
        if len(read) == len(items):
            return [frame for frame in read if frame]
        in_order = iter(read)
        found: list[Frame | Event] = []
        for item in items:
            if isinstance(item, Event):
                found.append(item)
            elif len(item) == self.layout.size and (own := next(in_order)):
                found.append(own)
        return found

    def _frames(self, frames: list[bytes]) -> list[Frame | None]:
        """A sample for each; None for one with another constant."""
        joined = b"".join(frames)
        rows = np.frombuffer(joined, np.uint8).reshape(len(frames), self.layout.size)
        if self._constants:
            right = np.all([run.of(rows)[:, 0] == value for run, value in self._constants], axis=0)
            if not right.all():
                kept = iter(self._frames([f for f, good in zip(frames, right.tolist(), strict=True) if good]))
                return [next(kept) if good else None for good in right.tolist()] if right.any() else [None] * len(right)
        self.counts.frames += len(frames)
        nothing = [None] * len(frames)
        times = list(map(self._clock[1], self._clock[0].numbers(rows))) if self._clock else nothing
        places = list(map(self._sequence[1], self._sequence[0].numbers(rows))) if self._sequence else nothing
        return [Frame(x, t, seq) for x, t, seq in zip(self._values(rows), times, places, strict=True)]

    def _values(self, rows: Bytes) -> npt.NDArray[np.float32]:
        raw = [run.of(rows) for run in self._runs]
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes inf: the loop says so
            values = raw[0] if len(raw) == 1 else np.concatenate(raw, axis=1, dtype=np.float64)
            if self._scaled:
                values = values * self._scale + self._offset
            return values.astype(np.float32)

    def _place_fields(self) -> None:
        at = len(self.layout.sync)
        for f in self.layout.fields:
            run = Run(f.type, at, max(1, len(f.names)), self.layout.order)
            if f.role == "channel":
                self._add(run)
            elif f.role == "constant":
                self._constants.append((run, f.value))
            elif f.role == "clock":
                self._clock = run, DeviceClock(f.bits, TICKS[f.unit] * f.scale)
            elif f.role == "sequence":
                self._sequence = run, Unwrapped(1 << f.bits)
            at += struct.calcsize(self.layout.order + f.format)

    def _add(self, run: Run) -> None:
        """Numbers of one type right behind each other are read at once."""
        before = self._runs[-1] if self._runs else None
        if before and before.type == run.type and before.end == run.at:
            self._runs[-1] = dataclasses.replace(before, count=before.count + run.count)
        else:
            self._runs.append(run)


@dataclass(frozen=True)
class Run:
    """`count` numbers of one type, `at` bytes into a frame."""

    type: str
    at: int
    count: int
    order: str

    @property
    def width(self) -> int:
        """Bytes of a number."""
        return int(self.type[1:]) // 8

    @property
    def end(self) -> int:
        """Where they end."""
        return self.at + self.count * self.width

    def of(self, rows: Bytes) -> npt.NDArray[Any]:
        """The numbers of frames, (n, bytes of a frame) -> (n, count)."""
        own = rows[:, self.at : self.end]
        if self.width != 3:
            return np.ascontiguousarray(own).view(f"{self.order}{self.type[0]}{self.width}")
        wide = np.zeros((len(rows), self.count, 4), np.uint8)  # numpy knows no such number: it is the upper part
        wide[..., 1:] = own.reshape(len(rows), self.count, 3)[..., :: 1 if self.order == "<" else -1]
        return wide.view(f"<{self.type[0]}4")[..., 0] >> 8

    def numbers(self, rows: Bytes) -> list[int]:
        """The first of each frame."""
        return self.of(rows)[:, 0].tolist()


def declared_decoder(path: str | os.PathLike[str]) -> DeclaredDecoder:
    """The decoder of a device file. Raises RecordingError when it cannot be read, ValueError when it makes no sense."""
    return DeclaredDecoder(read_layout(path))


def encode(layout: Layout, numbers: tuple[float, ...]) -> bytes:
    """The frame that a declared device sends: `numbers` are the raw ones of all fields but those that are skipped."""
    fields = [f.bits for f in layout.fields if f.role != "skip" for _ in range(max(1, len(f.names)))]
    raw = [_three_bytes(int(n), layout.endian) if bits == 24 else n for n, bits in zip(numbers, fields, strict=True)]
    frame = layout.sync + layout.body.pack(*raw)
    if layout.checksum:
        frame += _checksum(layout, frame)
    if layout.framing == "cobs":
        return cobs_encode(frame) + b"\0"
    if layout.framing == "slip":
        return slip_encode(frame) + bytes([SLIP_END])
    return frame + layout.tail


def _three_bytes(number: int, endian: str) -> bytes:
    four = struct.pack(ENDS[endian] + "I", number & 0xFFFFFF)
    return four[:3] if endian == "little" else four[1:]


def _framer(layout: Layout) -> Framer:
    sound = _sound(layout)
    if layout.framing == "cobs":
        return DelimitedFramer(b"\0", lambda frame: _unstuffed(layout, cobs_decode(frame), sound))
    if layout.framing == "slip":
        return DelimitedFramer(bytes([SLIP_END]), lambda frame: _unstuffed(layout, slip_decode(frame), sound))
    if layout.tail and not layout.checksum and not layout.sync:
        return TailFramer(layout.size, layout.tail, lambda frame: False)  # by the tail that comes again
    header, size_of = _size_of(layout)
    return SyncFramer(layout.sync, header, size_of, sound if layout.checksum or layout.tail else None)


def _size_of(layout: Layout) -> tuple[int, SizeOf]:
    """(bytes of a frame that tell its size, the function of them)."""
    roles = [f.role for f in layout.fields]
    if "length" not in roles:
        return len(layout.sync), lambda head: layout.size
    before, length = layout.fields[: roles.index("length")], layout.fields[roles.index("length")]
    at = len(layout.sync) + struct.calcsize(layout.order + "".join(f.format for f in before))
    number = struct.Struct(layout.order + length.format)
    shortest = at + number.size

    def told(head: bytes) -> int:
        size: int = number.unpack_from(head, at)[0] + length.adds
        return size if shortest <= size <= LARGEST else 0

    return shortest, told


def _sound(layout: Layout) -> Callable[[bytes], bool]:
    """Whether a frame has the tail and the checksum that it should have."""
    tail, checksum = layout.tail, layout.checksum
    if checksum is None:
        return lambda frame: frame.endswith(tail)
    size, of, first = checksum.size, checksum.of, _covered(layout)
    order: Literal["little", "big"] = "little" if (checksum.endian or layout.endian) == "little" else "big"

    def sound(frame: bytes) -> bool:
        return len(frame) >= size and of(frame[first:-size]) == int.from_bytes(frame[-size:], order)

    def sound_with_tail(frame: bytes) -> bool:
        return frame.endswith(tail) and sound(frame[: -len(tail)])

    return sound_with_tail if tail else sound


def _covered(layout: Layout) -> int:
    """Where what the checksum covers begins."""
    first = layout.checksum.first if layout.checksum else None
    return len(layout.sync) if first is None else first


def _checksum(layout: Layout, body: bytes) -> bytes:
    """The checksum's bytes, for a frame from sync word to the last field."""
    checksum = layout.checksum
    if checksum is None:
        return b""
    order = ENDS[checksum.endian] if checksum.endian else layout.order
    return struct.pack(order + {1: "B", 2: "H", 4: "I"}[checksum.size], checksum.of(body[_covered(layout) :]))


def _unstuffed(layout: Layout, frame: bytes | None, sound: Callable[[bytes], bool]) -> bytes | Event:
    if frame is None:
        return Event("malformed", f"not a {layout.framing} frame")
    if layout.checksum and not sound(frame):
        return Event("checksum", f"wrong checksum in a frame of {len(frame)} bytes")
    if len(frame) != layout.size and not layout.checksum:
        return Event("malformed", f"a frame of {len(frame)} bytes where {layout.size} are expected")
    return frame
