"""Xsens MTi (Xbus, MTData2): FA FF | MID | length | items | checksum; the bytes behind FA add up to 0 modulo 256.

xsens           a sample a message that holds what the first message with accelerations or rates held
xsens:acc+gyr   a sample a message that holds these; the names are those of xsens_items.QUANTITIES

Messages of other kinds (status, GNSS, pressure) come in between and are passed over: they have their own time base,
so a sample's time and its place in the sequence are those of its kind. A length byte of FF means two more bytes of it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from hiss.realtime.checksums import sum8
from hiss.realtime.devices.framed import FramedDecoder
from hiss.realtime.devices.xsens_items import (
    PACKET_COUNTER,
    QUANTITIES,
    SAMPLE_TIME_FINE,
    TICK_S,
    item_places,
    numbers,
    quantity_of,
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
        super().__init__(SyncFramer(SYNC, 6, _size, lambda frame: not sum8(frame[1:])))
        self._quantities: tuple[int, ...] = ()
        self._plans: dict[int, Plan] = {}  # by the size of a message
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
        plan = self._plan(frame)
        self._count(plan, frame)
        values = [value for kind, place in plan.values for value in numbers(kind, frame[place])]
        if not values or len(values) != len(self.channels):
            return ()
        self.counts.frames += 1
        self._sequence += 1
        t = self._clock(int.from_bytes(frame[plan.stamp], "big")) if plan.stamp else None
        x = np.array(values).astype(np.float32)
        return (Frame(x, t, None if self._packet is None else self._sequence),)

    def _plan(self, frame: bytes) -> Plan:
        """Where things are in this message: as in the one before of its size, if its items are the same."""
        plan = self._plans.get(len(frame))
        if plan is None or int.from_bytes(frame, "big") & plan.mask != plan.heads:
            items, mask = item_places(frame, 6 if frame[3] == LONG else 4)
            if not self._quantities:
                self._find(items)
            plan = Plan.of(frame, items, mask, self._quantities)
            if self._quantities:  # else a later message says what a sample is
                self._plans[len(frame)] = plan
        return plan

    def _find(self, items: dict[int, slice]) -> None:
        """A message with accelerations or rates says what a sample is."""
        held = {quantity_of(kind): kind for kind in items}
        if any(quantity in held for quantity in MOTION):
            self._choose(tuple(quantity for quantity in held if quantity in QUANTITIES))

    def _choose(self, quantities: tuple[int, ...]) -> None:
        self._quantities = quantities
        self.channels = tuple(channel for quantity in quantities for channel in QUANTITIES[quantity][1])

    def _count(self, plan: Plan, frame: bytes) -> None:
        """Messages that the packet counter skips are missing samples, at most."""
        if not plan.packet:
            return
        now = self._packets(int.from_bytes(frame[plan.packet], "big"))
        if self._packet is not None and now > self._packet:
            self._sequence += now - self._packet - 1
        self._packet = now


@dataclass(frozen=True)
class Plan:
    """Where a message holds what a sample is made of.

    mask, heads: the bits of a message that say so, and what they are; values: (id, where) of each quantity, () where
    one is missing; packet, stamp: where these are
    """

    mask: int
    heads: int
    values: tuple[tuple[int, slice], ...]
    packet: slice | None
    stamp: slice | None

    @staticmethod
    def of(frame: bytes, items: dict[int, slice], mask: bytes, quantities: tuple[int, ...]) -> Plan:
        """The plan of a message with these items."""
        held = {quantity_of(kind): (kind, place) for kind, place in items.items()}
        whole = all(quantity in held for quantity in quantities)
        values = tuple(held[quantity] for quantity in quantities) if whole else ()
        bits = int.from_bytes(mask, "big")
        packet, stamp = _leading(items.get(PACKET_COUNTER), 2), _leading(items.get(SAMPLE_TIME_FINE), 4)
        return Plan(bits, int.from_bytes(frame, "big") & bits, values, packet, stamp)


def _leading(place: slice | None, size: int) -> slice | None:
    """The first bytes of an item; None where it is too short."""
    return slice(place.start, place.start + size) if place and place.stop - place.start >= size else None


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
