"""Several sources on one clock: aligned at the first one's frames, alike in a recording and live."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming import fake_board, run, small_program, small_recording

from hiss.realtime.devices import make_decoder
from hiss.realtime.feeds import DecodedFeed
from hiss.realtime.framing import Event, Frame
from hiss.realtime.several import Aligner, SeveralFeed, named_apart, parse_named, target_columns, with_targets
from hiss.recording import Channel, Recording, make_channels, read_recordings, write_csv

F32 = np.float32

# ---- alignment ----

STEPS = st.lists(st.integers(1, 50), min_size=2, max_size=30)


@given(STEPS, STEPS, st.integers(0, 40), st.randoms())
def test_aligned_values_are_those_of_interpolation_in_whatever_order_samples_come(first, other, shift, random):
    """Each source's own samples come in order; how the two interleave changes nothing."""
    a, b = np.cumsum(first), np.cumsum(other) + shift
    values = np.sin(b).astype(F32)
    order = [0] * len(a) + [1] * len(b)
    random.shuffle(order)
    aligner, at, made = Aligner(2), [0, 0], []
    for source in order:
        i = at[source]
        at[source] += 1
        t, x = (a[i], F32(i)) if source == 0 else (b[i], values[i])
        made += aligner.push(source, int(t), np.array([x], F32))
    reached = a[(a >= b[0]) & (a <= b[-1])]
    assert [t for t, _ in made] == reached.tolist()
    assert aligner.early == np.count_nonzero(a < b[0])
    found = np.array([x for _, x in made]).reshape(-1, 2)
    np.testing.assert_array_equal(found[:, 0], np.flatnonzero(np.isin(a, reached)))
    np.testing.assert_allclose(found[:, 1], np.interp(reached, b, values), atol=3e-7)  # float32 of numbers up to 1


def test_samples_of_one_chunk_keep_their_order():
    aligner = Aligner(2)
    for i in range(3):
        assert aligner.push(0, 100, np.array([i], F32)) == []
    aligner.push(1, 100, np.array([7], F32))
    made = aligner.push(1, 110, np.array([8], F32))
    assert [t for t, _ in made] == [101, 102]
    assert [x[0] for _, x in made] == [1, 2]


def test_the_past_is_forgotten():
    """Memory is that of what waits, however long it runs."""
    aligner = Aligner(3)
    for i in range(5000):
        for source in range(3):
            aligner.push(source, 10 * i + source, np.zeros(2, F32))
    assert max(len(q) for q in (aligner._waiting, *aligner._others)) <= 3


# ---- names ----


def test_sources_are_named_by_the_user_or_by_their_place():
    assert parse_named(["skin=/dev/ttyACM0", "/dev/ttyUSB0", "file:log?speed=2", "fake:csv?rate=9"]) == [
        ("skin", "/dev/ttyACM0"),
        ("s2", "/dev/ttyUSB0"),
        ("s3", "file:log?speed=2"),
        ("s4", "fake:csv?rate=9"),
    ]


def test_columns_keep_their_names_where_these_say_something():
    skin, board = make_channels(["m0_x", "m0_y"], "uT"), make_channels(["m0_x", "m1_x"], "uT")
    gauge, pair = make_channels(["c0"], "N"), make_channels(["c0", "c1"])
    assert named_apart([skin, gauge], ["skin", "gauge"]) == [skin, (Channel("gauge", "N"),)]
    assert named_apart([skin, pair], ["skin", "arm"]) == [skin, make_channels(["arm_c0", "arm_c1"])]
    assert named_apart([skin, board], ["left", "right"]) == [
        make_channels(["left_m0_x", "left_m0_y"], "uT"),
        make_channels(["right_m0_x", "right_m1_x"], "uT"),
    ]


