"""WitMotion inertial sensors (WT901, JY901 and their like), little-endian.

wit      standard protocol, 11 bytes a quantity: 55 | id | 4 x i16 | sum8 of the ten before. The quantities of one
         sample come behind each other in order of their ids; which ones come is learned from the stream.
wit:ble  55 61 | acc, gyr, angle: 9 x i16: 20 bytes, without a checksum: one lost byte may give one wrong sample.

With id 50 (date and time) in the stream, that is the samples' own time.
"""

from __future__ import annotations

import struct
from datetime import datetime, timezone

import numpy as np

from hiss.realtime.bursts import Bursts
from hiss.realtime.checksums import sum8
from hiss.realtime.devices.framed import FramedDecoder, axes
from hiss.realtime.framing import Event, Frame
from hiss.realtime.sync_framer import SyncFramer
from hiss.recording import Channel

SIZE, BLE_SIZE = 11, 20
SYNC = b"\x55"
CLOCK = 0x50
ACC, GYR, ANGLE = axes("acc", "g"), axes("gyr", "deg/s"), tuple(Channel(n, "deg") for n in ("roll", "pitch", "yaw"))
ACC_LSB, GYR_LSB, ANGLE_LSB = 16 / 32768, 2000 / 32768, 180 / 32768
QUANTITIES: dict[int, tuple[tuple[Channel, ...], float]] = {  # id: (channels, unit of one step)
    CLOCK: ((), 1.0),
    0x51: (ACC, ACC_LSB),
    0x52: (GYR, GYR_LSB),
    0x53: (ANGLE, ANGLE_LSB),
    0x54: (axes("mag", ""), 1.0),
    0x55: (tuple(Channel(f"port_{i}") for i in range(4)), 1.0),
    0x59: (tuple(Channel(f"quat_{axis}") for axis in "wxyz"), 1 / 32768),
}
IDS = range(0x50, 0x60)  # known and unknown ones


class WitDecoder(FramedDecoder):
    """Bytes in the standard protocol -> samples of all quantities that the sensor is set to send."""

    def __init__(self) -> None:
        super().__init__(SyncFramer(SYNC, 2, _size, lambda frame: sum8(frame[:10]) == frame[10]))
        self._bursts: Bursts[int, bytes] = Bursts()
        self._last = -1
        self._scale = np.empty(0)

    def read(self, frame: bytes) -> tuple[Frame | Event, ...]:
        """A sample with the last of its quantities."""
        quantity = frame[1]
        if quantity not in QUANTITIES:
            return ()
        begins, self._last = quantity <= self._last, quantity
        broken = self._bursts.broken
        sample = self._bursts.put(quantity, frame, begins)
        lost = self.refused(0, "a quantity of a sample is missing") if self._bursts.broken > broken else ()
        return lost if sample is None else (*lost, self._frame(sample))

    def _frame(self, sample: dict[int, bytes]) -> Frame:
        if not self.channels:
            self.channels = tuple(channel for quantity in sample for channel in QUANTITIES[quantity][0])
            self._scale = np.array([QUANTITIES[q][1] for q in sample for _ in QUANTITIES[q][0]])
        values = [
            value
            for quantity, frame in sample.items()
            for value in struct.unpack_from(f"<{len(QUANTITIES[quantity][0])}h", frame, 2)
        ]
        self.counts.frames += 1
        return Frame((np.array(values) * self._scale).astype(np.float32), _time(sample.get(CLOCK)))


class WitBleDecoder(FramedDecoder):
    """Bytes of 55 61 frames -> acc in g, gyr in deg/s, roll, pitch, yaw in deg."""

    SCALE = np.repeat([ACC_LSB, GYR_LSB, ANGLE_LSB], 3)

    def __init__(self) -> None:
        super().__init__(SyncFramer(b"\x55\x61", 2, lambda head: BLE_SIZE, None), (*ACC, *GYR, *ANGLE))

    def read(self, frame: bytes) -> tuple[Frame]:
        """One sample a frame."""
        self.counts.frames += 1
        return (Frame((np.frombuffer(frame, "<i2", 9, 2) * self.SCALE).astype(np.float32)),)


def encode(quantity: int, values: tuple[int, ...]) -> bytes:
    """The frame of one quantity, from its raw values (at most 4)."""
    body = SYNC + bytes([quantity]) + struct.pack("<4h", *values, *[0] * (4 - len(values)))
    return body + bytes([sum8(body)])


def encode_ble(values: tuple[int, ...]) -> bytes:
    """The 55 61 frame of nine raw values."""
    return b"\x55\x61" + struct.pack("<9h", *values)


def _size(head: bytes) -> int:
    return SIZE if head[1] in IDS else 0


def _time(frame: bytes | None) -> float | None:
    """Date and time of a frame with id 50, s since 1970; None where it is no date (a clock that was never set)."""
    if frame is None:
        return None
    year, month, day, hour, minute, second, ms = struct.unpack_from("<6BH", frame, 2)
    try:
        return datetime(2000 + year, month, day, hour, minute, second, 1000 * ms, timezone.utc).timestamp()
    except ValueError:
        return None
