"""A feed from what names it: a source and a device, or a raw log, whose header says how its bytes were decoded."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiss.errors import RecordingError
from hiss.realtime.devices import make_decoder
from hiss.realtime.devices.declared import DeclaredDecoder
from hiss.realtime.devices.declared_layout import layout_from, toml_table
from hiss.realtime.feeds import DecodedFeed
from hiss.realtime.framing import Decoder
from hiss.realtime.log_source import LogSource
from hiss.realtime.rawlog import LogReader
from hiss.realtime.several import SeveralFeed
from hiss.realtime.sources import Source


def decoded_feed(source: Source, device: str, inputs: Sequence[str] = (), temperature: bool = False) -> DecodedFeed:
    """The frames of a device on a source; see `make_decoder`. The feed knows how, so that a log of it can say it."""
    how = {"device": device, "inputs": list(inputs), "temperature": temperature, "torn_start": source.torn_start}
    if device.lower().endswith(".toml"):
        make_decoder(device)  # says what is wrong with the file
        how["declaration"] = Path(device).read_text(encoding="utf-8")
    return _feed(source, how)


def log_feed(
    path: str | os.PathLike[str], speed: float | None = None, inputs: Sequence[str] = ()
) -> DecodedFeed | SeveralFeed:
    """What a raw log was recorded from, again; its frames are those of the recording. Raises RecordingError.

    inputs: of a model that the log was not recorded with
    """
    reader = LogReader(path)
    abouts = [about if about.get("inputs") else {**about, "inputs": list(inputs)} for about in reader.sources]
    try:
        feeds = [_feed(LogSource(str(path), speed, i), about) for i, about in enumerate(abouts)]
        if len(feeds) == 1:
            return feeds[0]
        feed = SeveralFeed(feeds, [str(about.get("name")) for about in reader.sources])
        feed.restore(reader.header.get("aligning"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordingError(f"{path}: the header of the raw log does not say how to read it: {error}") from error
    feed.name = str(path)
    return feed


def _feed(source: Source, how: dict[str, Any]) -> DecodedFeed:
    make = functools.partial(_decoder, how)
    feed = DecodedFeed(source, make(), renew=make)
    feed.how = how
    return feed


def _decoder(how: dict[str, Any]) -> Decoder:
    if "declaration" in how:
        return DeclaredDecoder(layout_from(toml_table(how["declaration"])))
    temperature, torn_start = bool(how.get("temperature", False)), bool(how.get("torn_start", True))
    return make_decoder(str(how["device"]), list(how.get("inputs", ())), temperature, torn_start)
