"""The one loop for live and replay: what it computes, what it reports, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from streaming import ROOT, Kept, fake_board, run, small_program, small_recording, start, wait_for_line

from hiss.engines import Stepper
from hiss.errors import FormatError, HissError, MismatchError
from hiss.program import Program
from hiss.realtime.bins import LogBins
from hiss.realtime.devices import make_decoder
from hiss.realtime.devices.anyskin import encode
from hiss.realtime.devices.csv import encode_header, encode_line
from hiss.realtime.feeds import DecodedFeed, RecordingFeed
from hiss.realtime.framing import Event
from hiss.realtime.live import Limits, Loop
from hiss.realtime.log_recording import read_log
from hiss.realtime.open_feed import decoded_feed
from hiss.realtime.recorder import Recorder
from hiss.realtime.sinks import EventLines
from hiss.realtime.sources import CallableSource, make_source
from hiss.recording import Recording, read_recordings, write_csv, write_hdf5

PARITY = 1e-6  # of the largest value, or of 1 N: float32 in both, sums in another order


@pytest.fixture(scope="module")
def program() -> Program:
    return small_program()


@pytest.fixture(scope="module")
def recording() -> Recording:
    return small_recording()


@pytest.fixture
def model(program: Program, tmp_path: Path) -> Path:
    program.save(tmp_path / "force.hiss")
    return tmp_path / "force.hiss"


def offline(program: Program, recording: Recording) -> np.ndarray:
    return program.predict(recording.resampled(program.rate_hz).x)


def close(y: np.ndarray, reference: np.ndarray) -> None:
    assert y.shape == reference.shape
    np.testing.assert_allclose(y, reference, atol=PARITY * max(1.0, np.abs(reference).max()), rtol=0)


def through(program: Program, chunks: list[bytes], device: str) -> tuple[Kept, Loop]:
    """The loop over these chunks of bytes."""
    kept, chunks = Kept(), list(chunks)
    source = CallableSource(lambda: chunks.pop(0) if chunks else None)
    loop = Loop(decoded_feed(source, device, [p.name for p in program.inputs]), Stepper(program), [kept])
    return kept, loop


def lines(recording: Recording) -> list[bytes]:
    rows = zip(recording.t, recording.x, strict=True)
    return [encode_header(recording.channels), *(encode_line(t, x) for t, x in rows)]


def test_replay_equals_offline_prediction(program: Program, recording: Recording) -> None:
    kept = Kept()
    summary = Loop(RecordingFeed(recording), Stepper(program), [kept]).run()
    close(kept.y, offline(program, recording))
    assert summary.samples == len(recording.resampled(program.rate_hz))
    assert summary.gaps == 1
    assert [e.seq for e in kept.estimates] == [program.tare + 5 * i + 4 for i in range(len(kept.y))]
    np.testing.assert_allclose([e.t for e in kept.estimates], [e.seq / 20.0 for e in kept.estimates], atol=1e-12)


def test_bytes_with_device_times_equal_offline_prediction_however_they_arrive(
    program: Program, recording: Recording
) -> None:
    data = b"".join(lines(recording))
    for size in (1000, 70_000):
        kept, loop = through(program, [data[i : i + size] for i in range(0, len(data), size)], "csv")
        loop.run()
        close(kept.y, offline(program, recording))


def test_replay_of_real_raw_samples_equals_offline_prediction(program: Program, eflesh_normal: Path) -> None:
    recording = read_recordings(eflesh_normal, raw=True)[-1].cut(0, 600)
    kept = Kept()
    Loop(RecordingFeed(recording), Stepper(program), [kept]).run()
    close(kept.y, offline(program, recording))


def test_replay_keeps_the_recorded_times(program: Program, recording: Recording) -> None:
    """At 4 times the speed 3.7 s take 0.92 s, whatever the sleeps add up to, and the rest in the middle is there."""
    kept = Kept()
    loop = Loop(RecordingFeed(recording, speed=4.0), Stepper(program), [kept])
    begin = time.monotonic()
    loop.run()
    assert recording.duration_s / 4 <= time.monotonic() - begin < recording.duration_s / 4 + 0.7  # s, a busy machine
    assert loop.summary.inter_arrival.max_ns > 0.5 * 0.7 / 4 * 1e9


def test_columns_are_matched_by_name_in_any_order(program: Program, recording: Recording) -> None:
    order = np.random.default_rng(0).permutation(15)
    shuffled = Recording("r", recording.t, recording.x[:, order], tuple(recording.channels[i] for i in order))
    kept, loop = through(program, [b"".join(lines(shuffled))], "csv")
    loop.run()
    close(kept.y, offline(program, recording))


def test_channels_that_do_not_fit_are_refused_with_what_was_found_and_expected(program: Program) -> None:
    frame = encode(np.ones(12, np.float32), np.full(4, 20, np.float32))
    with pytest.raises(MismatchError, match=r"12 channels .*takes 15 .*missing: m4_x, m4_y, m4_z.*chip"):
        through(program, [frame], "anyskin:4")[1].run()
    with pytest.raises(MismatchError, match="m0_x is in mT, but the model was trained on uT"):
        through(
            program, [",".join(f"{p.name} (mT)" for p in program.inputs).encode() + b"\n" + b"1," * 15 + b"\n"], "csv"
        )[1].run()


def test_samples_that_are_not_finite_are_dropped_and_named(program: Program, recording: Recording) -> None:
    x = recording.x.copy()
    x[50, 4], x[60, 0] = np.nan, np.inf
    broken = [encode_header(recording.channels), *(encode_line(t, row) for t, row in zip(recording.t, x, strict=True))]
    kept, loop = through(program, [b"".join(broken)], "csv")
    loop.run()
    good = np.isfinite(x).all(axis=1)
    close(kept.y, offline(program, Recording("r", recording.t[good], x[good], recording.channels)))
    assert loop.summary.dropped == {"not finite": 2}
    assert [e.text for e in kept.events if e.kind == "not-finite"] == [
        "frame dropped: m1_y is nan",
        "frame dropped: m0_x is inf",
    ]


def test_repeated_device_times_are_dropped_and_a_clock_that_goes_back_starts_anew(
    program: Program, recording: Recording
) -> None:
    """After a board's restart the model starts from fresh state and keeps its tare; seq goes on."""
    again = lines(recording)[1:]
    kept, loop = through(program, [b"".join([*lines(recording), again[-1], *again])], "csv")
    loop.run()
    assert loop.summary.dropped == {"repeated time": 1}
    assert loop.summary.restarts == 1
    stepper = Stepper(program)
    for x in recording.resampled(20.0).x:
        stepper.step(x)
    stepper.reset()
    second = [y for x in recording.resampled(20.0).x if (y := stepper.step(x)) is not None]
    first = offline(program, recording)
    close(kept.y, np.concatenate([first, second]))
    seqs = [e.seq for e in kept.estimates]
    assert seqs == sorted(set(seqs))


