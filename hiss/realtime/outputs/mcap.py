"""Estimates, samples and events as an MCAP file, which Foxglove and PlotJuggler open. The one file that knows mcap.

Topics, all in JSON with a schema: estimates {seq, latency_us, y: {name: value}}, samples {name: value}, events {kind,
text}. A file is a record: nothing is dropped, and what cannot be written ends the run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hiss.errors import HissError, MissingExtraError
from hiss.program import Port
from hiss.realtime.framing import F32, Event
from hiss.realtime.sinks import Estimate, Sink
from hiss.recording import Channel


class McapOut(Sink):
    """<path>, replaced when it exists. log_time: an estimate's own t; of samples and events the wall clock's."""

    def __init__(self, path: str, outputs: Sequence[Port], now_ns: Callable[[], int] = time.time_ns):
        """now_ns: the wall clock; of a recording, the one of then. Raises MissingExtraError."""
        try:
            from mcap.writer import CompressionType, Writer
        except ImportError as error:
            raise MissingExtraError("mcap", "mcap") from error
        self.path = Path(path)
        self.name = f"mcap:{path}"
        self.outputs = outputs
        self.now_ns = now_ns
        # without compression: it needs no further package, and no time in the loop
        self._make: Callable[[Any], Any] = functools.partial(Writer, compression=CompressionType.NONE)
        self._channels: tuple[Channel, ...] = ()
        self._topics: dict[str, int] = {}
        self._first_ns = 0

    def __enter__(self) -> McapOut:
        with self._named():
            self._file = open(self.path, "wb")
            self._writer = self._make(self._file)
            self._writer.start(profile="", library="hiss")
            self._topic("estimates", _estimate_schema(self.outputs))
            self._topic("events", {"type": "object", "properties": {"kind": _TEXT, "text": _TEXT}})
        return self

    def __exit__(self, *error: object) -> None:
        with self._named():
            try:
                self._writer.finish()
            finally:
                self._file.close()

    def begin(self, channels: tuple[Channel, ...]) -> None:
        """The samples' names are known."""
        self._channels = channels
        self._first_ns = self.now_ns()
        values = {c.name: _number(c.unit) for c in channels}
        with self._named():
            self._topic("samples", {"type": "object", "properties": values})

    def frame(self, t: float, x: F32) -> None:
        """A message on samples."""
        values = {c.name: _value(v) for c, v in zip(self._channels, x.tolist(), strict=True)}
        self._message("samples", self._first_ns + round(t * 1e9), values)

    def estimate(self, estimate: Estimate) -> None:
        """A message on estimates."""
        y = {p.name: _value(v) for p, v in zip(self.outputs, estimate.y.tolist(), strict=True)}
        content = {"seq": estimate.seq, "latency_us": estimate.latency_ns / 1e3, "y": y}
        self._message("estimates", max(0, round(estimate.t * 1e9)), content)

    def event(self, event: Event) -> None:
        """A message on events."""
        self._message("events", self.now_ns(), {"kind": event.kind, "text": event.text})

    def _topic(self, topic: str, schema: dict[str, Any]) -> None:
        data = json.dumps(schema).encode()
        schema_id = self._writer.register_schema(f"hiss.{topic}", "jsonschema", data)
        self._topics[topic] = self._writer.register_channel(topic, "json", schema_id)

    def _message(self, topic: str, at_ns: int, content: dict[str, Any]) -> None:
        with self._named():
            self._writer.add_message(self._topics[topic], at_ns, json.dumps(content).encode(), at_ns)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HissError(f"{self.path} cannot be written: {error.strerror or error}") from error


_TEXT = {"type": "string"}


def _estimate_schema(outputs: Sequence[Port]) -> dict[str, Any]:
    y = {"type": "object", "properties": {p.name: _number(p.unit) for p in outputs}}
    own = {"seq": {"type": "integer"}, "latency_us": {"type": "number"}, "y": y}
    return {"type": "object", "properties": own}


def _number(unit: str) -> dict[str, Any]:
    return {"type": ["number", "null"], **({"description": unit} if unit else {})}


def _value(value: float) -> float | None:
    return value if math.isfinite(value) else None
