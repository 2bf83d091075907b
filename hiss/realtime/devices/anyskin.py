"""AnySkin and ReSkin, binary: N magnetometer chips of [T, X, Y, Z] float32 little-endian, then 0D 0A: 16 N + 2 bytes.

Channels m0_x, m0_y, m0_z, ... m{N-1}_z in uT; with `temperature` also m0_t ... in degC, behind them.
Both boards send the same bytes; only the wiring order of the chips differs. There is no sync word, sequence number,
stamp or checksum, so a lost frame shows as a gap in time only.
"""

from __future__ import annotations

import numpy as np

from hiss.realtime.framing import F32, Counts, Event, Frame, TailFramer
from hiss.recording import Channel

TAIL = b"\r\n"
LARGEST_UT = 1e6  # an MLX90393 ends at 5e4
SMALLEST_UT = 1e-6  # its least step is 0.15; bytes read out of step often give 1e-30
LARGEST_DEGC = 2000.0  # a dead chip gives T = 25 - 46244 / 45.2 = -998


class AnySkinDecoder:
    """Bytes of an AnySkin or ReSkin board with `chips` magnetometers -> frames."""

    def __init__(self, chips: int = 5, temperature: bool = False):
        if not 1 <= chips <= 255:
            raise ValueError(f"a board of {chips} chips; 1 to 255 are possible")
        self.channels = anyskin_channels(chips, temperature)
        self._framer = TailFramer(16 * chips + len(TAIL), TAIL, _looks_right)
        self.counts: Counts = self._framer.counts
        order = np.arange(4 * chips).reshape(chips, 4)
        xyz = order[:, 1:].ravel()
        self._columns = np.concatenate([xyz, order[:, 0]]) if temperature else xyz

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return self._framer.pending

    def feed(self, data: bytes) -> list[Frame | Event]:
        """What these bytes complete, in the order of the stream."""
        found: list[Frame | Event] = []
        for item in self._framer.feed(data):
            if isinstance(item, Event):
                found.append(item)
            else:
                self.counts.frames += 1
                found.append(Frame(_floats(item)[self._columns].astype(np.float32, copy=False)))
        return found


def anyskin_channels(chips: int, temperature: bool = False) -> tuple[Channel, ...]:
    """The channels of a board, in the order of a frame's columns."""
    fields = tuple(Channel(f"m{chip}_{axis}", "uT") for chip in range(chips) for axis in "xyz")
    return fields + tuple(Channel(f"m{chip}_t", "degC") for chip in range(chips) if temperature)


def encode(x: F32, temperature: F32) -> bytes:
    """The frame a board sends for x (3 N,) uT and temperature (N,) degC."""
    chips = len(temperature)
    body = np.empty((chips, 4), "<f4")
    body[:, 0] = temperature
    body[:, 1:] = np.reshape(x, (chips, 3))
    return body.tobytes() + TAIL


def _floats(frame: bytes) -> F32:
    return np.frombuffer(frame, "<f4", len(frame) // 4)


def _looks_right(frame: bytes) -> bool:
    """Whether the floats are what magnetometers can give: what bytes read out of step are not."""
    floats = np.abs(_floats(frame))
    fields = floats.reshape(-1, 4)[:, 1:]
    with np.errstate(invalid="ignore"):
        sized = (fields == 0) | ((fields >= SMALLEST_UT) & (fields <= LARGEST_UT))
        return bool(sized.all() and (floats[::4] <= LARGEST_DEGC).all())
