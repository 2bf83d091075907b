"""The law of the engines: each of them gives the numbers of the program's own definition."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import random_program, random_samples

from hiss.cli.main import command
from hiss.engines import ENGINES, EXACT, Stepper, open_stepper
from hiss.errors import ProgramError
from hiss.program import integer
from hiss.program.passes import spread
from hiss.quantization import quantized
from hiss.recording import Channel, Recording
from hiss.recording_hdf5 import write_hdf5


def integer_program(seed, tare=2):
    program = random_program(seed, tare=tare)
    made, _ = quantized(program, [random_samples(program, 300, seed)])
    return made


def run(stepper, x):
    made = [y for y in (stepper.step(sample) for sample in x) if y is not None]
    return np.array(made, np.float32).reshape(len(made), len(stepper.program.outputs))


@pytest.mark.parametrize("engine", EXACT)
@pytest.mark.parametrize("seed", range(4))
def test_every_engine_runs_an_integer_program_to_the_bit(seed, engine):
    program = integer_program(seed)
    x = random_samples(program, 80, seed + 1)
    np.testing.assert_array_equal(run(open_stepper(program, engine), x), integer.predict(program, x).astype(np.float32))


@settings(max_examples=20, deadline=timedelta(seconds=20))
@given(seed=st.integers(0, 50), cut=st.integers(0, 40))
def test_a_cut_recording_goes_on_from_the_state(seed, cut):
    program = integer_program(seed)
    if program.stages[0].period > 1 and seed % 2:
        program = spread(program)
    x = random_samples(program, 41, seed)
    whole, first, second = (open_stepper(program) for _ in range(3))
    expected = run(whole, x)
    head = run(first, x[:cut])
    second.state = first.state
    np.testing.assert_array_equal(np.concatenate([head, run(second, x[cut:])]), expected)


@pytest.mark.parametrize("engine", EXACT)
def test_a_sample_that_is_not_finite_does_not_count_in_the_tare(engine):
    program = integer_program(1, tare=3)
    x = random_samples(program, 30)
    spoiled = np.insert(x, 1, np.nan, axis=0)
    np.testing.assert_array_equal(run(open_stepper(program, engine), spoiled), run(open_stepper(program, engine), x))


def test_reset_keeps_the_tare_and_tare_renews_it():
    program = integer_program(2, tare=3)
    x = random_samples(program, 30)
    stepper = open_stepper(program)
    expected = run(stepper, x)
    stepper.reset()
    assert not stepper.taring
    np.testing.assert_array_equal(run(stepper, x[3:]), expected)
    stepper.tare()
    assert stepper.taring
    np.testing.assert_array_equal(run(stepper, x), expected)


def test_wrong_use_is_said():
    program = integer_program(0)
    with pytest.raises(ValueError, match="no engine 'rust'; there are " + ", ".join(ENGINES)):
        open_stepper(program, "rust")
    with pytest.raises(ValueError, match="a sample of shape"):
        open_stepper(program).step(np.zeros(99))
    with pytest.raises(ValueError, match="of the same program"):
        open_stepper(program).state = {}
    with pytest.raises(ProgramError, match="open_stepper"):
        Stepper(program)


@pytest.mark.parametrize("engine", EXACT)
def test_replay_takes_integer_programs(engine, tmp_path):
    """The verb prints what the definition says, by either engine."""
    program = integer_program(3, tare=0)
    program.save(tmp_path / "a.hiss")
    x = random_samples(program, 60)
    channels = tuple(Channel(port.name, port.unit) for port in program.inputs)
    write_hdf5(tmp_path / "a.h5", [Recording("one", np.arange(60) / 100.0, x, channels, rate_hz=100.0)])
    words = ["replay", str(tmp_path / "a.hiss"), str(tmp_path / "a.h5"), "--engine", engine]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = [[row["y"][port.name] for port in program.outputs] for row in lines]
    np.testing.assert_allclose(found, integer.predict(program, x), rtol=1e-6)
