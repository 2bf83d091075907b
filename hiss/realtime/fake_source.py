"""A board within this process, for a first try without one: fake:anyskin:5?rate=400&drop=0.01&seconds=60."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl

from hiss.realtime import fake
from hiss.realtime.fake_devices import device_channels
from hiss.realtime.feeds import wait_until

KNOWN = ("rate", "drop", "seconds")


class FakeSource:
    """A waveform, as the bytes that a device would send, on an absolute schedule.

    rate: Hz (100); drop: part of the frames that never come (0); seconds: how long (no end). Raises ValueError.
    """

    torn_start = False

    def __init__(self, text: str):
        self.name = f"fake:{text}"
        device, _, options = text.partition("?")
        self._encoder = fake.Encoder(device, device_channels(device, 6))
        values = {"rate": 100.0, "drop": 0.0, "seconds": 0.0}
        for key, value in parse_qsl(options, keep_blank_values=True):
            if key not in KNOWN:
                raise ValueError(f"{self.name}: no option {key!r}; there are: {', '.join(KNOWN)}")
            try:
                values[key] = float(value)
            except ValueError:
                raise ValueError(f"{self.name}: {key}={value!r} is no number") from None
        self._rate_hz, self._drop, self._seconds = (values[key] for key in KNOWN)
        if not (0 < self._rate_hz < float("inf") and 0 <= self._drop < 1 and self._seconds >= 0):
            raise ValueError(f"{self.name}: expected rate above 0, drop from 0 to below 1, seconds from 0")
        self.ends = self._seconds > 0

    def __enter__(self) -> FakeSource:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        chance, start_ns = random.Random(0), time.monotonic_ns()
        yield start_ns, self._encoder.start()
        for t, x in fake.wave(self._encoder.channels, self._rate_hz, self._seconds or None):
            for now_ns in wait_until(start_ns + round(t * 1e9)):
                yield now_ns, b""
            data = self._encoder.frame(t, x)
            yield time.monotonic_ns(), data if chance.random() >= self._drop else b""
