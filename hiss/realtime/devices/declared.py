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

import os
import struct
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hiss.realtime.devices.declared_layout import ENDS, TICKS, Layout, read_layout
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

Number = Callable[[bytes], int]
LARGEST = 4096  # bytes that a length field can ask for


class DeclaredDecoder(FramedDecoder):
    """Bytes of a declared device -> its channels, with clock and sequence where it declares them."""

    def __init__(self, layout: Layout):
        self.layout = layout
        channels = tuple(Channel(name, f.unit) for f in layout.channel_fields for name in f.names)
        super().__init__(_framer(layout), channels)
        self._runs: list[tuple[str, int, int]] = []  # (type, where in a frame, how many numbers) of the channels
        self._constants: list[tuple[Number, int]] = []
        self._clock: tuple[Number, DeviceClock] | None = None
        self._sequence: tuple[Number, Unwrapped] | None = None
        self._place_fields()
        every = [(f.scale, f.offset) for f in layout.channel_fields for _ in f.names]
        self._scale, self._offset = np.array(every).T
        self._scaled = bool((self._scale != 1).any() or self._offset.any())

    def feed(self, data: bytes) -> list[Frame | Event]:
        """What these bytes complete, in the order of the stream."""
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes inf: the loop says so
            return super().feed(data)

    def read(self, frame: bytes) -> tuple[Frame, ...]:
        """One sample a frame; none of a frame with another length or another constant."""
        if len(frame) != self.layout.size:
            return ()
        if self._constants and any(number(frame) != value for number, value in self._constants):
            return ()
        self.counts.frames += 1
        raw = [_numbers(frame, *run, self.layout.order) for run in self._runs]
        values = raw[0] if len(raw) == 1 else np.concatenate(raw, dtype=np.float64)
        if self._scaled:
            values = values * self._scale + self._offset
        t = self._clock[1](self._clock[0](frame)) if self._clock else None
        seq = self._sequence[1](self._sequence[0](frame)) if self._sequence else None
        return (Frame(values.astype(np.float32), t, seq),)

    def _place_fields(self) -> None:
        at = len(self.layout.sync)
        for f in self.layout.fields:
            size = struct.calcsize(self.layout.order + f.format)
            if f.role == "channel":
                self._add_run(f.type, at, len(f.names))
            number = _number(at, size, self.layout.endian, f.type[0] == "i")
            if f.role == "constant":
                self._constants.append((number, f.value))
            elif f.role == "clock":
                self._clock = number, DeviceClock(f.bits, TICKS[f.unit] * f.scale)
            elif f.role == "sequence":
                self._sequence = number, Unwrapped(1 << f.bits)
            at += size

    def _add_run(self, type_: str, at: int, count: int) -> None:
        """Numbers of one type right behind each other are read at once."""
        if self._runs:
            before, first, n = self._runs[-1]
            if before == type_ and first + n * (int(type_[1:]) // 8) == at:
                self._runs[-1] = before, first, n + count
                return
        self._runs.append((type_, at, count))


def _number(at: int, size: int, endian: str, signed: bool) -> Number:
    """The function that reads a whole number out of a frame."""
    order: Literal["little", "big"] = "little" if endian == "little" else "big"
    return lambda frame: int.from_bytes(frame[at : at + size], order, signed=signed)


def _numbers(frame: bytes, type_: str, at: int, count: int, order: str) -> npt.NDArray[Any]:
    """`count` numbers of one type."""
    if type_[1:] != "24":
        return np.frombuffer(frame, f"{order}{type_[0]}{int(type_[1:]) // 8}", count, at)
    triples = np.zeros((count, 4), np.uint8)  # numpy knows no such number: it is the upper part of a longer one
    triples[:, 1:] = np.frombuffer(frame, np.uint8, 3 * count, at).reshape(count, 3)[:, :: 1 if order == "<" else -1]
    return triples.view(f"<{type_[0]}4")[:, 0] >> 8


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
    if layout.framing == "cobs":
        return DelimitedFramer(b"\0", lambda frame: _unstuffed(layout, cobs_decode(frame)))
    if layout.framing == "slip":
        return DelimitedFramer(bytes([SLIP_END]), lambda frame: _unstuffed(layout, slip_decode(frame)))
    if layout.tail and not layout.checksum and not layout.sync:
        return TailFramer(layout.size, layout.tail, lambda frame: False)  # by the tail that comes again
    header, size_of = _size_of(layout)
    marked = layout.checksum or layout.tail
    return SyncFramer(layout.sync, header, size_of, (lambda frame: _sound(layout, frame)) if marked else None)


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


def _sound(layout: Layout, frame: bytes) -> bool:
    """Whether a frame has the tail and the checksum that it should have."""
    if not frame.endswith(layout.tail):
        return False
    if layout.checksum is None:
        return True
    whole = frame[: len(frame) - len(layout.tail)] if layout.tail else frame
    body, checksum = whole[: -layout.checksum.size], whole[-layout.checksum.size :]
    return _checksum(layout, body) == checksum


def _checksum(layout: Layout, body: bytes) -> bytes:
    """The checksum's bytes, for a frame from sync word to the last field."""
    checksum = layout.checksum
    if checksum is None:
        return b""
    first = len(layout.sync) if checksum.first is None else checksum.first
    order = ENDS[checksum.endian] if checksum.endian else layout.order
    return struct.pack(order + {1: "B", 2: "H", 4: "I"}[checksum.size], checksum.of(body[first:]))


def _unstuffed(layout: Layout, frame: bytes | None) -> bytes | Event:
    if frame is None:
        return Event("malformed", f"not a {layout.framing} frame")
    if layout.checksum and not _sound(layout, frame):
        return Event("checksum", f"wrong checksum in a frame of {len(frame)} bytes")
    if len(frame) != layout.size and not layout.checksum:
        return Event("malformed", f"a frame of {len(frame)} bytes where {layout.size} are expected")
    return frame
