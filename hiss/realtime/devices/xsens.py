"""Xsens MTi (Xbus, MTData2): FA FF | MID | length | items | checksum; the bytes behind FA add up to 0 modulo 256.

xsens           a sample a message that holds what the first message with accelerations or rates held
xsens:acc+gyr   a sample a message that holds these; the names are those of xsens_items.QUANTITIES

Messages of other kinds (status, GNSS, pressure) come in between and are passed over: they have their own time base,
so a sample's time and its place in the sequence are those of its kind. A length byte of FF means two more bytes of it.
"""

from __future__ import annotations

import struct

import numpy as np

from hiss.realtime.devices.framed import FramedDecoder
from hiss.realtime.devices.xsens_items import (
    PACKET_COUNTER,
    QUANTITIES,
    SAMPLE_TIME_FINE,
    TICK_S,
    integers,
    numbers,
    quantity_of,
    split_items,
)
from hiss.realtime.framing import Event, Frame
from hiss.realtime.sync_framer import SyncFramer
from hiss.realtime.unwrap import DeviceClock, Unwrapped

SYNC = b"\xfa\xff"
MTDATA2 = 0x36
LONG = 0xFF  # of the length byte: the length follows
LARGEST = 2048  # bytes of items that an MTi sends
MOTION = (0x4020, 0x8020)  # a message with one of these makes samples
SHORT = {name: quantity for quantity, (name, _) in QUANTITIES.items()}


class XsensDecoder(FramedDecoder):
    """Bytes of an MTi -> samples in float32, with SampleTimeFine and the packet counter where they are sent."""

    def __init__(self, names: str = ""):
        wanted = names.split("+") if names else []
        if unknown := [name for name in wanted if name not in SHORT]:
            raise ValueError(f"no Xsens quantity {unknown[0]!r}; there are: {', '.join(SHORT)}, as in xsens:acc+gyr")
        super().__init__(SyncFramer(SYNC, 6, _size, lambda frame: not sum(frame[1:]) & 0xFF))
        self._quantities: tuple[int, ...] = ()
        self._kinds: tuple[int, ...] = ()
        self._choose(tuple(SHORT[name] for name in wanted))
        self._clock = DeviceClock(32, TICK_S)
        self._packets = Unwrapped(1 << 16)
        self._packet: int | None = None  # of the message before
        self._sequence = -1

    def feed(self, data: bytes) -> list[Frame | Event]:
        """What these bytes complete, in the order of the stream."""
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and the loop says so
            return super().feed(data)

    def read(self, frame: bytes) -> tuple[Frame, ...]:
        """A sample, when the message holds all that a sample is made of."""
        if frame[2] != MTDATA2:
            return ()
        items = dict(split_items(frame[6 if frame[3] == LONG else 4 : -1]))
        self._count(items)
        if not self._kinds or not all(kind in items for kind in self._kinds):
            self._find(items)
        values = [value for kind in self._kinds for value in numbers(kind, items[kind])]
        if not values or len(values) != len(self.channels):
            return ()
        self.counts.frames += 1
        self._sequence += 1
        stamp = integers(SAMPLE_TIME_FINE, items.get(SAMPLE_TIME_FINE, b""))
        x = np.array(values).astype(np.float32)
        t = self._clock(stamp[0]) if stamp else None
        return (Frame(x, t, None if self._packet is None else self._sequence),)

    def _find(self, items: dict[int, bytes]) -> None:
        """The ids, precision and all, of a sample's quantities in a message like this."""
        held = {quantity_of(kind): kind for kind in items}
        if not self._quantities and any(quantity in held for quantity in MOTION):
            self._choose(tuple(quantity for quantity in held if quantity in QUANTITIES))
        self._kinds = tuple(held[quantity] for quantity in self._quantities if quantity in held)

    def _choose(self, quantities: tuple[int, ...]) -> None:
        self._quantities = quantities
        self.channels = tuple(channel for quantity in quantities for channel in QUANTITIES[quantity][1])

    def _count(self, items: dict[int, bytes]) -> None:
        """Messages that the packet counter skips are missing samples, at most."""
        if not (packet := integers(PACKET_COUNTER, items.get(PACKET_COUNTER, b""))):
            return
        now = self._packets(packet[0])
        if self._packet is not None and now > self._packet:
            self._sequence += now - self._packet - 1
        self._packet = now


def encode(items: list[tuple[int, bytes]]) -> bytes:
    """The MTData2 message of these items."""
    payload = b"".join(struct.pack(">HB", kind, len(data)) + data for kind, data in items)
    n = len(payload)
    body = bytes([0xFF, MTDATA2]) + (bytes([n]) if n < LONG else bytes([LONG]) + struct.pack(">H", n)) + payload
    return SYNC[:1] + body + bytes([-sum(body) & 0xFF])


def _size(head: bytes) -> int:
    if head[3] != LONG:
        return head[3] + 5
    n = int.from_bytes(head[4:6], "big")
    return n + 7 if LONG <= n <= LARGEST else 0
