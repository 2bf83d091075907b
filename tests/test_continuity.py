"""Clocks, sequences and gaps of a stream: what was lost is counted, and told times follow the host's clock."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming import Kept, Timed, small_program

from hiss.engines import Stepper
from hiss.realtime.clock import ClockFit, Lost
from hiss.realtime.continuity import HostTime
from hiss.realtime.devices.anyskin import anyskin_channels
from hiss.realtime.framing import Event, Frame
from hiss.realtime.live import Limits, Loop
from hiss.realtime.sources import REPLUGGED, UNPLUGGED

START_NS = 10**13
CHANNELS = anyskin_channels(5)
Items = list[tuple[int, Frame | Event]]


def x_of(i: int) -> np.ndarray:
    return np.full(15, 100 + i % 977, np.float32)


def stream(
    n: int, period_s: float = 0.01, ppm: float = 0.0, jitter_s: float = 0.0, first: int = 0, seq: bool = True
) -> Items:
    """Frames of a device whose clock runs ppm fast, each up to jitter_s late."""
    late = np.random.default_rng(first).uniform(0, jitter_s, n) if jitter_s else np.zeros(n)
    items: Items = []
    for i in range(n):
        at_ns = START_NS + round(((first + i) * period_s + late[i]) * 1e9)
        items.append((at_ns, Frame(x_of(first + i), i * period_s * (1 + ppm * 1e-6), i if seq else None)))
    return sorted(items, key=lambda item: item[0])


def looped(items: Items | Iterator[tuple[int, Frame | Event]], **limits: object) -> tuple[Kept, Loop]:
    kept = Kept()
    loop = Loop(Timed(items, CHANNELS), Stepper(small_program()), [kept], Limits(tare_anyway=True, **limits))  # type: ignore[arg-type]
    loop.run()
    return kept, loop


# ---- what is lost ----


@settings(max_examples=30, deadline=None)
@given(
    gone=st.sets(st.integers(40, 199), max_size=30),
    twice=st.sets(st.integers(1, 199), max_size=10),
    seq=st.booleans(),
)
def test_lost_and_repeated_samples_are_counted_exactly(gone: set[int], twice: set[int], seq: bool) -> None:
    """By the sequence, or without one by the device's clock; the frames that came are all used."""
    items: Items = []
    for i, item in enumerate(stream(200, seq=seq)):
        if i not in gone:
            items += [item, item] if i in twice else [item]
    last = max(i for i in range(200) if i not in gone)
    kept, loop = looped(items)
    assert loop.summary.lost == len([i for i in gone if i < last])
    assert loop.summary.dropped == (
        {"repeated sequence" if seq else "repeated time": len(twice - gone)} if twice - gone else {}
    )
    assert len(kept.frames) == 200 - len(gone)
    assert loop.summary.drops == loop.summary.lost + len(twice - gone)
    assert ("lost" in kept.kinds) == bool(loop.summary.lost)


def test_an_irregular_clock_loses_nothing() -> None:
    """Without a sequence nobody can know: nothing is made up."""
    lost = Lost()
    for step in np.random.default_rng(0).uniform(0.001, 0.1, 500):
        lost.by_clock(float(step))
    assert lost.count == 0


