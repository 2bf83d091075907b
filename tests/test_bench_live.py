"""What hiss bench-live measures is what the live loop does: the frames, the steps, and what was lost. No speeds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from streaming import run

from hiss.engines import open_stepper
from hiss.realtime.bench import RATES_HZ, Run, run_once
from hiss.realtime.bench_board import bench_decoder, blocks
from hiss.realtime.bench_model import bench_program, bench_samples
from hiss.realtime.devices.declared import DeclaredDecoder
from hiss.realtime.feeds import DecodedFeed
from hiss.realtime.framing import Frame
from hiss.realtime.sources import SerialSource

NAMES, UNITS = ["a", "b", "c"], ["uT", "uT", "g"]


def test_every_frame_of_the_bench_is_read_with_its_sequence_and_clock() -> None:
    data = b"".join(block.tobytes() for block in blocks(3, 250.0, 1201))
    frames = bench_decoder(NAMES, UNITS).feed(data)
    assert all(isinstance(frame, Frame) for frame in frames)
    assert [frame.seq for frame in frames] == list(range(1201))
    np.testing.assert_allclose([frame.t for frame in frames], np.arange(1201) / 250, atol=1e-6)
    x = np.array([frame.x for frame in frames])
    assert np.abs(x).max() > 100
    assert len(np.unique(x[:, 1])) > 1000


def test_a_frame_alone_is_read_as_it_is_among_others() -> None:
    data = b"".join(block.tobytes() for block in blocks(3, 250.0, 50))
    together, alone = bench_decoder(NAMES, UNITS), bench_decoder(NAMES, UNITS)
    size = len(data) // 50
    at_once = together.feed(data)
    one_by_one = [f for i in range(50) for f in alone.feed(data[i * size : (i + 1) * size])]
    assert together.counts == alone.counts
    for a, b in zip(at_once, one_by_one, strict=True):
        assert a.x.dtype == b.x.dtype == np.float32
        assert (a.x.tobytes(), a.t, a.seq) == (b.x.tobytes(), b.t, b.seq)


def test_the_built_in_model_answers_to_its_input_and_stays_bounded() -> None:
    program = bench_program()
    stepper = open_stepper(program)
    y = np.array([y for x in bench_samples(program, 3000) if (y := stepper.step(x)) is not None])
    assert y.shape == (300, 3)
    assert np.isfinite(y).all()
    assert (y.std(0) > 0.01).all()
    assert np.abs(y).max() < 100


def test_a_run_counts_every_frame_once() -> None:
    program = bench_program(channels=6, rate_hz=500.0)
    made = run_once("numpy", program, open_stepper, 500.0, 0.4)
    assert (made.frames, made.drops, made.estimates) == (200, 0, 20)
    assert 0 < made.p50_us <= made.p99_us <= made.max_us


def fed_by_feed(source: SerialSource, decoder: DeclaredDecoder) -> DecodedFeed:
    """Without the shorter way of a lone frame."""
    decoder.alone = None
    return DecodedFeed(source, decoder)


def test_frames_that_do_not_arrive_are_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    read = DeclaredDecoder.feed

    def loses(self: DeclaredDecoder, data: bytes) -> list[object]:
        items = read(self, data)
        lost = sum(frame.seq % 10 == 9 for frame in items)
        self.counts.frames -= lost
        return [frame for frame in items if frame.seq % 10 != 9]

    monkeypatch.setattr(DeclaredDecoder, "feed", loses)
    monkeypatch.setattr("hiss.realtime.bench.DecodedFeed", fed_by_feed)
    monkeypatch.setattr("hiss.realtime.bench.GRACE_S", 0.3)
    program = bench_program(channels=6, rate_hz=500.0)
    made = run_once("no model", program, None, 500.0, 0.2)
    assert made.drops == 10
    assert not made.kept_up


def test_the_verb_prints_its_figures_as_json() -> None:
    done = run("bench-live", "--seconds", 0.3, "--no-rates", "--json", timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = [r["name"] for r in found["runs"]]
    assert names[:2] == ["no model", "numpy"]
    assert set(names[2:]) | set(found["missing"]) == {"c", "int8 c"}
    assert set(found["runs"][0]) == set(Run.__dataclass_fields__)
    assert RATES_HZ[0] < 4000 <= RATES_HZ[-1]
