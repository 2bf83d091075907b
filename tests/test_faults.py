"""Faults on a real pseudo-terminal or connection: only touched frames are lost, the counts are what was injected.

The campaign marker runs it with 40 times as many frames.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from streaming import Kept, small_program, start, wait_for_line, wait_until

from hiss.engines import Stepper
from hiss.errors import DeviceLostError
from hiss.realtime.devices.anyskin import encode as skin_frame
from hiss.realtime.devices.declared import encode
from hiss.realtime.devices.declared_layout import layout_from, toml_table
from hiss.realtime.feeds import RecordingFeed
from hiss.realtime.framing import Event
from hiss.realtime.live import Limits, Loop
from hiss.realtime.open_feed import decoded_feed
from hiss.realtime.recorder import Recorder
from hiss.realtime.several import SeveralFeed
from hiss.realtime.sinks import LiveJsonLines, Sink
from hiss.realtime.sources import make_source
from hiss.recording import Recording, read_recordings

if os.name != "posix":
    pytest.skip("pseudo-terminals", allow_module_level=True)

BOARD = """
framing = "sync"
sync = "AA 55"
checksum = "crc16-ccitt"
fields = [
    { role = "sequence", type = "u16" },
    { role = "clock", type = "u32", unit = "us" },
    { names = [NAMES], type = "f32", unit = "uT" },
]
"""
PROGRAM = small_program()
TEXT = BOARD.replace("NAMES", ", ".join(f'"{p.name}"' for p in PROGRAM.inputs))
LAYOUT = layout_from(toml_table(TEXT))
Write = Callable[[bytes], None]


@pytest.fixture
def device(tmp_path: Path) -> str:
    path = tmp_path / "board.toml"
    path.write_text(TEXT)
    return str(path)


def walk(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 500, 15) + np.cumsum(rng.normal(0, 20, (n, 15)), 0)).astype(np.float32)


def frame(i: int, x: np.ndarray) -> bytes:
    """Sample i of a board that was just started, at 100 Hz."""
    return encode(LAYOUT, (i & 0xFFFF, 10_000 * i & 0xFFFFFFFF, *x.tolist()))


@contextlib.contextmanager
def terminal(link: Path | None = None) -> Iterator[tuple[str, Write, Callable[[], None]]]:
    """A pseudo-terminal in raw mode: (its path, write to it, unplug it)."""
    import tty

    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    if link is not None:
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    closed: list[int] = []

    def unplug() -> None:
        if not closed:
            closed.append(1)
            os.close(slave)
            os.close(master)

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(master, view[:512]) :]

    try:
        yield str(link or path), write, unplug
    finally:
        unplug()


class Opened(Sink):
    """Knows when the source has been opened, and emptied."""

    def __init__(self) -> None:
        self.known = threading.Event()

    def event(self, event: Event) -> None:
        if event.kind == "reading":
            self.known.set()


def run_beside(loop: Loop, play: Callable[[], None]) -> None:
    """The loop while a thread plays; it ends when that has played and nothing came for 0.3 s. Raises what both do."""
    failed: list[Exception] = []
    done, opened = threading.Event(), Opened()
    loop.sinks.append(opened)

    def thread() -> None:
        try:
            assert opened.known.wait(10)
            play()
        except Exception as error:  # noqa: BLE001 - told to the test
            failed.append(error)
        done.set()

    last = [0, time.monotonic()]

    def stop() -> bool:
        now_s, came = time.monotonic(), loop.summary.counts.bytes
        if came != last[0]:
            last[:] = [came, now_s]
        return done.is_set() and now_s - last[1] > 0.3

    player = threading.Thread(target=thread)
    player.start()
    try:
        loop.run(stop)
    finally:
        player.join()
    assert not failed, failed


# ---- bytes that are damaged on the way ----


@dataclasses.dataclass
class Injected:
    """What was done: counted as the reader should count it."""

    data: bytes = b""
    whole: list[int] = dataclasses.field(default_factory=list)
    skipped: int = 0
    repeated: int = 0
    touched: int = 0


def damaged(x: np.ndarray, seed: int) -> Injected:
    """The frames of x, two of five of them touched by a fault; the first and the last three are whole."""
    rng, made, out = np.random.default_rng(seed), Injected(), []
    for i, row in enumerate(x):
        sent, whole = frame(i, row), True
        a, b = sorted(rng.integers(1, len(sent), 2).tolist())
        what = "" if i < 3 or i >= len(x) - 3 or rng.random() > 0.4 else rng.choice(FAULTS)
        bad = sent
        if what == "garbage":
            noise = bytes(rng.integers(0, 256, int(rng.integers(1, 300)), np.uint8)).replace(b"\xaa", b"\x00")
            out.append(noise)
            made.skipped += len(noise)
        elif what == "lost":
            bad = sent[:a] + sent[b + 1 :]
        elif what == "truncated":
            bad = sent[:a]
        elif what == "doubled":
            bad = sent[:b] + sent[a - 1 : b] + sent[b:]
        elif what == "flipped":
            bad = sent[:a] + bytes([sent[a] ^ (1 << int(rng.integers(8)))]) + sent[a + 1 :]
        elif what == "twice":
            out.append(sent)
            made.repeated += 1
        whole = sent in bad
        out.append(bad)
        made.skipped += len(bad) - len(sent) * whole
        made.touched += not whole
        made.whole += [i] if whole else []
    made.data = b"".join(out)
    return made


FAULTS = ["garbage", "lost", "truncated", "doubled", "flipped", "twice"]


@pytest.mark.parametrize(
    ("n", "seed"), [(1500, 1), *(pytest.param(12_000, s, marks=pytest.mark.campaign) for s in range(2, 7))]
)
def test_only_touched_frames_are_lost_and_the_counts_are_what_was_injected(
    tmp_path: Path, device: str, n: int, seed: int
) -> None:
    x, kept = walk(n, seed), Kept()
    done = damaged(x, seed)
    assert done.touched > n / 6
    with terminal() as (port, write, _):
        feed = decoded_feed(make_source(port), device)
        recorder = Recorder(tmp_path / "kept.h5", feed)
        loop = Loop(feed, Stepper(PROGRAM), [kept, recorder], Limits(tare_anyway=True))
        run_beside(loop, lambda: write(done.data))
    counts, summary = feed.counts, loop.summary
    np.testing.assert_array_equal(np.array([row for _, row in kept.frames]), x[done.whole])
    assert counts.bytes == len(done.data)
    assert counts.skipped == done.skipped
    assert summary.lost == done.touched
    assert summary.dropped == {"repeated sequence": done.repeated}
    assert summary.restarts == 0
    assert summary.drops == done.touched + done.repeated
    # the record and the estimates are those of the frames that are whole
    (back,) = read_recordings(tmp_path / "kept.h5")
    np.testing.assert_array_equal(back.x, x[done.whole])
    again = Kept()
    same = Recording("whole", np.array(done.whole) / 100, x[done.whole], feed.channels)
    Loop(RecordingFeed(same), Stepper(PROGRAM), [again]).run()
    assert [e.seq for e in again.estimates] == [e.seq for e in kept.estimates]
    np.testing.assert_allclose(kept.y, again.y, rtol=0, atol=1e-5 * np.abs(again.y).max())


def test_a_wrong_bit_is_a_wrong_checksum(device: str) -> None:
    x, bad = walk(400), range(10, 390, 7)
    frames = [frame(i, row) for i, row in enumerate(x)]
    for i in bad:
        frames[i] = frames[i][:20] + bytes([frames[i][20] ^ 4]) + frames[i][21:]
    with terminal() as (port, write, _):
        feed = decoded_feed(make_source(port), device)
        loop = Loop(feed)
        run_beside(loop, lambda: write(b"".join(frames)))
    assert feed.counts.checksum == loop.summary.lost == loop.summary.drops == len(bad)
    assert feed.counts.frames == 400 - len(bad)


def test_garbage_between_frames_of_a_skin_costs_none() -> None:
    """Frames without checksum, sequence or clock."""
    rng, x, kept, out, garbage = np.random.default_rng(4), walk(600), Kept(), [], 0
    for i, row in enumerate(x):
        if i > 2 and rng.random() < 0.2:
            out.append(bytes(rng.integers(14, 256, int(rng.integers(1, 200)), np.uint8)))
            garbage += len(out[-1])
        out.append(skin_frame(row, np.full(5, 24.5, np.float32)))
    with terminal() as (port, write, _):
        feed = decoded_feed(make_source(port), "anyskin:5")
        run_beside(Loop(feed, sinks=[kept]), lambda: write(b"".join(out)))
    np.testing.assert_array_equal(np.array([row for _, row in kept.frames]), x)
    assert feed.counts.skipped == garbage


def test_bursts_lose_nothing_and_are_seen_in_the_queue(device: str) -> None:
    """A USB hub that hands on every 0.2 s what came: 40 frames at once."""
    x, kept = walk(400), Kept()

    def play() -> None:
        for i in range(0, 400, 40):
            write(b"".join(frame(i + k, row) for k, row in enumerate(x[i : i + 40])))
            time.sleep(0.1)

    with terminal() as (port, write, _):
        feed = decoded_feed(make_source(port), device)
        loop = Loop(feed, Stepper(PROGRAM), [kept], Limits(tare_anyway=True))
        run_beside(loop, play)
    summary = loop.summary
    assert feed.counts.frames == 400
    assert summary.drops == summary.gaps == feed.counts.skipped == 0
    assert summary.inter_arrival.max_ns > 0.05e9
    assert summary.queue_age.quantile_ns(0.99) > summary.service.quantile_ns(0.01)


def test_silence_ends_it_and_says_so(device: str) -> None:
    with terminal() as (port, write, _):
        loop = Loop(decoded_feed(make_source(port), device), limits=Limits(silence_s=0.4))
        with pytest.raises(DeviceLostError, match=r"no frame for 0\.4 s; did the board hang"):
            run_beside(loop, lambda: (write(b"".join(map(frame, range(5), walk(5)))), time.sleep(1))[0])
    assert loop.summary.counts.frames == 5


def test_a_clock_that_starts_again_starts_the_model_again(device: str) -> None:
    """A brown-out: half a frame, then the board counts from 0."""
    x, kept = walk(300), Kept()
    first = b"".join(frame(i, row) for i, row in enumerate(x[:150])) + frame(150, x[150])[:30]
    second = b"".join(frame(i, row) for i, row in enumerate(x[150:]))
    with terminal() as (port, write, _):
        feed = decoded_feed(make_source(port), device)
        loop = Loop(feed, Stepper(PROGRAM), [kept], Limits(tare_anyway=True))
        run_beside(loop, lambda: write(first + second))
    assert loop.summary.restarts == 1
    assert (loop.summary.lost, feed.counts.skipped) == (0, 30)
    np.testing.assert_array_equal(np.array([row for _, row in kept.frames]), x)
    assert len(kept.texts("restart")) == 1


# ---- devices that go away ----


def test_unplugged_and_plugged_in_again(tmp_path: Path, device: str) -> None:
    """In the middle of a frame; the same name is another terminal when it is back. Nothing from before meets it."""
    x, kept, link = walk(200), Kept(), tmp_path / "port"

    def play() -> None:
        write(b"".join(frame(i, row) for i, row in enumerate(x[:100])) + frame(100, x[100])[:40])
        time.sleep(0.3)
        unplug()
        link.unlink()
        time.sleep(2.2)  # longer than silence may last
        with terminal(link) as (_, write_again, _):
            wait_until(lambda: "replugged" in kept.kinds)
            write_again(frame(100, x[100])[40:] + b"".join(frame(i, row) for i, row in enumerate(x[100:])))
            time.sleep(0.5)

    with terminal(link) as (port, write, unplug):
        feed = decoded_feed(make_source(port, patience_s=10), device)
        recorder = Recorder(tmp_path / "kept.h5", feed)
        loop = Loop(feed, Stepper(PROGRAM), [kept, recorder], Limits(tare_anyway=True, silence_s=2.0))
        with contextlib.suppress(DeviceLostError):  # it is unplugged for good in the end
            run_beside(loop, play)
    np.testing.assert_array_equal(np.array([row for _, row in kept.frames]), x)
    told = [kind for kind in kept.kinds if kind in ("unplugged", "replugged", "restart")]
    assert told == ["unplugged", "replugged", "restart", "unplugged"]
    assert (loop.summary.restarts, loop.summary.lost, feed.counts.checksum) == (1, 0, 0)
    assert feed.counts.skipped == len(frame(0, x[0]))  # two halves that would make a frame
    assert len(read_recordings(tmp_path / "kept.h5")[0]) == 200


def test_of_two_sources_one_goes_away_and_comes_back(tmp_path: Path, device: str) -> None:
    """The other one's frames wait for it, and lose nothing; what lies between is linear, and the model starts again."""
    x, kept, link = walk(300), Kept(), tmp_path / "port"
    with terminal() as (steady, write, _), terminal(link) as (moving, write_moving, unplug):
        feeds = [decoded_feed(make_source(str(port), patience_s=10), device) for port in (steady, moving)]
        feed = SeveralFeed(feeds, ["a", "b"])

        def play() -> None:
            for i in range(100):
                write(frame(i, x[i]))
                write_moving(frame(i, x[i]))
                time.sleep(0.005)
            unplug()
            link.unlink()
            for i in range(100, 200):
                write(frame(i, x[i]))
                time.sleep(0.005)
            with terminal(link) as (_, write_back, _):
                wait_until(lambda: "replugged" in kept.kinds)
                for i in range(200, 300):
                    write(frame(i, x[i]))
                    write_back(frame(i, x[i]))
                    time.sleep(0.005)
                time.sleep(0.3)

        loop = Loop(feed, sinks=[kept])
        with contextlib.suppress(DeviceLostError):
            run_beside(loop, play)
    got = np.array([row for _, row in kept.frames])
    rows = {row.tobytes() for row in x}
    assert all(row[:15].tobytes() in rows for row in got)
    assert 290 < len(got) + feed.early <= 300  # the last have nothing behind them
    assert kept.texts("replugged")[0].startswith("b: ")
    assert loop.summary.restarts == 1
    assert sum(f.counts.skipped for f in feeds) == 0


