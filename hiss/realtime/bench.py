"""What the live loop costs on this computer: the loop of `hiss live` on a pseudo-terminal, timed on the thread's clock.

That clock counts what this thread computes, so other work on the computer does not enter; waiting times (queue age)
are of the wall clock and do depend on it.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiss.engines import AnyStepper
from hiss.errors import PortError
from hiss.program import Program
from hiss.realtime.bench_board import bench_decoder
from hiss.realtime.feeds import DecodedFeed, Feed
from hiss.realtime.framing import Frame
from hiss.realtime.live import Limits, Loop
from hiss.realtime.sinks import LiveJsonLines, Sink
from hiss.realtime.sources import SerialSource

Make = Callable[[Program], AnyStepper]
GRACE_S = 5.0  # for frames that do not come
LAG_S = 0.05  # by so much a run may end later than its frames were due
RATES_HZ = (2000.0, 4000.0, 6000.0, 8000.0, 12000.0, 16000.0, 24000.0, 32000.0)


@dataclass(frozen=True)
class Run:
    """One run. Times in us, per frame, on the thread's clock: service from the read to the last sink; queue age: wall.

    drops: frames that were sent and did not reach the model;  late_ms: how late the sender was at worst
    """

    name: str
    rate_hz: float
    frames: int
    drops: int
    estimates: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    mean_us: float
    read_us: float  # p50 of waiting and reading, on the thread's clock
    behind_us: float  # p50 of what is counted, watched and prepared behind the last sink, a chunk
    behind_p99_us: float
    whole_us: float  # mean of a frame: service and what is behind it
    queue_p50_us: float
    queue_p99_us: float
    queue_max_us: float
    late_ms: float
    lag_s: float  # from when the last frame was due until it was through

    @property
    def kept_up(self) -> bool:
        """Whether no frame was lost and none was left behind."""
        return self.drops == 0 and self.lag_s <= LAG_S


class _TimedSource(SerialSource):
    """Notes the thread's clock at each read; ns: what waiting and reading took (reads), what came behind (behind)."""

    def __init__(self, path: str):
        super().__init__(path)
        self.mark_ns = 0
        self.reads = array.array("q")
        self.behind = array.array("q")

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        chunks = super().__iter__()
        while True:
            before_ns = time.thread_time_ns()
            if self.mark_ns:
                self.behind.append(before_ns - self.mark_ns)
            try:
                item = next(chunks)
            except StopIteration:
                return
            self.mark_ns = time.thread_time_ns()
            if item[1]:
                self.reads.append(self.mark_ns - before_ns)
            yield item


class _TimedLoop(Loop):
    """Notes for each frame what it took; the first of a chunk bears the decoding of all."""

    def __init__(self, feed: Feed, source: _TimedSource, stepper: AnyStepper | None, sinks: Sequence[Sink]):
        super().__init__(feed, stepper, sinks, Limits(silence_s=2 * GRACE_S))
        self.source = source
        self.taken = array.array("q")

    def _serve(self, frame: Frame, arrival_ns: int) -> bool:
        placed = Loop._serve(self, frame, arrival_ns)  # super() would be a call more, and timed
        now_ns = time.thread_time_ns()
        self.taken.append(now_ns - self.source.mark_ns)
        self.source.mark_ns = now_ns
        return placed


def run_once(name: str, program: Program, make: Make | None, rate_hz: float, seconds: float) -> Run:
    """One run of a model (make None: the same loop without one). Raises PortError, StreamError."""
    frames = max(1, round(rate_hz * seconds))
    stepper = None if make is None else make(program)
    with _board(len(program.inputs), rate_hz, frames) as (path, result), open(os.devnull, "wb") as nowhere:
        source = _TimedSource(path)
        names, units = [p.name for p in program.inputs], [p.unit for p in program.inputs]
        feed = DecodedFeed(source, bench_decoder(names, units))
        sinks = [LiveJsonLines(nowhere.fileno(), program.outputs)] if stepper is not None else []
        loop = _TimedLoop(feed, source, stepper, sinks)
        first_s = last_s = 0.0

        def stop() -> bool:
            nonlocal first_s, last_s
            if loop.summary.counts.frames:
                last_s = time.monotonic()
                first_s = first_s or last_s
            over = bool(first_s) and time.monotonic() - first_s > seconds + GRACE_S
            return loop.summary.counts.frames >= frames or over

        loop.run(stop)
        sent = result()
    return _run(name, rate_hz, loop, sent, (last_s - first_s) - (frames - 1) / rate_hz)


def _run(name: str, rate_hz: float, loop: _TimedLoop, sent: dict[str, Any], lag_s: float) -> Run:
    us, behind = np.asarray(loop.taken) / 1e3, np.asarray(loop.source.behind) / 1e3
    p50, p99, p999 = (round(float(q), 2) for q in np.percentile(us, [50, 99, 99.9]))
    summary, queue = loop.summary, loop.summary.queue_age
    return Run(
        name=name,
        rate_hz=rate_hz,
        frames=sent["frames"],
        drops=sent["frames"] - summary.counts.frames + sum(summary.dropped.values()) + sum(summary.unsent.values()),
        estimates=summary.estimates,
        p50_us=p50,
        p99_us=p99,
        p999_us=p999,
        max_us=round(float(us.max()), 2),
        mean_us=round(float(us.mean()), 2),
        read_us=round(float(np.median(np.asarray(loop.source.reads))) / 1e3, 2),
        behind_us=round(float(np.median(behind)), 2),
        behind_p99_us=round(float(np.percentile(behind, 99)), 2),
        whole_us=round(float(us.sum() + behind.sum()) / len(us), 2),
        queue_p50_us=round(queue.quantile_ns(0.5) / 1e3, 1),
        queue_p99_us=round(queue.quantile_ns(0.99) / 1e3, 1),
        queue_max_us=round(queue.max_ns / 1e3, 1),
        late_ms=sent["late_max_ms"],
        lag_s=round(lag_s, 4),
    )


def sustained(name: str, program: Program, make: Make, seconds: float) -> list[Run]:
    """Runs at rising rates, every frame stepped, until one does not keep up; that one is the last."""
    runs: list[Run] = []
    for rate_hz in RATES_HZ:
        faster = dataclasses.replace(program, rate_hz=rate_hz)
        runs.append(run_once(name, faster, make, rate_hz, seconds))
        if not runs[-1].kept_up:
            break
    return runs


@contextlib.contextmanager
def kept_awake() -> Iterator[None]:
    """A process of the lowest priority on each core meanwhile, so that none sleeps and forgets its caches."""
    spin = "import os, sys\nos.nice(19)\nwhile os.getppid() == int(sys.argv[1]):\n    sum(range(1000))"
    command = [sys.executable, "-c", spin, str(os.getpid())]
    processes = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _board(channels: int, rate_hz: float, frames: int) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The sender as a process: its port, and what it says that it sent."""
    arguments = ["-m", "hiss.realtime.bench_board", str(channels), str(rate_hz), str(frames)]
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    out = process.stdout
    try:
        if out is None or not (path := out.readline().strip()):
            raise PortError("the sender did not start; see what it said above")

        def result() -> dict[str, Any]:
            said: dict[str, Any] = json.loads(out.readline() or '{"frames": 0, "late_max_ms": 0}')
            return said

        yield path, result
    finally:
        process.terminate()
        process.wait()
        if out is not None:
            out.close()