def test_frames_of_one_chunk_hold_its_arrival(program: Program, recording: Recording) -> None:
    """Many frames at once give the same estimates each time: no spread is made up, and none raises."""
    data = b"".join(encode(x, np.full(5, 20, np.float32)) for x in recording.x)
    _, loop = through(program, [data], "anyskin:5")
    summary = loop.run()
    assert summary.counts.frames == len(recording)
    assert summary.span_s == pytest.approx((len(recording) - 1) * 1e-9)
    assert summary.samples == 1


def test_a_second_loop_is_not_disturbed_by_the_first(program: Program, recording: Recording) -> None:
    first, second = Kept(), Kept()
    Loop(RecordingFeed(recording), Stepper(program), [first]).run()
    Loop(RecordingFeed(recording), Stepper(program), [second]).run()
    np.testing.assert_array_equal(first.y, second.y)


def test_silence_and_nonsense_are_told_apart(program: Program) -> None:
    class Silent(CallableSource):
        ends = False

    def loop(data: bytes) -> Loop:
        chunks = iter([data])
        source = Silent(lambda: next(chunks, b""))
        return Loop(
            DecodedFeed(source, make_decoder("anyskin:5")),
            Stepper(program),
            limits=Limits(first_frame_s=0.05, silence_s=0.05),
        )

    with pytest.raises(FormatError, match="no bytes came at all"):
        loop(b"").run()
    with pytest.raises(FormatError, match="--device csv"):
        loop(b"1,2,3\n4,5,6\n").run()
    with pytest.raises(HissError, match="no frame for"):
        loop(encode(np.ones(15, np.float32), np.ones(5, np.float32))).run()


