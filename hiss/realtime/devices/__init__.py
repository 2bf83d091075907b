"""What sends the bytes: one decoder a file, chosen by a text such as anyskin:5 or csv."""

from __future__ import annotations

from collections.abc import Sequence

from hiss.realtime.devices.anyskin import AnySkinDecoder
from hiss.realtime.devices.csv import CsvDecoder
from hiss.realtime.framing import Decoder

DEVICES = {"anyskin:N": "AnySkin, N chips, binary", "reskin:N": "ReSkin, N chips, binary", "csv": "lines of numbers"}


def parse_device(text: str) -> tuple[str, int]:
    """(kind, chips) of a text such as anyskin:5; ValueError names the devices there are."""
    kind, _, number = text.lower().partition(":")
    if kind in ("anyskin", "reskin") and (not number or (number.isdecimal() and 1 <= int(number) <= 255)):
        return kind, int(number or 5)
    if kind == "csv" and not number:
        return kind, 0
    raise ValueError(f"no device {text!r}; there are: {', '.join(DEVICES)} (N chips: 1 to 255)")


def make_decoder(
    device: str, inputs: Sequence[str] = (), temperature: bool = False, torn_start: bool = True
) -> Decoder:
    """The decoder of a device, for a model that reads `inputs` by name (all channels are given out when it is empty).

    Chip temperatures are decoded when asked for, or when the model reads them. torn_start: see CsvDecoder.
    """
    kind, chips = parse_device(device)
    if kind == "csv":
        return CsvDecoder(inputs, torn_start)
    wanted = {f"m{chip}_t" for chip in range(chips)}
    return AnySkinDecoder(chips, temperature or not wanted.isdisjoint(inputs))
