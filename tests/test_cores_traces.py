"""Laws of the cores: the same exported C on this computer, in unicorn, qemu and simavr, and the traces compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import absent
from programs import random_program

from hiss.engines.cores import CORES, missing, open_core
from hiss.engines.emulator import Emulator, usual_input
from hiss.engines.firmware import Firmware
from hiss.engines.host_core import HostCore
from hiss.engines.qemu import QemuCore
from hiss.engines.stack import stack_bytes
from hiss.engines.toolchains import linked_sizes
from hiss.engines.trace import NONE, RESET, TARE, differing_bits, first_difference, live_bytes
from hiss.errors import ExportError
from hiss.firmware_export import export_c
from hiss.firmware_export.c import Model
from hiss.firmware_export.selftest import vectors
from hiss.program import Port, Program, Stage
from hiss.program import ops as o

STEPS = 60


def present(core: str, compiler: str = "zig") -> str:
    """The core; absent() where this computer lacks it."""
    reason = missing(core, compiler)
    if reason is not None:
        absent(reason)
    return core


@pytest.fixture(scope="module")
def program():
    """Small enough for an ATmega328P, with a tare, two stages and every kind of memory but Selective's."""
    return random_program(4, feedback=True)


@pytest.fixture(scope="module")
def firmware(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cores")
    export_c(program, folder, "drawn")
    return Firmware.of(program, folder, "drawn")


@pytest.fixture(scope="module")
def members(program):
    return Model(program, "drawn").layout.members


@pytest.fixture(scope="module")
def samples(program):
    actions = np.full(STEPS, NONE)
    actions[[0, 23, 41]] = TARE, RESET, TARE
    return usual_input(program, STEPS), actions


@pytest.fixture(scope="module")
def reference(firmware, samples):
    """The trace of this computer, with sanitizers."""
    present("host")
    return HostCore(firmware).run(*samples)


@pytest.mark.parametrize("core", CORES)
def test_selftest_passes_and_every_step_is_close_to_this_computers(core, program, firmware, samples, reference):
    """float32: other compilers fuse and order sums in other ways, so within the tolerance of the self-test."""
    run = open_core(present(core), firmware)
    assert run.selftest() == 0
    trace = run.run(*samples)
    np.testing.assert_array_equal(trace.made, reference.made)
    assert trace.state.shape == reference.state.shape
    assert np.all(np.abs(trace.y.astype(float) - reference.y) <= 2 * vectors(program).tolerance)


@pytest.mark.parametrize("core", ["host", "m4f", "m55", "rv32imc-qemu", "atmega328p"])
def test_a_second_run_gives_the_same_bits(core, firmware, samples, members):
    run = open_core(present(core), firmware)
    first, second = run.run(*samples), run.run(*samples)
    assert first_difference(first, second, members) is None
    assert differing_bits(first, second, members) == 0


@pytest.mark.parametrize("core", ["m55", "rv32imc-qemu", "atmega328p"])
def test_counts_repeat_and_the_completing_step_is_dearer(core, program, firmware, samples):
    run = open_core(present(core), firmware)
    first, second = (run.run(*samples, count=True) for _ in range(2))
    np.testing.assert_array_equal(first.counts, second.counts)
    after_tare = slice(program.tare, 23)
    made = first.made[after_tare]
    assert first.counts[after_tare][made].min() > np.median(first.counts[after_tare][~made]) > 500


def test_qemu_counts_what_unicorn_counts(firmware, samples):
    """The same gcc makes two images of the same functions; only what calls step differs, by a few instructions."""
    present("rv32imc-qemu")
    present("rv32imc", "gcc")
    in_qemu = QemuCore(firmware, "rv32imc").run(samples[0], count=True).counts
    emulator = Emulator.of(firmware, "rv32imc", compiler="gcc")
    emulator.tare()
    in_unicorn = np.array(emulator.count_steps(samples[0]))
    assert len(set(in_qemu - in_unicorn)) == 1
    assert 0 <= in_qemu[0] - in_unicorn[0] < 12


def test_a_bit_that_differs_is_found_and_named(samples, reference, members):
    ram = reference.state.shape[1]
    assert live_bytes(members).shape == (ram,)
    begin = {}
    at = 0
    for member in members:
        begin[member.name] = at
        at += {"uint16_t": 2}.get(member.kind, 4) * max(member.count, 1)
    kept = next(m.name for m in members if m.name.endswith("_past"))
    state = reference.state.copy()
    state[37, begin["scratch"]] ^= 1  # dead: nobody reads it again
    assert first_difference(replace(reference, state=state), reference, members) is None
    state[41, begin[kept] + 4] ^= 1
    found = first_difference(replace(reference, state=state), reference, members)
    assert found is not None
    assert found.startswith(f"step 41: {kept}[1] = ")
    assert differing_bits(replace(reference, state=state), reference, members) == 1


def test_an_output_or_a_completion_that_differs_is_found(reference, members):
    y, made = reference.y.copy(), reference.made.copy()
    y[50, 1] += 1
    made[55] = not made[55]
    assert str(first_difference(replace(reference, y=y), reference, members)).startswith("step 50: y[1] = ")
    assert str(first_difference(replace(reference, made=made), reference, members)).startswith("step 55: made ")


def test_sanitizers_stop_at_undefined_behaviour(program, tmp_path, samples):
    """Planted: a kernel that writes one element beyond its array."""
    export_c(program, tmp_path, "drawn")
    source = tmp_path / "drawn.c"
    stepping = f"bool drawn_step(drawn_t *self, const float x[{len(program.inputs)}]"
    text = source.read_text()
    assert stepping in text
    at = text.index("{", text.index(stepping)) + 1
    source.write_text(f"{text[:at]}\n    y[{len(program.outputs)} + 9] = x[0];{text[at:]}")
    core = HostCore(Firmware.of(program, tmp_path, "drawn"))
    with pytest.raises(ExportError, match=r"runtime error|AddressSanitizer"):
        core.run(*samples)


def long_delay(age: int) -> Program:
    """2 channels in float32 and so many samples of each in RAM, 8 bytes a sample."""
    limits = np.full(2, -100.0), np.full(2, 100.0)
    far = o.Delay("y", "z", np.array([age, age]), np.array([0, 1]), "zero")
    every = (o.Input("z", np.zeros(2), np.zeros(2, int), *limits, 0), far)
    ports = tuple(Port(f"x{i}", "uT") for i in range(2)), tuple(Port(f"y{i}", "N") for i in range(2))
    return Program(*ports, 100.0, (Stage(1, every, (), ("y",)),))


def test_a_model_too_large_for_the_part_is_refused(tmp_path):
    """2400 bytes, where the part has 2048."""
    present("atmega328p")
    export_c(long_delay(300), tmp_path, "large")
    with pytest.raises(ExportError, match="does not fit into an ATmega328P"):
        open_core("atmega328p", Firmware.of(long_delay(300), tmp_path, "large"))


def test_a_stack_that_runs_into_the_data_is_an_error(tmp_path):
    """Its data alone fit into the part: 1,944 bytes of 2,048."""
    present("atmega328p")
    export_c(long_delay(240), tmp_path, "large")
    core = open_core("atmega328p", Firmware.of(long_delay(240), tmp_path, "large"))
    with pytest.raises(ExportError, match="stack"):
        core.selftest()


# On RISC-V float constants are tables too, and so is libgcc's of leading zeros
IMAGES = [("m4f", "zig", 64), ("m4f", "gcc", 64), ("rv32imc", "gcc", 512), ("atmega328p", "gcc", 64)]


@pytest.mark.parametrize(("core", "compiler", "spare"), IMAGES)
def test_linked_size_holds_the_tables_and_little_code(core, compiler, spare, program, firmware):
    present(core, compiler)
    tables = export_c(program, firmware.folder, "drawn").table_bytes
    sizes = linked_sizes(firmware, core, compiler)
    assert tables <= sizes["tables"] <= tables + spare
    assert sizes["data"] == 0
    assert 1000 < sizes["code"] < 16384
    assert linked_sizes(firmware, core, compiler, "-Os")["code"] < sizes["code"]


def test_the_image_of_gcc_runs_in_unicorn(firmware, samples, reference):
    present("m4f", "gcc")
    run = open_core("m4f", firmware, compiler="gcc")
    assert run.selftest() == 0
    np.testing.assert_array_equal(run.run(*samples).made, reference.made)


def test_bad_samples_actions_and_cores_are_refused(firmware):
    host = HostCore(firmware)
    with pytest.raises(ValueError, match=r"samples of shape \(3, 9\)"):
        host.run(np.zeros((3, 9), np.float32))
    with pytest.raises(ValueError, match="expected 0, 1"):
        host.run(np.zeros((3, firmware.inputs), np.float32), np.array([0, 1, 3]))
    with pytest.raises(ValueError, match="no core 'z80'; there are host, m0"):
        open_core("z80", firmware)
    whole = replace(firmware, x_type="int16_t")
    with pytest.raises(ValueError, match="whole numbers are expected"):
        whole.samples(np.full((1, firmware.inputs), 40000))


@pytest.mark.parametrize("core", ["m0", "m4f", "rv32imc"])
def test_stated_stack_bounds_the_painted_one(core, program, firmware, samples):
    """From the compiler's figures and the calls in the image; the deepest chain runs, or one not far from it."""
    present(core, "gcc")
    bound = stack_bytes(firmware, core)
    run = Emulator.of(firmware, core, compiler="gcc")
    run.tare()
    used = run.stack_bytes(samples[0])
    assert bound.bytes == sum(size for _, size in bound.chain)
    assert bound.chain[0][0] == "drawn_step"
    assert bound.bytes >= used > bound.bytes * 0.75


def test_stated_stack_bounds_the_painted_one_on_avr(firmware, samples):
    core = open_core(present("atmega328p"), firmware)
    used, bound = core.run(*samples).stack, stack_bytes(firmware, "atmega328p").bytes
    assert bound >= used > bound * 0.75


def test_stack_without_a_bound_is_refused(program, tmp_path):
    """Planted: a function of the model that calls itself."""
    present("m4f", "gcc")
    export_c(program, tmp_path, "drawn")
    source = tmp_path / "drawn.c"
    body = "{ if (--*n) { drawn_loop(n); ++*n; } }"
    endless = f"void drawn_loop(volatile int *n);\nvoid drawn_loop(volatile int *n) {body}\n"
    text = source.read_text().replace("bool drawn_step(", f"{endless}bool drawn_step(", 1)
    begin = text.index("{", text.index("bool drawn_step(")) + 1
    source.write_text(f"{text[:begin]}\n    volatile int n = 3;\n    drawn_loop(&n);{text[begin:]}")
    with pytest.raises(ExportError, match="drawn_loop calls drawn_loop: recursion"):
        stack_bytes(Firmware.of(program, tmp_path, "drawn"), "m4f")
