"""A sensor board that is not there: it sends real frames on a pseudo-terminal, as a board does on its port.

A track is what it plays: an iterator of (t, x), t in s from the start. The schedule is absolute, never a sum of sleeps.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hiss.errors import PortError
from hiss.realtime.fake_devices import sender
from hiss.realtime.feeds import wait_until
from hiss.realtime.framing import F32
from hiss.recording import Channel, Recording
from hiss.resample import grid_stamps, resample_linear

Track = Iterator[tuple[float, F32]]
SETTLE_S = 0.2  # from the opening by a reader to the first byte: pyserial empties the buffer after it has opened
LEAVE_S = 10.0  # for a reader that has the port open and does not read
PEAK = 1700.0  # of a wave, uT
LARGEST = {"g": 4.0, "mg": 4000.0, "deg": 90.0, "deg/s": 500.0, "rad/s": 10.0, "m/s^2": 40.0}  # of a wave, by unit


def play(recording: Recording, rate_hz: float | None = None, loop: bool = False) -> Track:
    """The samples of a recording at their recorded times, rests included; with rate_hz as sampled at that rate."""
    t, x = recording.t - recording.t[0], recording.x
    if rate_hz is not None:
        grid = grid_stamps(0.0, float(t[-1]), rate_hz)[:-1]
        t, x = grid, resample_linear(t, x, grid)
    round_s = float(t[-1] + np.median(np.diff(t))) if len(t) > 1 else 1.0
    before_s = 0.0
    while True:
        for at, sample in zip(t.tolist(), x, strict=True):
            yield before_s + at, sample
        if not loop:
            return
        before_s += round_s


def wave(channels: int | tuple[Channel, ...], rate_hz: float, duration_s: float | None = None) -> Track:
    """A press every 2 s on top of each channel's own offset, deterministic: something to see without a recording.

    Sized by the channels' units, as a sensor of that kind would give it.
    """
    units = [c.unit for c in channels] if isinstance(channels, tuple) else [""] * channels
    i_channel = np.arange(len(units))
    size = np.array([LARGEST.get(unit, PEAK) / PEAK for unit in units])
    weights = 400.0 * np.cos(1.7 * i_channel) * (1 + i_channel % 3) * size
    offsets = 500.0 * np.sin(2.3 * i_channel) * size
    i = 0
    while duration_s is None or i / rate_hz < duration_s:
        t = i / rate_hz
        press = max(0.0, np.sin(np.pi * t)) ** 2 if t >= 1.0 else 0.0  # at rest for the first second: the tare
        yield t, (offsets + weights * press).astype(np.float32)
        i += 1


class Encoder:
    """Samples to the bytes that the device sends. Raises ValueError when the channels are not the device's."""

    def __init__(self, device: str, channels: tuple[Channel, ...]):
        self._sender = sender(device, channels)
        self.channels = self._sender.channels
        self._sent = 0

    def start(self) -> bytes:
        """What the board sends before the first sample."""
        return self._sender.start

    def frame(self, t: float, x: F32) -> bytes:
        """One sample."""
        index, self._sent = self._sent, self._sent + 1
        return self._sender.send(t, index, x)


class Pty:
    """A pseudo-terminal in raw mode; any program may open `path` as a serial port. PortError where there is none."""

    def __init__(self) -> None:
        try:
            import tty

            self._master, slave = os.openpty()
        except (ImportError, AttributeError, OSError) as error:
            raise PortError(f"this system gives no pseudo-terminal: {error}") from error
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)  # so that the master sees a hang-up while nobody reads
        os.set_blocking(self._master, False)
        self._poll = select.poll()
        self._poll.register(self._master, select.POLLOUT)

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._master)

    @property
    def open(self) -> bool:
        """Whether a reader has the port open."""
        return not any(event & select.POLLHUP for _, event in self._poll.poll(0))

    def write(self, data: bytes, stop: Callable[[], bool]) -> bool:
        """Send all of it, waiting as long as the reader is slow; False when the reader left or stop() is true."""
        while data:
            if stop() or not self.open:
                return False
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                self._poll.poll(50)
                time.sleep(0.001)  # POLLOUT may be set although a whole frame does not fit
        return True

    def drained(self) -> bool:
        """Whether the reader has taken everything (what it has not is lost when the port closes)."""
        import fcntl
        import termios

        try:
            slave = os.open(self.path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return True
        try:
            return not int.from_bytes(fcntl.ioctl(slave, termios.FIONREAD, b"\0\0\0\0"), "little")
        finally:
            os.close(slave)


@dataclass(slots=True)
class Played:
    """What came of it."""

    sent: int = 0
    unread: int = 0  # frames that were due while nobody had the port open
    late_max_s: float = 0.0


@dataclass(frozen=True)
class Manner:
    """How a fake board behaves."""

    wait: bool = True  # for a reader, so that the first sample is not lost
    once: bool = False  # end when the reader leaves
    hold_s: float = 2.0  # stay silent after the last sample for so long, so that a reader can end by itself


def run_fake(pty: Pty, track: Track, encoder: Encoder, manner: Manner, stop: Callable[[], bool]) -> Played:
    """Play the track on the port until its end or stop()."""
    played = Played()
    if manner.wait and not _wait_for_reader(pty, stop):
        return played
    start_ns = time.monotonic_ns()
    pty.write(encoder.start(), stop)
    for t, x in track:
        due_ns = start_ns + round(t * 1e9)
        for _ in wait_until(due_ns):
            if stop() or (manner.once and not pty.open):
                return played
        if stop():
            return played
        if pty.write(encoder.frame(t, x), stop):
            played.sent += 1
            played.late_max_s = max(played.late_max_s, (time.monotonic_ns() - due_ns) * 1e-9)
        elif manner.once and not pty.open:
            return played
        else:
            played.unread += 1
    _hold(pty, manner.hold_s, stop)
    return played


def _wait_for_reader(pty: Pty, stop: Callable[[], bool]) -> bool:
    while not pty.open:
        if stop():
            return False
        time.sleep(0.01)
    time.sleep(SETTLE_S)
    return True


def _hold(pty: Pty, hold_s: float, stop: Callable[[], bool]) -> None:
    """Let the reader take what it has not taken yet, then be silent for hold_s, unless it leaves."""
    end_s = time.monotonic() + hold_s
    give_up_s = end_s + LEAVE_S
    while pty.open and not stop() and (now_s := time.monotonic()) < give_up_s:
        time.sleep(0.05)  # the kernel hands a frame on a little later, and until then nothing seems to wait
        if now_s >= end_s and pty.drained():
            return
