"""A spread program gives the estimates of the plain one, a chunk later, in every reader."""

from __future__ import annotations

import dataclasses
from itertools import combinations_with_replacement

import numpy as np
import pytest
from programs import random_program, random_samples

from hiss import Stepper
from hiss.engines.numpy_plan import Glu
from hiss.engines.numpy_steps import planned
from hiss.errors import ProgramError
from hiss.program import (
    Port,
    Program,
    Stage,
    integer,
    integer_sequence,
    interpreter,
    load_program,
    pace,
    passes,
    sequence,
    storage,
)
from hiss.program import ops as o
from hiss.program.cost import cost
from hiss.program.tail import deferred
from hiss.quantization.choose import quantized


def spread_at_random(program: Program, seed: int) -> Program:
    """Any slots that are allowed: the laws hold for all of them, not for the chosen ones alone."""
    names = [d.op.out for d in deferred(program.stages)]
    slots = np.sort(np.random.default_rng(seed).integers(0, program.stages[0].period, len(names)))
    return dataclasses.replace(program, slots=dict(zip(names, slots.tolist(), strict=True)))


def of_period(program: Program, *periods: int) -> Program:
    """The program with other periods."""
    stages = [dataclasses.replace(s, period=p) for s, p in zip(program.stages, periods, strict=True)]
    return dataclasses.replace(program, stages=tuple(stages))


def three_stages(seed: int) -> Program:
    """Periods 5, 2, 1: the last stage of a random program again behind itself, under other names."""
    program = of_period(random_program(seed), 5, 2)
    below = program.stages[-1]
    names = {name: f"{name}.top" for name in program.widths}
    entry = dict(zip(program.stages[0].hands, below.hands * 2, strict=False))

    def copied(op: o.Op) -> o.Op:
        return dataclasses.replace(o.renamed(op, names | entry), out=names[op.out])

    every, last = (tuple(map(copied, ops)) for ops in (below.every, below.last))
    hands = tuple((names | entry)[name] for name in below.hands)
    top = Stage(1, every, last, tuple(dict.fromkeys(hands)))
    width = sum(program.widths.get(name.removesuffix(".top"), 0) for name in top.hands)
    outputs = tuple(Port(f"y{i}") for i in range(width))
    return dataclasses.replace(program, stages=(*program.stages, top), outputs=outputs)


CASES = [
    *[pytest.param(lambda s=s: of_period(random_program(s), 4, 1), id=f"4-1 seed {s}") for s in range(12)],
    *[pytest.param(lambda s=s: of_period(random_program(s, feedback=True), 3, 2), id=f"3-2 {s}") for s in range(12)],
    *[pytest.param(lambda s=s: three_stages(s), id=f"5-2-1 seed {s}") for s in range(12)],
]


def each_step(program, x, actions=(), by=interpreter):
    """What step() gives for each sample; actions: {sample: what happens before it}."""
    state, given = by.init_state(program), []
    for i, sample in enumerate(x):
        if i in actions:
            state = by.init_state(program) if actions[i] == "tare" else by.reset(program, state)
        y, state = by.step(program, state, sample)
        given.append(y)
    return given


def assert_a_chunk_later(spread, plain, x, by=interpreter, actions=()):
    """Bit for bit: every estimate comes one chunk later, unless a reset takes it away."""
    later, now = each_step(spread, x, actions, by), each_step(plain, x, actions, by)
    for i, y in enumerate(later):
        from_before = i - spread.latency
        cut = any(from_before < at <= i for at in actions)
        expected = None if from_before < 0 or cut else now[from_before]
        assert (y is None) == (expected is None), i
        if y is not None:
            np.testing.assert_array_equal(y, expected, err_msg=str(i))


@pytest.mark.parametrize("make", CASES)
def test_estimates_are_the_plain_ones_a_chunk_later(make):
    plain = make()
    for seed in range(3):
        spread = spread_at_random(plain, seed)
        assert spread.latency == plain.stages[0].period
        assert_a_chunk_later(spread, plain, random_samples(plain, 47, seed))


@pytest.mark.parametrize("make", CASES[::3])
def test_the_same_in_integers(make):
    """Step by step, and over whole sequences."""
    plain, _ = quantized(make(), [random_samples(make(), 60)])
    whole, spread = integer.samples(plain, random_samples(plain, 47, 1)), spread_at_random(plain, 5)
    assert_a_chunk_later(spread, plain, whole, integer)
    later = integer.run(spread, {**integer.init_state(spread), "tare.left": np.array(0)}, whole)[0]
    np.testing.assert_array_equal(integer_sequence.run(spread, whole), later)


@pytest.mark.parametrize("make", CASES[::3])
@pytest.mark.parametrize("at", [14, 21, 23])
def test_a_reset_in_a_chunk_or_a_tail_takes_what_is_pending(make, at):
    plain = make()
    x = random_samples(plain, 60)
    for action in ("reset", "tare"):
        assert_a_chunk_later(spread_at_random(plain, at), plain, x, actions={at: action})


