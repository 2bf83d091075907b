"""Estimates as a Lab Streaming Layer outlet. The one file that knows pylsl."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from hiss.errors import MissingExtraError
from hiss.program import Port
from hiss.realtime.sinks import Estimate, Sink

BUFFERED_S = 60  # seconds (of its nominal rate) that liblsl keeps for a slow inlet; it drops the oldest itself


class LslOut(Sink):
    """An irregular float32 stream of type "Estimates", one channel per output with label and unit.

    Stamps are of LSL's own clock, when the bytes were read that completed the estimate.
    """

    def __init__(self, name: str, outputs: Sequence[Port]):
        """Raises MissingExtraError."""
        try:
            import pylsl
        except (ImportError, RuntimeError) as error:  # RuntimeError: the package is there, its library is not
            raise MissingExtraError("pylsl", "lsl") from error
        self.name = f"lsl:{name}"
        self._clock = pylsl.local_clock
        info = pylsl.StreamInfo(name, "Estimates", len(outputs), pylsl.IRREGULAR_RATE, pylsl.cf_float32, f"hiss-{name}")
        channels = info.desc().append_child("channels")
        for port in outputs:
            channel = channels.append_child("channel")
            channel.append_child_value("label", port.name)
            channel.append_child_value("unit", port.unit)
        self._make: Callable[[], Any] = functools.partial(pylsl.StreamOutlet, info, max_buffered=BUFFERED_S)

    def __enter__(self) -> LslOut:
        self._outlet = self._make()
        return self

    def __exit__(self, *error: object) -> None:
        del self._outlet  # closing is destroying

    def estimate(self, estimate: Estimate) -> None:
        """Push it."""
        self._outlet.push_sample(estimate.y.tolist(), self._clock() - estimate.latency_ns * 1e-9)
