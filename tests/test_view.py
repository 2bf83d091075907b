"""The dashboard: what it shows in terminals of every size, that it waits for none, and that it leaves no trace."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyte
import pytest
from streaming import LAUNCH, ROOT, run, small_program, small_recording

from hiss.program import Program
from hiss.realtime.devices.anyskin import anyskin_channels
from hiss.realtime.framing import Event
from hiss.realtime.plots import Envelope, braille, sparks
from hiss.realtime.sinks import Estimate
from hiss.realtime.summary import Summary
from hiss.realtime.terminal import Screen, why_no_screen
from hiss.realtime.view import SPAN_NS, View
from hiss.realtime.view_text import lines
from hiss.recording import write_hdf5

COLOURS = re.compile(r"\x1b\[\d*m")


class Paper(Screen):
    """A screen that keeps the picture."""

    def __init__(self, size: tuple[int, int] = (80, 24)):
        super().__init__()
        self.paper_size, self.drawn, self.typed, self.is_busy = size, [], "", False

    def __enter__(self) -> Paper:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @property
    def size(self) -> tuple[int, int]:
        return self.paper_size

    @property
    def busy(self) -> bool:
        return self.is_busy

    def keys(self) -> str:
        return self.typed

    def draw(self, lines, size) -> bool:
        self.drawn.append([COLOURS.sub("", line) for line in lines])
        return True


def looked_at(screen: Paper, chips: int = 10, seconds: float = 3.0, program: Program | None = None) -> View:
    """A view that has seen a stream of 50 Hz."""
    view, summary = View(program or small_program(3 * chips), screen, utf8=True), Summary("port")
    view.watch(summary)
    view.begin(anyskin_channels(chips))
    view.event(Event("tare", "keep the sensor untouched"))
    for i in range(round(seconds * 50)):
        summary.counts.frames += 1
        summary.service.add(61_000)
        view.frame(i / 50, np.full(3 * chips, 100 * np.sin(i / 20), np.float32))
        if i % 5 == 4:
            view.estimate(Estimate(i / 50, i, np.array([i / 10]), 1000))
        view.tick(round((i + 1) * 1e9 / 50))
    return view


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 8), (41, 9), (200, 60), (79, 25)])
@pytest.mark.parametrize("chips", [1, 10, 60])
def test_a_picture_fits_its_terminal(size: tuple[int, int], chips: int) -> None:
    screen = Paper(size)
    looked_at(screen, chips)
    picture = screen.drawn[-1]
    assert len(picture) == size[1]
    assert max(map(len, picture)) <= size[0]


def test_a_picture_tells_values_units_rate_losses_latency_and_events() -> None:
    screen = Paper((120, 40))
    looked_at(screen).__exit__()
    picture = "\n".join(screen.drawn[-1])
    for text in ("port", "50.0 Hz", "150 frames", "drops 0", "service p50 6", "p99", "force", "14.9 N", "tare: keep"):
        assert text in picture, text
    for chip in range(10):
        assert f"m{chip}_x" in picture
    assert f"{100 * np.sin(149 / 20):.4g} uT" in picture


def test_channels_without_room_are_counted() -> None:
    screen = Paper((80, 24))
    looked_at(screen, chips=60)
    picture = "\n".join(screen.drawn[-1])
    shown = len(re.findall(r"\bm\d+_[xyz]\b", picture))
    assert f"and {180 - shown} more" in picture


def test_a_terminal_too_small_is_told_so() -> None:
    screen = Paper((30, 6))
    looked_at(screen)
    assert "too small" in screen.drawn[-1][0]


def test_without_utf8_the_picture_is_ascii() -> None:
    view = looked_at(Paper())
    assert view._shown is not None
    picture = "\n".join(lines(view._shown, 80, 24, utf8=False))
    assert picture.isascii()
    assert "#" in picture


def test_it_draws_ten_times_a_second_at_most() -> None:
    screen = Paper()
    looked_at(screen, seconds=3.0)
    assert 2 <= len(screen.drawn) <= 31


def test_a_terminal_that_is_slow_gets_no_new_picture() -> None:
    screen = Paper()
    screen.is_busy = True
    looked_at(screen)
    assert screen.drawn == []


def test_q_ends() -> None:
    screen = Paper()
    assert not looked_at(screen).quit
    screen.typed = "q"
    assert looked_at(screen).quit


def test_keys_are_commands_of_a_live_stream_only() -> None:
    for obeys, asked, keys in ((True, ["tare", "reset"], "q quit, t tare, r reset"), (False, [], "q quit |")):
        screen = Paper()
        view = View(small_program(), screen, utf8=True, obeys=obeys)
        view.watch(Summary("port"))
        screen.typed = "TxR"
        view.tick(10**9)
        assert view.asked() == asked
        assert view.asked() == []
        assert keys in screen.drawn[-1][-1]


def test_a_pause_is_a_hole_of_its_length_in_the_channels_and_none_in_the_estimates() -> None:
    view = looked_at(Paper(), chips=1, seconds=2.0)
    assert view._shown is not None
    view.tick(2 * 10**9 + 10 * SPAN_NS)
    lows, _ = view._shown.channels.past.curves(10)
    assert np.isnan(lows[0]).sum() in (9, 10)  # the span that was under way may have had a frame
    assert not np.isnan(view._shown.estimates.past.curves(10)[0]).any()


def test_an_envelope_keeps_lowest_and_highest_of_each_span() -> None:
    past = Envelope(2, spans=4)
    for span in range(6):
        for x in ((span, 5.0), (span + 0.5, -5.0)):
            past.put(np.array(x, np.float32))
        past.turn()
    lows, highs = past.curves(4)
    np.testing.assert_array_equal(lows, [[2, 3, 4, 5], [-5] * 4])
    np.testing.assert_array_equal(highs, [[2.5, 3.5, 4.5, 5.5], [5] * 4])
    np.testing.assert_array_equal(past.last, [5.5, -5])


def test_a_ramp_rises_in_a_spark_and_in_braille() -> None:
    ramp = np.arange(32.0)
    (spark,) = sparks(ramp[None], ramp[None], 32)
    assert sorted(spark) == list(spark)
    assert (spark[0], spark[-1]) == ("▁", "█")
    plot = braille(ramp, ramp, 16, 2)
    assert plot[0][0] == "\u2800"  # at its start the curve is below
    assert plot[0][-1] != "\u2800"
    assert plot[1][0] != "\u2800"
    assert plot[1][-1] == "\u2800"


def test_a_jump_is_a_line_from_below_to_above() -> None:
    jump = np.array([0.0] * 10 + [1.0] * 10)
    plot = braille(jump, jump, 10, 3)
    assert [line[5] != "\u2800" for line in plot] == [True, True, True]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_draw_no_curve_and_raise_nothing(bad: float) -> None:
    view = looked_at(Paper(), chips=1, seconds=0.5)
    view.frame(1.0, np.array([bad, 1, 2], np.float32))
    for i in range(5):
        view.tick(10**9 + i * SPAN_NS)
    assert view._shown is not None
    assert len(lines(view._shown, 80, 24)) == 24


# ---- in a real terminal ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and a recording of 20 s."""
    folder = tmp_path_factory.mktemp("view")
    small_program().save(folder / "force.hiss")
    write_hdf5(folder / "walk.h5", [small_recording(20.0)])
    return folder / "force.hiss", folder / "walk.h5"


