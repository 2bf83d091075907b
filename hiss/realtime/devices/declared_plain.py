"""One frame of a declared device whose channels are float32 side by side, read with as few calls as can be.

Live, frames come one by one on a computer that has slept in between: what is not called need not be fetched into its
cold caches. The numbers are those of DeclaredDecoder, which reads many frames together.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol
from zlib import adler32

import numpy as np

from hiss.realtime.checksums import ADLER_EXACT
from hiss.realtime.devices.declared_layout import ENDS, Layout
from hiss.realtime.devices.framed import Framer
from hiss.realtime.framing import Frame
from hiss.realtime.sync_framer import SyncFramer
from hiss.realtime.unwrap import DeviceClock, Unwrapped

TOLD = ("clock", "sequence")
NUMBERS = {1: "B", 2: "H", 4: "I"}  # of so many bytes


class Reader(Protocol):
    """See plain_reader."""

    def __call__(self, data: bytes, found: bool = False) -> Frame | None:
        """The frame."""


def is_plain(layout: Layout) -> bool:
    """Whether its channels are little-endian float32 side by side as they are, with no constant to look at."""
    kinds = {(f.type, f.scale, f.offset) for f in layout.channel_fields}
    places = [i for i, f in enumerate(layout.fields) if f.role == "channel"]
    beside = places[-1] - places[0] + 1 == len(places)
    constant = any(f.role == "constant" for f in layout.fields)
    wide = any(f.bits == 24 for f in layout.fields if f.role in TOLD)
    native = np.dtype(layout.order + "f4") == np.float32
    return native and beside and kinds == {("f32", 1.0, 0.0)} and not (constant or wide)


def plain_reader(layout: Layout, framer: Framer, clock: DeviceClock | None, sequence: Unwrapped | None) -> Reader:
    """The function of a whole frame of a plain layout; clock, sequence: of their raw numbers, where there are any.

    read(data, True): a frame that the framer has found. read(data): a chunk of bytes, which is read and counted where
    it is one sound frame right behind another; else None, and nothing has changed: the framer is to take it.
    """
    numbers_of, at, clock_at, sequence_at = _places(layout)
    kind, count, frombuffer = np.dtype(np.float32), sum(len(f.names) for f in layout.channel_fields), np.frombuffer
    ticks, tick_s = (clock.ticks, clock.tick_s) if clock else (None, 0.0)
    check, size, sync, counts = layout.checksum, layout.size, layout.sync, framer.counts
    first, end = (len(sync) if check.first is None else check.first, size - check.size) if check else (0, 0)
    # the lower half of Adler-32 from 1, as zlib begins, is one more than the sum of a short frame's bytes
    short_sum = check is not None and check.type == "sum16" and size <= ADLER_EXACT
    of, more = (adler32, 1) if short_sum else (check.of if check else None, 0)
    low = (1 << 8 * check.size) - 1 if check else 0
    alone = framer if isinstance(framer, SyncFramer) and _stands_alone(layout) else None

    def read(data: bytes, found: bool = False) -> Frame | None:
        if not found and (alone is None or len(data) != size or alone.due != 0 or alone.lost or alone.waiting):
            return None
        numbers = numbers_of(data)
        if not found:
            if numbers[0] != sync or (of is not None and (of(data[first:end]) & low) - more != numbers[-1]):
                return None
            counts.bytes += size
        counts.frames += 1
        t = seq = None
        if ticks is not None:  # the usual case of the call, without it
            if (raw := numbers[clock_at]) >= ticks.raw:
                ticks.raw = raw
                t = (ticks.before + raw) * tick_s
            else:
                t = ticks(raw) * tick_s
        if sequence is not None:
            if (raw := numbers[sequence_at]) >= sequence.raw:
                sequence.raw = raw
                seq = sequence.before + raw
            else:
                seq = sequence(raw)
        return Frame(frombuffer(data, kind, count, at), t, seq)

    return read


def _places(layout: Layout) -> tuple[Callable[[bytes], tuple[Any, ...]], int, int, int]:
    """What gives sync word, clock and sequence in their order, and checksum of a frame; where the channels begin;
    where clock and sequence are among those numbers."""
    fields, check = layout.fields, layout.checksum
    parts = [f.format if f.role in TOLD else f"{struct.calcsize('<' + f.format)}x" for f in fields]
    sync, sums = f"{layout.order}{len(layout.sync)}s", NUMBERS[check.size] if check else ""
    roles = [f.role for f in fields]
    at = struct.calcsize(sync + "".join(parts[: roles.index("channel")]))
    told = ["sync", *(role for role in roles if role in TOLD)]
    clock_at, sequence_at = (told.index(role) if role in told else 0 for role in TOLD)
    return struct.Struct(sync + "".join(parts) + sums).unpack_from, at, clock_at, sequence_at


def _stands_alone(layout: Layout) -> bool:
    """Whether a chunk can be told to be a frame by its sync word, size and checksum."""
    check = layout.checksum
    swapped = check is not None and check.endian is not None and ENDS[check.endian] != layout.order
    return bool(layout.sync) and not (layout.tail or swapped or any(f.role == "length" for f in layout.fields))
