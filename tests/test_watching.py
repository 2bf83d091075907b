"""A stream's numbers while it runs, and the limits that turn them into an exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from streaming import run, small_program, small_recording

from hiss.realtime.bins import LogBins
from hiss.realtime.stats import Budget, Stats
from hiss.realtime.summary import Summary
from hiss.recording import write_hdf5

SECOND = 10**9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and a recording of 3 s."""
    folder = tmp_path_factory.mktemp("watching")
    small_program().save(folder / "force.hiss")
    write_hdf5(folder / "walk.h5", [small_recording()])
    return folder / "force.hiss", folder / "walk.h5"


def test_bins_since_hold_what_came_since() -> None:
    rng = np.random.default_rng(0)
    early, late = rng.integers(1, 10**9, 500).tolist(), rng.integers(1, 10**6, 300).tolist()
    before, both, alone = LogBins(), LogBins(), LogBins()
    for duration in early:
        before.add(duration)
        both.add(duration)
    for duration in late:
        both.add(duration)
        alone.add(duration)
    since = both.since(before)
    assert since.bins == alone.bins
    assert since.count == 300
    assert alone.max_ns <= since.max_ns <= alone.max_ns * 1.06  # the edge of a bin of 6 %
    assert since.quantile_ns(0.5) == alone.quantile_ns(0.5)
    assert both.since(both).max_ns == 0


def test_numbers_are_said_each_interval_and_are_of_that_interval(tmp_path: Path) -> None:
    summary, text = Summary("port"), io.StringIO()
    stats = Stats(2.0, text, tmp_path / "stats.jsonl")
    with stats:
        stats.watch(summary)
        for second in range(7):
            stats.tick(second * SECOND + 1)
            summary.counts.frames += 100 if second < 2 else 50
            for _ in range(10):
                summary.service.add(1_000_000 if second < 2 else 1_000)
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [line["frames"] for line in lines] == [200, 300, 400]
    assert [line["interval"]["rate_hz"] for line in lines] == [100.0, 50.0, 50.0]
    assert [line["interval"]["service"]["count"] for line in lines] == [20, 20, 20]
    assert lines[0]["interval"]["service"]["p50_us"] > 900
    assert lines[1]["interval"]["service"]["max_us"] < 2
    assert lines[1]["service"]["max_us"] == 1000
    said = text.getvalue().splitlines()
    assert len(said) == 3
    assert "100.0 Hz, 200 frames" in said[0]
    assert all(part in said[0] for part in ("drops 0", "service p50", "queue", "arrival"))


def test_a_pause_gives_one_line_not_one_for_each_missed_turn() -> None:
    text = io.StringIO()
    stats = Stats(1.0, text)
    stats.watch(Summary("port"))
    for at in (1, 30 * SECOND, 30 * SECOND + 1):
        stats.tick(at)
    assert len(text.getvalue().splitlines()) == 1


def test_drops_are_all_that_was_lost_on_the_way() -> None:
    summary = Summary("port")
    summary.drop("repeated time")
    summary.counts.malformed += 2
    summary.counts.checksum += 4
    assert summary.drops == 7
    assert Budget(max_drops=7).broken(summary) == []
    assert "7 drops" in Budget(max_drops=6).broken(summary)[0]


def test_a_latency_that_was_not_measured_is_no_kept_limit() -> None:
    summary = Summary("port")
    assert Budget(max_p99_us=1e9).broken(summary)
    summary.service.add(100_000)
    assert Budget(max_p99_us=101).broken(summary) == []
    assert Budget(max_p99_us=99).broken(summary)


def test_limits_become_an_exit_code(files: tuple[Path, Path]) -> None:
    model, walk = files
    done = run("replay", model, walk, "--json", "--max-p99", 1e9, "--max-drops", 0)
    assert done.returncode == 0, done.stderr
    done = run("replay", model, walk, "--json", "--max-p99", 0.001)
    assert done.returncode == 8
    assert "over budget: service p99 is" in done.stderr
    assert json.loads(done.stdout)["frames"] > 0  # the numbers come all the same


def test_numbers_come_while_the_loop_runs(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, walk = files
    path = tmp_path / "stats.jsonl"
    done = run("replay", model, walk, "--speed", 2, "--stats", 0.4, "--stats-json", path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert 2 <= len(lines) <= 4
    assert sum("| service" in line for line in done.stderr.splitlines()) == len(lines)


def test_a_file_for_numbers_that_cannot_be_written_is_exit_code_7(files: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("replay", *files, "--stats-json", tmp_path / "absent" / "stats.jsonl")
    assert done.returncode == 7
    assert "cannot be written" in done.stderr
