"""One frame of a declared device whose channels are float32 side by side, read with as few calls as can be.

Live, frames come one by one on a computer that has slept in between: what is not called need not be fetched into its
cold caches. The numbers are those of DeclaredDecoder, which reads many frames together.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from hiss.realtime.devices.declared_layout import Layout
from hiss.realtime.framing import Counts, Frame

Told = Callable[[int], float]


def is_plain(layout: Layout) -> bool:
    """Whether its channels are little-endian float32 side by side as they are, with no constant to look at."""
    kinds = {(f.type, f.scale, f.offset) for f in layout.channel_fields}
    places = [i for i, f in enumerate(layout.fields) if f.role == "channel"]
    beside = places[-1] - places[0] + 1 == len(places)
    constant = any(f.role == "constant" for f in layout.fields)
    wide = any(f.bits == 24 for f in layout.fields if f.role in ("clock", "sequence"))
    native = np.dtype(layout.order + "f4") == np.float32
    return native and beside and kinds == {("f32", 1.0, 0.0)} and not (constant or wide)


def plain_reader(
    layout: Layout, counts: Counts, clock: Told | None, sequence: Callable[[int], int] | None
) -> Callable[[bytes], Frame]:
    """The function of a whole frame; clock, sequence: of their raw numbers, None where there are none."""
    roles = [f.role for f in layout.fields if f.role in ("clock", "sequence")]
    told = "".join(f.format if f.role in ("clock", "sequence") else _passed_over(f.format) for f in layout.fields)
    numbers_of = struct.Struct(f"{layout.order}{len(layout.sync)}x{told}").unpack_from
    first = [f.role for f in layout.fields].index("channel")
    at = len(layout.sync) + struct.calcsize(layout.order + "".join(f.format for f in layout.fields[:first]))
    kind, count = np.dtype(np.float32), sum(len(f.names) for f in layout.channel_fields)
    clock_at, sequence_at = (roles.index(role) if role in roles else 0 for role in ("clock", "sequence"))
    frombuffer = np.frombuffer

    def read(frame: bytes) -> Frame:
        numbers = numbers_of(frame)
        counts.frames += 1
        return Frame(
            frombuffer(frame, kind, count, at),
            clock(numbers[clock_at]) if clock else None,
            sequence(numbers[sequence_at]) if sequence else None,
        )

    return read


def _passed_over(kind: str) -> str:
    return f"{struct.calcsize('<' + kind)}x"
