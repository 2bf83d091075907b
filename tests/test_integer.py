"""The laws of integer programs: quantization, its proofs, and the integer definition."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
from click.testing import CliRunner
from programs import random_program, random_samples

from hiss.engines import Stepper
from hiss.errors import ProgramError
from hiss.program import Port, Program, Stage, bounds, integer, interpreter, sequence, storage, tables
from hiss.program import ops as o
from hiss.program.constants import constants, poles
from hiss.program.formats import Format
from hiss.quantization import quantized

SEEDS = range(8)
TOP = 2**15 - 1
PINNED = {"gelu": 262095, "silu": 862365, "softplus": 873809, "sigmoid": 2528333, "tanh": 11145616, "decay": 3529988}
PINNED_POWERS, PINNED_GUESSES = 1537366, 2097078


@functools.cache
def quantized_random(seed, weights="int16", feedback=False, tare=0):
    program = random_program(seed, feedback=feedback, tare=tare)
    made, report = quantized(program, [random_samples(program, 200, seed)], weights=weights)
    return program, made, report


def one_op(op, n, period=1, reads="z"):
    """A program of an Input and one op."""
    first = o.Input("z", np.zeros(n), np.zeros(n, int), np.full(n, -8.0), np.full(n, 8.0))
    ports = tuple(Port(f"y{i}") for i in range(n))
    return Program(tuple(Port(f"x{i}") for i in range(n)), ports, 1.0, (Stage(period, (first, op), (), (op.out,)),))


def s4d_lin(rng, channels, modes, slowest=0.001):
    """Poles of a fresh S4D layer: A = -1/2 + i pi n, log-uniform steps up to 0.1."""
    dt = np.exp(rng.uniform(np.log(slowest), np.log(0.1), (channels, 1)))
    return np.exp(dt * (-0.5 + 1j * np.pi * np.arange(modes)))


def diagonal_program(a, rng, period=1, restart=False, states="int32"):
    h = len(a)
    c = rng.standard_normal(a.shape) + 1j * rng.standard_normal(a.shape)
    program = one_op(o.Diagonal("y", "z", a, c, rng.standard_normal(h), restart), h, period)
    return quantized(program, [rng.uniform(-4, 4, (300, h))], states=states)


# ---- nothing overflows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["int8", "int16"])
@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_input_takes_a_state_or_a_sum_beyond_what_is_proven(seed, feedback, weights):
    """Random samples, then extremes in blocks and alternating, what is not finite among them; values stay int16."""
    _, made, report = quantized_random(seed, weights, feedback)
    x = random_samples(made, 90, seed + 1).astype(np.float64)
    x[30:50], x[50:70] = 1e30, -np.inf
    x[70::2], x[80] = 1e30, np.nan
    y, state = integer.run(
        made, integer.init_state(made), integer.samples(made, x), integer.Integer(made, checked=True)
    )
    assert y.max() <= TOP
    assert y.min() >= -TOP - 1
    assert all(proof.holds for proof in report.proofs)
    for key, array in state.items():
        if key.endswith(".past"):
            assert array.max(initial=0) <= TOP, key
            assert array.min(initial=0) >= -TOP - 1, key


def test_a_bound_that_does_not_hold_is_noticed():
    """The checked run measures against the bound, so a bound that is too small is seen."""
    _, made, _ = quantized_random(3)
    by = integer.Integer(made, checked=True)
    by._reach = dict.fromkeys(by._reach, 10.0)
    with pytest.raises(OverflowError, match="proven 10"):
        integer.run(made, integer.init_state(made), integer.samples(made, random_samples(made, 40)), by)


def worst_input_reaches(made, restart):
    """(H, N, 2): what each part of each state becomes under its own worst input, fed to the op itself, and its bound.

    The worst input of a part is the full-scale square wave with the signs of Re a^k (Im a^k) of the pole as it is
    stored, newest first; without restart it lasts until a^k is below 0.4 % for the slowest pole.
    """
    op, by, period = made.stages[0].every[1], integer.Integer(made), made.stages[0].period
    bound = bounds.diagonal_reach(op, made.formats, period if restart else None)
    a = poles(op, made.formats)
    channels, modes = a.shape
    steps = period if restart else int(np.ceil(5.5 / (1 - np.abs(a)).min()))
    angle, mode = np.angle(a).T, np.arange(modes)  # (N, H)
    state = by.initial(op, channels, (2, modes))  # a wave for each part of each mode; every channel has its own
    for k in reversed(range(steps)):
        signs = np.stack([np.cos(k * angle), np.sin(k * angle)])
        state = by.update(op, state, {"z": np.where(signs >= 0, TOP, -TOP - 1)})
    own = np.abs(state["h"][:, mode, :, mode])  # (N, 2, H, 2)
    reached = np.stack([own[:, 0, :, 0], own[:, 1, :, 1]], -1).transpose(1, 0, 2)
    return reached, bound


def assert_bounds_are_reached(dt, states, period, restart):
    """Every mode and part to 1 %; at 16 bits what is missing is the rounding of two products, 0.5 % at most."""
    a = np.exp(dt * (-0.5 + 1j * np.pi * np.arange(4)))  # an S4D layer with step sizes dt (H, 1)
    made, report = diagonal_program(a, np.random.default_rng(0), period, restart, states)
    assert report.states["y"] == int(states[3:])
    reached, bound = worst_input_reaches(made, restart)
    assert np.all(reached <= bound)
    moves = np.broadcast_to(a[..., None].imag != 0, bound.shape).copy()
    moves[..., 0] = True  # a real pole has no second part
    assert np.all(reached[moves] >= 0.99 * bound[moves])
    assert not reached[~moves].any()


@pytest.mark.parametrize(
    ("states", "steps", "period", "restart"),
    [
        ("int32", (2e-3, 0.1), 1, False),
        ("int32", (2e-4, 0.1), 5, True),
        ("int32", (2e-4, 0.1), 40, True),
        ("int16", (0.04, 0.4), 1, False),  # as slow as 16 bits are taken for
        ("int16", (0.04, 0.4), 5, True),
        ("int16", (0.04, 0.4), 40, True),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_the_bound_of_every_state_is_reached_to_1_percent_by_its_worst_input(states, steps, period, restart, seed):
    dt = np.exp(np.random.default_rng(seed).uniform(*np.log(steps), (8, 1)))
    assert_bounds_are_reached(dt, states, period, restart)


@pytest.mark.campaign
def test_the_bound_of_a_mode_that_takes_minutes_to_decay_is_reached_too():
    """|a| = 0.9999: a square wave of 55,000 steps."""
    assert_bounds_are_reached(np.full((1, 1), 2e-4), "int32", 1, False)


def test_l1_sums_are_those_of_the_powers():
    rng = np.random.default_rng(1)
    a = s4d_lin(rng, 3, 4, slowest=0.01)
    powers = a[..., None] ** np.arange(20_000)
    exact = np.stack([np.abs(powers.real).sum(-1), np.abs(powers.imag).sum(-1)], -1)
    found = bounds.l1_sums(a)
    assert np.all(found >= exact * (1 - 1e-12))  # never below
    np.testing.assert_allclose(found, exact, rtol=1e-4)  # the tail that is added for sure


@pytest.mark.parametrize("seed", range(3))
def test_poles_lie_inside_the_circle_after_rounding(seed):
    """512 poles of fresh S4D layers; each also within one step of where it was."""
    rng = np.random.default_rng(seed)
    a = s4d_lin(rng, 64, 8)
    made, report = diagonal_program(a, rng)
    op = made.stages[0].every[1]
    inside = poles(op, made.formats)
    assert np.abs(inside).max() < 1
    assert report.pole_max == np.abs(inside).max()
    np.testing.assert_array_equal(inside, op.a)  # the program says the poles that the integers stand for
    step = np.exp2(-made.formats["y"]["a"].frac_bits.astype(float))
    assert not report.moved
    assert np.all(np.abs(inside - a) <= step)


def test_a_pole_on_the_circle_moves_inward_one_step_and_is_reported():
    a = np.array([[1.0 + 0j, 0.9 + 0j], [np.exp(0.4j), -1.0 + 0j]])
    made, report = diagonal_program(a, np.random.default_rng(0))
    assert {(m.channel, m.mode) for m in report.moved} >= {(0, 0), (1, 1)}
    assert all(m.after < 1 and m.steps <= 2 for m in report.moved)
    assert np.abs(poles(made.stages[0].every[1], made.formats)).max() < 1


def test_int8_sums_fit_32_bits_and_samples_have_int16_weights():
    rng = np.random.default_rng(2)
    n = 40
    first = o.Input("z", np.zeros(n), np.zeros(n, int), np.full(n, -8.0), np.full(n, 8.0))
    lag = o.Delay("lag", "z", np.arange(1, 4), np.arange(3))
    bent = o.Map("bent", "z", "tanh")
    mix = o.Affine("mix", ("bent",), (rng.standard_normal((n, n)),), 100 * rng.standard_normal(n))
    ar = o.Affine("ar", ("z", "lag"), (rng.standard_normal((2, n)), rng.standard_normal((2, 3))), np.zeros(2))
    ports = tuple(Port(f"x{i}") for i in range(n)), tuple(Port(f"y{i}") for i in range(n + 2))
    program = Program(*ports, 1.0, (Stage(1, (first, lag, bent, mix, ar), (), ("mix", "ar")),))
    made, report = quantized(program, [rng.uniform(-4, 4, (100, n))], weights={"*": "int8", "mix": "int8"})
    sums = {p.out: p.bits for p in report.proofs if p.what == "sum"}
    assert made.formats["mix"]["weights"].bits == 8
    assert sums["mix"] == 32
    assert made.formats["ar"]["weights"].bits == 16
    held = constants(mix, made.formats)
    assert np.abs(held["weights.0"]).max(1).min() >= 32  # of 127: the 32 bits cost little
    # equal to the sum in Python integers, which have no width
    x = rng.integers(-TOP, TOP, n)
    row = [sum(int(w) * int(v) for w, v in zip(line, x, strict=True)) for line in held["weights.0"]]
    y = integer.Integer(made).evaluate(mix, {"bent": x})
    total = np.array(row) + held["bias"]
    shift = made.formats["mix"]["weights"].frac_bits - made.formats["mix"]["out"].frac_bits
    np.testing.assert_array_equal(y, np.clip((total + (1 << shift >> 1)) >> shift, -TOP - 1, TOP))


def test_small_states_are_used_only_where_their_dead_zone_is_small():
    rng = np.random.default_rng(3)
    fast, slow = np.full((2, 2), 0.5 + 0.3j), np.full((2, 2), 0.999 + 0j)
    turning = np.full((2, 2), 0.999 * np.exp(1j))  # decays on its way, but a small input is below half a unit of it
    assert diagonal_program(fast, rng, states="int16")[1].states == {"y": 16}
    assert diagonal_program(slow, rng, states="int16")[1].states == {"y": 32}
    assert diagonal_program(turning, rng, states="int16")[1].states == {"y": 32}


# ---- the definition ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_integers_are_close_to_floating_point(seed):
    """Random programs magnify rounding, so the bound is loose per program: 20 dB at worst, the median above 50 dB."""
    program, made, _ = quantized_random(seed)
    x = random_samples(program, 200, seed)
    exact = sequence.predict(interpreter.cast(program, np.float64), x)
    error = integer.predict(made, x) - exact
    assert len(error) == len(exact) > 0
    moving = exact.std(0) > 0
    if moving.any():
        snr = 10 * np.log10((exact**2).mean(0)[moving] / ((error**2).mean(0)[moving] + 1e-30))
        assert snr.min() > 20
        assert np.median(snr) > 40


@pytest.mark.parametrize("cut", [0, 1, 13, 60])
@pytest.mark.parametrize("seed", [1, 4, 7])
def test_cutting_a_recording_in_two_changes_no_bit(seed, cut):
    _, made, _ = quantized_random(seed, tare=3)
    x = integer.samples(made, random_samples(made, 60, seed))
    whole, end = integer.run(made, integer.init_state(made), x)
    first, state = integer.run(made, integer.init_state(made), x[:cut])
    second, state = integer.run(made, state, x[cut:])
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert state.keys() == end.keys()
    for key in end:
        np.testing.assert_array_equal(state[key], end[key], err_msg=key)


def test_a_batch_is_its_recordings_side_by_side_and_runs_repeat():
    _, made, _ = quantized_random(6, "int8", True)
    x = np.stack([random_samples(made, 40, s) for s in range(3)])
    batch = integer.predict(made, x)
    for one, y in zip(x, batch, strict=True):
        np.testing.assert_array_equal(integer.predict(made, one), y)
    np.testing.assert_array_equal(integer.predict(made, x), batch)


def test_the_tare_is_the_mean_rounded_half_up_and_reset_keeps_it():
    """On the grid of the offset, 1/16 of a count: (3 + 4 + 4) / 3 = 58.67 / 16 -> 59 / 16."""
    one, zero = np.ones(1), np.zeros(1, int)
    program = Program(
        (Port("x"),),
        (Port("y"),),
        1.0,
        (Stage(1, (o.Input("z", 0 * one, zero, -100 * one, 100 * one, 3),), (), ("z",)),),
    )
    made, _ = quantized(program, [np.arange(-90.0, 90.0)[:, None]])
    _, state = integer.run(made, integer.init_state(made), np.array([[3], [4], [4]]))
    assert state["tare.mean"].tolist() == [59]
    for kept in (state, integer.reset(made, state)):
        y, _ = integer.step(made, kept, np.array([50]))
        np.testing.assert_allclose(integer.estimates(made, y), 50 - 59 / 16, atol=2**-7)  # the format of z


@pytest.mark.parametrize(
    ("function", "error"),
    [
        *(("gelu", 1.3e-4), ("silu", 9e-5), ("softplus", 6e-5), ("sigmoid", 7e-5), ("tanh", 5e-5)),
        *(("relu", 0), ("exp", 1e-4)),
    ],
)
def test_functions_are_as_accurate_as_stated(function, error):
    """Over every int16 in three formats; the error beside half a unit of the output, for exp relative."""
    x = np.arange(-TOP - 1, TOP + 1)
    for frac in (3, 11, 14):
        u = np.ldexp(x.astype(float), -frac)
        if function == "exp":
            x, u = x[np.abs(u) < 8], u[np.abs(u) < 8]
        exact = interpreter.MAPS[function](u)
        room = int(np.floor(np.log2(TOP / np.abs(exact).max())))
        y = integer._map(function, x, np.array(frac), np.array(room), {})
        off = np.abs(np.ldexp(y.astype(float), -room) - exact) - 2.0 ** -(room + 1)
        assert np.all(off <= error * (np.maximum(exact, 1) if function == "exp" else 1) + 1e-12), off.max()


def test_rounding_is_half_up_and_saturation_at_both_ends():
    x = np.array([5, 6, 7, -5, -6, -7, 2**20, -(2**20)])
    assert integer.requantized(x, np.array(2)).tolist() == [1, 2, 2, -1, -1, -2, TOP, -TOP - 1]
    assert integer.requantized(x[:3], np.array(-14)).tolist() == [TOP, TOP, TOP]


def test_selective_is_close_to_floating_point():
    """u, delta, B and C all move; the table of (1 - exp(-t)) / t is within 1e-4."""
    rng = np.random.default_rng(4)
    n, modes = 4, 3
    first = o.Input("z", np.zeros(n), np.zeros(n, int), np.full(n, -8.0), np.full(n, 8.0))
    delta = o.Map("delta", "z", "softplus")
    b, c = (o.Affine(k, ("z",), (rng.standard_normal((modes, n)),), rng.standard_normal(modes)) for k in "bc")
    scan = o.Selective("y", "z", "delta", "b", "c", -rng.uniform(0.05, 4, (n, modes)), rng.standard_normal(n))
    ports = tuple(Port(f"x{i}") for i in range(n)), tuple(Port(f"y{i}") for i in range(n))
    program = Program(*ports, 1.0, (Stage(1, (first, delta, b, c, scan), (), ("y",)),))
    x = rng.uniform(-2, 2, (300, n))
    made, _ = quantized(program, [x], weights="int16")
    exact = sequence.predict(program, x)
    error = integer.predict(made, x) - exact
    assert 10 * np.log10((exact**2).mean() / (error**2).mean()) > 60


def test_the_tables_are_pinned():
    """Other entries are another definition: sums of all entries, so a change is seen and meant."""
    found = {name: int(np.abs(tables.table(name).entries).sum()) for name in tables._REMAINDERS}
    assert found == PINNED
    assert int(tables.powers_of_two().sum()) == PINNED_POWERS
    assert int(tables.rsqrt_guesses().sum()) == PINNED_GUESSES


def test_one_over_root_is_within_3e_5_of_itself():
    p = np.unique(np.round(np.exp2(np.linspace(0, 61.9, 20_000))).astype(np.int64))
    r, s = integer.rsqrt(p)
    np.testing.assert_allclose(np.ldexp(r.astype(float), -29 - s) * np.sqrt(p.astype(float)), 1, atol=3e-5)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("size", [0.02, 3.0])
def test_norm_is_close_for_large_and_small_values(kind, size):
    rng = np.random.default_rng(0)
    n = 32
    op = o.Norm("y", "z", kind, rng.uniform(0.5, 2, n), rng.standard_normal(n), 1e-5)
    program, x = one_op(op, n), rng.standard_normal((100, n)) * size
    made, _ = quantized(program, [x])
    exact = sequence.predict(program, x)
    np.testing.assert_allclose(integer.predict(made, x), exact, atol=2e-3)  # a unit of z beside its size: 2^-12


# ---- files and errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_formats_are_saved_and_are_part_of_the_digest(tmp_path, seed):
    program, made, _ = quantized_random(seed)
    made.save(tmp_path / "a.hiss")
    loaded = storage.load_program(tmp_path / "a.hiss")
    assert storage.pack(loaded) == storage.pack(made)
    assert loaded.digest == made.digest
    assert dataclasses.replace(made, formats=None).digest != made.digest
    assert b"formats" not in storage.pack(program)  # a floating point file is as it was
    x = random_samples(program, 40)
    np.testing.assert_array_equal(integer.predict(loaded, x), integer.predict(made, x))


def test_formats_that_do_not_fit_are_refused():
    _, made, _ = quantized_random(2)
    name = made.stages[0].every[0].out
    good = made.formats[name]
    for wrong in (
        {k: v for k, v in good.items() if k != "out"},
        {**good, "out": Format(8, good["out"].frac_bits)},
        {**good, "out": Format(16, good["out"].frac_bits[:1].repeat(9))},
    ):
        with pytest.raises(ProgramError):
            dataclasses.replace(made, formats={**made.formats, name: wrong})
    with pytest.raises(ProgramError):
        dataclasses.replace(made, formats={name: good})


def test_a_state_format_that_could_overflow_is_refused():
    made, _ = diagonal_program(np.full((1, 1), 0.99 + 0j), np.random.default_rng(0))
    held = made.formats["y"]["h"]
    finer = {**made.formats["y"], "h": Format(32, held.frac_bits + 1)}
    with pytest.raises(ProgramError, match="can reach"):
        integer.Integer(dataclasses.replace(made, formats={**made.formats, "y": finer}))


def test_what_is_not_floating_point_or_not_integer_is_said():
    program, made, _ = quantized_random(1)
    with pytest.raises(ProgramError, match="hiss quantize"):
        integer.predict(program, random_samples(program, 5))
    with pytest.raises(ProgramError, match="already"):
        quantized(made, [random_samples(made, 50)])
    with pytest.raises(ValueError, match="int8"):
        quantized(program, [random_samples(program, 50)], weights="int4")


def test_hiss_quantize_writes_an_integer_program_and_says_what_it_proved(tmp_path):
    from hiss.cli.main import command
    from hiss.recording import Channel, Recording
    from hiss.recording_hdf5 import write_hdf5

    program = random_program(4, tare=2)
    program.save(tmp_path / "a.hiss")
    x = random_samples(program, 300)
    channels = tuple(Channel(port.name, port.unit) for port in program.inputs)
    recording = Recording("one", np.arange(300) / 100.0, x, channels, rate_hz=100.0)
    write_hdf5(tmp_path / "skin.h5", [recording])
    paths = [str(tmp_path / name) for name in ("a.hiss", "skin.h5", "a.int.hiss")]
    done = CliRunner().invoke(command, ["quantize", paths[0], "--calibrate", paths[1], "-o", paths[2], "--json"])
    assert done.exit_code == 0, done.output
    facts, made = json.loads(done.stdout), storage.load_program(paths[2])
    assert facts["digest"] == made.digest
    assert len(facts["outputs"]) == len(program.outputs)
    assert facts["proofs"]
    assert all(proof["reach"] < 2 ** (proof["bits"] - 1) for proof in facts["proofs"])
    assert integer.predict(made, x).shape == program.predict(x).shape


def test_an_integer_program_is_never_run_in_floating_point_unsaid():
    """predict gives the integer estimates; the floating point stepper refuses."""
    program, made, _ = quantized_random(3)
    x = random_samples(program, 40)
    np.testing.assert_array_equal(made.predict(x), integer.predict(made, x))
    with pytest.raises(ProgramError, match="integer program"):
        Stepper(made)