def test_too_many_chips_on_the_wire_are_seen_at_the_start(program: Program) -> None:
    data = b"".join(encode(np.arange(30, dtype=np.float32) + i, np.full(10, 20, np.float32)) for i in range(20))
    with pytest.raises(FormatError, match="--device anyskin:10"):
        through(program, [data[i : i + 100] for i in range(0, len(data), 100)], "anyskin:5")[1].run()


def test_events_of_one_kind_do_not_flood_the_terminal() -> None:
    import io

    stream = io.StringIO()
    sink = EventLines(stream)
    for i in range(1000):
        sink.event(Event("malformed", f"line {i}"))
    assert stream.getvalue().count("\n") == EventLines.SHOWN


def test_bins_hold_quantiles_within_their_width() -> None:
    bins, rng = LogBins(), np.random.default_rng(0)
    durations = rng.lognormal(10, 2, 20_000).astype(int) + 1
    for duration in durations.tolist():
        bins.add(duration)
    for q in (0.5, 0.99, 0.999):
        exact = np.quantile(durations, q)
        assert exact * 0.99 <= bins.quantile_ns(q) <= exact * 1.07  # one bin is 6 % wide
    assert bins.as_dict()["count"] == 20_000
    assert bins.max_ns == durations.max()
    assert LogBins().as_dict()["p50_us"] is None
    bins.add(0)
    bins.add(10**18)


def test_the_loop_leaves_time_for_more_than_1_kHz(program: Program) -> None:
    """CPU time, so that other programs do not matter; the budget at 1 kHz is 1000 us a frame, with the model's step."""
    recording = small_recording(20.0)
    loop = Loop(RecordingFeed(recording), Stepper(program), [])
    begin = time.process_time()
    loop.run()
    assert (time.process_time() - begin) / len(recording) < 1e-3


