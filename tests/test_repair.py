"""Recordings that are cut: killed processes, full disks, and what is made of the log that is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from streaming import LAUNCH, ROOT, fake_board, run, small_program, small_recording, start, wait_for_line, wait_until

from hiss.realtime.live import Limits, Loop
from hiss.realtime.log_recording import read_log
from hiss.realtime.open_feed import decoded_feed
from hiss.realtime.rawlog import LogReader
from hiss.realtime.recorder import Recorder
from hiss.realtime.sources import CallableSource, make_source
from hiss.recording import read_recordings, write_csv, write_hdf5

POSIX = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals and signals")
SMALL_FILES = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""


@contextlib.contextmanager
def recording_process(tmp_path: Path, *more: object) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """hiss record of a board that plays a known walk, begun: (the process, the log)."""
    write_hdf5(tmp_path / "walk.h5", [small_recording(6.0)])
    with fake_board("--device", "anyskin:5", "--play", tmp_path / "walk.h5", "--hold", 20) as (port, _):
        process = start("record", "--source", port, "--device", "anyskin:5", "-o", tmp_path / "kept.h5", *more)
        try:
            log = tmp_path / "kept.hlog"
            wait_until(lambda: log.exists() and log.stat().st_size > 2000)
            yield process, log
        finally:
            process.kill()
            process.communicate()


@POSIX
@pytest.mark.parametrize("after_s", [0.0, 0.3, 1.1])
def test_a_killed_recording_is_made_whole_from_its_log(tmp_path: Path, after_s: float) -> None:
    """What was read is in the log: at most the read that was under way is not."""
    with recording_process(tmp_path) as (process, log):
        time.sleep(after_s)
        process.kill()
        process.communicate()
        assert not (tmp_path / "kept.h5").exists()
        done = run("record", "--repair", log, "--json")
        assert done.returncode == 0, done.stderr
        (back,) = read_recordings(tmp_path / "kept.h5")
        assert json.loads(done.stdout)["frames"] == len(back) >= 10 + 40 * after_s
        np.testing.assert_array_equal(back.x, small_recording(6.0).x[: len(back)])


def test_a_torn_tail_is_said_with_its_bytes_and_the_rest_is_made(tmp_path: Path) -> None:
    log = csv_log(tmp_path)
    whole = read_log(log).recording
    log.write_bytes(log.read_bytes()[:-3])
    torn = len(log.read_bytes()) - sum(14 + len(r.payload) for r in LogReader(log)) - len(header_of(log))
    done = run("record", "--repair", log, "-o", tmp_path / "cut.csv")
    assert done.returncode == 0, done.stderr
    assert f"{torn} bytes at the end of the log are torn" in done.stderr
    (back,) = read_recordings(tmp_path / "cut.csv")
    np.testing.assert_array_equal(back.x, whole.x[: len(back)])


def header_of(log: Path) -> bytes:
    return log.open("rb").readline()


def csv_log(tmp_path: Path) -> Path:
    """The log of a CSV stream with a clock, in reads of 500 bytes."""
    write_csv(tmp_path / "walk.csv", small_recording())
    data = (tmp_path / "walk.csv").read_bytes()
    reads = iter([data[i : i + 500] for i in range(0, len(data), 500)])
    feed = decoded_feed(CallableSource(lambda: next(reads, None)), "csv")
    Loop(feed, sinks=[Recorder(tmp_path / "kept.h5", feed)]).run()
    return tmp_path / "kept.hlog"


def test_a_log_is_made_into_every_format(tmp_path: Path) -> None:
    log, walk = csv_log(tmp_path), small_recording()
    for suffix in (".csv", ".h5"):
        done = run("record", "--repair", log, "-o", tmp_path / f"again{suffix}")
        assert done.returncode == 0, done.stderr
        (back,) = read_recordings(tmp_path / f"again{suffix}")
        np.testing.assert_array_equal(back.x, walk.x)
        assert back.channels == walk.channels
    refused = run("record", "--repair", log, "-o", tmp_path / "again.csv")
    assert (refused.returncode, "--overwrite" in refused.stderr) == (7, True)
    refused = run("record", "--repair", tmp_path / "walk.csv", "-o", tmp_path / "no.h5")
    assert (refused.returncode, "no raw log" in refused.stderr) == (2, True)


def test_mcap_of_a_live_log_holds_samples_estimates_and_events(tmp_path: Path) -> None:
    reader = pytest.importorskip("mcap.reader", reason="the extra mcap")
    program, walk = small_program(), small_recording()
    program.save(tmp_path / "m.hiss")
    write_csv(tmp_path / "walk.csv", walk)
    live = run(
        "live", tmp_path / "m.hiss", "--source", f"file:{tmp_path / 'walk.csv'}", "--device", "csv",
        "--record", tmp_path / "kept.mcap",
    )  # fmt: skip
    assert live.returncode == 0, live.stderr
    said = [json.loads(line) for line in live.stdout.splitlines()]
    found: dict[str, list[dict[str, object]]] = {}
    with open(tmp_path / "kept.mcap", "rb") as file:
        for _, channel, message in reader.make_reader(file).iter_messages():
            found.setdefault(channel.topic, []).append(json.loads(message.data))
    assert [e["seq"] for e in found["estimates"]] == [e["seq"] for e in said]
    np.testing.assert_array_equal(np.array([list(s.values()) for s in found["samples"]], np.float32), walk.x)
    assert "gap" in {e["kind"] for e in found["events"]}


@POSIX
def test_a_full_disk_ends_with_7_and_a_log_that_is_whole(tmp_path: Path) -> None:
    """As a limit on a file's size: a write takes a part, and the next one nothing."""
    write_hdf5(tmp_path / "walk.h5", [small_recording(6.0)])
    with fake_board("--device", "anyskin:5", "--play", tmp_path / "walk.h5", "--hold", 20) as (port, _):
        words = ["record", "--source", port, "--device", "anyskin:5", "-o", str(tmp_path / "kept.h5")]
        done = subprocess.run(
            [sys.executable, "-c", SMALL_FILES.format(9000) + LAUNCH, *words],
            capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert "File too large" in done.stderr
    assert "kept.hlog" in done.stderr
    kept = read_log(tmp_path / "kept.hlog")
    assert kept.torn == 0
    assert 60 < len(kept.recording) < 120
    np.testing.assert_array_equal(kept.recording.x, small_recording(6.0).x[: len(kept.recording)])


@POSIX
def test_a_slow_disk_delays_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write takes three times as long as frames are apart: reads become larger, and the port is waited with."""
    write_hdf5(tmp_path / "walk.h5", [small_recording(6.0)])
    quick = os.write

    def slow(fd: int, data: bytes) -> int:
        time.sleep(0.03)
        return quick(fd, data)

    with fake_board("--device", "anyskin:5", "--play", tmp_path / "walk.h5", "--hold", 20) as (port, _):
        feed = decoded_feed(make_source(port), "anyskin:5")
        loop = Loop(feed, sinks=[Recorder(tmp_path / "kept.h5", feed)], limits=Limits(duration_s=2.5))
        monkeypatch.setattr("hiss.realtime.rawlog.os.write", slow)
        loop.run()
        monkeypatch.undo()
    (back,) = read_recordings(tmp_path / "kept.h5")
    np.testing.assert_array_equal(back.x, small_recording(6.0).x[: len(back)])
    assert len(back) > 100
    assert loop.summary.counts.skipped == 0


@POSIX
def test_hangups_rotate_and_nothing_is_lost_between(tmp_path: Path) -> None:
    with recording_process(tmp_path, "--duration", "4") as (process, _):
        for _ in range(2):
            time.sleep(0.5)
            process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    parts = [read_recordings(tmp_path / name)[0] for name in ("kept.h5", "kept.1.h5", "kept.2.h5")]
    x = np.concatenate([part.x for part in parts])
    np.testing.assert_array_equal(x, small_recording(6.0).x[: len(x)])
    assert len(x) > 200


@POSIX
def test_what_live_said_is_what_a_replay_of_its_log_says(tmp_path: Path) -> None:
    small_program().save(tmp_path / "m.hiss")
    write_hdf5(tmp_path / "walk.h5", [small_recording(3.0)])
    with fake_board("--device", "anyskin:5", "--play", tmp_path / "walk.h5", "--hold", 20) as (port, _):
        live = start(
            "live", tmp_path / "m.hiss", "--source", port, "--device", "anyskin:5", "--duration", "2.5",
            "--record", tmp_path / "kept.h5",
        )  # fmt: skip
        first = wait_for_line(live.stdout)
        out, err = live.communicate(timeout=30)
    assert live.returncode == 0, err
    said = [json.loads(line) for line in (first + out).splitlines()]
    for again in (
        run("replay", tmp_path / "m.hiss", tmp_path / "kept.hlog"),
        run("live", tmp_path / "m.hiss", "--source", f"file:{tmp_path / 'kept.hlog'}?speed=8", "--device", "anyskin:5"),
    ):
        assert again.returncode == 0, again.stderr
        repeated = [json.loads(line) for line in again.stdout.splitlines()]
        assert [(e["seq"], e["t"], e["y"]) for e in repeated] == [(e["seq"], e["t"], e["y"]) for e in said]
    assert len(said) > 5


def test_the_log_goes_when_nobody_wants_it_and_stays_otherwise(tmp_path: Path) -> None:
    write_csv(tmp_path / "walk.csv", small_recording())
    words = ("record", "--source", f"file:{tmp_path / 'walk.csv'}", "--device", "csv", "-o", tmp_path / "a.h5")
    assert run(*words, "--no-keep-log").returncode == 0
    assert [p.name for p in tmp_path.glob("*.hlog")] == []
    (tmp_path / "a.hlog").write_text("of a crash")
    (tmp_path / "a.h5").unlink()
    refused = run(*words)
    assert refused.returncode == 7
    assert "--repair" in refused.stderr
    assert (tmp_path / "a.hlog").read_text() == "of a crash"
