"""Frames behind a delimiter that their own bytes cannot contain: COBS, SLIP and its like. Pure and incremental.

COBS (Cheshire and Baker, 1999): 00 ends a frame, and the zeros inside are written as distances.
SLIP (RFC 1055): an end byte ends a frame; inside it end becomes DB DC, and DB becomes DB DD.
"""

from __future__ import annotations

from collections.abc import Callable

from hiss.realtime.framing import Counts, Event

LONGEST_FRAME = 65536  # bytes; what has no end for so long is no frame
SLIP_END, SLIP_ESCAPE, SLIP_ESCAPED_END, SLIP_ESCAPED_ESCAPE = 0xC0, 0xDB, 0xDC, 0xDD


class DelimitedFramer:
    """Frames between delimiters.

    `check` gets a frame's bytes as they came, without the delimiter, and gives what they hold, or an Event of kind
    "checksum" or "malformed" that says why they are refused. A delimiter without a frame before it is passed over.
    """

    def __init__(self, delimiter: bytes, check: Callable[[bytes], bytes | Event], longest: int = LONGEST_FRAME):
        self.delimiter = delimiter
        self.check = check
        self.longest = longest
        self.counts = Counts()
        self._buffer = bytearray()
        self._dropped = 0  # bytes of an overlong frame that are gone already
        self._started = False  # the first frame of all may be the rest of one

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes | Event]:
        """What the frames hold that these bytes complete, and events."""
        self.counts.bytes += len(data)
        self._buffer += data
        if self.delimiter not in data:
            self._limit()
            return []
        *frames, rest = bytes(self._buffer).split(self.delimiter)
        self._buffer = bytearray(rest)
        found = [item for frame in frames if (item := self._frame(frame)) is not None]
        self._limit()
        return found

    def _frame(self, frame: bytes) -> bytes | Event | None:
        dropped, self._dropped = self._dropped, 0
        if not frame and not dropped:
            return None
        first, self._started = not self._started, True
        if dropped or len(frame) > self.longest:
            text = f"no frame end (0x{self.delimiter.hex()}) for {self.longest} bytes"
            held: bytes | Event = Event("malformed", text)
        else:
            held = self.check(frame)
        if isinstance(held, Event):
            self.counts.skipped += len(frame) + len(self.delimiter)
            return self._refused(held, first)
        return held

    def _refused(self, event: Event, first: bool) -> Event:
        if first:
            return Event("start", "the first frame is incomplete: its beginning is missing")
        if event.kind == "checksum":
            self.counts.checksum += 1
        else:
            self.counts.malformed += 1
        return event

    def _limit(self) -> None:
        if len(self._buffer) > self.longest:
            self.counts.skipped += len(self._buffer)
            self._dropped += len(self._buffer)
            self._buffer.clear()


def cobs_encode(data: bytes) -> bytes:
    """Without zeros, and without the 00 that ends the frame."""
    out = bytearray()
    for run in data.split(b"\0"):
        at = 0
        while len(run) - at >= 254:
            out += b"\xff" + run[at : at + 254]
            at += 254
        out.append(len(run) - at + 1)
        out += run[at:]
    return bytes(out)


def cobs_decode(data: bytes) -> bytes | None:
    """What cobs_encode was given; None when it cannot have given this."""
    if 0 in data:
        return None
    out, at = bytearray(data), 0
    while at < len(data):
        code = data[at]
        if code == 255:  # of a run that is followed by no zero
            return _cobs_decode_long(data)
        out[at] = 0
        at += code
    return bytes(out[1:]) if at == len(data) else None


def _cobs_decode_long(data: bytes) -> bytes | None:
    """The same, run by run."""
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        end = at + code
        if end > len(data):
            return None
        out += data[at + 1 : end]
        at = end
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


def slip_encode(data: bytes, end: int = SLIP_END) -> bytes:
    """Without end bytes, and without the one that ends the frame."""
    escape = bytes([SLIP_ESCAPE])
    data = data.replace(escape, bytes([SLIP_ESCAPE, SLIP_ESCAPED_ESCAPE]))
    return data.replace(bytes([end]), bytes([SLIP_ESCAPE, SLIP_ESCAPED_END]))


def slip_decode(data: bytes, end: int = SLIP_END) -> bytes | None:
    """What slip_encode was given; None when it cannot have given this."""
    escapes = data.count(SLIP_ESCAPE)
    if not escapes:
        return data
    escaped_end, escaped_escape = bytes([SLIP_ESCAPE, SLIP_ESCAPED_END]), bytes([SLIP_ESCAPE, SLIP_ESCAPED_ESCAPE])
    if data.count(escaped_end) + data.count(escaped_escape) != escapes:
        return None
    return data.replace(escaped_end, bytes([end])).replace(escaped_escape, bytes([SLIP_ESCAPE]))
