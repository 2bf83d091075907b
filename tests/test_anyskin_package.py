"""The sensor's own published package reads the fake board, and our reader reads the same bytes: equal values."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from conftest import absent
from streaming import fake_board

from hiss.realtime import fake
from hiss.realtime.devices.anyskin import AnySkinDecoder
from hiss.realtime.framing import Frame

try:
    from anyskin import AnySkinBase
except ImportError:
    AnySkinBase = None

CHIPS, SAMPLES = 5, 40


def heard_sensor(port: str, temp_filtered: bool, timeout_s: float = 30):
    """The package's class as it is, which also keeps what it read, and does not wait for ever."""
    end_s = time.monotonic() + timeout_s

    class Heard(AnySkinBase):
        heard = b""

        @property
        def in_waiting(self) -> int:
            if time.monotonic() > end_s:
                raise TimeoutError("its reader got no sample")
            return super().in_waiting

        def read(self, size: int = 1) -> bytes:
            data = super().read(size)
            self.heard += data
            return data

    return Heard(CHIPS, port, temp_filtered=temp_filtered)


@pytest.mark.parametrize("temp_filtered", [True, False])
def test_the_published_class_and_our_reader_see_equal_values_in_the_fake_boards_bytes(temp_filtered: bool) -> None:
    """Bit for bit, from the first sample that was played; its float64 holds a float32 exactly."""
    if AnySkinBase is None:
        absent("the package anyskin is not installed (pip install --no-deps anyskin==1.0.0)")
    with (
        fake_board("--device", f"anyskin:{CHIPS}", "--rate", 200) as (port, _),
        heard_sensor(port, temp_filtered) as sensor,  # opening it reads a sample
    ):
        theirs = np.array([row[1:] for row in sensor.get_data(SAMPLES)])
        heard = sensor.heard
    ours = [
        item.x for item in AnySkinDecoder(CHIPS, temperature=not temp_filtered).feed(heard) if isinstance(item, Frame)
    ]
    assert len(ours) == SAMPLES + 1
    by_chip = theirs.reshape(SAMPLES, CHIPS, -1)
    in_our_order = [by_chip[:, :, -3:].reshape(SAMPLES, -1), *([] if temp_filtered else [by_chip[:, :, 0]])]
    np.testing.assert_array_equal(np.concatenate(in_our_order, axis=1), ours[1:])
    played = [x for _, x in itertools.islice(fake.wave(3 * CHIPS, 200.0), SAMPLES + 1)]
    np.testing.assert_array_equal([x[: 3 * CHIPS] for x in ours], played)
