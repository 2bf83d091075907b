"""Where estimates go beside stdout, by a text: --out csv:FILE, udp:HOST:PORT, lsl:NAME and the others."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from hiss.program import Port
from hiss.realtime.sinks import CsvOut, JsonOut, Sink

Make = Callable[[str, Sequence[Port]], Sink]


def _udp(rest: str, outputs: Sequence[Port]) -> Sink:
    from hiss.realtime.outputs.datagrams import UdpOut, address

    return UdpOut(*address(rest), outputs)


def _teleplot(rest: str, outputs: Sequence[Port]) -> Sink:
    from hiss.realtime.outputs.datagrams import TELEPLOT_PORT, TeleplotOut, address

    return TeleplotOut(*address(rest, TELEPLOT_PORT), outputs)


def _serial(rest: str, outputs: Sequence[Port]) -> Sink:
    from hiss.realtime.outputs.serial_out import SerialOut, port_and_baud

    return SerialOut(*port_and_baud(rest))


def _lsl(rest: str, outputs: Sequence[Port]) -> Sink:
    from hiss.realtime.outputs.lsl import LslOut

    return LslOut(rest, outputs)


def _mcap(rest: str, outputs: Sequence[Port]) -> Sink:
    from hiss.realtime.outputs.mcap import McapOut

    return McapOut(rest, outputs)


def _ros2(rest: str, outputs: Sequence[Port]) -> Sink:
    from hiss.realtime.outputs.ros2 import Ros2Out

    return Ros2Out(rest, outputs)


KINDS: dict[str, tuple[str, Make]] = {  # kind -> what follows the colon, and who makes the sink
    "csv": ("FILE", CsvOut),
    "jsonl": ("FILE", JsonOut),
    "udp": ("HOST:PORT", _udp),
    "teleplot": ("HOST:PORT", _teleplot),
    "serial": ("PORT[@BAUD]", _serial),
    "lsl": ("NAME", _lsl),
    "mcap": ("FILE", _mcap),
    "ros2": ("TOPIC", _ros2),
}


def make_output(text: str, outputs: Sequence[Port]) -> Sink:
    """The sink of KIND:REST; a text that ends in .csv alone is a CSV file. Raises ValueError, MissingExtraError."""
    kind, colon, rest = text.partition(":")
    if kind in KINDS and colon:
        if not rest:
            raise ValueError(f"--out {text}: expected {kind}:{KINDS[kind][0]}")
        return KINDS[kind][1](rest, outputs)
    if text.endswith(".csv"):
        return CsvOut(text, outputs)
    near = difflib.get_close_matches(kind, KINDS, n=1)
    did_you_mean = f"; did you mean {near[0]}:{KINDS[near[0]][0]}?" if near else ""
    every = ", ".join(f"{name}:{rest}" for name, (rest, _) in KINDS.items())
    raise ValueError(f"--out {text}: it is one of {every}{did_you_mean}")
