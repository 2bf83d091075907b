"""Samples to the bytes that each device sends: the other direction of the decoders, for boards that are not there.

A number that a device sends as an integer is rounded to its step and held within its range; not a number is 0 there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hiss.realtime.devices import anyskin, bno, csv, declared, make_decoder, parse_device, skin_text, wit, ximu3, xsens
from hiss.realtime.devices.declared_layout import TICKS, Field, Layout, read_layout
from hiss.realtime.devices.xsens_items import PACKET_COUNTER, QUANTITIES, SAMPLE_TIME_FINE, TICK_S
from hiss.realtime.framing import F32
from hiss.recording import Channel

Channels = tuple[Channel, ...]
Send = Callable[[float, int, F32], bytes]  # (t in s, index of the sample, x) -> the bytes of one sample
DEGC_LSB = 1 / 45.2  # of an MLX90393's temperature
XSENS_DEFAULT = "acc+gyr"
CSV_KINDS = ("csv", "csv:plain", "csv:labels")  # header, time and exact values; bare values; name:value


@dataclass(frozen=True)
class Sender:
    """What a device sends. start: before the first sample."""

    channels: Channels
    send: Send
    start: bytes = b""


def device_channels(device: str, count: int = 0) -> Channels:
    """The channels of a device without a recording; `count` of them where it has no number of its own."""
    kind = device.lower()
    if kind in CSV_KINDS or kind == "teleplot":
        return tuple(Channel(f"c{i}") for i in range(count))
    if kind == "wit":
        return (*wit.ACC, *wit.GYR, *wit.ANGLE)
    if kind == "xsens":
        device = f"xsens:{XSENS_DEFAULT}"
    return make_decoder(device).channels


def sender(device: str, channels: Channels) -> Sender:
    """The sender of a device for samples with these channels. Raises ValueError when they are not the device's."""
    kind, _, argument = device.lower().partition(":")
    own = device_channels(device, len(channels))
    if len(own) != len(channels):
        raise ValueError(
            f"{len(channels)} channels, but {device} sends {len(own)}; "
            f"try --device anyskin:{len(channels) // 3}, or csv"
        )
    if device.lower().endswith(".toml"):
        return Sender(own, _declared(read_layout(device)))
    match kind:
        case "csv":
            return _csv(argument, channels)
        case "teleplot":
            return Sender(channels, _teleplot(channels))
        case "wit":
            return Sender(own, _wit_ble if argument else _wit)
        case "bno-rvc":
            return Sender(own, lambda t, i, x: bno.encode(_within(x / bno.SCALE, "i2") * bno.SCALE, i))
        case "ximu3":
            return Sender(own, _ximu3((argument or "i").upper().split("+")))
        case "xsens":
            return Sender(own, _xsens((argument or XSENS_DEFAULT).split("+")))
    return Sender(own, _skin(*parse_device(device)))


def simulated_temperature(t: float, chips: int) -> F32:
    """Chips that warm up by 3 degrees, each a little different, in steps of the sensor, (chips,) degC."""
    degc = 24.0 + 3.0 * (1 - np.exp(-t / 120.0)) + 0.2 * np.arange(chips)
    return (np.round(degc / DEGC_LSB) * DEGC_LSB).astype(np.float32)


def _skin(kind: str, chips: int) -> Send:
    if kind.endswith("-text"):
        last = kind == "reskin-text"
        return lambda t, i, x: skin_text.encode(x, simulated_temperature(t, chips), temperature_last=last)
    return lambda t, i, x: anyskin.encode(x, simulated_temperature(t, chips))


def _csv(how: str, channels: Channels) -> Sender:
    if how == "plain":
        return Sender(channels, lambda t, i, x: ",".join(f"{v:.9g}" for v in x.tolist()).encode() + b"\r\n")
    if how == "labels":
        names = [_plain(c.name) for c in channels]
        return Sender(channels, lambda t, i, x: ",".join(_pairs(names, x)).encode() + b"\r\n")
    return Sender(channels, lambda t, i, x: csv.encode_line(t, x), csv.encode_header(channels))


