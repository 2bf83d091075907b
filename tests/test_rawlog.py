"""The raw log: what was written is read back, whatever a crash leaves of it; and what follows from it follows again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming import small_program, small_recording

from hiss.engines import open_stepper
from hiss.errors import HissError, RecordingError
from hiss.realtime.devices import anyskin
from hiss.realtime.devices.csv import encode_header, encode_line
from hiss.realtime.feeds import DecodedFeed
from hiss.realtime.framing import Event
from hiss.realtime.live import Loop
from hiss.realtime.log_recording import read_log
from hiss.realtime.log_source import LogSource
from hiss.realtime.open_feed import decoded_feed, log_feed
from hiss.realtime.rawlog import BYTES, CONTROL, NOTE, LogReader, LogWriter, is_log
from hiss.realtime.recorder import Recorder
from hiss.realtime.several import SeveralFeed
from hiss.realtime.sinks import Estimate, Sink
from hiss.realtime.sources import REPLUGGED
from hiss.recording import read_recordings

RECORDS = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 3), st.binary(max_size=60)), max_size=12)


class Script:
    """A source whose chunks and stamps are given."""

    torn_start = False
    ends = False

    def __init__(self, chunks: Sequence[tuple[int, bytes | Event]], name: str = "script"):
        self.name = name
        self.chunks = chunks

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[tuple[int, bytes | Event]]:
        yield from self.chunks


class Merged(Script):
    """One of several scripts, read in the order of their stamps."""

    def __enter__(self) -> Merged:
        self.left = list(self.chunks)
        return self

    @property
    def next_ns(self) -> float:
        return self.left[0][0] if self.left else float("inf")

    def __iter__(self) -> Iterator[tuple[int, bytes | Event]]:
        while self.left:
            yield self.left.pop(0)


class Kept(Sink):
    """All that the loop says."""

    def __init__(self) -> None:
        self.estimates: list[Estimate] = []
        self.frames: list[tuple[float, bytes]] = []

    def frame(self, t: float, x: np.ndarray) -> None:
        self.frames.append((t, x.tobytes()))

    def estimate(self, estimate: Estimate) -> None:
        self.estimates.append(estimate)

    @property
    def exact(self) -> list[tuple[int, str, bytes]]:
        return [(e.seq, e.t.hex(), np.asarray(e.y, np.float64).tobytes()) for e in self.estimates]


def written(path: Path, records: list[tuple[int, int, bytes]]) -> bytes:
    with LogWriter(path, device="csv") as log:
        for stamp_ns, kind, payload in records:
            log.put(stamp_ns, kind, payload)
    return path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.data())
def test_any_cut_of_a_log_is_a_prefix_of_its_records_with_the_torn_bytes_counted(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.hlog"
    records = sorted(records, key=lambda r: r[0])
    whole = written(path, records)
    header = whole.index(b"\n") + 1
    ends = [header + sum(15 - 1 + len(p) for _, _, p in records[:i]) for i in range(len(records) + 1)]
    assert ends[-1] == len(whole)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    if cut < header - 1:
        with pytest.raises(RecordingError):
            LogReader(path)
        return
    reader = LogReader(path)
    n = max([i for i, end in enumerate(ends) if end <= cut], default=0)
    assert [(r.stamp_ns, r.kind, r.payload) for r in reader] == records[:n]
    assert reader.torn == max(0, cut - ends[n])


@settings(max_examples=60, deadline=None)
@given(RECORDS, st.integers(0, 1 << 30), st.integers(0, 255))
def test_a_damaged_byte_raises_nothing_but_recording_error(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, int, bytes]], at: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.hlog"
    image = bytearray(written(path, sorted(records, key=lambda r: r[0])))
    image[at % len(image)] = byte
    path.write_bytes(image)
    with contextlib.suppress(RecordingError):
        read_log(path)


def test_a_log_is_never_written_over_and_stamps_never_go_back(tmp_path: Path) -> None:
    path = tmp_path / "a.hlog"
    written(path, [(1, BYTES, b"1")])
    before = path.read_bytes()
    with pytest.raises(HissError, match="exists"):
        LogWriter(path, device="csv").__enter__()
    assert path.read_bytes() == before
    assert is_log(path)
    with LogWriter(tmp_path / "b.hlog", device="csv") as log:
        log.put(5, BYTES, b"")
        with pytest.raises(ValueError, match="behind one at 5"):
            log.put(4, BYTES, b"")


def test_events_and_estimates_are_read_back_equal(tmp_path: Path) -> None:
    y = np.array([1.5, -2.25], np.float32)
    with LogWriter(tmp_path / "a.hlog", device="csv") as log:
        log.event(7, Event("gap", "no frame for 1 s"))
        log.event(8, Event("tare", "on command"), CONTROL)
        log.estimate(9, Estimate(12.125, 3, y, 450))
    note, control, said = LogReader(tmp_path / "a.hlog")
    assert (note.kind, note.event, control.kind) == (NOTE, Event("gap", "no frame for 1 s"), CONTROL)
    assert (said.estimate.t, said.estimate.seq, said.estimate.y.tolist()) == (12.125, 3, y.tolist())
    assert [d for _, d in LogSource(str(tmp_path / "a.hlog")).__enter__()] == [control.event]


# ---- replay ----


def chunks_of(data: bytes, seed: int, replug: bool) -> list[tuple[int, bytes | Event]]:
    """The bytes in reads of any size at uneven stamps, with a port that comes back in the middle of a frame."""
    rng, at, stamp_ns, found = np.random.default_rng(seed), 0, 10**12, []
    while at < len(data):
        n = int(rng.integers(1, 400))
        stamp_ns += int(rng.integers(1, 30_000_000))
        found.append((stamp_ns, data[at : at + n]))
        at += n
    if replug:
        middle = len(found) // 2
        found[middle:middle] = [(found[middle][0] - 1, Event(REPLUGGED, "back"))]
    return found


def skin_bytes(seed: int = 1) -> bytes:
    recording = small_recording(4.0, seed=seed)
    return b"".join(anyskin.encode(x, np.zeros(5, np.float32)) for x in recording.x)


def csv_bytes() -> bytes:
    recording = small_recording(4.0)
    rows = [encode_line(t, x) for t, x in zip(recording.t, recording.x, strict=True)]
    again = [encode_line(t - recording.t[0], x) for t, x in zip(recording.t, recording.x, strict=True)]
    return b"".join([encode_header(recording.channels), *rows, *again])  # the board starts again in the middle


@pytest.mark.parametrize("replug", [False, True])
@pytest.mark.parametrize("device", ["anyskin:5", "csv"])
def test_a_replay_gives_every_estimate_again_bit_by_bit(tmp_path: Path, device: str, replug: bool) -> None:
    program, path = small_program(), tmp_path / "walk.h5"
    data = skin_bytes() if device == "anyskin:5" else csv_bytes()
    feed = decoded_feed(Script(chunks_of(data, 0, replug)), device)
    live, again, recorder = Kept(), Kept(), Recorder(path, feed, outputs=program.outputs)
    Loop(feed, open_stepper(program), [live, recorder]).run()
    summary = Loop(log_feed(path.with_suffix(".hlog")), open_stepper(program), [again]).run()
    assert again.exact == live.exact
    assert len(live.exact) > 5
    assert again.frames == live.frames
    assert summary.counts.as_dict() == feed.counts.as_dict()
    logged = [r.estimate for r in LogReader(path.with_suffix(".hlog")) if r.kind == 2]
    assert [e.seq for e in logged] == [e.seq for e in live.estimates]
    (back,) = read_recordings(path)
    assert back.x.tobytes() == b"".join(x for _, x in live.frames)


def test_a_replay_of_two_sources_aligns_as_live_did(tmp_path: Path) -> None:
    path, kept, again = tmp_path / "both.h5", Kept(), Kept()
    feed = two_skins()
    Loop(feed, sinks=[kept, Recorder(path, feed, targets=["b"])]).run()
    Loop(log_feed(path.with_suffix(".hlog")), sinks=[again]).run()
    assert again.frames == kept.frames
    (back,) = read_recordings(path)
    assert len(back) == len(kept.frames) > 100
    assert [c.name for c in back.targets] == [f"b_{c.name}" for c in anyskin.anyskin_channels(5)]


def two_skins() -> SeveralFeed:
    feeds: list[DecodedFeed] = []
    for seed in (1, 2):
        script = Merged(chunks_of(skin_bytes(seed), seed, False), f"script{seed}")
        feeds.append(decoded_feed(script, "anyskin:5"))
    return SeveralFeed(feeds, ["a", "b"])


# ---- rotation ----


class Rotating(Sink):
    """Asks for the next file behind every n-th chunk."""

    def __init__(self, recorder: Recorder, every: int):
        self.recorder, self.every, self.ticks = recorder, every, 0

    def tick(self, now_ns: int) -> None:
        self.ticks += 1
        if self.ticks % self.every == 0:
            self.recorder.rotate()


@pytest.mark.parametrize("what", ["anyskin:5", "csv", "two"])
def test_rotated_recordings_one_behind_the_other_are_the_whole(tmp_path: Path, what: str) -> None:
    """Cut in the middle of frames, of lines, and of frames that wait for the other source."""
    path, kept = tmp_path / "walk.h5", Kept()
    data = csv_bytes() if what == "csv" else skin_bytes()
    feed = two_skins() if what == "two" else decoded_feed(Script(chunks_of(data, 3, False)), what)
    recorder = Recorder(path, feed)
    Loop(feed, sinks=[kept, Rotating(recorder, 101 if what == "two" else 67), recorder]).run()
    assert len(recorder.made) > 2
    parts = [read_recordings(tmp_path / p.name)[0] for p in sorted(recorder.made, key=lambda p: (len(p.name), p.name))]
    x = np.concatenate([part.x for part in parts])
    assert x.tobytes() == b"".join(x for _, x in kept.frames)
    assert {part.channels for part in parts} == {parts[0].channels}
    at = np.concatenate([part.t + float(part.attrs["unix_s"]) for part in parts])
    if what != "csv":  # which has a clock of its own
        np.testing.assert_allclose(at - at[0], [t - kept.frames[0][0] for t, _ in kept.frames], atol=2e-6)
    logged = [LogReader(p.with_suffix(".hlog")) for p in recorder.made]
    raw = [r.payload for reader in sorted(logged, key=lambda r: r.header["mono_ns"]) for r in reader if r.kind == BYTES]
    if what != "two":
        assert b"".join(raw) == data


def test_a_device_file_need_not_be_there_for_a_replay(tmp_path: Path) -> None:
    board = tmp_path / "board.toml"
    board.write_text('framing = "fixed"\ntail = "0D 0A"\nfields = [{ names = ["a"], type = "f32" }]\n')
    data = b"".join(np.float32(v).tobytes() + b"\r\n" for v in range(50))
    feed = decoded_feed(Script([(10**9 + i, data[i : i + 5]) for i in range(0, len(data), 5)]), str(board))
    Loop(feed, sinks=[Recorder(tmp_path / "a.h5", feed)]).run()
    board.unlink()
    assert read_log(tmp_path / "a.hlog").recording.x[:, 0].tolist() == list(range(50))
    assert json.loads((tmp_path / "a.hlog").open("rb").readline())["sources"][0]["device"] == str(board)
