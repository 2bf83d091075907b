"""Several --source in hiss record and hiss live: one feed on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hiss.realtime.several import SeveralFeed

SAID = (
    "A port's path, usb:VID:PID[:SERIAL], a pattern such as '/dev/ttyACM*', tcp:HOST:PORT, udp:PORT, file:PATH, "
    "fake:DEVICE or py:MODULE:FUNCTION. Again for more sources at once; NAME=SOURCE names one."
)


def several_feed(
    sources: Sequence[str], devices: Sequence[str], baud: int, *, temperature: bool = False, patience_s: float = 0.0
) -> SeveralFeed:
    """The sources as one feed; one device for all of them, or one each."""
    from hiss.cli.stream import usage
    from hiss.realtime.open_feed import decoded_feed
    from hiss.realtime.several import SeveralFeed, parse_named
    from hiss.realtime.sources import make_source

    each = list(devices) * len(sources) if len(devices) == 1 else list(devices)
    if len(each) != len(sources):
        raise click.UsageError(f"{len(sources)} --source and {len(devices)} --device: give one for all, or one each")
    names, feeds = [], []
    for (name, text), device in zip(parse_named(sources), each, strict=True):
        port = usage(make_source, text, baud, patience_s)
        names.append(name)
        feeds.append(usage(decoded_feed, port, device, (), temperature))
    return usage(SeveralFeed, feeds, names)


def single(sources: Sequence[str], devices: Sequence[str], targets: Sequence[str] = ()) -> tuple[str, str]:
    """(source, device) where there is one source. Raises click.UsageError."""
    if len(devices) > 1 or targets:
        raise click.UsageError("several --device, and --target, are for several --source")
    return sources[0].partition("=")[2] if _is_named(sources[0]) else sources[0], devices[0]


def _is_named(source: str) -> bool:
    from hiss.realtime.several import parse_named

    return parse_named([source])[0][1] != source