def test_targets_are_channels_or_whole_sources():
    channels = make_channels(["a", "b", "fx", "fy"])
    recording = Recording("r", np.arange(3.0), np.arange(12).reshape(3, 4), channels)
    groups = {"skin": channels[:2], "gauge": channels[2:]}
    made = with_targets(recording, ["gauge"], groups)
    assert (made.channels, made.targets) == (channels[:2], channels[2:])
    np.testing.assert_array_equal(made.y, recording.x[:, 2:])
    assert target_columns(channels, ["fy", "a"], groups) == [3, 0]
    with pytest.raises(ValueError, match="no channel or source 'force'"):
        target_columns(channels, ["force"], groups)
    with pytest.raises(ValueError, match="every channel"):
        target_columns(channels, ["skin", "gauge"], groups)


# ---- one feed ----


class Piped:
    """A source on a pipe; write() what it sends."""

    torn_start = False
    ends = False

    def __init__(self, name: str):
        self.name = name

    def __enter__(self):
        self._read, self._write = os.pipe()
        return self

    def __exit__(self, *error):
        for fd in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(fd)

    def fileno(self) -> int:
        return self._read

    def write(self, data: bytes) -> None:
        os.write(self._write, data)

    def close(self) -> None:
        os.close(self._write)

    def __iter__(self):
        while data := os.read(self._read, 65536):
            yield time.monotonic_ns(), data


def piped_feed() -> tuple[SeveralFeed, Piped, Piped]:
    sources = Piped("a"), Piped("b")
    feeds = [DecodedFeed(source, make_decoder("csv", torn_start=False)) for source in sources]
    return SeveralFeed(feeds, ["skin", "gauge"]), *sources


def line(*values: float) -> bytes:
    return (" ".join(f"{v:g}" for v in values) + "\n").encode()


def test_a_frame_waits_for_the_other_source_and_events_name_theirs():
    feed, a, b = piped_feed()
    with feed:
        stream = iter(feed)

        def upto_tick() -> list:
            found = []
            for _, items in stream:
                if not items:
                    return found
                found += items
            return found

        b.write(line(10))
        upto_tick()
        a.write(line(1, 2))
        assert upto_tick() == []
        b.write(line(20))
        (frame,) = upto_tick()
        assert isinstance(frame, Frame)
        assert frame.x[:2].tolist() == [1, 2]
        assert 10 <= frame.x[2] < 20
        assert [c.name for c in feed.channels] == ["skin_c0", "skin_c1", "gauge"]
        a.write(b"nonsense here\n" + line(1, 2))
        b.write(line(30))
        found = [item for _ in "12" for item in upto_tick()]
        events = [item.text for item in found if isinstance(item, Event)]
        assert events
        assert all(text.startswith("skin: ") for text in events)
        assert (feed.counts.frames, feed.counts.malformed) == (2, 1)
        assert feed.counts.bytes == sum(f.counts.bytes for f in feed.feeds)


def test_a_source_that_the_others_wait_for_is_named_once(monkeypatch):
    monkeypatch.setattr("hiss.realtime.several.AWAITED_S", 0.2)
    feed, a, b = piped_feed()
    with feed:
        b.write(line(1))
        events, end = [], time.monotonic() + 0.6
        for _, items in feed:
            a.write(line(1, 2))
            events += [item for item in items if isinstance(item, Event)]
            if time.monotonic() > end:
                break
            time.sleep(0.02)
    assert [event.kind for event in events] == ["awaited"]
    assert events[0].text.startswith("gauge: no frame for 0.2 s")


def test_the_feed_ends_with_its_first_source_to_end():
    feed, a, b = piped_feed()
    with feed:
        a.write(line(1, 2))
        b.write(line(3))
        b.close()
        assert sum(1 for _ in feed) < 10


# ---- verbs ----


