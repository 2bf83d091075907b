"""Laws of the generated C on emulated Cortex-M and RISC-V: zig cc compiles, unicorn runs; no root, no hardware."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from c_programs import every_position
from conftest import absent
from programs import random_program

from hiss.engines import Stepper
from hiss.engines.elf import riscv_instructions, thumb_instructions
from hiss.engines.emulator import CORES, Emulator, linked_bytes, measure
from hiss.firmware_export import export_c
from hiss.firmware_export.selftest import usual_samples, vectors

TESTED = ("m0", "m4f", "m33", "rv32imc")


@pytest.fixture(scope="module")
def program():
    missing = [package for package in ("ziglang", "unicorn") if importlib.util.find_spec(package) is None]
    if missing:
        absent(f"{' and '.join(missing)} not installed: pip install 'hiss[firmware]'")
    return every_position()


@pytest.fixture(scope="module")
def exported(program, tmp_path_factory):
    return export_c(program, tmp_path_factory.mktemp("emulated"), "force")


@pytest.fixture(scope="module", params=TESTED)
def core(request, program, exported):
    """The model on one core."""
    return Emulator(exported.folder, "force", request.param, len(program.inputs), len(program.outputs))


def test_selftest_passes_on_every_core(core):
    assert core.selftest() == 0


def test_estimates_equal_the_interpreter(program, core):
    """Within the tolerance that the exported self-test states and derives."""
    reference, x = Stepper(program, np.float64), usual_samples(program, 64)
    core.tare()
    tolerance, compared = vectors(program).tolerance, 0
    for i, sample in enumerate(x):
        if i == 28:
            core.reset()
            reference.reset()
        y, expected = core.step(sample), reference.step(sample)
        assert (y is None) == (expected is None)
        if y is not None:
            assert np.all(np.abs(y - expected) <= tolerance)
            compared += 1
    assert compared >= 5


def test_instructions_are_counted_repeatably(program, core):
    x = usual_samples(program, program.tare + 2 * program.period)
    core.tare()
    first = core.count_steps(x)
    core.tare()
    assert core.count_steps(x) == first
    after_tare = first[program.tare :]
    assert max(after_tare) == max(after_tare[program.period - 1 :: program.period])  # the completing step is the worst
    assert min(after_tare) > 1000


def test_floating_point_unit_is_used(program, exported):
    """M4F has one, M0 has not: software takes many times the instructions."""
    m0, m4f = (measure(program, exported.folder, "force", core) for core in ("m0", "m4f"))
    assert m0["mismatches"] == m4f["mismatches"] == 0
    assert m0["average"] > 10 * m4f["average"]
    assert m4f["worst"] >= m4f["average"] > 0
    flash = linked_bytes(exported.folder, "force", "m4f", len(program.inputs), len(program.outputs))
    assert exported.table_bytes <= flash["tables"] <= exported.table_bytes + 64
    assert 0 < flash["code"] < 8192


def test_another_program_on_the_smallest_core(program, tmp_path):
    drawn = random_program(5, feedback=True)
    export_c(drawn, tmp_path, "drawn")
    assert Emulator(tmp_path, "drawn", "m0", len(drawn.inputs), len(drawn.outputs)).selftest() == 0


def test_unknown_core_is_refused(exported):
    with pytest.raises(ValueError, match="no emulated core 'm55'; there are m0, m3, m4f, m7, m33, rv32imc"):
        Emulator(exported.folder, "force", "m55", 1, 1)
    assert set(TESTED) < set(CORES)


def test_thumb_instructions_are_two_or_four_bytes():
    assert thumb_instructions(bytes.fromhex("00bf 00bf 00f000f8 7047".replace(" ", ""))) == 4


def test_riscv_instructions_are_two_bytes_where_compressed():
    assert riscv_instructions(bytes.fromhex("0100 13000000 8280".replace(" ", ""))) == 3


def test_no_step_takes_more_stack_than_another_run_of_it(program, core):
    """The painted stack: the same figure twice, and no call reaches further than the longest path does."""
    x = usual_samples(program, program.tare + 2 * program.period)
    core.tare()
    used = core.stack_bytes(x)
    core.tare()
    assert core.stack_bytes(x) == used
    assert 64 < used < 1024
