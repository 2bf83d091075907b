"""Spread C is the spread interpreter: in every bit in integers, to rounding in float32, states included."""

from __future__ import annotations

import re

import numpy as np
import pytest
from c_programs import every_position
from click.testing import CliRunner
from integer_states import TARE, decoded, first_difference, hard_actions, hard_samples
from programs import random_program, random_samples
from test_spread import CASES, reference, spread_at_random

from hiss.cli import export
from hiss.engines.c_engine import FLAGS, CStepper, run_selftest
from hiss.engines.emulator import Emulator, usual_input
from hiss.engines.firmware import Firmware
from hiss.firmware_export import export_c
from hiss.firmware_export.c import Model
from hiss.firmware_export.selftest import usual_samples
from hiss.program import integer, interpreter, passes
from hiss.quantization import quantized

UNDEFINED = (*FLAGS, "-fsanitize=undefined", "-fno-sanitize-recover=all")


def whole(program, seed=0):
    made, _ = quantized(program, [random_samples(program, 300, seed)])
    return made


def compared(program, steps, seed=0):
    """Step the C and the interpreter side by side; returns the number of estimates."""
    stepper, state, made = CStepper(program, UNDEFINED), integer.init_state(program), 0
    actions = hard_actions(program, steps)
    for i, x in enumerate(hard_samples(program, steps, seed)):
        if actions[i]:
            state = integer.init_state(program) if actions[i] == TARE else integer.reset(program, state)
            stepper.tare() if actions[i] == TARE else stepper.reset()
        y, state = integer.step(program, state, x)
        found = stepper.step_integers(x)
        assert (found is None) == (y is None), f"step {i}"
        if y is not None:
            made += 1
            assert found.tolist() == y.tolist(), f"step {i}"
        difference = _held_difference(stepper.model, stepper.state, state)
        if int(state["phase.0"]) == 0:  # within a tail its stages have moved on in part
            difference = difference or first_difference(stepper.model, stepper.state, state)
        assert difference is None, f"step {i}: {difference}"
    return made


def _held_difference(model, raw, state):
    """What the next slot reads, as it lies in `held`."""
    program, struct = model.program, decoded(model, raw)
    if int(struct["pending"][0]) != int(state["tail.pending"]):
        return "pending"
    slot = int(state["phase.0"])
    stepping = 1
    while stepping < len(program.stages) and state[f"phase.{stepping}"] == program.stages[stepping].period - 1:
        stepping += 1
    tail = program.tail
    reads = {n for d in tail.slots[slot] if d.stage <= stepping and (d.each or d.stage < stepping) for n in d.op.reads}
    made = {d.op.out for d in tail.slots[slot]}
    for name in set(tail.held) & reads - made if struct["pending"][0] else ():
        kept = name if name in model.layout.offset and name in model.layout.kept else f"held.{name}"
        at, expected = model.layout.offset[kept], state[f"held.{name}"]
        if not np.array_equal(struct["held"][at : at + len(expected)], expected):
            return f"held {name}"
    return None


@pytest.mark.parametrize("make", CASES[1::3])  # compiling with the sanitizer takes seconds each
def test_integer_c_equals_the_interpreter_in_every_bit(make):
    plain = whole(make())
    assert compared(spread_at_random(plain, 1), 20 * plain.period, 1) >= 3


@pytest.mark.parametrize("seed", range(3))
def test_integer_c_equals_the_interpreter_with_each_op_in_each_position(seed):
    program = every_position()
    made, _ = quantized(program, [usual_samples(program, 400).astype(float)])
    assert compared(spread_at_random(made, seed), 300, seed) > 10


