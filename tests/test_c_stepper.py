"""The C stepper sample by sample: the same numbers as over whole arrays, and the tare known without asking C."""

from __future__ import annotations

import numpy as np
import pytest
from programs import random_program, random_samples

from hiss.engines.c_engine import CStepper
from hiss.engines.host_compiler import find_compiler
from hiss.errors import ExportError
from hiss.program import integer
from hiss.quantization import quantized

try:
    find_compiler()
except ExportError:
    pytest.skip("no C compiler", allow_module_level=True)


def integer_program(seed: int = 3, tare: int = 4, whole: bool = False):
    """whole: samples as a sensor's integers, so raw samples have 16 bits."""
    program = random_program(seed, tare=tare)
    samples = random_samples(program, 300).astype(float)
    return quantized(program, [np.rint(samples) if whole else samples])[0]


def odd_samples(program, n: int = 400) -> np.ndarray:
    """Halves on the grid of the samples, huge ones, and ones that are not finite."""
    rng = np.random.default_rng(1)
    x = rng.integers(-200, 200, (n, len(program.inputs))) / 8
    x[rng.random(x.shape) < 0.05] = 1e30
    x[rng.random(x.shape) < 0.05] = -np.inf
    x[rng.random(x.shape) < 0.05] = np.nan
    return x


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_sample_becomes_the_integers_that_the_definition_says(whole, dtype):
    program = integer_program(whole=whole)
    grid = CStepper(program)._grid
    for x in odd_samples(program).astype(dtype):
        np.testing.assert_array_equal(grid.sample(x), integer.samples(program, x))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_c_is_given_the_integers_that_the_definition_says(whole, dtype):
    """float32 becomes integers in C, other numbers in Python."""
    program = integer_program(tare=0, whole=whole)
    stepper = CStepper(program)
    for x in odd_samples(program).astype(dtype):
        stepper.step(x)
        np.testing.assert_array_equal(stepper._x, integer.samples(program, x))


@pytest.mark.parametrize("make", [integer_program, lambda: random_program(3, tare=0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_c_tells_of_every_channel_whether_it_is_finite(make, dtype):
    program = make()
    stepper, n = CStepper(program), len(program.inputs)
    largest = np.full(n, np.finfo(np.float32).max, dtype)
    assert all(stepper.finite(x) for x in (np.zeros(n, dtype), largest, -largest))
    for channel in range(n):
        for odd in (np.nan, np.inf, -np.inf):
            x = largest.copy()
            x[channel] = odd
            assert not stepper.finite(x)


def test_one_estimate_has_the_units_that_the_definition_says():
    program = integer_program()
    grid = CStepper(program)._grid
    for y in np.random.default_rng(0).integers(-(2**15), 2**15, (200, len(program.outputs))).astype(np.int16):
        expected = integer.estimates(program, y).astype(np.float32)
        made = grid.estimate(y)
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("make", [integer_program, lambda: random_program(3, tare=4)])
def test_taring_is_what_c_says_after_everything_that_may_change_it(make):
    program = make()
    stepper = CStepper(program)
    x = random_samples(program, 30)

    def agree() -> bool:
        assert stepper.taring == bool(stepper._library.model_taring(stepper._self))
        return stepper.taring

    fresh = stepper.state
    for i, sample in enumerate(x):
        assert agree() == (i < 4)
        stepper.step(sample)
    done = stepper.state
    stepper.reset()
    assert not agree()
    stepper.tare()
    assert agree()
    stepper.state = done
    assert not agree()
    stepper.state = fresh
    assert agree()
    stepper.run(x)
    assert not agree()
    stepper.selftest()
    agree()


@pytest.mark.parametrize("make", [integer_program, lambda: random_program(3, tare=4)])
def test_step_by_step_equals_all_at_once(make):
    program = make()
    x = random_samples(program, 60)
    one = CStepper(program)
    made = [y for sample in x if (y := one.step(sample)) is not None]
    np.testing.assert_array_equal(np.array(made), CStepper(program).run(x))
    assert len(made) > 5
