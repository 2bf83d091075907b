"""Board in the loop: the exported C answers every sample as the same program here, in every bit, on any line.

The board is its program of this computer (<name>_host), built with all warnings and with sanitizers that stop at the
first undefined thing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_programs import every_position
from exported_sources import SHAPES, program_of
from hypothesis import given, settings
from hypothesis import strategies as st
from package_builds import arduino_build, c_compiler, cmake_build, cpp_compiler
from streaming import fake_board, run, small_program, small_recording, start, wait_for_line

from hiss.engines import open_stepper
from hiss.engines.board_host import build_host, contract_of
from hiss.engines.host_compiler import STRICT, run_compiler
from hiss.engines.toolchains import command
from hiss.errors import DeviceLostError, ExportError, FormatError, HissError, MismatchError, PortError
from hiss.firmware_export.board import board_texts, host_text
from hiss.firmware_export.c import Model
from hiss.firmware_export.export import texts_of
from hiss.firmware_export.packages import export_package, make_package
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Port, Program, Stage
from hiss.program.ops import Affine, Input
from hiss.quantization import quantized
from hiss.realtime import board as board_module
from hiss.realtime import board_wire as wire
from hiss.realtime.board import BoardStepper
from hiss.realtime.board_link import ProcessLink, make_link
from hiss.realtime.board_wire import Message, Receiver
from hiss.realtime.framing import Event
from hiss.recording import write_csv

SANITIZED = ("-std=c99", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *STRICT)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """host(program): the board's program, built once."""
    built: dict[int, Path] = {}

    def of(program: Program) -> Path:
        c_compiler()
        if id(program) not in built:
            built[id(program)] = build_host(program, tmp_path_factory.mktemp("board"), "tip", SANITIZED)
        return built[id(program)]

    return of


@pytest.fixture(scope="module")
def program() -> Program:
    return small_program()


@pytest.fixture(scope="module")
def whole(program: Program) -> Program:
    return quantized(program, [small_recording(20).resampled(20.0).x])[0]


@contextlib.contextmanager
def board_beside(program: Program, host: Path, engine: str = "c", link=lambda inner: inner):
    """A stepper with its board, and the events it told."""
    events: list[Event] = []
    with ProcessLink(host) as inner:
        yield BoardStepper(open_stepper(program, engine), contract_of(program), link(inner), events.append), events


def samples(program: Program, steps: int = 120) -> np.ndarray:
    return usual_samples(program, steps)


# ---- the wire ----

MESSAGES = st.builds(
    Message, st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=600)
)


@given(st.lists(MESSAGES, max_size=5), st.integers(1, 50))
def test_messages_come_back_however_their_bytes_are_cut(messages, size):
    receiver, data = Receiver(), b"".join(map(wire.encode, messages))
    found = [m for at in range(0, len(data), size) for m in receiver.feed(data[at : at + size])]
    assert found == messages
    assert receiver.damaged == 0


@given(st.lists(st.binary(max_size=300)), MESSAGES)
def test_arbitrary_bytes_never_raise_and_the_next_message_is_read(chunks, message):
    receiver = Receiver()
    for chunk in chunks:
        receiver.feed(chunk)
    assert receiver.feed(b"\0" + wire.encode(message))[-1] == message


@given(MESSAGES, st.data())
def test_a_changed_bit_loses_its_message_and_is_counted(message, data):
    frame = bytearray(wire.encode(message)[:-1])
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= 1 << data.draw(st.integers(0, 7))
    receiver = Receiver()
    assert message not in receiver.feed(bytes(frame) + b"\0")
    assert receiver.damaged >= 1


# ---- the same numbers ----