@pytest.mark.parametrize("seed", range(3))
def test_float_c_equals_the_interpreter(seed, tmp_path):
    """Every estimate comes when it should, to float32 rounding; the self-test holds under strict warnings."""
    program = spread_at_random(every_position(), seed)
    stepper, state = CStepper(program, UNDEFINED), interpreter.init_state(program)
    for i, x in enumerate(usual_samples(program, 120)):
        if i == 57:
            stepper.reset()
            state = interpreter.reset(program, state)
        y, state = interpreter.step(program, state, x)
        found = stepper.step(x)
        assert (found is None) == (y is None), i
        if y is not None:
            np.testing.assert_allclose(found, y, rtol=1e-3, atol=1e-3)  # float32 through a deep program
    assert run_selftest(export_c(program, tmp_path, "force")) == 0


@pytest.mark.parametrize("make", CASES[::9])
@pytest.mark.parametrize("in_integers", [False, True])
def test_the_selftest_holds_under_strict_warnings(make, in_integers, tmp_path):
    plain = whole(make()) if in_integers else make()
    assert run_selftest(export_c(passes.spread(plain), tmp_path, "force")) == 0


def test_the_header_says_the_latency(tmp_path):
    export = export_c(passes.spread(reference()), tmp_path, "force")
    header = export.files[0].read_text()
    assert "of the sample 10 before the one it comes with (0.1 s, for even work per sample)" in header
    assert "#define FORCE_LATENCY 10 " in header
    assert "the estimate that belongs to the sample 10 steps before" in header
    held = int(re.search(r"held\[(\d+)\]", header).group(1))
    assert held <= 128  # numbers: the residual, and what is on its way


@pytest.mark.parametrize("in_integers", [False, True])
def test_the_worst_step_of_the_reference_takes_at_most_half_more_than_the_average(in_integers, tmp_path):
    """Counted on the emulated Cortex-M4F, over whole chunks."""
    pytest.importorskip("unicorn", reason="emulation is not installed: pip install 'hiss[firmware]'")
    plain = reference()
    if in_integers:
        plain, _ = quantized(plain, [usual_samples(plain, 300)])
    counts = {}
    for name, program in (("plain", plain), ("spread", passes.spread(plain))):
        export_c(program, tmp_path / name, "force")
        core = Emulator.of(Firmware.of(program, tmp_path / name, "force"), "m4f")
        core.tare()
        counts[name] = np.array(core.count_steps(usual_input(program, 40)))[20:]
    assert counts["spread"].max() <= 1.5 * counts["spread"].mean() < counts["plain"].max()
    assert counts["spread"].mean() <= 1.02 * counts["plain"].mean()


def test_a_state_resumes_in_the_middle_of_a_tail():
    program = spread_at_random(every_position(), 1)
    x = usual_samples(program, 60)
    stepper = CStepper(program)
    for sample in x[:33]:
        stepper.step(sample)
    other = CStepper(program)
    other.state = stepper.state
    for sample in x[33:]:
        one, two = stepper.step(sample), other.step(sample)
        assert (one is None) == (two is None)
        assert one is None or np.array_equal(one, two)


def test_slots_are_part_of_the_version():
    """States of one schedule are not taken for those of another."""
    program = every_position()
    versions = {Model(p, "m").version for p in (program, spread_at_random(program, 1), spread_at_random(program, 2))}
    assert len(versions) == 3


def test_export_spreads_on_request(tmp_path):
    """hiss export --spread; a program of one step per chunk is refused with the reason."""
    reference().save(tmp_path / "a.hiss")
    done = CliRunner().invoke(export.command, [str(tmp_path / "a.hiss"), "--spread", "-o", str(tmp_path / "c")])
    assert done.exit_code == 0, done.output
    assert "10 samples late" in done.output
    assert "#define MODEL_LATENCY 10 " in (tmp_path / "c" / "model.h").read_text()
    random_program(7, tare=0).save(tmp_path / "b.hiss")
    done = CliRunner().invoke(export.command, [str(tmp_path / "b.hiss"), "--spread", "-o", str(tmp_path / "d")])
    assert "nothing to spread" in str(done.exception)
