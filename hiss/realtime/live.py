"""The one loop for live and replay: frames in, checked, resampled onto the model's rate, stepped, handed to sinks.

One thread from the read to the last sink, so nothing queues and nothing is out of date. The model's grid lies on the
stream's clock, as in training; the times told follow the host's (continuity.py).
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hiss.engines import AnyStepper
from hiss.errors import DeviceLostError, FormatError
from hiss.gaps import Gaps
from hiss.program import Program
from hiss.realtime.feeds import Feed, tells_own_time
from hiss.realtime.framing import Event, Frame
from hiss.realtime.guess import explain
from hiss.realtime.match import match_columns
from hiss.realtime.placing import GAP, Placing
from hiss.realtime.sinks import Estimate, Sink
from hiss.realtime.sources import REPLUGGED, UNPLUGGED
from hiss.realtime.still import REFUSED, Tare
from hiss.realtime.summary import Summary
from hiss.realtime.warnings import Warnings
from hiss.resample import Resampler

UNSURE_FRAMES = 8  # so many first frames, half of them after a resync, are no proper frames
COMMANDS = {
    "tare": Event("tare-asked", "by command: the tare is measured anew; keep the sensor untouched"),
    "reset": Event("reset-asked", "by command: the model starts again, and keeps its tare"),
}


@dataclass(frozen=True)
class Limits:
    """How long to run, and when to say that something is wrong."""

    duration_s: float | None = None  # from the first frame
    first_frame_s: float = 5.0  # without a valid frame for so long from the start: FormatError
    silence_s: float = 10.0  # without a frame for so long later: DeviceLostError
    gaps: Gaps = field(default_factory=Gaps)  # how the model is taken across them; without a model 1 s is a gap
    tare_s: float = 30.0  # a sensor that moves is waited for so long; then its tare is taken as it is
    tare_anyway: bool = False  # do not wait


class Loop:
    """Runs a feed through a stepper into sinks; `summary` is valid at any time, also after an error.

    Without a stepper the frames go to the sinks only (recording). A tare while the sensor moves begins again, except of
    data that ends: offline evaluation takes its first samples as they are. commands() is asked behind each chunk for
    what a user wants: "tare", "reset".
    """

    def __init__(
        self,
        feed: Feed,
        stepper: AnyStepper | None = None,
        sinks: Sequence[Sink] = (),
        limits: Limits = Limits(),
        commands: Callable[[], Iterable[str]] = tuple,
    ):
        self.feed = feed
        self.stepper = stepper
        self.sinks = list(sinks)
        self.limits = limits
        self.commands = commands
        self.summary = Summary(feed.name, feed.counts, sinks=self.sinks)
        self._rate_hz = stepper.program.rate_hz if stepper else 1.0
        self._placing = Placing(
            feed,
            self.summary,
            gap_s=limits.gaps.longest_s(self._rate_hz) if stepper else 1.0,
            cut_s=limits.gaps.reset_s(self._rate_hz) if stepper else math.inf,
            pause_s=1.0 / self._rate_hz,
            say=self._event,
            restart=self._restart,
        )
        self._columns: npt.NDArray[np.intp] | None = None  # of the model's inputs in a frame; None: as they stand
        hold_s = limits.gaps.hold_s(self._rate_hz)
        self._resampler = Resampler(self._rate_hz, len(stepper.program.inputs) if stepper else 0, hold_s)
        self._watched = _Watched(stepper.program, self._patience_s()) if stepper else None
        self._tares = bool(stepper and stepper.program.tare)
        self._finite: Callable[[npt.NDArray[np.float32]], bool] = getattr(stepper, "finite", _finite)
        self._finish: Callable[[], None] = getattr(stepper, "finish", _nothing)
        self._fed: npt.NDArray[np.float32] | None = None  # by the frame of now
        self._frame_sinks: list[Callable[[float, npt.NDArray[np.float32]], None]] = []
        self._seq_before = 0  # samples of the segments before this one
        self._last_arrival_ns = 0
        self._unplugged = 0  # devices that are waited for: until then silence is no fault
        self._silent_from_ns = 0  # the last one came back
        self._read_ns = 0
        self._flags: list[str] = []

    def run(self, stop: Callable[[], bool] = lambda: False) -> Summary:
        """Until the feed ends, the duration is over, or stop() is true. Raises StreamError, and what a sink raises."""
        with contextlib.ExitStack() as stack, _frozen_collector():
            self._frame_sinks = [sink.frame for sink in self.sinks if type(sink).frame is not Sink.frame]
            for sink in self.sinks:
                sink.watch(self.summary)
                stack.enter_context(sink)
            stack.enter_context(self.feed)
            self._say_hello()
            started_ns: int | None = None  # by the feed's clock, which gives a tick at once
            for arrival_ns, items in self.feed:
                started_ns = arrival_ns if started_ns is None else started_ns
                # stamps of a log are of then: how long things take here counts from when it was read
                self._read_ns = time.monotonic_ns() if self.feed.ends else arrival_ns
                for item in items:
                    if isinstance(item, Frame):
                        self._frame(item, arrival_ns)
                    else:
                        self._take(item, arrival_ns)
                for name in self.commands():
                    self.command(name)
                for sink in self.sinks:
                    sink.tick(arrival_ns)
                if stop() or self._over(arrival_ns):
                    break
                self._watch(arrival_ns, started_ns)
            if self.summary.counts.frames == 0 and not stop():
                raise FormatError(f"{self.feed.name}: no valid frame; {explain(self.feed.head)}")
        return self.summary

    def _frame(self, frame: Frame, arrival_ns: int) -> None:
        """A frame: first to the sinks, then what is only counted and watched."""
        summary, before_ns, self._last_arrival_ns = self.summary, self._last_arrival_ns, arrival_ns
        if not before_ns:
            self._begin()
        turn_ns = time.monotonic_ns()
        if self._serve(frame, arrival_ns):
            summary.service.add(time.monotonic_ns() - self._read_ns)
        summary.queue_age.add(turn_ns - self._read_ns)
        if before_ns:
            summary.inter_arrival.add(arrival_ns - before_ns)
        self._placing.settle()
        self._finish()
        if self._fed is not None and self._watched is not None:
            self._watched.warnings.put(self._fed)
            self._fed = None
            if self._watched.warnings.full:
                self._events(self._watched.warnings.look())

    def _serve(self, frame: Frame, arrival_ns: int) -> bool:
        """From the decoder to the last sink; whether the frame had a place."""
        if not self._placing.put(frame, arrival_ns):
            return False
        for take in self._frame_sinks:
            take(self.summary.span_s, frame.x)
        if self.stepper is None or self._watched is None:
            return True
        x = frame.x if self._columns is None else frame.x[self._columns]
        if not self._finite(x):
            self._refuse(self.stepper, self._watched, x)
            return True
        self._fed = x
        for k, sample in self._resampler.take(self._placing.timeline.t, x):
            self._step(self.stepper, self._watched, k, sample)
        return True

    def _refuse(self, stepper: AnyStepper, watched: _Watched, x: npt.NDArray[np.float32]) -> None:
        self.summary.drop("not finite")
        self._event(Event("not-finite", f"frame dropped: {_not_finite(stepper, x)}"))
        self._events(watched.warnings.not_finite(x))

    def _step(self, stepper: AnyStepper, watched: _Watched, k: int, sample: npt.NDArray[np.float32]) -> None:
        taring = self._tares and stepper.taring
        y = stepper.step(sample)
        self.summary.samples += 1
        if taring:
            self._tare_step(stepper, watched, sample)
        if y is None:
            return
        of = k - stepper.program.latency  # a reset takes what was pending, so that sample lies behind it
        t = self._placing.told_s(of / self._rate_hz)
        latency_ns = time.monotonic_ns() - self._read_ns
        flags = tuple(dict.fromkeys(self._flags)) if self._flags else ()
        estimate = Estimate(t, self._seq_before + of, y, latency_ns, flags)
        self._flags.clear()
        self.summary.estimates += 1
        for sink in self.sinks:
            sink.estimate(estimate)

    def _tare_step(self, stepper: AnyStepper, watched: _Watched, sample: npt.NDArray[np.float32]) -> None:
        """A sample of the tare was taken; at its last one, whether the sensor was at rest."""
        watched.tare.put(sample, self.summary.span_s)
        if stepper.taring:
            return
        event = watched.tare.end(self.summary.span_s)
        if event.kind == REFUSED:
            self.summary.tares_refused += 1
            stepper.tare()
        watched.warnings.rest = watched.tare.mean
        self._event(event)

    def _patience_s(self) -> float:
        """How long a sensor that moves is waited for."""
        return 0.0 if self.limits.tare_anyway or tells_own_time(self.feed) else self.limits.tare_s

    def command(self, name: str) -> None:
        """Obey "tare" (measure it anew) or "reset" (fresh state); others are told to be unknown."""
        if name not in COMMANDS or self.stepper is None:
            self._event(Event("unknown-command", f"{name[:40]!r}: expected {' or '.join(COMMANDS)}"))
            return
        event = COMMANDS[name]
        self._obey(event.kind, self.stepper)
        self._flags.append(event.kind)
        for sink in self.sinks:
            sink.control(event)

    def _obey(self, kind: str, stepper: AnyStepper) -> None:
        if kind == COMMANDS["reset"].kind:
            stepper.reset()
        elif stepper.program.tare and self._watched is not None:
            stepper.tare()
            self._watched.tare.begin()
            self._watched.warnings.rest = None

    def _take(self, item: Event, arrival_ns: int) -> None:
        """An event of the feed: what a source or a decoder has to say, or a command of a log."""
        if item.kind == UNPLUGGED:
            self._unplugged += 1
        elif item.kind == REPLUGGED:
            self._unplugged -= 1
            self._silent_from_ns = arrival_ns
            self._placing.replugged()
        elif self.stepper is not None and any(item.kind == event.kind for event in COMMANDS.values()):
            self._obey(item.kind, self.stepper)
        self._event(item)

    def _events(self, events: Sequence[Event]) -> None:
        for event in events:
            self._event(event)

    def _begin(self) -> None:
        channels = self.feed.channels
        if self.stepper is not None:
            columns = match_columns(channels, self.stepper.program.inputs, self.feed.name)
            self._columns = None if columns.tolist() == list(range(len(channels))) else columns
        for sink in self.sinks:
            sink.begin(channels)

    def _restart(self, why: str) -> None:
        if self.stepper is not None:
            self._seq_before += self._resampler.k
            self._resampler.reset()
            self.stepper.reset()
        if self._watched is not None and why != GAP:
            self._watched.warnings.restarted()

    def _event(self, event: Event) -> None:
        self._flags.append(event.kind)
        for sink in self.sinks:
            sink.event(event)

    def _say_hello(self) -> None:
        self._event(Event("reading", f"{self.feed.name}{_model_text(self.stepper.program) if self.stepper else ''}"))
        if self.stepper is not None and self.stepper.taring:
            n, rate = self.stepper.program.tare, self._rate_hz
            self._event(Event("tare", f"keep the sensor untouched for {n / rate:.3g} s ({n} samples)"))
        self._flags.clear()

    def _over(self, now_ns: int) -> bool:
        limit_s = self.limits.duration_s
        if limit_s is None or not self._last_arrival_ns:
            return False
        if self.summary.span_s >= limit_s:
            return True
        first_ns = self._placing.timeline.first_ns or now_ns
        return not self.feed.ends and (now_ns - first_ns) * 1e-9 >= limit_s

    def _watch(self, now_ns: int, started_ns: int) -> None:
        counts = self.summary.counts
        if UNSURE_FRAMES <= counts.frames < 4 * UNSURE_FRAMES and 2 * counts.resyncs >= counts.frames:
            raise FormatError(
                f"{self.feed.name}: {counts.skipped} bytes lie between the first {counts.frames} frames; "
                f"{explain(self.feed.head)}"
            )
        if self.feed.ends or self._unplugged:
            return
        since_ns = max(self._last_arrival_ns, self._silent_from_ns)
        if counts.frames == 0 and (now_ns - max(started_ns, since_ns)) * 1e-9 > self.limits.first_frame_s:
            raise FormatError(
                f"{self.feed.name}: no valid frame in {self.limits.first_frame_s:g} s; {explain(self.feed.head)}"
            )
        if counts.frames and (now_ns - since_ns) * 1e-9 > self.limits.silence_s:
            raise DeviceLostError(f"{self.feed.name}: no frame for {self.limits.silence_s:g} s; did the board hang?")


class _Watched:
    """What is looked at beside the model's steps."""

    def __init__(self, program: Program, patience_s: float):
        self.tare = Tare(program, patience_s)
        self.warnings = Warnings(program)


def _model_text(program: Program) -> str:
    outputs = ", ".join(f"{p.name} ({p.unit})" if p.unit else p.name for p in program.outputs)
    every_s, later_s = program.period / program.rate_hz, program.latency / program.rate_hz
    later = f", {later_s:g} s after their sample" if later_s else ""
    return f" -> {len(program.inputs)} channels at {program.rate_hz:g} Hz -> {outputs} every {every_s:g} s{later}"


def _nothing() -> None:
    """What most steppers leave for the time behind an estimate."""


def _finite(x: npt.NDArray[np.float32]) -> bool:
    """A product is faster than the test of each, and not finite where one of them is not."""
    return math.isfinite(x.dot(x)) or bool(np.isfinite(x).all())


def _not_finite(stepper: AnyStepper, x: npt.NDArray[np.float32]) -> str:
    bad = int(np.flatnonzero(~np.isfinite(x))[0])
    return f"{stepper.program.inputs[bad].name} is {x[bad]}"


@contextlib.contextmanager
def _frozen_collector() -> Iterator[None]:
    """What exists already is not looked at by the garbage collector: a full collection can take 100 ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