def test_a_recorder_keeps_the_frames_and_their_times(program: Program, recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "kept.h5"
    kept, loop = through(program, [b"".join(lines(recording))], "csv")
    loop.sinks.append(Recorder(path, loop.feed, "walk"))
    loop.run()
    (back,) = read_recordings(path)
    np.testing.assert_array_equal(back.x, recording.x)
    np.testing.assert_allclose(back.t, recording.t, atol=1e-12)
    assert back.channels == recording.channels
    again = Kept()
    Loop(RecordingFeed(back), Stepper(program), [again]).run()
    close(again.y, kept.y)


def test_a_recording_is_not_overwritten_and_the_log_survives_where_it_cannot_be_made(
    program: Program, recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gone" / "kept.h5"
    _, loop = through(program, [b"".join(lines(recording))], "csv")
    with pytest.raises(HissError, match="no folder"):
        Recorder(path, loop.feed).__enter__()
    path.parent.mkdir()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    loop.sinks.append(Recorder(path, loop.feed, "walk"))
    with monkeypatch.context() as full:
        full.setattr("hiss.realtime.log_recording.write_hdf5", full_disk)
        with pytest.raises(HissError, match=f"{path.with_suffix('.hlog')} holds the {len(recording)} frames"):
            loop.run()
    np.testing.assert_array_equal(read_log(path.with_suffix(".hlog")).recording.x, recording.x)
    taken = tmp_path / "taken.h5"
    write_hdf5(taken, [recording])
    with pytest.raises(HissError, match="exists already"):
        Recorder(taken, loop.feed).__enter__()


@pytest.mark.parametrize("name", ["walk.h5", "walk.csv"])
def test_replay_verb_equals_offline_prediction_without_torch(
    model: Path, program: Program, recording: Recording, tmp_path: Path, name: str
) -> None:
    """JSON lines and --out hold the same estimates; torch, scipy and pyserial stay unloaded."""
    path, out = tmp_path / name, tmp_path / "est.csv"
    write_csv(path, recording) if name.endswith("csv") else write_hdf5(path, [recording])
    block = "import sys\nfor name in ('torch', 'scipy', 'serial'): sys.modules[name] = None\n"
    code = f"{block}from hiss.cli.replay import command\ncommand(['{model}', '{path}', '--out', '{out}'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    close(np.array([[line["y"]["force"]] for line in found]), offline(program, recording))
    table = np.loadtxt(out, delimiter=",", skiprows=1)
    assert out.read_text().startswith("time (s),seq,force (N),lat_us\n")
    np.testing.assert_allclose(table[:, 2], [line["y"]["force"] for line in found], rtol=1e-8)
    assert "estimates" in done.stderr


def test_replay_verb_says_what_is_wrong(model: Path, recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "walk.h5"
    write_hdf5(path, [recording])
    unknown = run("replay", model, path, "--trial", "walj")
    assert unknown.returncode == 2
    assert "no recording 'walj'; there are: walk" in unknown.stderr
    narrow = Recording("walk", recording.t, recording.x[:, :3], recording.channels[:3])
    write_hdf5(path, [narrow])
    assert run("replay", model, path).returncode == 5
    path.write_bytes(b"\x89HDF\r\n\x1a\nnonsense")
    assert run("replay", model, path).returncode == 2


def test_replay_verb_ends_well_when_its_reader_has_had_enough(
    model: Path, recording: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "walk.h5"
    write_hdf5(path, [recording])
    process = start("replay", model, path, "--speed", "1")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=20) == 0
    assert "Traceback" not in process.stderr.read()  # type: ignore[union-attr]
    process.stderr.close()  # type: ignore[union-attr]


def test_live_verb_estimates_what_offline_prediction_does(
    model: Path, program: Program, recording: Recording, tmp_path: Path
) -> None:
    """Through a real pseudo-terminal. The CSV board sends its own times, so parity is exact; no sample is lost."""
    path = tmp_path / "walk.h5"
    write_hdf5(path, [recording])
    with fake_board("--device", "csv", "--play", path, "--hold", 20) as (port, _):
        done = run("live", model, "--source", port, "--device", "csv", "--duration", recording.duration_s - 1e-6)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    close(np.array([[line["y"]["force"]] for line in found]), offline(program, recording))
    assert f"frames    {len(recording)}" in done.stderr
    assert "tare: keep the sensor untouched" in done.stderr


def test_live_verb_with_arrival_times_is_near_offline_prediction(
    model: Path, program: Program, recording: Recording, tmp_path: Path
) -> None:
    """A binary board has no clock: arrival stamps jitter by scheduling, and the recording made live says by how much.

    What is recorded live, predicted offline, is what live said.
    """
    path, kept = tmp_path / "walk.h5", tmp_path / "kept.h5"
    write_hdf5(path, [recording])
    with fake_board("--device", "anyskin:5", "--play", path, "--hold", 20) as (port, _):
        done = run(
            "live", model, "--source", port, "--device", "anyskin:5", "--duration", recording.duration_s + 0.3,
            "--record", kept,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (back,) = read_recordings(kept)
    np.testing.assert_array_equal(back.x, recording.x)
    assert np.median(np.abs(back.t - recording.t)) < 0.02  # s; scheduling on a busy machine
    y = np.array([[json.loads(line)["y"]["force"]] for line in done.stdout.splitlines()])
    close(y, offline(program, back))


def test_live_verb_json_prints_the_summary_and_nothing_else(model: Path) -> None:
    with fake_board("--device", "anyskin:5", "--rate", 500) as (port, _):
        done = run("live", model, "--source", port, "--device", "anyskin:5", "--duration", 1, "--json")
    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert summary["rate_hz"] == pytest.approx(500, rel=0.1)
    assert summary["resyncs"] == summary["bytes_skipped"] == summary["malformed"] == 0
    assert (
        {"p50_us", "p99_us", "p99.9_us", "max_us", "count"} == set(summary["service"]) == set(summary["inter_arrival"])
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_live_with_a_summary_and_keeps_the_recording(model: Path, tmp_path: Path, number: int) -> None:
    kept = tmp_path / "kept.h5"
    with fake_board("--device", "reskin:5", "--rate", 200) as (port, _):
        live = start("live", model, "--source", port, "--device", "reskin:5", "--record", kept)
        wait_for_line(live.stdout)
        live.send_signal(number)
        _, err = live.communicate(timeout=10)
    assert live.returncode == 0, err
    assert "service   p50" in err
    assert len(read_recordings(kept)[0]) > 10


def test_record_verb_keeps_what_came_when_the_board_goes_away(tmp_path: Path) -> None:
    kept = tmp_path / "kept.h5"
    with fake_board("--device", "anyskin:3", "--rate", 200, "--duration", 0.5, "--hold", 0) as (port, _):
        done = run("record", "--source", port, "--device", "anyskin:3", "-o", kept, "--temperature")
    assert done.returncode == 6, done.stderr
    assert "unplugged" in done.stderr
    (back,) = read_recordings(kept)
    assert back.x.shape == (100, 12)
    assert [c.name for c in back.channels][-3:] == ["m0_t", "m1_t", "m2_t"]
    assert back.attrs["device"] == "anyskin:3"


def test_a_port_that_is_not_there_exits_3(model: Path) -> None:
    done = run("live", model, "--source", "/dev/ttyNOTHERE", "--device", "anyskin:5")
    assert done.returncode == 3
    assert "/dev/ttyNOTHERE does not exist" in done.stderr
    assert run("live", model, "--source", "/dev/null", "--device", "anyskin:5").returncode == 3


def test_a_port_in_use_exits_3(model: Path) -> None:
    with fake_board("--device", "anyskin:5") as (port, _):
        live = start("live", model, "--source", port, "--device", "anyskin:5")
        wait_for_line(live.stdout)
        second = run("live", model, "--source", port, "--device", "anyskin:5")
        live.send_signal(signal.SIGINT)
        live.communicate(timeout=10)
    assert second.returncode == 3
    assert "in use by another program" in second.stderr


def test_the_wrong_device_exits_4_with_the_bytes_and_a_guess(model: Path) -> None:
    with fake_board("--device", "csv", "--rate", 100) as (port, _):
        done = run("live", model, "--source", port, "--device", "anyskin:5", "--first-frame", 0.5)
    assert done.returncode == 4
    assert "in hex: 74 69 6d 65" in done.stderr
    assert "try --device csv" in done.stderr


def test_channels_that_do_not_fit_exit_5(model: Path) -> None:
    with fake_board("--device", "anyskin:4") as (port, _):
        done = run("live", model, "--source", port, "--device", "anyskin:4")
    assert done.returncode == 5
    assert "12 channels" in done.stderr


def test_an_unplugged_board_exits_6_with_a_summary(model: Path) -> None:
    with fake_board("--device", "anyskin:5") as (port, board):
        live = start("live", model, "--source", port, "--device", "anyskin:5")
        wait_for_line(live.stdout)
        board.kill()
        _, err = live.communicate(timeout=10)
    assert live.returncode == 6
    assert "went away" in err
    assert "service   p50" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--source", "/dev/x", "--device", "tactile"),
        ("--source", "py:nothing_here:read", "--device", "csv"),
        ("--source", "/dev/x"),
    ],
)
def test_a_wrong_command_line_exits_2(model: Path, arguments: tuple[str, ...]) -> None:
    assert run("live", model, *arguments).returncode == 2


def test_a_python_function_can_be_a_source(
    program: Program, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    chunks = iter(lines(recording))
    module = types.ModuleType("my_sensor")
    module.read = lambda: next(chunks, None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_sensor", module)
    kept = Kept()
    decoder = make_decoder("csv", [p.name for p in program.inputs])
    Loop(DecodedFeed(make_source("py:my_sensor:read"), decoder), Stepper(program), [kept]).run()
    close(kept.y, offline(program, recording))


def test_raw_bytes_of_a_file_can_be_a_source(program: Program, recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"".join(lines(recording)))
    kept = Kept()
    Loop(DecodedFeed(make_source(f"file:{path}"), make_decoder("csv")), Stepper(program), [kept]).run()
    close(kept.y, offline(program, recording))


def test_ports_opens_nothing_and_prints_json() -> None:
    done = run("ports", "--json")
    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout), list)
