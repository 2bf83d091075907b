"""One frame of a declared device whose channels are float32 side by side, read with as few calls as can be.

Live, frames come one by one on a computer that has slept in between: what is not called need not be fetched into its
cold caches. The numbers are those of DeclaredDecoder, which reads many frames together.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from hiss.realtime.devices.declared_layout import ENDS, Layout
from hiss.realtime.framing import Counts, Frame
from hiss.realtime.sync_framer import SyncFramer
from hiss.realtime.unwrap import DeviceClock, Unwrapped

TOLD = ("clock", "sequence")
NUMBERS = {1: "B", 2: "H", 4: "I"}  # of so many bytes

Reader = Callable[[bytes], Frame]


def is_plain(layout: Layout) -> bool:
    """Whether its channels are little-endian float32 side by side as they are, with no constant to look at."""
    kinds = {(f.type, f.scale, f.offset) for f in layout.channel_fields}
    places = [i for i, f in enumerate(layout.fields) if f.role == "channel"]
    beside = places[-1] - places[0] + 1 == len(places)
    constant = any(f.role == "constant" for f in layout.fields)
    wide = any(f.bits == 24 for f in layout.fields if f.role in TOLD)
    native = np.dtype(layout.order + "f4") == np.float32
    return native and beside and kinds == {("f32", 1.0, 0.0)} and not (constant or wide)


def plain_reader(layout: Layout, counts: Counts, clock: DeviceClock | None, sequence: Unwrapped | None) -> Reader:
    """The function of a whole frame of a plain layout; clock, sequence: of their raw numbers, where there are any."""
    fields, sync = layout.fields, f"{layout.order}{len(layout.sync)}x"
    parts = [f.format if f.role in TOLD else f"{struct.calcsize('<' + f.format)}x" for f in fields]
    numbers_of = struct.Struct(sync + "".join(parts)).unpack_from
    first = [f.role for f in fields].index("channel")
    at = struct.calcsize(sync + "".join(parts[:first]))
    kind, count, frombuffer = np.dtype(np.float32), sum(len(f.names) for f in layout.channel_fields), np.frombuffer
    roles = [f.role for f in fields if f.role in TOLD]
    clock_at, place_at = (roles.index(role) if role in roles else 0 for role in TOLD)
    ticks_of, tick_s = (clock.ticks, clock.tick_s) if clock else (None, 0.0)
    place_of = sequence.__call__ if sequence else None

    def read(frame: bytes) -> Frame:
        numbers = numbers_of(frame)
        counts.frames += 1
        return Frame(
            frombuffer(frame, kind, count, at),
            ticks_of(numbers[clock_at]) * tick_s if ticks_of else None,
            place_of(numbers[place_at]) if place_of else None,
        )

    return read


def alone_reader(layout: Layout, framer: SyncFramer, read: Reader) -> Callable[[bytes], Frame | None] | None:
    """The function of a chunk that is read and counted here where it is one sound frame right behind another; else it
    gives None, and nothing has changed: the framer is to take it. There is no such function for some kinds of frames.
    """
    check, counts, size, sync = layout.checksum, framer.counts, layout.size, layout.sync
    if not sync or layout.tail or any(f.role == "length" for f in layout.fields):
        return None
    first = len(sync) if check is None or check.first is None else check.first
    of, n = (check.of, check.size) if check else (None, 1)
    said = struct.Struct((ENDS[check.endian] if check and check.endian else layout.order) + NUMBERS[n]).unpack_from
    end = size - n

    def alone(data: bytes) -> Frame | None:
        if len(data) != size or framer.due != 0 or framer.lost or framer.waiting or not data.startswith(sync):
            return None
        if of is not None and of(data[first:end]) != said(data, end)[0]:
            return None
        counts.bytes += size
        return read(data)

    return alone