@pytest.mark.parametrize("engine", ["c", "numpy"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_board_answers_as_the_program_here_in_every_bit(shape, engine, host):
    """Integers and states in every bit; floating point of another engine within the tolerance of the self-test."""
    program = program_of(shape)
    with board_beside(program, host(program), engine) as (both, events):
        for i, x in enumerate(samples(program)):
            if i == 50:
                both.reset()
            if i == 80:
                both.tare()
            both.step(x)
        report = both.settle()
    assert (report.agrees, report.differing, events) == (True, 0, [])
    assert report.samples == 120
    assert report.estimates > 5
    assert report.states == report.equal_states == (120 if engine == "c" else 0)
    assert engine == "numpy" or report.largest == 0


def test_samples_longer_than_a_cobs_block_arrive(host):
    """90 channels are 360 bytes, without a zero byte among them, and with many."""
    n = 90
    z = Input("z", np.zeros(n), np.zeros(n, int), np.full(n, -1e6), np.full(n, 1e6), 0)
    y = Affine("y", ("z",), (np.ones((2, n)),), np.zeros(2))
    program = Program(
        tuple(Port(f"c{i}") for i in range(n)), (Port("a"), Port("b")), 10.0, (Stage(1, (z, y), (), ("y",)),)
    )
    with board_beside(program, host(program)) as (both, _):
        for x in (np.full(n, 1.1234567, np.float32), np.zeros(n, np.float32), np.arange(n, dtype=np.float32)):
            both.step(x)
        assert both.settle().equal_states == 3


def test_the_board_says_what_it_is(program, whole, host):
    with board_beside(whole, host(whole)) as (both, _):
        info = both.info
    assert (info["name"], info["rate_hz"], info["period"], info["tare"]) == ("tip", 20.0, 5, 4)
    assert [port["name"] for port in info["inputs"]] == [port.name for port in whole.inputs]
    assert info["outputs"] == [{"name": "force", "unit": "N", "scale": info["outputs"][0]["scale"]}]
    made = open_stepper(whole, "c").model.program.formats
    assert info["outputs"][0]["scale"] == 2.0 ** -int(made["y"]["out"].frac_bits[0])


# ---- another answer ----


class Changed:
    """A line on which `change` gets every message that comes from the board, and gives those that arrive."""

    def __init__(self, inner, change):
        self.inner, self.change, self.name = inner, change, inner.name
        self.receiver = Receiver()

    def read(self) -> bytes:
        messages = self.receiver.feed(self.inner.read())
        return b"".join(wire.encode(m) for message in messages for m in self.change(message))

    def write(self, data: bytes) -> None:
        self.inner.write(data)


def from_estimate(nth: int, edit):
    """Answers with an estimate are edited from the nth on."""
    seen = [0]

    def change(message: Message) -> list[Message]:
        if message.kind != wire.ANSWER or not message.payload[0] & wire.NEW:
            return [message]
        seen[0] += 1
        payload = edit(message.payload) if seen[0] >= nth else message.payload
        return [Message(message.kind, message.seq, message.t_us, payload)]

    return change


def next_integer(payload: bytes) -> bytes:
    """The estimate one step higher."""
    return payload[:5] + struct.pack("<h", struct.unpack_from("<h", payload, 5)[0] + 1)


def test_one_step_of_an_integer_is_seen_at_its_sample(whole, host):
    """The tare takes 4 samples, estimates come every 5: the 3rd is at sample 4 + 14."""
    with board_beside(whole, host(whole), link=lambda inner: Changed(inner, from_estimate(3, next_integer))) as (
        both,
        events,
    ):
        for x in samples(whole, 40):
            both.step(x)
        report = both.settle()
    assert report.first.startswith("sample 18: force: board ")
    assert report.differing == report.estimates - 2
    assert [event.kind for event in events] == ["board-differs"]


def test_a_float_may_differ_within_the_tolerance_and_no_further(program, host):
    tolerance = float(contract_of(program).tolerance[0])

    def edit(times: float):
        return lambda payload: (
            payload[:5] + np.float32(np.frombuffer(payload, "<f4", 1, 5)[0] + np.float32(times * tolerance)).tobytes()
        )

    for times, differs in ((0.9, False), (1.5, True)):
        with board_beside(program, host(program), link=lambda i, t=times: Changed(i, from_estimate(1, edit(t)))) as (
            both,
            _,
        ):
            for x in samples(program, 40):
                both.step(x)
            assert (both.settle().differing > 0) is differs


@pytest.mark.parametrize("integers", [True, False])
def test_another_state_is_a_fault_of_integers_and_a_count_of_floats(integers, program, whole, host):
    made = whole if integers else program

    def edit(payload: bytes) -> bytes:
        return payload[:1] + bytes([payload[1] ^ 1]) + payload[2:]

    with board_beside(made, host(made), link=lambda inner: Changed(inner, from_estimate(1, edit))) as (both, _):
        for x in samples(made, 20):
            both.step(x)
        report = both.settle()
    assert report.equal_states < report.states
    assert report.agrees is not integers
    assert report.first.startswith("sample 8: the states differ" if integers else "")


def test_lost_answers_are_asked_for_again_and_no_sample_is_stepped_twice(whole, host, monkeypatch):
    monkeypatch.setattr(board_module, "TRY_S", 0.05)
    count = [0]

    def lose(message: Message) -> list[Message]:
        count[0] += 1
        return [] if count[0] % 7 == 0 else [message]

    with board_beside(whole, host(whole), link=lambda inner: Changed(inner, lose)) as (both, events):
        for x in samples(whole, 60):
            both.step(x)
        report = both.settle()
    assert report.retries >= 8
    assert (report.agrees, report.samples, report.equal_states, events) == (True, 60, 60, [])


def test_damaged_samples_are_asked_for_again(whole, host, monkeypatch):
    monkeypatch.setattr(board_module, "TRY_S", 0.05)

    class Noisy(Changed):
        sent = 0

        def write(self, data: bytes) -> None:
            self.sent += 1
            flipped = bytes([data[0], data[1] ^ 1, *data[2:]]) if self.sent % 9 == 0 else data
            self.inner.write(flipped)

    with board_beside(whole, host(whole), link=lambda inner: Noisy(inner, lambda m: [m])) as (both, _):
        for x in samples(whole, 60):
            both.step(x)
        report = both.settle()
    assert report.retries >= 5
    assert report.equal_states == 60


@settings(max_examples=20, deadline=None)
@given(data=st.lists(st.one_of(st.binary(max_size=400), MESSAGES.map(wire.encode)), max_size=20))
def test_no_bytes_hurt_the_board_and_it_answers_afterwards(data):
    """One board for all examples: the sanitizers stop it at the first undefined thing."""
    link = arbitrary_board()
    for chunk in data:
        link.write(chunk)
    link.write(b"\0" + wire.encode(Message(wire.TARE, 4711, 99)))
    receiver, answer = Receiver(), None
    while answer is None:
        found = receiver.feed(link.read())
        answer = next((m for m in found if (m.kind, m.seq, m.t_us) == (wire.ANSWER, 4711, 99)), None)
    assert answer.payload[0] == wire.TARING


_arbitrary: list[ProcessLink] = []


def arbitrary_board() -> ProcessLink:
    if not _arbitrary:
        import atexit
        import tempfile

        c_compiler()
        folder = tempfile.TemporaryDirectory()
        atexit.register(folder.cleanup)
        link = ProcessLink(build_host(small_program(3), Path(folder.name), "tip", SANITIZED)).__enter__()
        atexit.register(link.__exit__)
        _arbitrary.append(link)
    return _arbitrary[0]


# ---- no board, another board ----


def test_a_board_with_another_model_is_refused(program, whole, host):
    with (
        pytest.raises(MismatchError, match=r"runs 'tip' of version 0x.*this model is 0x"),
        board_beside(whole, host(program)),
    ):
        pass


def test_silence_and_other_bytes_are_explained(program, monkeypatch, tmp_path):
    monkeypatch.setattr(board_module, "HELLO_S", 0.4)
    for script, said in (("cat >/dev/null", "no bytes came"), ("yes hello & cat >/dev/null; kill $!", "lines of text")):
        (tmp_path / "other").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "other").chmod(0o755)
        with pytest.raises(FormatError, match=said), board_beside(program, tmp_path / "other"):
            pass


def test_a_board_that_dies_is_lost(whole, host):
    with board_beside(whole, host(whole)) as (both, _):
        both.step(samples(whole, 1)[0])
        both.settle()
        both.link._process.kill()
        both.link._process.wait()
        with pytest.raises(DeviceLostError, match="went away"):
            both.step(samples(whole, 1)[0])


def test_a_place_that_is_none_is_said():
    with pytest.raises(ValueError, match=r"tcp://HOST:PORT"):
        make_link("tcp://nowhere")
    with pytest.raises(PortError, match="does not answer"), make_link("tcp://127.0.0.1:1"):
        pass


# ---- verbs ----


@pytest.fixture
def model(whole: Program, tmp_path: Path) -> Path:
    whole.save(tmp_path / "force.hiss")
    write_csv(tmp_path / "walk.csv", small_recording(8))
    return tmp_path / "force.hiss"


@contextlib.contextmanager
def running(program: Path, *words: str):
    """A board's program: (where it says it is)."""
    process = subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True)
    try:
        yield wait_for_line(process.stdout).strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