def test_a_connection_that_is_closed_is_made_again(device: str) -> None:
    x, kept = walk(120), Kept()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def play() -> None:
            for part in (x[:60], x[60:]):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"".join(frame(i, row) for i, row in enumerate(part)))
                    time.sleep(0.2)

        feed = decoded_feed(make_source(f"tcp:127.0.0.1:{server.getsockname()[1]}", patience_s=5), device)
        loop = Loop(feed, Stepper(PROGRAM), [kept], Limits(tare_anyway=True))
        run_beside(loop, play)
    np.testing.assert_array_equal(np.array([row for _, row in kept.frames]), x)
    assert (loop.summary.restarts, loop.summary.lost) == (1, 0)


def test_what_does_not_come_back_ends_it_and_says_how_long_it_was_waited_for(tmp_path: Path, device: str) -> None:
    link, x = tmp_path / "port", walk(20)
    with terminal(link) as (port, write, unplug):

        def play() -> None:
            write(b"".join(map(frame, range(20), x)))
            time.sleep(0.2)
            unplug()
            link.unlink()
            time.sleep(1.5)

        loop = Loop(decoded_feed(make_source(port, patience_s=0.5), device), limits=Limits(silence_s=0.2))
        with pytest.raises(DeviceLostError, match=r"went away.*did not come back in 0\.5 s"):
            run_beside(loop, play)
    assert loop.summary.counts.frames == 20