@pytest.mark.parametrize("make", CASES[::4])
def test_a_state_resumes_at_any_step(make):
    """Saved as arrays and restored, the steps go on to the bit."""
    spread = spread_at_random(make(), 2)
    x = random_samples(spread, 40)
    whole = each_step(spread, x)
    for cut in range(len(x)):
        state = interpreter.init_state(spread)
        for sample in x[:cut]:
            _, state = interpreter.step(spread, state, sample)
        state = {key: array.copy() for key, array in state.items()}
        for i in range(cut, min(cut + 12, len(x))):
            y, state = interpreter.step(spread, state, x[i])
            np.testing.assert_array_equal(y is None, whole[i] is None)
            np.testing.assert_array_equal(y if y is not None else 0, whole[i] if y is not None else 0)


@pytest.mark.parametrize("make", CASES[::3])
def test_whole_sequences_equal_steps(make):
    """predict() and run(), float64 to the order of sums."""
    spread = spread_at_random(make(), 3)
    for steps in (0, 1, spread.tare + spread.latency, 40, 57):
        x = random_samples(spread, steps)
        stepped = [y for y in each_step(spread, x) if y is not None]
        stepped = np.array(stepped).reshape(len(stepped), len(spread.outputs))
        np.testing.assert_allclose(sequence.predict(spread, x), stepped, rtol=1e-10, atol=1e-10)
        made, state = sequence.run(spread, interpreter.init_state(spread), x[:20])
        more, _ = sequence.run(spread, state, x[20:])
        np.testing.assert_array_equal(np.concatenate([made, more]), stepped)


def test_a_batch_is_its_recordings_side_by_side():
    spread = spread_at_random(of_period(random_program(4), 4, 2), 1)
    x = np.stack([random_samples(spread, 40, s) for s in range(3)])
    for one, y in zip(x, sequence.run(spread, interpreter.init_state(spread, (3,)), x)[0], strict=True):
        stepped = [e for e in each_step(spread, one) if e is not None]
        np.testing.assert_allclose(np.array(stepped), y, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("make", CASES)
def test_the_stepper_equals_the_interpreter(make):
    """Estimates and states in float64, to the order of sums; a reset in the middle, and a state handed to another."""
    spread = spread_at_random(make(), 6)
    stepper, state = Stepper(spread, np.float64), interpreter.init_state(spread)
    for i, sample in enumerate(random_samples(spread, 70, 8)):
        if i == 37:
            stepper.reset()
            state = interpreter.reset(spread, state)
        if i == 50:
            other = Stepper(spread, np.float64)
            other.state = stepper.state
            stepper = other
        y, (expected, state) = stepper.step(sample), interpreter.step(spread, state, sample)
        assert (y is None) == (expected is None)
        np.testing.assert_allclose(y if y is not None else 0, expected if y is not None else 0, rtol=1e-10, atol=1e-10)
        held = stepper.state
        assert held.keys() == state.keys()
        for key in held:
            np.testing.assert_allclose(held[key], state[key], rtol=1e-10, atol=1e-10, err_msg=key)


def test_a_spread_stepper_keeps_its_gates_in_one_product():
    """Where their parts stand in one slot; and gives what the plain one gives."""
    plain = reference()
    spread = passes.spread(plain)
    assert sum(isinstance(op, Glu) for op in planned(spread).ops) >= 1
    x = np.random.default_rng(2).normal(size=(60, 6))
    now, later = (
        [y for sample in x if (y := stepper.step(sample)) is not None] for stepper in map(Stepper, (plain, spread))
    )
    np.testing.assert_allclose(later, now[:-1], rtol=1e-5, atol=1e-5)  # float32, sums in another order


# ---- the program ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", CASES[::6])
def test_saved_and_loaded_is_the_same_program(tmp_path, make):
    plain = make()
    spread = spread_at_random(plain, 4)
    spread.save(tmp_path / "a.hiss")
    loaded = load_program(tmp_path / "a.hiss")
    assert loaded.slots == spread.slots
    assert loaded.digest == spread.digest != plain.digest
    assert storage.pack(spread.plain) == storage.pack(plain)
    x = random_samples(plain, 40)
    np.testing.assert_array_equal(loaded.predict(x), spread.predict(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: dict.fromkeys(list(s)[1:], 0), "expected one for each op that can wait"),
        (lambda s: s | {"z": 0}, "expected one for each op that can wait"),
        (lambda s: s | {next(iter(s)): 3, list(s)[-1]: 2}, "slots follow the order"),
        (lambda s: s | {list(s)[-1]: 4}, "expected a whole number of 0..3"),
        (lambda s: s | {next(iter(s)): -1}, "expected a whole number of 0..3"),
        (lambda s: s | {next(iter(s)): 0.0}, "expected a whole number of 0..3"),
    ],
)
def test_slots_that_do_not_fit_are_refused(change, message):
    plain = of_period(random_program(1), 4, 1)
    slots = dict.fromkeys((d.op.out for d in deferred(plain.stages)), 0)
    with pytest.raises(ProgramError, match=message):
        dataclasses.replace(plain, slots=change(slots))


