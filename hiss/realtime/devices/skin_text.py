"""The text that ReSkin and AnySkin sketches print: a line a sample, two decimals, N magnetometer chips.

reskin-text:N    X TAB Y TAB Z TAB T TAB, chip after chip: the temperature last, in the binary first
anyskin-text:N   T TAB X TAB Y TAB Z, and the next chip follows without a separator: ...Z0T1...

The glued numbers of AnySkin can be told apart because each has two decimals. Channels as of the binary.
"""

from __future__ import annotations

import re

import numpy as np

from hiss.realtime.devices.anyskin import anyskin_channels
from hiss.realtime.devices.framed import FramedDecoder
from hiss.realtime.framing import F32, Event, Frame
from hiss.realtime.stuffing import DelimitedFramer

NUMBER = re.compile(rb"-?\d+\.\d\d|-?nan|-?inf|-?ovf")  # as Print::print(float) writes them
LINE = re.compile(rb"(?:(?:%s)\t*)+" % NUMBER.pattern)
BEYOND = {b"ovf": b"inf", b"-ovf": b"-inf"}  # larger than Print can write


class SkinTextDecoder(FramedDecoder):
    """Lines of a board with `chips` magnetometers -> frames in uT, if asked for with degC behind them."""

    def __init__(self, chips: int = 5, temperature: bool = False, temperature_last: bool = False):
        if not 1 <= chips <= 255:
            raise ValueError(f"a board of {chips} chips; 1 to 255 are possible")
        self._torn = True
        self._count = 4 * chips
        super().__init__(DelimitedFramer(b"\n", self._check), anyskin_channels(chips, temperature))
        order = np.arange(4 * chips).reshape(chips, 4)
        fields, degrees = (order[:, :3], order[:, 3]) if temperature_last else (order[:, 1:], order[:, 0])
        self._columns = np.concatenate([fields.ravel(), degrees]) if temperature else fields.ravel()

    def _check(self, line: bytes) -> bytes | Event:
        torn, self._torn = self._torn, False
        text = line.strip()
        found = NUMBER.findall(text) if LINE.fullmatch(text) else []
        if torn or len(found) != self._count:  # a torn number has two decimals too: 512.25 -> 2.25
            return Event("malformed", f"{len(found)} numbers where {self._count} are expected: {line[:40]!a}")
        return b",".join(found)

    def read(self, frame: bytes) -> tuple[Frame]:
        """One sample a line."""
        values = [float(BEYOND.get(cell, cell)) for cell in frame.split(b",")]
        self.counts.frames += 1
        with np.errstate(over="ignore"):
            return (Frame(np.array(values).astype(np.float32)[self._columns]),)


def encode(x: F32, temperature: F32, temperature_last: bool = False) -> bytes:
    """The line a board prints for x (3 N,) uT and temperature (N,) degC."""
    fields = np.reshape(x, (len(temperature), 3)).tolist()
    if temperature_last:
        numbers = (v for xyz, t in zip(fields, temperature, strict=True) for v in (*xyz, t))
        return "".join(f"{v:.2f}\t" for v in numbers).encode() + b"\r\n"
    chips = ("\t".join(f"{v:.2f}" for v in (t, *xyz)) for xyz, t in zip(fields, temperature, strict=True))
    return "".join(chips).encode() + b"\r\n"