class Terminal:
    """hiss replay --view in a pseudo-terminal, and what it shows."""

    def __init__(self, *arguments: object, size: tuple[int, int] = (80, 24)):
        self.master, self.slave = os.openpty()
        termios.tcsetwinsize(self.slave, size[::-1])
        self.before = termios.tcgetattr(self.slave)
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *map(str, arguments)],
            stdin=self.slave,
            stdout=self.slave,
            stderr=subprocess.PIPE,
            process_group=0,  # in a group whose parents have left the session nothing is stopped
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "PYTHONUTF8": "1"},
        )

    def look(self) -> str:
        """The picture as it is now."""
        while select.select([self.master], [], [], 0.02)[0]:
            data = os.read(self.master, 65536)
            self.raw += data
            self.stream.feed(data)
        return "\n".join(self.screen.display)

    def wait_for(self, text: str, timeout: float = 20.0) -> str:
        end = time.monotonic() + timeout
        while text not in (picture := self.look()):
            assert time.monotonic() < end, f"no {text!r} in\n{picture}"
            assert self.process.poll() is None or text in self.look(), "it ended"
        return picture

    def end(self, timeout: float = 10.0) -> int:
        """Its exit code."""
        limit = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < limit, "it does not end"
            self.look()
        self.look()
        assert self.process.stderr is not None
        self.said = self.process.stderr.read().decode()
        return self.process.returncode

    @property
    def is_as_before(self) -> bool:
        """Whether keyboard, cursor and screen are what they were."""
        after = termios.tcgetattr(self.slave)
        on, off = self.raw.count(b"\x1b[?1049h"), self.raw.count(b"\x1b[?1049l")
        shown = self.raw.rfind(b"\x1b[?25h") > self.raw.rfind(b"\x1b[?25l")
        return after == self.before and on == off > 0 and shown