def test_live_waits_for_its_port_by_default_and_ends_with_6_without(tmp_path: Path, device: str) -> None:
    PROGRAM.save(tmp_path / "m.hiss")
    link, x = tmp_path / "port", walk(400)
    data = b"".join(frame(i, row) for i, row in enumerate(x))
    words = ["live", tmp_path / "m.hiss", "--source", link, "--device", device, "--tare-anyway"]
    with terminal(link) as (_, write, unplug):
        waiting = start(*words, "--replug", 0)
        read_until(waiting.stderr, "reading: ")
        write(data)
        wait_for_line(waiting.stdout)
        unplug()
        assert waiting.wait(timeout=10) == 6
        waiting.communicate()
    with terminal(link) as (_, write, unplug):
        waiting = start(*words)
        read_until(waiting.stderr, "reading: ")
        write(data)
        wait_for_line(waiting.stdout)
        unplug()
        link.unlink()
        read_until(waiting.stderr, "unplugged: ")
        with terminal(link) as (_, write_again, _):
            read_until(waiting.stderr, "replugged: ")
            write_again(data)
            read_until(waiting.stderr, "restart: the port came back")
            read_until(waiting.stdout, '"restart"')
            waiting.send_signal(signal.SIGINT)
            _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 0, err
    assert "restarts 1" in err