def test_a_program_without_anything_to_spread_is_refused():
    z = o.Input("z", np.zeros(2), np.zeros(2, int), np.full(2, -9.0), np.full(2, 9.0))
    ports = tuple(Port(n) for n in "ab")
    with pytest.raises(ProgramError, match="nothing to spread"):
        Program(ports, ports, 1.0, (Stage(1, (z,), (o.Map("y", "z", "tanh"),), ("y",)),), slots={"y": 0})
    with pytest.raises(ProgramError, match="nothing to spread"):
        Program(ports, ports, 1.0, (Stage(4, (z,), (), ("z",)),), slots={})
    held = o.Map("held.z", "z", "tanh")
    with pytest.raises(ProgramError, match="rename"):
        Program(ports, ports, 1.0, (Stage(4, (z,), (held,), ("held.z",)),), slots={"held.z": 0})
    with pytest.raises(ProgramError, match="not spread"):
        _ = random_program(1).tail


# ---- the slots that the pass chooses -------------------------------------------------------------------------------


def reference() -> Program:
    """low 32x2 | high 32x2, N = 16, period 10, 6 columns into the embed, 2 outputs: sizes alone matter here."""
    n, modes, rng = 32, 8, np.random.default_rng(0)

    def layer(name: str, u: str, restart: bool) -> list[o.Op]:
        a = rng.uniform(0.5, 0.97, (n, modes)) * np.exp(1j * rng.uniform(0, 3, (n, modes)))
        c = rng.normal(size=(n, modes)) / 4 + 0j
        return [
            o.Norm(f"{name}.norm", u, "layer", np.ones(n), np.zeros(n)),
            o.Diagonal(f"{name}.ssm", f"{name}.norm", a, c, np.ones(n), restart),
            o.Map(f"{name}.gelu", f"{name}.ssm", "gelu"),
            affine(f"{name}.mix", f"{name}.gelu", n),
            affine(f"{name}.gate", f"{name}.gelu", n),
            o.Map(f"{name}.open", f"{name}.gate", "sigmoid"),
            o.Mul(f"{name}.glu", (f"{name}.mix", f"{name}.open")),
            o.Add(f"{name}.out", (u, f"{name}.glu"), (1, 1)),
        ]

    def affine(out: str, u: str, rows: int, columns: int = n) -> o.Op:
        return o.Affine(out, (u,), (rng.normal(size=(rows, columns)) / np.sqrt(columns),), np.zeros(rows))

    z = o.Input("z", np.zeros(6), np.zeros(6, int), np.full(6, -9.0), np.full(6, 9.0))
    low = [z, affine("embed", "z", n, 6), *layer("low.0", "embed", True), *layer("low.1", "low.0.out", True)]
    low.append(affine("low.out", "low.1.out", n))
    high = [*layer("high.0", "low.out", False), *layer("high.1", "high.0.out", False), affine("y", "high.1.out", 2)]
    stages = (Stage(10, tuple(low), (), ("low.out",)), Stage(1, tuple(high), (), ("y",)))
    ports = tuple(Port(f"x{i}") for i in range(6))
    return passes.optimized(Program(ports, (Port("a"), Port("b")), 100.0, stages))


@pytest.mark.parametrize("factors", [pace.FLOAT, pace.INTEGER])
def test_the_worst_sample_of_the_reference_takes_at_most_half_more_than_the_average(factors):
    plain = reference()
    spread = passes.spread(plain, factors)
    before, after = pace.instructions(plain, factors), pace.instructions(spread, factors)
    assert max(after) <= 1.5 * np.mean(after) < max(before)
    assert sum(after) == pytest.approx(sum(before))
    assert cost(spread).worst_macs <= 1.5 * cost(spread).macs


@pytest.mark.parametrize("make", CASES)
def test_the_pass_never_makes_the_worst_sample_worse(make):
    plain = make()
    spread = passes.spread(plain)
    assert max(pace.instructions(spread)) <= max(pace.instructions(plain)) + 1e-6
    assert_a_chunk_later(spread, plain, random_samples(plain, 40))
    assert passes.spread(spread).slots == spread.slots


@pytest.mark.parametrize("seed", range(30))
def test_no_slots_have_a_shorter_longest_phase(seed):
    """Against all that there are."""
    rng = np.random.default_rng(seed)
    base, prices = rng.integers(0, 9, 4).tolist(), rng.integers(1, 9, 6)
    sums = [0.0, *np.cumsum(prices).tolist()]

    def longest(slots):
        return max(b + prices[np.array(slots) == s].sum() for s, b in enumerate(base))

    chosen = pace.placed(base, sums, [0] * 7, pace.shortest(base, sums))
    assert longest(chosen) == min(map(longest, combinations_with_replacement(range(4), 6)))
    assert chosen == sorted(chosen)
