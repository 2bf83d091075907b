"""What sends the bytes: one decoder a file, chosen by a text such as anyskin:5, xsens:acc+gyr or my_board.toml."""

from __future__ import annotations

from collections.abc import Sequence

from hiss.realtime.devices.anyskin import AnySkinDecoder
from hiss.realtime.devices.bno import BnoDecoder
from hiss.realtime.devices.csv import CsvDecoder
from hiss.realtime.devices.declared import declared_decoder
from hiss.realtime.devices.skin_text import SkinTextDecoder
from hiss.realtime.devices.teleplot import TeleplotDecoder
from hiss.realtime.devices.wit import WitBleDecoder, WitDecoder
from hiss.realtime.devices.ximu3 import XimuDecoder
from hiss.realtime.devices.xsens import XsensDecoder
from hiss.realtime.framing import Decoder

DEVICES = {
    "anyskin:N": "AnySkin, N chips, binary",
    "reskin:N": "ReSkin, N chips, binary",
    "anyskin-text:N": "AnySkin, N chips, as text",
    "reskin-text:N": "ReSkin, N chips, as text",
    "csv": "lines of numbers, or of label:value",
    "teleplot": "lines of >name:value",
    "wit": "WitMotion, standard protocol",
    "wit:ble": "WitMotion, frames 55 61",
    "bno-rvc": "BNO08x in UART-RVC mode",
    "ximu3[:I+M]": "x-IMU3, its inertial messages, or others by their letters",
    "xsens[:acc+gyr]": "Xsens MTi, MTData2",
    "FILE.toml": "frames that a file declares",
}
SKINS = ("anyskin", "reskin", "anyskin-text", "reskin-text")


def parse_device(text: str) -> tuple[str, int]:
    """(kind, chips) of a skin, such as anyskin:5, or ("csv", 0); ValueError names the devices there are."""
    kind, _, number = text.lower().partition(":")
    if kind in SKINS and (not number or (number.isdecimal() and 1 <= int(number) <= 255)):
        return kind, int(number or 5)
    if kind == "csv" and not number:
        return kind, 0
    raise ValueError(f"no device {text!r} here; there are: {', '.join(DEVICES)} (N chips: 1 to 255)")


def make_decoder(
    device: str, inputs: Sequence[str] = (), temperature: bool = False, torn_start: bool = True
) -> Decoder:
    """The decoder of a device, for a model that reads `inputs` by name (all channels are given out when it is empty).

    Chip temperatures are decoded when asked for, or when the model reads them. torn_start: see CsvDecoder.
    Raises ValueError for an unknown device, RecordingError for a device file that cannot be read.
    """
    if device.lower().endswith(".toml"):
        return declared_decoder(device)
    kind, _, argument = device.lower().partition(":")
    match kind, argument:
        case "wit", "":
            return WitDecoder()
        case "wit", "ble":
            return WitBleDecoder()
        case "bno-rvc", "":
            return BnoDecoder()
        case "ximu3", _:
            return XimuDecoder(argument or "I")
        case "xsens", _:
            return XsensDecoder(argument)
        case "teleplot", "":
            return TeleplotDecoder(torn_start)
    kind, chips = parse_device(device)
    if kind == "csv":
        return CsvDecoder(inputs, torn_start)
    with_degrees = temperature or not {f"m{chip}_t" for chip in range(chips)}.isdisjoint(inputs)
    if kind in ("anyskin", "reskin"):
        return AnySkinDecoder(chips, with_degrees)
    return SkinTextDecoder(chips, with_degrees, temperature_last=kind == "reskin-text")
