"""The law of integer C: every output and every live word of state equals the integer interpreter's in every bit."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from c_programs import every_position
from integer_states import RESET, TARE, first_difference, hard_actions, hard_samples
from programs import random_program, random_samples

from hiss.engines.c_engine import FLAGS, CStepper, run_selftest
from hiss.engines.host_compiler import STRICT, find_compiler, run_compiler
from hiss.firmware_export import export_c
from hiss.firmware_export.c import EMITTERS
from hiss.firmware_export.selftest import usual_samples
from hiss.program import integer
from hiss.program import ops as o
from hiss.quantization import quantized

RUNTIME = Path(export_c.__code__.co_filename).parent / "runtime"
UNDEFINED = (*FLAGS, "-fsanitize=undefined", "-fno-sanitize-recover=all")


def compared(program, steps, seed=0, flags=UNDEFINED):
    """Step the C and the interpreter side by side; returns the number of estimates."""
    stepper, state, made = CStepper(program, flags), integer.init_state(program), 0
    actions = hard_actions(program, steps)
    for i, x in enumerate(hard_samples(program, steps, seed)):
        if actions[i] == TARE:
            state = integer.init_state(program)
            stepper.tare()
        elif actions[i] == RESET:
            state = integer.reset(program, state)
            stepper.reset()
        y, state = integer.step(program, state, x)
        found = stepper.step_integers(x)
        assert (found is None) == (y is None), f"step {i}"
        if y is not None:
            made += 1
            assert found.tolist() == y.tolist(), f"step {i}"
        difference = first_difference(stepper.model, stepper.state, state)
        assert difference is None, f"step {i}: {difference}"
    return made


@pytest.mark.parametrize("states", ["int32", "int16"])
@pytest.mark.parametrize("weights", ["int8", "int16"])
def test_c_equals_the_interpreter_in_every_bit_with_each_op_in_each_position(weights, states):
    program = every_position()
    made, _ = quantized(program, [usual_samples(program, 400).astype(float)], weights=weights, states=states)
    assert compared(made, 300) > 15


@pytest.mark.parametrize("seed", range(12))
def test_c_equals_the_interpreter_in_every_bit_for_random_programs(seed):
    program = random_program(seed, feedback=seed % 3 == 0)
    weights, states = ("int8", "int16")[seed % 2], ("int32", "int16")[seed // 2 % 2]
    made, _ = quantized(program, [random_samples(program, 300, seed)], weights=weights, states=states)
    assert compared(made, 150, seed) > 5


def test_plain_c_equals_the_same(tmp_path):
    made, _ = quantized(every_position(), [usual_samples(every_position(), 400).astype(float)])
    assert compared(made, 100, flags=(*UNDEFINED, "-DHISS_PORTABLE")) > 5


def test_narrow_samples_and_no_tare():
    """Raw samples of 16 bits, whole numbers."""
    program = random_program(3, tare=0)
    made, _ = quantized(program, [np.rint(random_samples(program, 300)).astype(float)])
    stepper = CStepper(made)
    assert stepper.model.numbers.x == "int16_t"
    assert compared(made, 200) > 5


@pytest.mark.parametrize("weights", ["int8", "int16"])
def test_selftest_is_compiled_strictly_and_passes(weights, tmp_path):
    program = every_position()
    made, _ = quantized(program, [usual_samples(program, 400).astype(float)], weights=weights)
    assert run_selftest(export_c(made, tmp_path, "force")) == 0


def test_selftest_sees_one_wrong_bit(tmp_path):
    program = every_position()
    made, _ = quantized(program, [usual_samples(program, 400).astype(float)])
    export = export_c(made, tmp_path, "force")
    source = tmp_path / "force.c"
    text = source.read_text()
    table = re.search(r"fir_last_t\[\d+\] HISS_TABLE HISS_WORDS = \{\s*(-?\d+)", text)
    source.write_text(text[: table.start(1)] + str(int(table[1]) - 1) + text[table.end(1) :])
    assert run_selftest(export) > 0


def test_same_program_same_bytes_and_a_stepper_of_numbers_in_their_units():
    """run() equals predict(): raw samples in, estimates in their units out; a NaN in the tare does not count."""
    program = every_position()
    made, _ = quantized(program, [usual_samples(program, 400).astype(float)])
    x = usual_samples(program, 120).astype(float)
    expected = integer.predict(made, x)
    np.testing.assert_array_equal(CStepper(made).run(x), expected.astype(np.float32))
    spoiled = np.insert(x, 1, np.nan, axis=0)
    np.testing.assert_array_equal(CStepper(made).run(spoiled), expected.astype(np.float32))


def test_every_op_has_an_emitter_in_each_arithmetic():
    for emitters in EMITTERS.values():
        assert set(emitters) == set(o.OPS.values())


def test_tables_of_the_runtime_are_those_of_the_definition(tmp_path):
    """tools/integer_tables.py writes them; what stands is what it would write."""
    done = subprocess.run(
        [sys.executable, "-c", "import integer_tables, sys; sys.stdout.write(integer_tables.text())"],
        cwd=RUNTIME.parents[2] / "tools",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout in (RUNTIME / "hiss_int.c").read_text(encoding="utf-8")


def test_the_runtime_is_c_and_cpp_and_silent(tmp_path):
    compiler = find_compiler()
    for language in (("-std=c99",), ("-x", "c++", "-std=c++11")):
        for define in ((), ("-DHISS_PORTABLE",)):
            words = [*language, *STRICT, *define, "-c", RUNTIME / "hiss_int.c", "-o", tmp_path / "int.o"]
            run_compiler(compiler, words)