def test_equal_frames_of_a_board_without_clock_are_counted_and_used() -> None:
    x = [x_of(i // 3) for i in range(30)]
    kept, loop = looped([(START_NS + i * 10**7, Frame(row)) for i, row in enumerate(x)])
    assert loop.summary.repeats == 20
    assert len(kept.frames) == 30
    assert loop.summary.drops == 0
    assert "20 equal to the one before" in loop.summary.as_text()


@pytest.mark.parametrize("seq", [True, False])
def test_a_board_that_starts_again_starts_the_model_and_not_the_tare(seq: bool) -> None:
    again = [(ns + 2 * 10**9, frame) for ns, frame in stream(150, first=0, seq=seq)]
    kept, loop = looped([*stream(150, seq=seq), *again])
    assert loop.summary.restarts == 1
    assert loop.summary.lost == loop.summary.drops == 0
    assert kept.kinds.count("tare") == 2  # the hint at the start, and that it is done
    (restart,) = [i for i, kind in enumerate(kept.kinds) if kind == "restart"]
    assert "went back" in kept.events[restart].text
    times = [e.t for e in kept.estimates]
    assert times == sorted(times)
    assert [e.seq for e in kept.estimates] == sorted({e.seq for e in kept.estimates})


def test_a_port_that_comes_back_starts_the_model_again() -> None:
    back_ns = START_NS + 5 * 10**9
    items: Items = [
        *stream(100),
        (START_NS + 10**9, Event(UNPLUGGED, "gone")),
        *((START_NS + 10**9 + k * 10**8, Event("tick", "")) for k in range(39)),
        (back_ns, Event(REPLUGGED, "back")),
        *((back_ns + ns - START_NS, frame) for ns, frame in stream(100)),
    ]
    kept, loop = looped(items, silence_s=0.5)
    assert loop.summary.restarts == 1
    assert loop.summary.lost == 0
    assert kept.texts("restart") == ["the port came back: the model starts again"]
    assert loop.summary.span_s == pytest.approx(0.99 + 4.01 + 0.99, abs=1e-6)


# ---- clocks ----


@pytest.mark.parametrize("ppm", [-500.0, -20.0, 0.0, 35.0, 2000.0])
def test_the_rate_of_a_late_and_jittering_device_clock_is_found(ppm: float) -> None:
    """Frames are late, never early: the earliest of each window lie on the line."""
    fit = ClockFit()
    rng = np.random.default_rng(3)
    for i in range(60_000):
        t = i * 0.01
        late = rng.exponential(0.003) + (0.2 if rng.random() < 0.01 else 0)
        fit.put(t, START_NS + round((t / (1 + ppm * 1e-6) + late) * 1e9))
    assert fit.ppm == pytest.approx(ppm, abs=1.0)


def test_too_early_to_say_and_all_at_once_give_no_rate() -> None:
    fit = ClockFit()
    for i in range(500):
        fit.put(i * 0.01, START_NS + i * 10**7)
    assert fit.ppm is None
    fit.reset()
    for i in range(50_000):
        fit.put(i * 0.01, START_NS + i)  # a file
    assert fit.ppm is None


def test_told_times_follow_the_hosts_clock_and_the_grid_the_devices() -> None:
    """A device 500 ppm fast: 10 minutes of it are 300 ms too many; the estimates' count is that of the device."""
    n, ppm = 60_000, 500.0
    kept, loop = looped(stream(n, ppm=ppm, jitter_s=0.002))
    times = np.array([e.t for e in kept.estimates])
    wall_s = loop._placing.timeline.origin_s
    device_s = np.array([e.seq for e in kept.estimates]) / 20.0
    true = wall_s + device_s / (1 + ppm * 1e-6)
    late = times - true
    assert np.abs(late[200:]).max() < 0.003  # the jitter and a window of 1 s; without following it would be 0.3
    assert (np.diff(times) > 0).all()
    assert loop.summary.samples == int(0.01 * (n - 1) * (1 + ppm * 1e-6) * 20) + 1
    assert loop.summary.clock_ppm == pytest.approx(ppm, abs=2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-4, 3.0), st.floats(0, 5.0)), max_size=80))
def test_told_times_never_go_back_whatever_the_delays(steps: list[tuple[float, float]]) -> None:
    host, t, told = HostTime(), 0.0, -1.0
    for step, delay in steps:
        t += step
        host.put(t, round((t + delay) * 1e9))
        assert t + host.lag_s > told
        told = t + host.lag_s


# ---- ten minutes ----


def ten_minutes(device_clock: bool, period_s: float = 0.01) -> Iterator[tuple[int, Frame | Event]]:
    """600 s of 100 Hz whose stamps run 20 times as fast as this computer could wait for them, or faster."""
    rng, late_ns = np.random.default_rng(0), 0
    for i in range(60_000):
        due_ns = START_NS + round(i * period_s * 1e9)
        late_ns = max(0, int(rng.exponential(1e6)))
        yield due_ns + late_ns, Frame(x_of(i), i * period_s if device_clock else None, i if device_clock else None)


@pytest.mark.parametrize("device_clock", [True, False])
def test_ten_minutes_take_no_memory_and_samples_keep_step_with_the_clock(device_clock: bool) -> None:
    """On a fake clock. The grid has one sample per 50 ms from the first to the last frame: no drift, whatever came."""
    sizes: list[int] = []

    def watched() -> Iterator[tuple[int, Frame | Event]]:
        for i, item in enumerate(ten_minutes(device_clock)):
            if i in (6_000, 59_000):
                sizes.append(sys.getallocatedblocks())
            yield item

    class Count(Kept):
        """Keeps the last one only."""

        def estimate(self, estimate: object) -> None:
            self.estimates = [estimate]  # type: ignore[list-item]

        def frame(self, t: float, x: np.ndarray) -> None:
            self.frames = [(t, x)]

    program, kept = small_program(), Count()
    loop = Loop(Timed(watched(), CHANNELS), Stepper(program), [kept], Limits(tare_anyway=True))
    summary = loop.run()
    assert sizes[1] - sizes[0] < 300  # objects, in 9 minutes of 53,000 frames
    assert summary.counts.frames == 60_000
    assert summary.samples == int(summary.span_s * 20 + 1e-6) + 1
    assert summary.span_s == pytest.approx(599.99, abs=0 if device_clock else 0.02)
    assert summary.drops == summary.gaps == summary.restarts == 0
    (last,) = kept.estimates
    assert last.seq == (summary.samples - program.tare) // 5 * 5 + program.tare - 1
    assert last.t - loop._placing.timeline.origin_s == pytest.approx(last.seq / 20, abs=0.005)
