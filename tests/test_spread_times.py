"""An estimate of a spread program belongs to the sample one chunk before, wherever estimates meet samples."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from streaming import small_program, small_recording

from hiss import Stepper, scoring
from hiss.cli import inspect, predict, replay
from hiss.program import Program, integer, passes
from hiss.quantization.choose import quantized
from hiss.realtime.devices import make_decoder
from hiss.realtime.devices.csv import encode_header, encode_line
from hiss.realtime.feeds import DecodedFeed, RecordingFeed
from hiss.realtime.live import Loop
from hiss.realtime.sinks import Estimate, Sink
from hiss.realtime.sources import CallableSource
from hiss.recording import Recording, make_channels, write_hdf5

PERIOD = 5


@pytest.fixture(scope="module")
def plain() -> Program:
    return small_program(period=PERIOD)


@pytest.fixture(scope="module")
def spread(plain: Program) -> Program:
    return passes.spread(plain)


class Kept(Sink):
    """Keeps what the loop gives."""

    def __init__(self) -> None:
        self.estimates: list[Estimate] = []
        self.said: list[str] = []

    def estimate(self, estimate: Estimate) -> None:
        self.estimates.append(estimate)

    def event(self, event: object) -> None:
        self.said.append(str(event))


def replayed(program: Program, recording: Recording) -> Kept:
    kept = Kept()
    Loop(RecordingFeed(recording), Stepper(program), [kept]).run()
    return kept


def test_the_loop_gives_each_estimate_the_time_of_its_sample(plain: Program, spread: Program) -> None:
    """The same estimates at the same times, but for those of the last chunk, which never come."""
    now, later = (replayed(program, small_recording()) for program in (plain, spread))
    assert len(later.estimates) == len(now.estimates) - 1 > 5
    for a, b in zip(later.estimates, now.estimates, strict=False):
        assert (a.seq, a.t) == (b.seq, b.t)
        np.testing.assert_allclose(a.y, b.y, rtol=1e-5, atol=1e-5)  # float32, sums in another order
    assert "0.25 s after their sample" in later.said[0]
    assert "after their sample" not in now.said[0]


def test_a_board_that_starts_again_loses_what_is_pending(plain: Program, spread: Program) -> None:
    """Each of both parts loses the estimate of its last chunk; the others keep their times."""
    r = small_recording()
    lines = [encode_line(t, x) for t, x in zip(r.t, r.x, strict=True)]
    data = b"".join([encode_header(r.channels), *lines, *lines])
    times = []
    for program in (plain, spread):
        chunks, kept = [data], Kept()
        source = CallableSource(lambda chunks=chunks: chunks.pop() if chunks else None)
        decoder = make_decoder("csv", [p.name for p in program.inputs], torn_start=False)
        summary = Loop(DecodedFeed(source, decoder), Stepper(program), [kept]).run()
        assert summary.restarts == 1
        times.append([e.seq for e in kept.estimates])
    now, later = times
    half = len(plain.predict(r.resampled(plain.rate_hz).x))
    assert later == [*now[: half - 1], *now[half:-1]]
    assert half > 5


def rows(program: Program, folder: Path, *verb: object) -> list[list[str]]:
    program.save(folder / "m.hiss")
    write_hdf5(folder / "r.h5", [small_recording()])
    command = {"predict": predict, "replay": replay}[str(verb[0])].command
    done = CliRunner().invoke(command, [str(folder / "m.hiss"), str(folder / "r.h5"), "--out", str(folder / "y.csv")])
    assert done.exit_code == 0, done.output
    with open(folder / "y.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


@pytest.mark.parametrize("verb", ["predict", "replay"])
def test_the_verbs_give_each_estimate_the_time_of_its_sample(
    plain: Program, spread: Program, tmp_path: Path, verb: str
) -> None:
    now, later = rows(plain, tmp_path, verb), rows(spread, tmp_path, verb)
    assert len(later) == len(now) - 1
    assert [row[:2] for row in later] == [row[:2] for row in now[:-1]]
    value = 2
    np.testing.assert_allclose([float(r[value]) for r in later], [float(r[value]) for r in now[:-1]], atol=1e-5)


def test_scores_pair_estimates_with_the_targets_of_their_samples(plain: Program, spread: Program) -> None:
    """The error is that of the plain program on all chunks but the last of each recording."""
    r = small_recording().resampled(plain.rate_hz)
    y = np.cumsum(np.random.default_rng(3).normal(size=(len(r), 1)), axis=0).astype(np.float32)
    r = Recording("a", r.t, r.x, r.channels, y, make_channels(["force"], "N"), rate_hz=plain.rate_hz)
    ready = scoring.ready(spread, [r, r])
    scored = scoring.score_whole(scoring.estimator(spread), ready, PERIOD)
    cut = [one.cut(0, (len(one) // PERIOD - 1) * PERIOD) for one in ready]
    expected = scoring.score_whole(scoring.estimator(plain), cut, PERIOD)
    np.testing.assert_array_equal(scored.y, expected.y)
    np.testing.assert_allclose(scored.rmse(), expected.rmse(), rtol=1e-5)
    assert len(scored.t) == len(scored.y)
    assert np.all(np.diff(scored.t) > 0)


def test_a_spread_program_can_be_quantized(spread: Program) -> None:
    """Before or after spreading: the same integer program."""
    x = [small_recording().resampled(spread.rate_hz).x]
    one, _ = quantized(spread, x)
    other, _ = quantized(spread.plain, x)
    assert one.plain.digest == other.digest
    np.testing.assert_array_equal(integer.predict(one, x[0]), integer.predict(other, x[0])[:-1])


def test_inspect_says_the_latency_and_the_pace(spread: Program, tmp_path: Path) -> None:
    spread.save(tmp_path / "m.hiss")
    text = CliRunner().invoke(inspect.command, [str(tmp_path / "m.hiss")]).output
    assert "5 samples (0.25 s) after the one that it belongs to" in text
    assert "in step 2 of the next 5:" in text
    facts = json.loads(CliRunner().invoke(inspect.command, [str(tmp_path / "m.hiss"), "--json"]).output)
    assert facts["latency"] == 5
    assert len(facts["instructions"]) == 5