def test_two_boards_are_recorded_as_one_with_a_target(tmp_path: Path):
    """A skin that plays a recording, and a gauge that sends the time since its start: both at 100 Hz, on two ports."""
    skin = small_recording(3)
    t = np.arange(0, 3, 0.01)
    gauge = Recording("gauge", t, np.sin(t)[:, None], make_channels(["pressure"], "N"))
    both = tmp_path / "both.h5"
    write_csv(tmp_path / "skin.csv", skin)
    write_csv(tmp_path / "gauge.csv", gauge)
    with (
        fake_board("--device", "anyskin:5", "--play", tmp_path / "skin.csv", "--rate", "100") as (first, _),
        fake_board("--device", "csv", "--play", tmp_path / "gauge.csv", "--rate", "50") as (second, _),
    ):
        sources = (
            "--source",
            f"skin={first}",
            "--device",
            "anyskin:5",
            "--source",
            f"gauge={second}",
            "--device",
            "csv",
        )
        done = run("record", *sources, "--target", "gauge", "--duration", "1.5", "--json", "-o", both)
    assert done.returncode == 0, done.stderr
    (made,) = read_recordings(both)
    assert [c.name for c in made.targets] == ["pressure"]
    assert "targets: pressure" in done.stderr  # as they are called in the file
    assert made.channels == skin.channels
    assert made.y.shape == (len(made), 1)
    assert json.loads(done.stdout)["frames"] == len(made) > 80
    # the gauge is one sine of 1 rad/s: its values at the stamps of the skin are that sine, up to when each began, and
    # to how late a loaded computer wakes
    delays = np.linspace(-0.7, 0.7, 1401)
    errors = [np.median(np.abs(np.sin(made.t + d) - made.y[:, 0])) for d in delays]
    assert min(errors) < 0.02


def test_boards_of_one_kind_are_told_apart_and_a_model_of_other_names_is_refused(tmp_path: Path):
    small_program(6, tare=0).save(tmp_path / "six.hiss")
    board = ("--device", "anyskin:1", "--rate", "100", "--wave")
    with fake_board(*board) as (first, _), fake_board(*board) as (second, _):
        sources = ("--source", f"left={first}", "--source", f"right={second}")
        done = run("live", tmp_path / "six.hiss", *sources, "--device", "anyskin:1", "--duration", "1.5")
    assert done.returncode == 5
    assert "left_m0_x" in done.stderr


def test_a_model_of_two_sources_runs_live_as_it_replays(tmp_path: Path):
    program = small_program(6, tare=0, rate_hz=50.0)
    names = [f"{side}_m0_{axis}" for side in ("left", "right") for axis in "xyz"]
    inputs = tuple(dataclasses.replace(p, name=n) for p, n in zip(program.inputs, names, strict=True))
    program = dataclasses.replace(program, inputs=inputs)
    program.save(tmp_path / "six.hiss")
    board = ("--device", "anyskin:1", "--rate", "100", "--wave")
    with fake_board(*board) as (first, _), fake_board(*board) as (second, _):
        options = ("--device", "anyskin:1", "--duration", "2", "--record", tmp_path / "both.h5")
        sources = ("--source", f"left={first}", "--source", f"right={second}")
        done = run("live", tmp_path / "six.hiss", *sources, *options)
    assert done.returncode == 0, done.stderr
    live = [json.loads(row)["y"]["force"] for row in done.stdout.splitlines()]
    (recording,) = read_recordings(tmp_path / "both.h5")
    again = program.predict(recording.resampled(program.rate_hz).x)[:, 0]
    assert len(live) > 10
    np.testing.assert_allclose(live, again[: len(live)], atol=1e-6 * max(1, np.abs(again).max()))


def test_a_mistake_in_the_sources_is_said(tmp_path: Path):
    for words, said in (
        (("--source", "a", "--source", "b", "--device", "csv", "--device", "csv", "--device", "csv"), "one for all"),
        (("--source", "x=a", "--source", "x=b", "--device", "csv"), "each needs a name"),
        (("--source", "a", "--device", "csv", "--target", "c0"), "are for several"),
    ):
        done = run("record", *words, "-o", tmp_path / "out.h5")
        assert done.returncode == 2, done.stderr
        assert said in done.stderr


def test_a_target_that_is_not_there_ends_before_anything_is_written(tmp_path: Path):
    board = ("--device", "anyskin:1", "--rate", "100", "--wave")
    with fake_board(*board) as (first, _), fake_board(*board) as (second, _):
        words = ("--source", f"a={first}", "--source", f"b={second}", "--device", "anyskin:1", "--target", "force")
        done = run("record", *words, "-o", tmp_path / "out.h5")
    assert done.returncode == 5
    assert "no channel or source 'force'" in done.stderr
    assert not (tmp_path / "out.h5").exists()
