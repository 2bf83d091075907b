"""What the streaming tests share: a small program with states, a recording to play, and verbs as processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from hiss.program import Port, Program, Stage
from hiss.program.ops import Add, Affine, Delay, Diagonal, Input, Map
from hiss.realtime.devices.anyskin import anyskin_channels
from hiss.realtime.framing import Counts, Event, Frame
from hiss.realtime.sinks import Estimate, Sink
from hiss.recording import Channel, Recording

LAUNCH = """
import signal
for name in ("SIGHUP", "SIGINT", "SIGQUIT"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
from hiss.cli.main import run
run()
"""
"""The command line with the signals of a terminal: what starts the tests may have some of them ignored (nohup, &)."""
ROOT = Path(__file__).parents[1]


def small_program(channels: int = 15, tare: int = 4, rate_hz: float = 20.0, period: int = 5) -> Program:
    """Tare, deltas, a low level that restarts, a high level that does not: 15 magnetometer channels to a force."""
    rng = np.random.default_rng(0)
    hidden, modes = 6, 4

    def poles() -> np.ndarray:
        return np.exp(-rng.uniform(0.01, 0.3, (hidden, modes)) + 1j * rng.uniform(0, 1, (hidden, modes)))

    full = np.full(channels, 1e5)
    every = (
        Input("z", np.zeros(channels), np.full(channels, 9), -full, full, tare),
        Delay("before", "z", np.ones(channels, np.int64), np.arange(channels), "first"),
        Add("dz", ("z", "before"), (1, -1)),
        Affine("e", ("z", "dz"), tuple(rng.normal(0, 0.3, (hidden, channels)) for _ in "12"), np.zeros(hidden)),
        Diagonal("s", "e", poles(), rng.normal(0, 0.2, (hidden, modes)) + 0j, np.ones(hidden), restart=True),
    )
    last = (Map("g", "s", "gelu"), Affine("h", ("g",), (rng.normal(0, 0.3, (hidden, hidden)),), np.zeros(hidden)))
    high = (
        Diagonal("s2", "h", poles(), rng.normal(0, 0.2, (hidden, modes)) + 0j, np.ones(hidden)),
        Affine("y", ("s2",), (rng.normal(0, 0.3, (1, hidden)),), np.zeros(1)),
    )
    inputs = tuple(Port(c.name, c.unit, -1e5, 1e5) for c in anyskin_channels(channels // 3))
    return Program(
        inputs,
        (Port("force", "N", -50, 50),),
        rate_hz,
        (Stage(period, every, last, ("h",)), Stage(1, high, (), ("y",))),
    )


def small_recording(seconds: float = 3.0, chips: int = 5, seed: int = 1) -> Recording:
    """Irregular stamps at about 90 Hz with one rest of 0.7 s, and a random walk of magnetometer counts."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0.008, 0.015], int(seconds / 0.0115))
    steps[len(steps) // 2] = 0.7
    t = np.cumsum(steps) - steps[0]
    x = rng.normal(0, 2000, 3 * chips) + np.cumsum(rng.normal(0, 20, (len(t), 3 * chips)), axis=0)
    return Recording("walk", t, x.astype(np.float32), anyskin_channels(chips))


class Kept(Sink):
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.estimates: list[Estimate] = []
        self.events: list[Event] = []
        self.frames: list[tuple[float, np.ndarray]] = []

    def frame(self, t: float, x: np.ndarray) -> None:
        self.frames.append((t, x))

    def estimate(self, estimate: Estimate) -> None:
        self.estimates.append(estimate)

    def event(self, event: Event) -> None:
        self.events.append(event)

    @property
    def y(self) -> np.ndarray:
        return np.array([e.y for e in self.estimates])

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def texts(self, kind: str) -> list[str]:
        return [event.text for event in self.events if event.kind == kind]


class Timed:
    """A feed whose frames come at stamps of its own: a stream on a clock that is not waited for."""

    ends = False
    head = b""
    name = "timed"

    def __init__(self, items: Iterable[tuple[int, Frame | Event]], channels: tuple[Channel, ...]):
        self.counts = Counts()
        self.channels = channels
        self._items = items

    def __enter__(self) -> Timed:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[tuple[int, tuple[Frame | Event, ...]]]:
        for stamp_ns, item in self._items:
            self.counts.frames += isinstance(item, Frame)
            yield stamp_ns, (item,)


def start(verb: str, *arguments: object, stdin: bool = False) -> subprocess.Popen[str]:
    """A verb as a process of its own; with stdin, lines can be sent to it."""
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, verb, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE if stdin else None,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run(verb: str, *arguments: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """A verb, run to its end."""
    process = start(verb, *arguments)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"hiss {verb} did not end in {timeout} s\n{out[-2000:]}\n{err[-2000:]}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextlib.contextmanager
def fake_board(*arguments: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`hiss fake` as a process: (its port, the process)."""
    process = start("fake", "--print-port", *arguments)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.startswith("/dev/"), process.communicate(timeout=5)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


def wait_for_line(stream: object, timeout: float = 20.0) -> str:
    """The next line of a process's stream."""
    import threading

    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)  # type: ignore[attr-defined]
    thread.start()
    thread.join(timeout)
    assert lines, "no line came"
    return lines[0]


def wait_until(condition: object, timeout: float = 10.0) -> None:
    """Until condition() holds."""
    end = time.monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
