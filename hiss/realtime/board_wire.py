"""The frames between a computer and a board that runs a model (hiss_board.h says what they hold). Pure: bytes only.

A frame is COBS between zero bytes: type u8 | seq u16 | t_us u32 | payload | CRC-16/CCITT-FALSE, little-endian.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass

from hiss.realtime.stuffing import cobs_decode, cobs_encode

INFO, SAMPLE, TARE, RESET = b"ixtr"  # to the board
INFO_IS, ANSWER, REFUSED = b"IyE"  # from the board
NEW, TARING = 1, 2  # flags of an answer
LONGEST = 1 << 16  # bytes without an end: that is no board

_HEAD = struct.Struct("<BHI")
_CRC = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class Message:
    """One frame. t_us: microseconds of the sender's own clock, which an answer repeats."""

    kind: int
    seq: int = 0
    t_us: int = 0
    payload: bytes = b""


def encode(message: Message) -> bytes:
    """The bytes on the wire, the end included."""
    frame = _HEAD.pack(message.kind, message.seq, message.t_us) + message.payload
    return cobs_encode(frame + _CRC.pack(binascii.crc_hqx(frame, 0xFFFF))) + b"\0"


def decode(frame: bytes) -> Message | None:
    """The message in what lay between two zero bytes; None where it is damaged."""
    plain = cobs_decode(frame)
    if plain is None or len(plain) < _HEAD.size + _CRC.size:
        return None
    body, (stated,) = plain[: -_CRC.size], _CRC.unpack(plain[-_CRC.size :])
    if binascii.crc_hqx(body, 0xFFFF) != stated:
        return None
    kind, seq, t_us = _HEAD.unpack_from(body)
    return Message(kind, seq, t_us, body[_HEAD.size :])


class Receiver:
    """Bytes in, messages out. damaged: frames that could not be read (what a board prints as it boots counts too)."""

    def __init__(self) -> None:
        self.damaged = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete. Never raises."""
        self._buffer += data
        *whole, rest = self._buffer.split(b"\0")
        if len(rest) > LONGEST:
            self.damaged += 1
            rest = rest[:0]
        self._buffer = rest
        messages = [decode(bytes(frame)) for frame in whole if frame]
        self.damaged += messages.count(None)
        return [message for message in messages if message is not None]