@pytest.mark.parametrize("words", [(), ("0",)], ids=["pty", "tcp"])
def test_replay_beside_what_export_wrote(words, model, tmp_path):
    """Twice: a board is used again and again."""
    done = run("export", model, "-o", tmp_path / "c", "--name", "tip", "--board", "--no-check")
    assert done.returncode == 0, done.stderr
    sources = [*(tmp_path / "c").glob("*.c"), tmp_path / "c" / "host" / "tip_host.c"]
    run_compiler(c_compiler(), ["-std=c99", *STRICT, "-I", tmp_path / "c", *sources, "-o", tmp_path / "board"])
    with running(tmp_path / "board", *words) as place:
        for _ in "12":
            done = run("replay", model, tmp_path / "walk.csv", "--board", place, "--engine", "c", "--json")
            assert done.returncode == 0, done.stderr
            loop, board = map(json.loads, done.stdout.splitlines())
            assert board["samples"] == board["equal_states"] == loop["samples"] > 100
            assert (board["differing"], board["first_difference"]) == (0, None)


def test_live_beside_a_board_built_here(model, tmp_path):
    c_compiler()
    with fake_board("--device", "anyskin:5", "--rate", "100", "--duration", "2", "--hold", "0.2", "--once") as (
        port,
        _,
    ):
        done = run("live", model, "--source", port, "--device", "anyskin:5", "--duration", "1.5", "--board", "here")
    assert done.returncode == 0, done.stderr
    assert "0 differ" in done.stderr
    assert len(done.stdout.splitlines()) >= 4


