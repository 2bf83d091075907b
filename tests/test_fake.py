"""The fake board: a real port, real bytes, recorded times, and a clean end."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import serial
from streaming import fake_board, run, small_recording, start, wait_for_line

from hiss.realtime import fake
from hiss.realtime.devices import make_decoder
from hiss.realtime.fake_devices import device_channels, simulated_temperature
from hiss.realtime.framing import Frame
from hiss.recording import Recording, write_hdf5


@pytest.fixture(scope="module")
def recording() -> Recording:
    return small_recording(1.5)


@pytest.fixture
def file(recording: Recording, tmp_path: Path) -> Path:
    write_hdf5(tmp_path / "walk.h5", [recording])
    return tmp_path / "walk.h5"


def read_all(port: str, quiet_s: float = 1.5) -> tuple[bytes, list[float]]:
    """What a plain reader gets, and when: no serial library, just a file that is opened and read."""
    data, stamps = b"", []
    fd = os.open(port, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        while select.select([fd], [], [], quiet_s)[0]:
            try:
                chunk = os.read(fd, 65536)
            except OSError:
                break
            if not chunk:
                break
            data += chunk
            stamps.append(time.monotonic())
    finally:
        os.close(fd)
    return data, stamps


def frames(device: str, data: bytes) -> list[Frame]:
    return [item for item in make_decoder(device).feed(data) if isinstance(item, Frame)]


def test_a_plain_reader_gets_every_sample_from_the_first_at_its_recorded_time(file: Path, recording: Recording) -> None:
    """Nothing is sent before somebody reads; the rest of 0.7 s is a rest on the wire too."""
    with fake_board("--device", "anyskin:5", "--play", file) as (port, _):
        time.sleep(0.3)
        data, stamps = read_all(port)
    assert len(data) == 82 * len(recording)
    np.testing.assert_array_equal([f.x for f in frames("anyskin:5", data)], recording.x)
    assert -0.3 < stamps[-1] - stamps[0] - recording.duration_s < 1.0  # s; a busy machine
    assert np.diff(stamps).max() > 0.5


def test_pyserial_gets_every_byte_raw(file: Path, recording: Recording) -> None:
    """pyserial empties the buffer after it has opened, so the board waits a moment; no 0D is turned into 0A."""
    with fake_board("--device", "reskin:5", "--play", file) as (port, _), serial.Serial(port, timeout=20) as reader:
        data = reader.read(82 * len(recording))
    np.testing.assert_array_equal([f.x for f in frames("reskin:5", data)], recording.x)


def test_a_csv_board_sends_names_units_and_exact_times(file: Path, recording: Recording) -> None:
    with fake_board("--device", "csv", "--play", file, "--start", 0.2, "--duration", 0.3) as (port, _):
        data, _ = read_all(port)
    part = slice(*np.searchsorted(recording.t, [0.2, 0.5]))
    decoder = make_decoder("csv")
    found = [item for item in decoder.feed(data) if isinstance(item, Frame)]
    assert decoder.channels == recording.channels
    assert [f.t for f in found] == (recording.t[part] - recording.t[part][0]).tolist()
    np.testing.assert_array_equal([f.x for f in found], recording.x[part])


def test_raw_samples_are_played_where_a_file_has_them(eflesh_normal: Path) -> None:
    import h5py

    with h5py.File(eflesh_normal) as h5:
        raw = h5["run2/raw_x"][:8]
    with fake_board("--device", "anyskin:5", "--play", eflesh_normal, "--duration", 0.4) as (port, _):
        data, _ = read_all(port)
    np.testing.assert_array_equal([f.x for f in frames("anyskin:5", data)][:8], raw[: len(data) // 82])


def test_with_a_rate_a_recording_is_played_as_if_sampled_so(recording: Recording) -> None:
    played = list(fake.play(recording, rate_hz=100.0))
    t, x = np.array([t for t, _ in played]), np.array([x for _, x in played])
    np.testing.assert_allclose(np.diff(t), 0.01)
    for channel in range(15):
        exact = np.interp(t, recording.t, recording.x[:, channel])
        np.testing.assert_allclose(x[:, channel], exact, atol=1e-2)  # uT; snapping to a sample within 10 us


def test_loop_goes_on_in_time(recording: Recording) -> None:
    track = fake.play(recording, loop=True)
    t = np.array([next(track)[0] for _ in range(3 * len(recording))])
    assert (np.diff(t) > 0).all()
    np.testing.assert_allclose(t[len(recording) : 2 * len(recording)] - t[len(recording)], recording.t)


def test_schedule_is_absolute_a_late_start_is_caught_up(recording: Recording) -> None:
    """A reader that sleeps 0.5 s does not move the samples behind it: nothing drifts."""

    class Slow(fake.Encoder):
        def frame(self, t: float, x: np.ndarray) -> bytes:
            if t == 0.0:
                time.sleep(0.5)
            return super().frame(t, x)

    with fake.Pty() as pty:
        reader = os.open(pty.path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        begin = time.monotonic()
        played = fake.run_fake(
            pty, fake.wave(3, 50.0, 1.0), Slow("anyskin:1", device_channels("anyskin:1")),
            fake.Manner(hold_s=0), lambda: time.monotonic() - begin > 1.6,
        )  # fmt: skip
        elapsed = time.monotonic() - begin
        os.close(reader)
    assert played.sent == 50
    assert 1.1 < elapsed < 1.9  # 0.2 s settling, 0.98 s of samples; the sleep is not added


def test_without_a_reader_frames_are_counted_and_the_next_reader_gets_fresh_ones() -> None:
    with fake_board("--device", "anyskin:1", "--rate", 200, "--no-wait") as (port, _):
        time.sleep(0.5)
        fd = os.open(port, os.O_RDONLY | os.O_NOCTTY)
        first = os.read(fd, 4096)
        os.close(fd)
    assert len(first) <= 3 * 18  # nothing has piled up


def test_once_ends_when_the_reader_leaves() -> None:
    with fake_board("--device", "anyskin:1", "--once") as (port, board):
        with serial.Serial(port, timeout=2) as reader:
            assert reader.read(18)
        assert board.wait(timeout=5) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: int) -> None:
    board = start("fake", "--device", "anyskin:5")
    assert wait_for_line(board.stdout).startswith("/dev/")
    board.send_signal(number)
    out, err = board.communicate(timeout=10)
    assert board.returncode == 0
    assert out == ""
    assert "0 frames sent" in err


def test_the_temperature_is_simulated_in_steps_of_the_sensor() -> None:
    degc = np.array([simulated_temperature(t, 5) for t in (0.0, 60.0, 1e6)])
    assert (np.diff(degc, axis=0) > 0).all()
    assert degc.min() > 20 < degc.max() < 30
    steps = degc * 45.2
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "anyskin:4", "--play", "FILE"), "15 channels, but anyskin:4 sends 12"),
        (("--device", "walkman"), "anyskin:N"),
        (("--device", "csv", "--play", "FILE", "--wave"), "one or the other"),
        (("--device", "csv", "--play", "FILE", "--trial", "wolk"), "there are: walk"),
        (("--device", "csv", "--play", "FILE", "--start", "99"), "nothing from 99 s on"),
    ],
)
def test_a_wrong_command_line_exits_2_and_says_why(file: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run("fake", *(file if word == "FILE" else word for word in arguments))
    assert done.returncode == 2
    assert message in done.stderr
