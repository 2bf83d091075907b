"""Bosch / CEVA BNO08x in UART-RVC mode: 100 Hz, 115200 baud, 19 bytes, little-endian.

AA AA | index u8 | yaw pitch roll i16, 0.01 deg | x y z i16, mg | 3 reserved | sum8 of bytes 2 .. 17
"""

from __future__ import annotations

import struct

import numpy as np

from hiss.realtime.checksums import sum8
from hiss.realtime.devices.framed import FramedDecoder, axes
from hiss.realtime.framing import F32, Frame
from hiss.realtime.sync_framer import SyncFramer
from hiss.realtime.unwrap import Unwrapped
from hiss.recording import Channel

SIZE = 19
SYNC = b"\xaa\xaa"
BODY = struct.Struct("<B6h")
SCALE = np.array([0.01] * 3 + [1.0] * 3)
CHANNELS = (Channel("yaw", "deg"), Channel("pitch", "deg"), Channel("roll", "deg"), *axes("acc", "mg"))


class BnoDecoder(FramedDecoder):
    """Bytes of a BNO08x -> yaw, pitch, roll in deg and acc_x, acc_y, acc_z in mg, with the sensor's index as seq."""

    def __init__(self) -> None:
        super().__init__(SyncFramer(SYNC, 2, lambda head: SIZE, lambda frame: sum8(frame[2:-1]) == frame[-1]), CHANNELS)
        self._sequence = Unwrapped(256)

    def read(self, frame: bytes) -> tuple[Frame]:
        """One sample a frame."""
        index, *values = BODY.unpack_from(frame, 2)
        self.counts.frames += 1
        return (Frame((np.array(values) * SCALE).astype(np.float32), seq=self._sequence(index)),)


def encode(x: F32, index: int) -> bytes:
    """The frame a sensor sends for x (6,), in deg and mg."""
    body = BODY.pack(index % 256, *np.round(x / SCALE).astype(int).tolist()) + b"\0\0\0"
    return SYNC + body + bytes([sum8(body)])
