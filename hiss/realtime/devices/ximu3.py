"""x-io x-IMU3: messages that end in 0A, as text or binary; the same bytes on serial, USB, TCP, UDP and in files.

    I,1000000,0.0010,...\r\n                                     text: id, us, values
    80 + id | us u64 | values f32 | 0A, little-endian            binary; inside, 0A is DB DC and DB is DB DD

ximu3 reads the inertial messages (I); ximu3:Q reads another kind, and ximu3:I+M+Q a sample a message of the first kind,
with the newest values of the others beside it. Messages of other kinds, commands in JSON and notes are passed over.
"""

from __future__ import annotations

import struct

import numpy as np

from hiss.realtime.devices.framed import FramedDecoder, axes
from hiss.realtime.framing import F32, Event, Frame
from hiss.realtime.stuffing import DelimitedFramer, slip_decode, slip_encode
from hiss.recording import Channel

END = 0x0A
KINDS: dict[str, tuple[Channel, ...]] = {
    "I": (*axes("gyr", "deg/s"), *axes("acc", "g")),
    "M": axes("mag", "a.u."),
    "H": axes("high_g", "g"),
    "Q": tuple(Channel(f"quat_{axis}") for axis in "wxyz"),
    "R": tuple(Channel(f"rotation_{row}{column}") for row in "xyz" for column in "xyz"),
    "A": tuple(Channel(name, "deg") for name in ("roll", "pitch", "yaw")),
    "L": axes("lin_acc", "g"),
    "E": axes("earth_acc", "g"),
    "T": (Channel("temperature", "degC"),),
}
PASSED_OVER = frozenset("USYCBWONF")  # status, accessory, sync, charge, battery, signal, button, note, error
ACCELERATIONS = "LE"  # some firmware sends a quaternion in front of these


class XimuDecoder(FramedDecoder):
    """Bytes of an x-IMU3 -> samples with the sensor's own time. Raises ValueError for a kind that it does not send."""

    def __init__(self, kinds: str = "I"):
        self._kinds = kinds.upper().split("+")
        if unknown := [kind for kind in self._kinds if kind not in KINDS]:
            raise ValueError(f"no x-IMU3 message {unknown[0]!r} with numbers; there are: {', '.join(KINDS)}, as in I+M")
        channels = tuple(channel for kind in self._kinds for channel in KINDS[kind])
        super().__init__(DelimitedFramer(bytes([END]), _message), channels)
        self._newest: dict[str, F32] = {}

    def read(self, frame: bytes) -> tuple[Frame, ...]:
        """A sample for a message of the first kind, once all kinds have come."""
        kind = chr(frame[0])
        if kind not in self._kinds:
            return ()
        self._newest[kind] = np.frombuffer(frame, "<f4", offset=9)[-len(KINDS[kind]) :]
        if kind != self._kinds[0] or len(self._newest) < len(self._kinds):
            return ()
        self.counts.frames += 1
        x = np.concatenate([self._newest[kind] for kind in self._kinds], dtype=np.float32)
        return (Frame(x, int.from_bytes(frame[1:9], "little") * 1e-6),)


def _message(line: bytes) -> bytes | Event:
    """id | us u64 | f32 values, of one message without its end; the id alone for what is passed over."""
    if line[:1] == b"^":
        line = line[2:]  # a message through a multiplexer: ^ and its channel stand in front
    if line[:1] == b"{":
        return b"{"
    kind = chr(line[0] & 0x7F) if line else ""
    if kind in PASSED_OVER:
        return kind.encode()
    held = None if kind not in KINDS else _binary(line) if line[0] & 0x80 else _text(line)
    if held is None or not _fits(kind, (len(held) - 9) // 4):
        return Event("malformed", f"no x-IMU3 message: {line[:24].hex(' ')}")
    return held


def _binary(line: bytes) -> bytes | None:
    message = slip_decode(line, END)
    if message is None or len(message) < 9 or len(message) % 4 != 1:
        return None
    return bytes([message[0] & 0x7F]) + message[1:]


def _text(line: bytes) -> bytes | None:
    kind, *cells = line.strip().split(b",")
    if len(kind) != 1:
        return None
    try:
        stamp, *values = cells
        return kind + struct.pack("<Q", int(stamp)) + struct.pack(f"<{len(values)}f", *map(float, values))
    except (ValueError, struct.error, OverflowError):
        return None


def _fits(kind: str, n: int) -> bool:
    return n == len(KINDS[kind]) or (kind in ACCELERATIONS and n == 7)


def encode(kind: str, stamp_us: int, x: F32) -> bytes:
    """The binary message a sensor sends."""
    body = bytes([0x80 | ord(kind)]) + struct.pack("<Q", stamp_us) + np.asarray(x, "<f4").tobytes()
    return slip_encode(body, END) + bytes([END])


def encode_text(kind: str, stamp_us: int, x: F32) -> bytes:
    """The text message a sensor sends: four decimals."""
    return f"{kind},{stamp_us},{','.join(f'{value:.4f}' for value in x)}\r\n".encode()
