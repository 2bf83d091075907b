"""What the numpy stepper computes together, elsewhere or later than the program says it changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hiss import Stepper
from hiss.engines.numpy_plan import Gelu, ahead, direct, fused
from hiss.program import Port, Program, Stage, interpreter
from hiss.program import ops as o

N = 4
STEPS = 150  # past the end of a strip of past values


def layered_program() -> Program:
    """Each thing that may be computed otherwise, and each of its neighbours that may not.

    GELUs behind Fir, Diagonal and Affine, before gates and Affines; one whose result, and one whose argument is read
    elsewhere too. Norms before one Fir and before two readers. Diagonals of a Norm, of a Delay, and one that restarts.
    """
    rng = np.random.default_rng(3)

    def affine(out: str, *inputs: str) -> o.Op:
        return o.Affine(out, inputs, tuple(rng.standard_normal((N, N)) / 3 for _ in inputs), rng.standard_normal(N))

    def gate(out: str, value: str) -> list[o.Op]:
        opened = o.Map(f"{out}.open", f"{out}.gate", "sigmoid")
        parts = [affine(f"{out}.mix", value), affine(f"{out}.gate", value), opened]
        return [*parts, o.Mul(out, (f"{out}.mix", f"{out}.open"))]

    def norm(out: str, value: str, kind: str, plain: bool = True) -> o.Op:
        gain, bias = (np.ones(N), np.zeros(N)) if plain else rng.standard_normal((2, N))
        return o.Norm(out, value, kind, gain, bias)

    def fir(out: str, value: str, restart: bool = True) -> o.Op:
        return o.Fir(out, value, rng.standard_normal((N, 5)), rng.standard_normal(N), restart)

    def diagonal(out: str, value: str, restart: bool = False) -> o.Op:
        a = rng.uniform(0.3, 0.95, (N, 2)) * np.exp(1j * rng.uniform(0, 2, (N, 2)))
        c = rng.standard_normal((N, 2)) + 1j * rng.standard_normal((N, 2))
        return o.Diagonal(out, value, a, c, rng.standard_normal(N), restart)

    z = o.Input("z", np.zeros(N), np.full(N, 4), np.full(N, -50.0), np.full(N, 50.0))
    before = o.Delay("before", "z", np.ones(N, np.int64), np.arange(N), "first")
    every: list[o.Op] = [z, before, norm("n0", "z", "layer"), fir("f0", "n0"), o.Map("g0", "f0", "gelu")]
    every += [*gate("a", "g0"), norm("n1", "a", "rms", plain=False), fir("f1", "n1", restart=False)]
    every += [o.Map("g1", "f1", "gelu"), affine("b", "g1", "a"), diagonal("dz", "before"), affine("c", "b", "dz")]
    every += [o.Map("gc", "c", "gelu"), o.Add("d", ("gc", "b"), (1, 1)), diagonal("dr", "d", restart=True)]
    every += [norm("n2", "dr", "layer"), fir("f2", "n2"), norm("n3", "d", "rms")]
    every += [affine("r", "d"), o.Map("gr", "r", "gelu"), affine("t", "gr"), o.Map("w", "t", "tanh")]
    last = [
        fir("f3", "n3"),
        o.Map("g3", "f3", "gelu"),
        *gate("e", "g3"),
        o.Add("h", ("e", "n2", "f2", "gr", "w"), (1, 1, -1, 1, 1)),
    ]
    high: list[o.Op] = [norm("m0", "h", "layer"), diagonal("s0", "m0"), o.Map("q0", "s0", "gelu"), *gate("i", "q0")]
    high += [diagonal("s1", "i"), o.Map("q1", "s1", "gelu"), affine("j", "q1"), affine("k", "q1", "s1", "j")]
    high += [affine("p", "k"), o.Map("qp", "p", "gelu"), affine("y", "qp", "p")]
    stages = (Stage(3, tuple(every), tuple(last), ("h",)), Stage(1, tuple(high), (), ("y",)))
    return Program(tuple(Port(name) for name in "uvwx"), tuple(Port(f"y{i}") for i in range(N)), 50.0, stages)


def samples() -> npt.NDArray[Any]:
    return np.random.default_rng(4).normal(size=(STEPS, N)) * 20


def same_states(stepper: Stepper, state: dict[str, Any]) -> None:
    held = stepper.state
    assert held.keys() == state.keys()
    for key in held:
        np.testing.assert_allclose(held[key], state[key], rtol=1e-9, atol=1e-9, err_msg=key)


def test_the_program_has_all_that_is_computed_otherwise_and_its_neighbours() -> None:
    stages = [fused(stage) for stage in layered_program().stages]
    assert [op.out for stage in stages for op in stage.ops if isinstance(op, Gelu)] == ["g0", "g1", "g3", "q0"]
    assert direct(stages).keys() == {"n0", "n1", "n3"}
    assert ahead(stages) == {"s0", "s1"}


@pytest.mark.parametrize("looks", [1, 7, STEPS])
def test_estimates_and_states_are_those_of_the_interpreter(looks: int) -> None:
    """float64 to the order of sums; whoever looks at the state, and how often, sees a whole one and changes nothing."""
    program = layered_program()
    stepper, state = Stepper(program, np.float64), interpreter.init_state(program)
    for i, sample in enumerate(samples(), 1):
        y = stepper.step(sample)
        expected, state = interpreter.step(program, state, sample)
        assert (y is None) == (expected is None)
        if y is not None:
            np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)
        if i % looks == 0:
            same_states(stepper, state)


@pytest.mark.parametrize("cut", [30, 31, 32])
def test_a_state_carries_over_and_a_reset_forgets_what_is_unsettled_too(cut: int) -> None:
    """cut 30: an estimate has just been made; its step is unsettled, settled, or settled twice: equal in every bit."""
    program, x = layered_program(), samples()
    made = [Stepper(program) for _ in range(4)]
    for i, stepper in enumerate(made[:3]):
        for sample in x[:cut]:
            stepper.step(sample)
        for _ in range(i):
            stepper.finish()
    made[3].state = made[0].state
    rest = [[y for sample in x[cut:] if (y := stepper.step(sample)) is not None] for stepper in made]
    for other in rest[1:]:
        np.testing.assert_array_equal(other, rest[0])
    made[0].reset()
    fresh = Stepper(program)
    for sample in x[:cut]:
        np.testing.assert_array_equal(made[0].step(sample), fresh.step(sample))
