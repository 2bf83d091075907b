"""What the fake boards send is what our readers read: every device, any values, within one step of the wire."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming import fake_board
from test_devices_framers import LAYOUTS
from test_fake import read_all

from hiss.realtime import fake, fake_devices
from hiss.realtime.devices import make_decoder
from hiss.realtime.devices.declared import DeclaredDecoder
from hiss.realtime.framing import Decoder, Frame
from hiss.recording import Channel

HALF = {  # half a step of the wire by device, per channel or for all; not here: exact in float32
    "anyskin-text:2": 0.005,
    "reskin-text:2": 0.005,
    "wit": np.repeat([16, 2000, 180], 3) / 65536,
    "wit:ble": np.repeat([16, 2000, 180], 3) / 65536,
    "bno-rvc": np.repeat([0.005, 0.5], 3),
}
LARGEST = {  # what the device can say
    "wit": np.repeat([15.9, 1999, 179], 3),
    "wit:ble": np.repeat([15.9, 1999, 179], 3),
    "bno-rvc": np.repeat([327, 32767], 3),
}
STAMP_S = {"ximu3": 1e-6, "ximu3:q+i": 1e-6, "xsens": 1e-4, "xsens:quat": 1e-4, "csv": 1e-15, "teleplot": 1e-9}
SEQUENCED = ("bno-rvc", "xsens", "xsens:quat")
DEVICES = [*HALF, *STAMP_S, "anyskin:3", "reskin:1", "csv:plain", "csv:labels"]
WITHOUT_A_TORN_START = ("csv", "csv:plain", "csv:labels", "teleplot")


def reader(device: str, expected: list[str]) -> Decoder:
    if device.endswith("-text:2"):
        return make_decoder(device)
    return make_decoder("csv" if device.startswith("csv") else device, expected, torn_start=False)


def sent(encoder: fake.Encoder, t: np.ndarray, x: np.ndarray) -> bytes:
    return encoder.start() + b"".join(encoder.frame(at, row) for at, row in zip(t.tolist(), x, strict=True))


def frames_of(decoder: Decoder, data: bytes) -> list[Frame]:
    return [item for item in decoder.feed(data) if isinstance(item, Frame)]


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), size=st.sampled_from([1e-3, 1.0, 30.0, 500.0]), rate_hz=st.floats(1, 2000))
def test_what_a_fake_board_plays_is_what_its_reader_reads(device: str, seed: int, size: float, rate_hz: float) -> None:
    """Values, and clock and sequence where the device has them. The first frames teach a reader what makes a sample."""
    n, rng = 12, np.random.default_rng(seed)
    channels = fake_devices.device_channels(device, 4)
    x = np.clip(rng.normal(0, size, (n, len(channels))), *limits(device)).astype(np.float32)
    t = np.arange(n) / rate_hz
    encoder = fake.Encoder(device, channels)
    decoder = reader(device, [c.name for c in channels])
    frames = frames_of(decoder, sent(encoder, t, x))
    first = n - len(frames)
    assert first <= (3 if device in ("wit", "teleplot") else 1 if device.endswith("-text:2") else 0)
    read = np.array([f.x for f in frames])
    exact = np.float64(x[first:])
    assert (np.abs(read - exact) <= HALF.get(device, 0) + np.abs(exact) * 2.0**-23 * (device in HALF)).all()
    assert decoder.channels == encoder.channels or device == "csv:labels"
    assert [c.name for c in decoder.channels] == [c.name for c in channels]
    if device in STAMP_S:
        stamps = np.array([f.t for f in frames])
        np.testing.assert_allclose(stamps, t[first:], atol=0.51 * STAMP_S[device] + 1e-9)
    if device in SEQUENCED:
        assert [f.seq for f in frames] == list(range(first, n))
    assert decoder.counts.malformed <= (1 if device.endswith("-text:2") else 0)
    assert decoder.counts.resyncs == decoder.counts.checksum == 0


def limits(device: str) -> tuple[np.ndarray | float, np.ndarray | float]:
    largest = LARGEST.get(device, 1e5)
    return -largest, largest


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), size=st.sampled_from([0.1, 10.0, 1e4, 1e9]), first=st.integers(0, 1 << 40))
def test_any_declared_device_is_played_and_read(name: str, seed: int, size: float, first: int) -> None:
    """Within half a step of each field, held within its range; clock and sequence from anywhere, over their ends."""
    layout, n = LAYOUTS[name], 6
    rng = np.random.default_rng(seed)
    x = rng.normal(0, size, (n, 4)).astype(np.float32)
    send = fake_devices._declared(layout)
    t = (first + 1000 * np.arange(n)) * 1e-6
    data = b"".join(send(float(at), first + i, row) for i, (at, row) in enumerate(zip(t, x, strict=True)))
    frames = frames_of(DeclaredDecoder(layout), data)
    if name == "tail":  # only the tail marks a frame, and the first are taken when it comes again
        assert len(frames) >= n - 2
        return
    assert len(frames) == n
    held = np.clip(x.astype(np.float64), *np.array([(-16384, 16383.5)] * 2 + [(1 - 2**23, 2**23), (-np.inf, np.inf)]).T)
    off = np.abs(np.array([f.x for f in frames]) - held)
    assert (off <= np.array([0.25, 0.25, 0.5, 0]) + 2.0**-23 * np.abs(held)).all()
    assert [f.seq - frames[0].seq for f in frames] == list(range(n))  # type: ignore[operator]
    np.testing.assert_allclose(np.diff([f.t for f in frames]), 1e-3, atol=1.1e-6 + first * 1e-21)


def test_what_is_not_a_number_is_nought_where_a_device_sends_integers() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1, 2, 3], np.float32)
    encoder = fake.Encoder("bno-rvc", fake_devices.device_channels("bno-rvc"))
    (frame,) = frames_of(make_decoder("bno-rvc"), encoder.frame(0.0, x))
    np.testing.assert_allclose(frame.x, [0, 327.67, -327.68, 1, 2, 3], rtol=1e-6)


@pytest.mark.parametrize("device", ["wit", "xsens", "ximu3", "teleplot", "csv:labels"])
def test_a_port_speaks_every_device(device: str) -> None:
    with fake_board("--device", device, "--rate", 200, "--duration", 0.2, "--hold", 0.2) as (port, _):
        data, _ = read_all(port, 0.6)
    frames = frames_of(reader(device, []), data)
    assert 37 <= len(frames) <= 40
    assert np.ptp([f.x for f in frames]) > 0


def test_a_device_file_is_played(tmp_path: Path) -> None:
    path = tmp_path / "my_board.toml"
    path.write_text(
        'framing = "cobs"\nchecksum = "crc32"\nfields = [{ names = ["a", "b"], type = "i16", unit = "uT" }]\n'
    )
    with fake_board("--device", path, "--rate", 200, "--duration", 0.1, "--hold", 0.2) as (port, _):
        data, _ = read_all(port, 0.6)
    frames = frames_of(make_decoder(str(path)), data)
    played = [x for _, x in fake.wave((Channel("a", "uT"), Channel("b", "uT")), 200.0, 0.1)]
    np.testing.assert_allclose([f.x for f in frames], played, atol=0.5)
    assert len(frames) == 20
