"""The numpy stepper is the interpreter, sample by sample, with its own memory."""

from __future__ import annotations

import numpy as np
import pytest
from programs import random_program, random_samples

from hiss import Stepper
from hiss.engines.numpy_plan import Glu, fused
from hiss.program import Port, Program, Stage, interpreter, sequence
from hiss.program import ops as o


def steps(stepper, x):
    return [y for sample in x if (y := stepper.step(sample)) is not None]


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_stepper_equals_interpreter(seed, feedback):
    """Estimates and states, in float64 to the order of sums."""
    program = random_program(seed, feedback=feedback)
    x = random_samples(program, 57, seed)
    stepper, state = Stepper(program, np.float64), interpreter.init_state(program)
    for sample in x:
        y = stepper.step(sample)
        expected, state = interpreter.step(program, state, sample)
        assert (y is None) == (expected is None)
        if y is not None:
            np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)
    held = stepper.state
    assert held.keys() == state.keys()
    for key in held:
        np.testing.assert_allclose(held[key], state[key], rtol=1e-10, atol=1e-10, err_msg=key)


def gated_program() -> Program:
    """Gates of both orders; one whose parts are read elsewhere too; Affines that share values in several companies."""
    rng = np.random.default_rng(0)

    def affine(out: str, *inputs: str) -> o.Op:
        return o.Affine(out, inputs, tuple(rng.standard_normal((3, 3)) for _ in inputs), rng.standard_normal(3))

    def gate(out: str, *inputs: str, turned: bool = False) -> list[o.Op]:
        factors = (f"{out}.mix", f"{out}.open")
        opened = o.Map(f"{out}.open", f"{out}.gate", "sigmoid")
        parts = [affine(f"{out}.mix", *inputs), affine(f"{out}.gate", *inputs), opened]
        return [*parts, o.Mul(out, factors[::-1] if turned else factors)]

    z = o.Input("z", np.zeros(3), np.full(3, 4), np.full(3, -50.0), np.full(3, 50.0))
    every = (z, *gate("a", "z"), *gate("b", "a", "z", turned=True), *gate("c", "b"), affine("twice", "c", "c"))
    last = (*gate("d", "twice", "a"), affine("e", "c.gate", "d", "z"))
    high = (affine("f", "e"), *gate("g", "e", "f"), o.Add("y", ("g", "c.open"), (-1, 1)))
    stages = (Stage(3, every, last, ("e", "c.open")), Stage(1, high, (), ("y", "g")))
    return Program(tuple(Port(n) for n in "uvw"), tuple(Port(f"y{i}") for i in range(6)), 50.0, stages)


def test_gates_in_one_product_change_nothing():
    """float64 to the order of sums; the gate `c`, whose parts others read, stays as it is."""
    program = gated_program()
    assert [op.out for stage in program.stages for op in fused(stage).ops if isinstance(op, Glu)] == list("abdg")
    x = np.random.default_rng(1).normal(size=(50, 3)) * 30
    y = np.array(steps(Stepper(program, np.float64), x))
    np.testing.assert_allclose(y, program.predict(x, np.float64), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("seed", range(5))
def test_float32_stepper_equals_predict(seed):
    """A float32 estimate from steps is the float32 estimate of the whole array, to the order of sums."""
    program = random_program(seed, tare=0)
    x = random_samples(program, 200, seed)
    y = np.array(steps(Stepper(program), x))
    whole = program.predict(x)
    assert y.dtype == whole.dtype == np.float32
    np.testing.assert_allclose(y, whole, rtol=0, atol=2e-5 * max(1.0, np.abs(whole).max()))


def test_two_steppers_do_not_disturb_each_other():
    program = random_program(7)
    a, b = random_samples(program, 80, 1), random_samples(program, 80, 2)
    alone = np.array(steps(Stepper(program), a))
    first, second, woven = Stepper(program), Stepper(program), []
    for sample, other in zip(a, b, strict=True):
        second.step(other)
        if (y := first.step(sample)) is not None:
            woven.append(y)
    np.testing.assert_array_equal(np.array(woven), alone)


@pytest.mark.parametrize("seed", range(10))
def test_a_restored_state_continues_exactly(seed):
    program = random_program(seed, feedback=seed % 2 == 1)
    x = random_samples(program, 80, seed)
    stepper = Stepper(program)
    steps(stepper, x[:33])
    other = Stepper(program)
    other.state = stepper.state
    np.testing.assert_array_equal(np.array(steps(other, x[33:])), np.array(steps(stepper, x[33:])))


def test_reset_keeps_the_tare_and_tare_renews_it():
    program = random_program(2, tare=5)
    x = random_samples(program, 60)
    stepper = Stepper(program)
    first = steps(stepper, x)
    stepper.reset()
    assert not stepper.taring
    np.testing.assert_array_equal(steps(stepper, x[5:]), first)
    stepper.tare()
    assert stepper.taring
    np.testing.assert_array_equal(steps(stepper, x), first)


@pytest.mark.parametrize("seed", range(10))
def test_a_reset_forgets_even_what_is_not_a_number(seed):
    program = random_program(seed, tare=0)
    x = random_samples(program, 40)
    fresh, spoilt = Stepper(program), Stepper(program)
    spoilt.state = {key: np.full_like(a, np.nan) if ".h" in key else a for key, a in spoilt.state.items()}
    with np.errstate(invalid="ignore"):
        steps(spoilt, x)
    spoilt.reset()
    np.testing.assert_array_equal(steps(spoilt, x), steps(fresh, x))


def test_what_does_not_fit_is_refused():
    program = random_program(2)
    stepper = Stepper(program)
    with pytest.raises(ValueError, match="expected"):
        stepper.step(np.zeros(99))
    with pytest.raises(ValueError, match="missing"):
        stepper.state = {}
    with pytest.raises(ValueError, match="of the same program"):
        stepper.state = stepper.state | {"tare.mean": np.zeros(99, np.float32)}


def test_an_estimate_is_not_changed_by_the_next_step():
    program = random_program(3, tare=0)
    x = random_samples(program, 40)
    kept = steps(Stepper(program), x)
    again = [y.copy() for y in steps(Stepper(program), x)]
    np.testing.assert_array_equal(kept, again)


def test_predict_takes_leading_axes():
    program = random_program(5, tare=0)
    x = random_samples(program, 40)
    np.testing.assert_allclose(
        program.predict(np.stack([x, x]))[1],
        sequence.predict(interpreter.cast(program, np.float32), x),
        rtol=1e-5,
        atol=1e-5,
    )