def test_a_board_with_another_model_ends_with_code_5(model, program, host, tmp_path):
    with running(host(program)) as place:
        done = run("replay", model, tmp_path / "walk.csv", "--board", place)
    assert done.returncode == 5
    assert "export this model and flash it" in done.stderr


def test_a_board_that_computes_something_else_is_told_with_its_first_sample(model, whole, tmp_path):
    """From sequence number 40 on (questions and the tare take some, so sample 38 at the latest) it is too high."""
    c_compiler()
    folder = tmp_path / "wrong"
    folder.mkdir()
    made = Model(whole, "tip")
    texts = {**texts_of(made), **board_texts(made), "tip_host.c": host_text(made)}
    step = "const bool made = tip_step(&self->model, self->x, self->y);"
    assert texts["tip_board.c"].count(step) == 1
    texts["tip_board.c"] = texts["tip_board.c"].replace(step, f"{step} if (made && seq > 40U) {{ ++self->y[0]; }}")
    for file, text in texts.items():
        (folder / file).write_text(text)
    run_compiler(c_compiler(), ["-std=c99", "-I", folder, *folder.glob("*.c"), "-o", folder / "board"])
    with running(folder / "board") as place:
        done = run("replay", model, tmp_path / "walk.csv", "--board", place)
    assert done.returncode == 5
    told = re.search(r"first at sample (\d+): force: board (\S+), here (\S+) N", done.stderr)
    assert told, done.stderr
    assert int(told[1]) <= 43
    assert (int(told[1]) - 8) % 5 == 0
    bits = int(whole.formats["y"]["out"].frac_bits[0])
    assert float(told[2]) - float(told[3]) == pytest.approx(2.0**-bits, rel=1e-3)
    assert "board-differs: sample" in done.stderr


def test_an_ended_board_ends_live_with_code_6(model, tmp_path, host, whole):
    process = subprocess.Popen([host(whole)], stdout=subprocess.PIPE, text=True)
    place = wait_for_line(process.stdout).strip()
    with fake_board("--device", "anyskin:5", "--rate", "50", "--wave") as (port, _):
        live = start("live", model, "--source", port, "--device", "anyskin:5", "--board", place)
        assert wait_for_line(live.stdout)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        _, err = live.communicate(timeout=20)
    assert live.returncode == 6, err
    assert "the board on" in err or "no answer to" in err


# ---- everywhere ----


def test_the_sources_compile_as_cpp_and_for_small_cores(tmp_path):
    for program in (every_position(), program_of("int8 weights")):
        model = Model(program, "tip")
        texts = {**texts_of(model), **board_texts(model)}
        for file, text in texts.items():
            (tmp_path / file).write_text(text)
        cpp = (*cpp_compiler(), "-x", "c++", "-std=c++11")
        cores = [cpp]
        for core, compiler in (("m0", "zig"), ("atmega328p", "gcc")):
            with contextlib.suppress(HissError, ExportError):
                cores.append((*command(core, compiler), "-std=c99", "-ffreestanding"))
        for words in cores:
            for file in ("hiss_board.c", "tip_board.c"):
                run_compiler(words, ["-O1", *STRICT, "-I", tmp_path, "-c", tmp_path / file, "-o", tmp_path / "made.o"])


def test_a_cmake_package_builds_its_board(whole, tmp_path):
    package = make_package([Model(whole, "tip")], board=True)
    export_package(package, "cmake", tmp_path / "tip")
    built = cmake_build(tmp_path / "tip", tmp_path / "built")
    with ProcessLink(built / "tip_host") as link:
        both = BoardStepper(open_stepper(whole, "c"), contract_of(whole), link)
        for x in samples(whole, 30):
            both.step(x)
        assert both.settle().equal_states == 30


def test_an_arduino_library_builds_its_board_sketch(whole, tmp_path):
    package = make_package([Model(whole, "tip")], board=True)
    export_package(package, "arduino", tmp_path / "tip")
    sketch = tmp_path / "tip" / "examples" / "tip_board" / "tip_board.ino"
    assert arduino_build(sketch, [tmp_path / "tip"], tmp_path / "built").is_file()


def test_without_board_nothing_of_it_is_written(whole):
    for kind in ("plain", "cmake", "arduino", "platformio", "zephyr"):
        from hiss.firmware_export.packages import package_texts

        assert not [f for f in package_texts(make_package([Model(whole, "tip")]), kind) if "board" in f or "host" in f]
