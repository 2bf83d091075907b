"""What an Xsens MTData2 message holds: items of id u16 | length u8 | data, big-endian.

The low four bits of an id say the precision (and, in two more bits, the frame of reference); the rest says what it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime, timezone

from hiss.realtime.devices.framed import axes
from hiss.recording import Channel

PACKET_COUNTER, SAMPLE_TIME_FINE, UTC = 0x1020, 0x1060, 0x1010
TICK_S = 1e-4  # of SampleTimeFine

QUANTITIES: dict[int, tuple[str, tuple[Channel, ...]]] = {  # id without precision: (short name, channels)
    0x0810: ("temperature", (Channel("temperature", "degC"),)),
    0x2010: ("quat", tuple(Channel(f"quat_{axis}") for axis in "wxyz")),
    0x2020: ("rotation", tuple(Channel(f"rotation_{row}{column}") for row in "xyz" for column in "xyz")),
    0x2030: ("euler", tuple(Channel(name, "deg") for name in ("roll", "pitch", "yaw"))),
    0x4010: ("dv", axes("dv", "m/s")),
    0x4020: ("acc", axes("acc", "m/s^2")),
    0x4030: ("free_acc", axes("free_acc", "m/s^2")),
    0x5020: ("altitude", (Channel("altitude", "m"),)),
    0x5030: ("ecef", axes("ecef", "m")),
    0x5040: ("position", (Channel("latitude", "deg"), Channel("longitude", "deg"))),
    0x8020: ("gyr", axes("gyr", "rad/s")),
    0x8030: ("dq", tuple(Channel(f"dq_{axis}") for axis in "wxyz")),
    0xC020: ("mag", axes("mag", "a.u.")),
    0xD010: ("vel", axes("vel", "m/s")),
}
INTEGERS = {  # items that are whole numbers: id: (name, layout)
    UTC: ("utc", ">IHBBBBBB"),  # ns, year, month, day, hour, minute, second, flags
    PACKET_COUNTER: ("packet", ">H"),
    SAMPLE_TIME_FINE: ("time_fine", ">I"),
    0x1070: ("time_coarse", ">I"),
    0x3010: ("pressure", ">I"),  # Pa
    0x7010: ("gnss", ">IH6BIi4B4i2I5i2Ii7H"),
    0x7020: ("gnss_satellites", ">I4B"),  # and 4 bytes a satellite
    0xE010: ("status_byte", ">B"),
    0xE020: ("status_word", ">I"),
}
WIDTH = (4, 4, 6, 8)  # bytes of a number by precision: f32, fixed 12.20, fixed 16.32, f64


def split_items(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """(id, data) of every item; ends at an item that is longer than what is left."""
    at = 0
    while at + 3 <= len(payload):
        kind, size = struct.unpack_from(">HB", payload, at)
        at += 3 + size
        if at > len(payload):
            return
        yield kind, payload[at - size : at]


def item_places(frame: bytes, first: int) -> tuple[dict[int, slice], bytes]:
    """(id: where its data is, a mask of the bytes that say so) of a message whose items begin at `first`."""
    places: dict[int, slice] = {}
    mask = bytearray(b"\xff" * first + bytes(len(frame) - first))
    at, end = first, len(frame) - 1
    while at + 3 <= end:
        kind, size = struct.unpack_from(">HB", frame, at)
        mask[at : at + 3] = b"\xff\xff\xff"
        at += 3 + size
        if at > end:
            break
        places[kind] = slice(at - size, at)
    return places, bytes(mask)


def quantity_of(kind: int) -> int:
    """The id without precision and frame of reference."""
    return kind & 0xFFF0


def numbers(kind: int, data: bytes) -> tuple[float, ...]:
    """The numbers of a quantity, in its precision; () when they are not whole."""
    precision = kind & 3
    width = WIDTH[precision]
    if len(data) % width:
        return ()
    n = len(data) // width
    if precision == 0:
        return struct.unpack(f">{n}f", data)
    if precision == 3:
        return struct.unpack(f">{n}d", data)
    if precision == 1:
        return tuple(value / (1 << 20) for value in struct.unpack(f">{n}i", data))
    parts = struct.unpack(">" + n * "Ih", data)  # the fraction stands in front of the whole
    return tuple(whole + fraction / (1 << 32) for fraction, whole in zip(parts[::2], parts[1::2], strict=True))


def integers(kind: int, data: bytes) -> tuple[int, ...]:
    """The whole numbers of an item of INTEGERS; () when it is too short."""
    layout = struct.Struct(INTEGERS[kind][1])
    return layout.unpack_from(data) if len(data) >= layout.size else ()


def utc(values: tuple[int, ...]) -> datetime:
    """The date of a UTC item, to the microsecond. Raises ValueError when it is none."""
    ns, *date, _flags = values
    year, month, day, hour, minute, second = date
    return datetime(year, month, day, hour, minute, second, ns // 1000, timezone.utc)
