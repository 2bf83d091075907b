"""A recording out of a raw log: decoded samples, the events, and the estimates where a model ran.

HDF5 holds beside the samples, in the same trial: events (JSON [kind, text]) with events_t, estimates_t, estimates_seq,
estimates_latency_us and estimates_y with the attributes estimates_names and estimates_units. All times are s since the
first frame, whose Unix time is the attribute unix_s, but estimates_t are the times that the model told (Unix time of a
live stream). MCAP holds the same as topics; CSV the samples only.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiss.errors import FormatError, RecordingError
from hiss.files import atomic_path
from hiss.program import Port
from hiss.realtime.framing import F32, Event
from hiss.realtime.live import Loop
from hiss.realtime.open_feed import log_feed
from hiss.realtime.rawlog import BYTES, ESTIMATE, LogReader
from hiss.realtime.several import SeveralFeed, with_targets
from hiss.realtime.sinks import Estimate, Sink
from hiss.recording import Channel, Recording, write_csv, write_hdf5

SUFFIXES = (".h5", ".hdf5", ".csv", ".mcap")
BLOCK = 4096


@dataclass(frozen=True)
class Converted:
    """What a log held.

    left_out: frames that are not finite;  torn: bytes of a record that a crash tore;  first_ns: Unix time of the first
    frame;  events: with their Unix time, ns
    """

    recording: Recording
    left_out: int
    torn: int
    first_ns: int
    events: list[tuple[int, Event]]
    estimates: list[Estimate]


class Rows(Sink):
    """The finite frames with their times, in blocks: a list of small arrays would take several times the room."""

    def __init__(self) -> None:
        self.channels: tuple[Channel, ...] = ()
        self.left_out = 0
        self.first_ns = 0  # arrival of the first frame kept
        self._t: list[float] = []
        self._x: list[F32] = []
        self._blocks: list[tuple[Any, F32]] = []

    def begin(self, channels: tuple[Channel, ...]) -> None:
        """Take over the names."""
        self.channels = channels

    def frame(self, t: float, x: F32) -> None:
        """Keep a frame."""
        if not np.isfinite(x).all():
            self.left_out += 1
            return
        self._t.append(t)
        self._x.append(x)
        if len(self._t) > BLOCK and self.first_ns:
            self._pack()

    def tick(self, now_ns: int) -> None:
        """Behind a chunk: the first with a frame is noted."""
        if not self.first_ns and self._t:
            self.first_ns = now_ns

    def arrays(self) -> tuple[Any, F32]:
        """t (n,) and x (n, C)."""
        self._pack()
        if not self._blocks:
            return np.zeros(0), np.zeros((0, len(self.channels)), np.float32)
        return np.concatenate([t for t, _ in self._blocks]), np.concatenate([x for _, x in self._blocks])

    def _pack(self) -> None:
        if self._t:
            self._blocks.append((np.array(self._t), np.stack(self._x)))
            self._t, self._x = [], []


def read_log(path: str | os.PathLike[str]) -> Converted:
    """The samples of a raw log, with targets where it was recorded with them. Raises RecordingError."""
    reader = LogReader(path)
    feed, rows = log_feed(path), Rows()
    try:
        Loop(feed, sinks=[rows]).run()
    except FormatError as error:
        if not rows.channels:
            raise RecordingError(f"{path}: no frame in the raw log; {error}") from error
    t, x = rows.arrays()
    if not len(t):
        raise RecordingError(f"{path}: no frame in the raw log whose values are all finite")
    header = reader.header
    attrs = {key: str(header[key]) for key in ("device", "source") if header.get(key)}
    first_s = (rows.first_ns + reader.wall_ns) * 1e-9
    attrs["started"] = datetime.datetime.fromtimestamp(first_s, datetime.timezone.utc).isoformat(
        timespec="milliseconds"
    )
    attrs["unix_s"] = repr(first_s)
    name = str(header.get("name") or Path(path).stem)
    recording = Recording(name, t - t[0], x, rows.channels, attrs=attrs)
    if header.get("targets") and isinstance(feed, SeveralFeed):
        recording = with_targets(recording, header["targets"], feed.groups)
    events, estimates = _said(reader)
    return Converted(recording, rows.left_out, reader.torn, rows.first_ns + reader.wall_ns, events, estimates)


def convert(log: str | os.PathLike[str], path: str | os.PathLike[str]) -> Converted:
    """Write the recording of a raw log; the suffix of the path says how. Raises RecordingError, HissError."""
    made, goal = read_log(log), Path(path)
    outputs = [Port(str(name), str(unit), -1.0, 1.0) for name, unit in LogReader(log).header.get("outputs") or ()]
    match goal.suffix.lower():
        case ".csv":
            write_csv(goal, made.recording)
        case ".mcap":
            _write_mcap(goal, made, outputs)
        case _:
            r, extra = _beside(made, outputs)
            write_hdf5(goal, [r], extra={r.name: extra})
    return made


def _said(reader: LogReader) -> tuple[list[tuple[int, Event]], list[Estimate]]:
    """The events, with their stamps on the wall clock in ns, and the estimates."""
    events, estimates = [], []
    began_ns = next((record.stamp_ns for record in reader if record.stamp_ns), 0)
    for record in reader:
        if record.kind == ESTIMATE:
            estimates.append(record.estimate)
        elif record.kind != BYTES:
            events.append((max(record.stamp_ns, began_ns) + reader.wall_ns, record.event))
    return events, estimates


def _beside(made: Converted, outputs: Sequence[Port]) -> tuple[Recording, dict[str, Any]]:
    """The recording, and the data sets beside it."""
    r, e, extra = made.recording, made.estimates, {}
    if made.events:
        extra["events"] = np.array([json.dumps([event.kind, event.text]).encode() for _, event in made.events])
        extra["events_t"] = np.array([(at_ns - made.first_ns) * 1e-9 for at_ns, _ in made.events])
    if e:
        names, units = json.dumps([p.name for p in outputs]), json.dumps([p.unit for p in outputs], ensure_ascii=False)
        r = dataclasses.replace(r, attrs={**r.attrs, "estimates_names": names, "estimates_units": units})
        extra["estimates_t"] = np.array([one.t for one in e])
        extra["estimates_seq"] = np.array([one.seq for one in e])
        extra["estimates_latency_us"] = np.array([one.latency_ns / 1e3 for one in e])
        extra["estimates_y"] = np.stack([one.y for one in e])
    return r, extra


def _write_mcap(path: Path, made: Converted, outputs: Sequence[Port]) -> None:
    from hiss.realtime.outputs.mcap import McapOut

    r = made.recording
    now_ns = made.first_ns
    with atomic_path(path) as temporary, McapOut(str(temporary), outputs, now_ns=lambda: now_ns) as out:
        out.begin((*r.channels, *r.targets))
        for t, x, y in zip(r.t.tolist(), r.x, r.y, strict=True):
            out.frame(t, np.concatenate([x, y]))
        for estimate in made.estimates:
            out.estimate(estimate)
        for at_ns, event in made.events:
            now_ns = at_ns
            out.event(event)
