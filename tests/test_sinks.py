"""Where estimates go: every output says the same numbers, and nobody slow is waited for."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from conftest import absent
from hypothesis import given
from hypothesis import strategies as st
from streaming import run, small_program, small_recording

from hiss.errors import HissError, MissingExtraError
from hiss.program import Port
from hiss.realtime.drain import PIECE, Drain, descriptor_writer
from hiss.realtime.framing import Event
from hiss.realtime.outputs import KINDS, make_output
from hiss.realtime.outputs.datagrams import address
from hiss.realtime.outputs.serial_out import WAITING, port_and_baud
from hiss.realtime.sinks import CsvOut, Estimate, LiveJsonLines, Sink
from hiss.recording import Channel, write_hdf5

OUTPUTS = (Port("force", "N"), Port("angle:x", "deg"))


def estimate(i: int) -> Estimate:
    return Estimate(1e9 + i / 8, i, np.array([i / 4, -i], np.float32), 250_000)


class Reader:
    """Takes `room` bytes at a time."""

    def __init__(self) -> None:
        self.room = 0
        self.got = b""

    def write(self, data: bytes) -> int:
        taken = min(self.room, len(data))
        self.got += data[:taken]
        self.room -= taken
        return taken


@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"") + b"\n"), max_size=60),
    st.lists(st.integers(0, 50)),
    st.integers(1, 8),
)
def test_a_drain_loses_only_whole_messages_and_counts_them(messages, rooms, waiting):
    """What arrives is the messages in order without the dropped ones, none torn, the newest among them."""
    reader, rooms = Reader(), iter(rooms)
    drain = Drain(reader.write, waiting)
    for message in messages:
        reader.room = next(rooms, 0)
        drain.put(message)
        assert len(drain) <= waiting + 1
    reader.room = 10**6
    drain.close()
    got = [line + b"\n" for line in reader.got.split(b"\n")[:-1]]
    assert len(got) + drain.dropped == len(messages)
    left = iter(messages)
    assert all(any(line == other for other in left) for line in got)
    assert got[-1:] == messages[-1:]


def test_what_nobody_takes_by_the_end_is_counted():
    drain = Drain(Reader().write, 5)
    for i in range(8):
        drain.put(b"%d\n" % i)
    drain.close(leave_s=0.01)
    assert drain.dropped == 8


def test_a_pipe_that_nobody_reads_is_not_waited_for():
    read_fd, write_fd = os.pipe()
    try:
        sink = LiveJsonLines(write_fd, OUTPUTS)
        begin = time.monotonic()
        for i in range(5000):
            sink.estimate(estimate(i))
        assert time.monotonic() - begin < 5  # s; a blocked write would never end
        assert sink.unsent > 1000
        assert os.get_blocking(write_fd)  # others may have the same descriptor
        got = os.read(read_fd, 1 << 20)
        seqs = [json.loads(line)["seq"] for line in got.splitlines()[:-1]]
        assert seqs == list(range(len(seqs)))  # the pipe's own content cannot be taken back; what waited is newer
        sink.tick(0)
        newer = [json.loads(line)["seq"] for line in os.read(read_fd, 1 << 20).splitlines()[1:-1]]
        assert newer[-1] > 4000
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_pieces_fit_into_a_pipe_that_says_it_is_ready():
    read_fd, write_fd = os.pipe()
    write = descriptor_writer(write_fd)
    sent = 0
    while taken := write(b"x" * PIECE):
        sent += taken
    assert sent >= PIECE
    os.close(read_fd)
    with pytest.raises(BrokenPipeError):
        write(b"x")
    os.close(write_fd)


def listener() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(5)
    return made


def test_udp_says_a_json_object_per_datagram():
    with listener() as heard, make_output(f"udp:127.0.0.1:{heard.getsockname()[1]}", OUTPUTS) as sink:
        sink.estimate(estimate(6))
        line = json.loads(heard.recv(4096))
        assert line == {"t": 1e9 + 0.75, "seq": 6, "y": {"force": 1.5, "angle:x": -6.0}, "lat_us": 250.0}
        assert sink.unsent == 0


def test_teleplot_lines_have_time_unit_and_clean_names():
    with listener() as heard, make_output(f"teleplot:127.0.0.1:{heard.getsockname()[1]}", OUTPUTS) as sink:
        sink.estimate(estimate(6))
        text = heard.recv(4096).decode()
        assert text == "force:1000000000750.000:1.5§N|g\nangle_x:1000000000750.000:-6§deg|g\n"
        sink.estimate(Estimate(0.0, 0, np.array([np.nan, 1.0]), 0))
        assert heard.recv(4096).decode() == "angle_x:0.000:1§deg|g\n"


def test_nobody_need_listen_and_what_cannot_leave_is_counted():
    with listener() as heard:
        port = heard.getsockname()[1]
    with make_output(f"udp:127.0.0.1:{port}", OUTPUTS) as sink:
        for i in range(20):
            sink.estimate(estimate(i))  # refused by the system that was asked; no error here
        sink._socket.close()
        sink.estimate(estimate(1))
        assert sink.unsent == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("h:80", ("h", 80)), ("[::1]:80", ("::1", 80)), ("h", ("h", 47269)), ("[::1]", ("::1", 47269))],
)
def test_addresses(text, expected):
    assert address(text, 47269) == expected


@pytest.mark.parametrize("text", ["h", "h:", ":80", "h:x", "h:0", "h:70000"])
def test_an_address_without_host_or_port_is_refused(text):
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        address(text)


def test_serial_out_sends_lines_of_numbers_and_drops_the_oldest_of_a_slow_board():
    if os.name != "posix":
        pytest.skip("no pseudo-terminal")
    import tty

    master, slave = os.openpty()
    tty.setraw(master)
    with make_output(f"serial:{os.ttyname(slave)}@9600", OUTPUTS) as sink:
        sink.estimate(estimate(6))
        assert os.read(master, 100) == b"1.5,-6\n"
        for i in range(100_000):
            sink.estimate(estimate(i))
            if sink.unsent > 50:
                break
        assert sink.unsent > 50
        got = b""
        while b"\n%.9g,%d\n" % (i / 4, -i) not in got:
            got += os.read(master, 65536)
            sink.tick(0)
        assert len([line for line in got.split(b"\n") if line]) == i + 1 - sink.unsent
        assert WAITING < 100
        os.close(slave)
        os.close(master)
        with pytest.raises(HissError, match="went away"):
            sink.estimate(estimate(1))
    assert port_and_baud("/dev/ttyX") == ("/dev/ttyX", 115200)
    with pytest.raises(ValueError, match="PORT@BAUD"):
        port_and_baud("/dev/ttyX@fast")


def test_mcap_holds_estimates_samples_and_events(tmp_path: Path):
    reader = pytest.importorskip("mcap.reader", reason="mcap is not installed")
    path = tmp_path / "run.mcap"
    with make_output(f"mcap:{path}", OUTPUTS) as sink:
        sink.event(Event("reading", "here"))
        sink.begin((Channel("a", "uT"), Channel("b")))
        sink.frame(0.5, np.array([1, np.nan], np.float32))
        sink.estimate(estimate(6))
    with open(path, "rb") as stream:
        found = [(c.topic, m.log_time, json.loads(m.data)) for _, c, m in reader.make_reader(stream).iter_messages()]
    by_topic = {topic: (at, content) for topic, at, content in found}
    assert by_topic["estimates"] == (
        1_000_000_000_750_000_000,
        {"seq": 6, "latency_us": 250.0, "y": {"force": 1.5, "angle:x": -6.0}},
    )
    assert by_topic["samples"][1] == {"a": 1.0, "b": None}
    assert by_topic["events"][1]["kind"] == "reading"
    with pytest.raises(HissError, match="cannot be written"), make_output(f"mcap:{tmp_path}", OUTPUTS):
        pass


def test_mcap_on_a_full_disk_ends_the_run():
    pytest.importorskip("mcap", reason="mcap is not installed")
    if not os.path.exists("/dev/full"):
        absent("no /dev/full")
    with pytest.raises(HissError, match="No space left"):
        fill("mcap:/dev/full")


def fill(text: str) -> None:
    with make_output(text, OUTPUTS) as sink:
        for i in range(100_000):
            sink.estimate(estimate(i))


def test_lsl_inlets_receive_the_estimates():
    try:
        import pylsl
    except (ImportError, RuntimeError):
        pytest.skip("pylsl, or its library, is not installed")
    name = f"hiss-test-{os.getpid()}"
    with make_output(f"lsl:{name}", OUTPUTS) as sink:
        found = pylsl.resolve_byprop("name", name, timeout=10)
        if not found:
            pytest.skip("this system's network finds no LSL stream")
        inlet = pylsl.StreamInlet(found[0])
        inlet.open_stream(timeout=10)
        sink.estimate(estimate(6))
        sample, stamp = inlet.pull_sample(timeout=10)
        assert sample == [1.5, -6.0]
        assert 0 < pylsl.local_clock() - stamp < 10
        assert inlet.info().get_channel_labels() == ["force", "angle:x"]


def test_ros2_publishes_arrays_with_names(monkeypatch: pytest.MonkeyPatch):
    """Against stand-ins of rclpy and std_msgs: ROS 2 is not on a test machine."""
    published = []
    node = types.SimpleNamespace(
        create_publisher=lambda kind, topic, depth: types.SimpleNamespace(
            publish=lambda m: published.append((topic, m.layout.dim[0].label, m.data))
        ),
        destroy_node=lambda: None,
    )
    rclpy = types.ModuleType("rclpy")
    rclpy.Context = lambda: types.SimpleNamespace(shutdown=lambda: None)
    rclpy.init = lambda context: None
    rclpy.create_node = lambda name, context: node
    messages = types.ModuleType("std_msgs.msg")
    messages.Float64MultiArray = lambda: types.SimpleNamespace(layout=types.SimpleNamespace(dim=[]), data=[])
    messages.MultiArrayDimension = types.SimpleNamespace
    for known, module in (("rclpy", rclpy), ("std_msgs", types.ModuleType("std_msgs")), ("std_msgs.msg", messages)):
        monkeypatch.setitem(sys.modules, known, module)
    with make_output("ros2:/force", OUTPUTS) as sink:
        sink.estimate(estimate(6))
    assert published == [("/force", "force,angle:x", [1.5, -6.0])]


@pytest.mark.parametrize(
    ("package", "text", "error"),
    [
        ("pylsl", "lsl:x", MissingExtraError),
        ("mcap.writer", "mcap:x", MissingExtraError),
        ("rclpy", "ros2:x", HissError),
    ],
)
def test_an_absent_package_is_named_with_what_brings_it(package, text, error, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(error, match=r"hiss\[|ROS 2"):
        make_output(text, OUTPUTS)


def test_csv_needs_no_kind_and_others_are_explained(tmp_path: Path):
    assert isinstance(make_output(str(tmp_path / "est.csv"), OUTPUTS), CsvOut)
    assert isinstance(make_output(f"csv:{tmp_path / 'est'}", OUTPUTS), CsvOut)
    with pytest.raises(ValueError, match=r"one of csv:FILE.*did you mean teleplot:HOST:PORT"):
        make_output("telplot:x:1", OUTPUTS)
    for kind, (rest, _) in KINDS.items():
        with pytest.raises(ValueError, match=rest.replace("[", r"\[")):
            make_output(f"{kind}:", OUTPUTS)


def test_a_file_of_json_lines_says_what_stdout_says(tmp_path: Path):
    with make_output(f"jsonl:{tmp_path / 'est'}", OUTPUTS) as sink:
        for i in range(3):
            sink.estimate(estimate(i))
        lines = (tmp_path / "est").read_text().splitlines()  # each is there as soon as it came
    assert [json.loads(line)["seq"] for line in lines] == [0, 1, 2]
    with pytest.raises(HissError, match="cannot be written"), make_output(f"jsonl:{tmp_path}", OUTPUTS):
        pass


def test_a_sink_overrides_only_what_it_wants():
    sink = Sink()
    sink.tick(0)
    sink.estimate(estimate(1))
    assert sink.unsent == 0


def test_replay_gives_every_output_the_same_estimates(tmp_path: Path):
    """stdout, two files and a socket at once; a live sink that has no listener costs nothing."""
    small_program().save(tmp_path / "m.hiss")
    write_hdf5(tmp_path / "r.h5", [small_recording()])
    with listener() as heard:
        places = [
            f"jsonl:{tmp_path / 'y.jsonl'}",
            f"csv:{tmp_path / 'y'}",
            f"udp:127.0.0.1:{heard.getsockname()[1]}",
            "-",
        ]
        done = run("replay", tmp_path / "m.hiss", tmp_path / "r.h5", *(w for place in places for w in ("--out", place)))
        assert done.returncode == 0, done.stderr
        shown = done.stdout.splitlines()
        seqs = [json.loads(line)["seq"] for line in shown]
        assert len(seqs) > 5
        sent = [json.loads(heard.recv(4096)) for _ in shown]
    kept = [json.loads(line) for line in (tmp_path / "y.jsonl").read_text().splitlines()]
    rows = np.loadtxt(tmp_path / "y", delimiter=",", skiprows=1)
    for line, other, row in zip(kept, sent, rows, strict=True):
        assert line["y"] == other["y"]
        assert line["seq"] == other["seq"] == row[1]
        assert line["y"]["force"] == pytest.approx(row[2], rel=1e-8)
    assert [line["seq"] for line in kept] == seqs
    wrong = run("replay", tmp_path / "m.hiss", tmp_path / "r.h5", "--out", "udp:here")
    assert wrong.returncode == 2
    assert "HOST:PORT" in wrong.stderr
