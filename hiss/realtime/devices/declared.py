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

import numpy as np

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

LARGEST = 4096  # bytes that a length field can ask for


class DeclaredDecoder(FramedDecoder):
    """Bytes of a declared device -> its channels, with clock and sequence where it declares them."""

    def __init__(self, layout: Layout):
        self.layout = layout
        channels = tuple(Channel(name, f.unit) for f in layout.channel_fields for name in f.names)
        super().__init__(_framer(layout), channels)
        self._body = layout.body
        self._places: list[int] = []  # of the channels in the numbers of a frame
        self._roles: dict[str, int] = {}
        self._constants: list[tuple[int, int]] = []
        self._three_bytes: list[tuple[int, bool]] = []  # (place, signed): struct knows no such number
        self._big = layout.endian == "big"
        self._place_fields()
        every = [(f.scale, f.offset) for f in layout.channel_fields for _ in f.names]
        self._scale, self._offset = np.array(every).T
        by_role = {f.role: f for f in layout.fields}
        clock, sequence = by_role.get("clock"), by_role.get("sequence")
        self._clock = DeviceClock(clock.bits, TICKS[clock.unit] * clock.scale) if clock else None
        self._sequence = Unwrapped(1 << sequence.bits) if sequence else None

    def read(self, frame: bytes) -> tuple[Frame, ...]:
        """One sample a frame; none of a frame with another length or another constant."""
        if len(frame) != self.layout.size:
            return ()
        numbers = self._body.unpack_from(frame, len(self.layout.sync))
        if self._three_bytes:
            numbers = self._widened(numbers)
        if any(numbers[place] != value for place, value in self._constants):
            return ()
        self.counts.frames += 1
        values = np.array([numbers[place] for place in self._places], np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes inf: the loop says so
            x = (values * self._scale + self._offset).astype(np.float32)
        t = self._clock(numbers[self._roles["clock"]]) if self._clock else None
        return (Frame(x, t, self._sequence(numbers[self._roles["sequence"]]) if self._sequence else None),)

    def _place_fields(self) -> None:
        place = 0
        for f in self.layout.fields:
            if f.role == "skip":
                continue
            count = max(1, len(f.names))
            places = range(place, place + count)
            place += count
            if f.bits == 24:
                self._three_bytes += [(p, f.type == "i24") for p in places]
            if f.role == "channel":
                self._places += places
            elif f.role == "constant":
                self._constants.append((places[0], f.value))
            else:
                self._roles[f.role] = places[0]

    def _widened(self, numbers: tuple[float | bytes, ...]) -> tuple[float, ...]:
        wide = list(numbers)
        order = "big" if self._big else "little"
        for place, signed in self._three_bytes:
            wide[place] = int.from_bytes(wide[place], order, signed=signed)  # type: ignore[arg-type]
        return tuple(wide)  # type: ignore[arg-type]


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
    whole = frame[: len(frame) - len(layout.tail)]
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