def _teleplot(channels: Channels) -> Send:
    ends = [f"§{c.unit}" if c.unit else "" for c in channels]
    names = [_plain(c.name) for c in channels]

    def send(t: float, i: int, x: F32) -> bytes:
        rows = zip(names, x.tolist(), ends, strict=True)
        return "".join(f">{name}:{t * 1e3:.6f}:{value:.9g}{end}\r\n" for name, value, end in rows).encode()

    return send


def _wit(t: float, i: int, x: F32) -> bytes:
    raw = _wit_raw(x)
    return b"".join(wit.encode(quantity, (*raw[3 * k : 3 * k + 3],)) for k, quantity in enumerate((0x51, 0x52, 0x53)))


def _wit_ble(t: float, i: int, x: F32) -> bytes:
    return wit.encode_ble((*_wit_raw(x),))


def _wit_raw(x: F32) -> list[int]:
    return _within(x / wit.WitBleDecoder.SCALE, "i2").astype(int).tolist()


def _ximu3(kinds: list[str]) -> Send:
    ends = np.cumsum([len(ximu3.KINDS[kind]) for kind in kinds])

    def send(t: float, i: int, x: F32) -> bytes:
        parts = list(zip(kinds, np.split(x, ends[:-1]), strict=True))
        messages = (ximu3.encode(kind, round(t * 1e6), part) for kind, part in [*parts[1:], parts[0]])
        return b"".join(messages)  # the first kind last: it completes a sample

    return send


def _xsens(names: list[str]) -> Send:
    kinds = [xsens.SHORT[name] for name in names]
    ends = np.cumsum([len(QUANTITIES[kind][1]) for kind in kinds])

    def send(t: float, i: int, x: F32) -> bytes:
        ticks = round(t / TICK_S) & 0xFFFFFFFF
        items = [(PACKET_COUNTER, struct.pack(">H", i & 0xFFFF)), (SAMPLE_TIME_FINE, struct.pack(">I", ticks))]
        parts = zip(kinds, np.split(x, ends[:-1]), strict=True)
        return xsens.encode([*items, *((kind, part.astype(">f4").tobytes()) for kind, part in parts)])

    return send


def _declared(layout: Layout) -> Send:
    """Any frame of a device file: clock and sequence count on, a constant and a length are what they should be."""

    def send(t: float, i: int, x: F32) -> bytes:
        numbers: list[float] = []
        at = 0
        for f in layout.fields:
            if f.role == "channel":
                numbers += _raw(f, x[at : at + len(f.names)])
                at += len(f.names)
            elif f.role != "skip":
                numbers.append(_own(layout, f, t, i))
        return declared.encode(layout, tuple(numbers))

    return send


def _own(layout: Layout, f: Field, t: float, i: int) -> int:
    """The number of a field that is no channel."""
    if f.role == "constant":
        return f.value
    if f.role == "length":
        return layout.size - f.adds
    number = i if f.role == "sequence" else round(t / (TICKS[f.unit] * f.scale))
    wrapped = number & (1 << f.bits) - 1
    return wrapped - (1 << f.bits) if f.type[0] == "i" and wrapped >> f.bits - 1 else wrapped


def _raw(f: Field, x: F32) -> list[float]:
    """The numbers on the wire of a channel field's values."""
    raw = (x.astype(np.float64) - f.offset) / f.scale
    if f.type[0] == "f":
        return raw.astype(f"f{f.bits // 8}").tolist()
    low, high = (-(1 << f.bits - 1), (1 << f.bits - 1) - 1) if f.type[0] == "i" else (0, (1 << f.bits) - 1)
    # in whole numbers of Python: a float64 does not hold the end of a 64-bit range
    return [min(max(round(v), low), high) for v in np.nan_to_num(raw).tolist()]


def _within(raw: npt.NDArray[Any], type_: str) -> npt.NDArray[np.float64]:
    """Whole numbers within an integer type's range, as float64."""
    limits = np.iinfo(type_)
    return np.clip(np.round(np.nan_to_num(raw)), limits.min, limits.max)


def _pairs(names: list[str], x: F32) -> list[str]:
    return [f"{name}:{value:.9g}" for name, value in zip(names, x.tolist(), strict=True)]


def _plain(name: str) -> str:
    """A name without the characters that mean something in a line."""
    return "".join("_" if c in ":|§;, \t\n" else c for c in name)
