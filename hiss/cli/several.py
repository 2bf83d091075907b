"""Several --source in hiss record and hiss live: one feed on one clock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hiss.realtime.live import Limits
    from hiss.realtime.several import SeveralFeed

SAID = "Again for more sources at once; NAME=SOURCE names one."


def several_feed(
    sources: Sequence[str], devices: Sequence[str], baud: int, *, temperature: bool = False, patience_s: float = 0.0
) -> SeveralFeed:
    """The sources as one feed; one device for all of them, or one each."""
    from hiss.cli.stream import usage
    from hiss.realtime.devices import make_decoder
    from hiss.realtime.feeds import DecodedFeed
    from hiss.realtime.several import SeveralFeed, parse_named
    from hiss.realtime.sources import make_source

    each = list(devices) * len(sources) if len(devices) == 1 else list(devices)
    if len(each) != len(sources):
        raise click.UsageError(f"{len(sources)} --source and {len(devices)} --device: give one for all, or one each")
    names, feeds = [], []
    for (name, text), device in zip(parse_named(sources), each, strict=True):
        port = usage(make_source, text, baud, patience_s)
        decoder = usage(make_decoder, device, temperature=temperature, torn_start=port.torn_start)
        names.append(name)
        feeds.append(DecodedFeed(port, decoder))
    return usage(SeveralFeed, feeds, names)


def single(sources: Sequence[str], devices: Sequence[str], targets: Sequence[str] = ()) -> tuple[str, str]:
    """(source, device) where there is one source. Raises click.UsageError."""
    if len(devices) > 1 or targets:
        raise click.UsageError("several --device, and --target, are for several --source")
    return sources[0].partition("=")[2] if _is_named(sources[0]) else sources[0], devices[0]


def _is_named(source: str) -> bool:
    from hiss.realtime.several import parse_named

    return parse_named([source])[0][1] != source


def record_several(
    feed: SeveralFeed, targets: Sequence[str], out: Path, name: str, overwrite: bool, limits: Limits, as_json: bool
) -> None:
    """One aligned recording of all sources, with the named columns as targets."""
    from hiss.cli.stream import run_loop
    from hiss.realtime.live import Loop
    from hiss.realtime.several import AlignedRecorder
    from hiss.realtime.sinks import EventLines

    recorder = AlignedRecorder(feed, targets, out, name, overwrite)
    try:
        run_loop(Loop(feed, sinks=[EventLines(sys.stderr), recorder], limits=limits), as_json)
    finally:
        if len(recorder) and out.exists():
            said = f"{out}: {len(recorder)} frames of {len(recorder.channels)} channels"
            aligned = f", aligned at {feed.names[0]}'s; {feed.early} left out before all had begun"
            click.echo(said + aligned + (f"; targets: {', '.join(targets)}" if targets else ""), err=True)