def read_until(stream: object, words: str) -> None:
    while words not in wait_for_line(stream):
        pass


# ---- sinks that are slow ----


def test_a_slow_reader_of_estimates_delays_nothing_and_what_it_missed_is_counted(tmp_path: Path, device: str) -> None:
    """A pipe that nobody reads until the end; the recorder beside it has all frames."""
    x = walk(6000)
    read_end, write_end = os.pipe()
    taken: list[bytes] = []
    with terminal() as (port, write, _):
        feed = decoded_feed(make_source(port), device)
        lines = LiveJsonLines(write_end, PROGRAM.outputs)
        program = dataclasses.replace(PROGRAM, rate_hz=100.0)
        loop = Loop(feed, Stepper(program), [lines, Recorder(tmp_path / "kept.h5", feed)], Limits(tare_anyway=True))
        run_beside(loop, lambda: write(b"".join(frame(i, row) for i, row in enumerate(x))))
    os.close(write_end)
    while part := os.read(read_end, 65536):
        taken.append(part)
    os.close(read_end)
    assert len(read_recordings(tmp_path / "kept.h5")[0]) == 6000
    got = b"".join(taken).count(b"\n")
    assert loop.summary.unsent == {lines.name: loop.summary.estimates - got}
    assert got < loop.summary.estimates == (6000 - 4) // 5
    assert loop.summary.drops == loop.summary.estimates - got