@contextlib.contextmanager
def terminal(*arguments: object) -> Iterator[Terminal]:
    made = Terminal(*arguments)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        made.process.stderr.close()
        os.close(made.master)
        os.close(made.slave)


def test_a_replay_is_seen_and_q_gives_the_terminal_back(files: tuple[Path, Path]) -> None:
    with terminal("replay", *files, "--speed", 1, "--view") as seen:
        picture = seen.wait_for("estimates |")
        assert "force" in picture
        assert "m4_z" in picture
        assert "q quit" in picture
        termios.tcsetwinsize(seen.slave, (30, 100))
        seen.screen.resize(30, 100)
        end = time.monotonic() + 10
        while "q quit" not in seen.screen.display[29]:
            assert time.monotonic() < end, "the picture does not follow the size"
            seen.look()
        os.write(seen.master, b"q")
        assert seen.end() == 0
        assert seen.is_as_before
        assert "frames" in seen.said  # the summary


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_every_signal_gives_the_terminal_back(files: tuple[Path, Path], number: int) -> None:
    with terminal("replay", *files, "--speed", 1, "--view") as seen:
        seen.wait_for("estimates |")
        seen.process.send_signal(number)
        assert seen.end() == (0 if number in (signal.SIGINT, signal.SIGTERM) else -number)
        assert seen.is_as_before


def test_a_stop_gives_the_terminal_back_and_going_on_draws_again(files: tuple[Path, Path]) -> None:
    with terminal("replay", *files, "--speed", 1, "--view") as seen:
        seen.wait_for("estimates |")
        seen.process.send_signal(signal.SIGTSTP)
        end = time.monotonic() + 10
        while b"\x1b[?1049l" not in seen.raw or not seen.is_as_before:  # the screen first, then the keyboard
            assert time.monotonic() < end
            seen.look()
        seen.process.send_signal(signal.SIGCONT)
        seen.screen.reset()
        seen.wait_for("q quit")
        os.write(seen.master, b"q")
        assert seen.end() == 0
        assert seen.is_as_before


def test_an_error_gives_the_terminal_back(files: tuple[Path, Path]) -> None:
    arguments = ("live", files[0], "--source", "fake:csv?rate=50", "--device", "anyskin:5", "--first-frame", 1.5)
    with terminal(*arguments, "--view") as seen:
        assert seen.end(30) == 4
        assert seen.is_as_before
        assert "error: " in seen.said


def test_where_nothing_can_be_drawn_it_says_so(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("replay", *files, "--view")
    assert done.returncode == 2
    assert "stdout is no terminal" in done.stderr

    class Tty:
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    assert "TERM=dumb" in why_no_screen(Tty())
    monkeypatch.setenv("TERM", "xterm-256color")
    assert why_no_screen(Tty()) == ""
