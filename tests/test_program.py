"""The laws of the recurrent program in floating point."""

from __future__ import annotations

import json

import numpy as np
import pytest
from programs import random_program, random_samples

from hiss.errors import HissError, ProgramError
from hiss.program import (
    Port,
    Program,
    Stage,
    integer,
    integer_sequence,
    interpreter,
    load_program,
    passes,
    sequence,
    storage,
)
from hiss.program import ops as o
from hiss.quantization import quantized

SEEDS = range(40)


def stepped(program, x, state=None):
    """Estimates of step() over x, and the state after."""
    state = interpreter.init_state(program) if state is None else state
    made = []
    for sample in x:
        y, state = interpreter.step(program, state, sample)
        if y is not None:
            made.append(y)
    return np.array(made).reshape(len(made), -1), state


def assert_states_equal(a, b, **tolerance):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], err_msg=key, **tolerance)


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_whole_sequence_equals_steps(seed, feedback):
    """run() and step() are one function: estimates and states."""
    program = random_program(seed, feedback=feedback)
    x = random_samples(program, 57, seed)
    y, state = stepped(program, x)
    whole, after = sequence.run(program, interpreter.init_state(program), x)
    # sums may be ordered otherwise in a matrix product
    np.testing.assert_allclose(whole, y.reshape(whole.shape), rtol=1e-10, atol=1e-10)
    assert_states_equal(after, state, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cut", [0, 1, 7, 20, 56, 57])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cutting_a_recording_in_two_changes_nothing(seed, cut):
    program = random_program(seed)
    x = random_samples(program, 57, seed)
    whole, end = sequence.run(program, interpreter.init_state(program), x)
    first, state = sequence.run(program, interpreter.init_state(program), x[:cut])
    second, state = sequence.run(program, state, x[cut:])
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-12, atol=1e-12)
    assert_states_equal(state, end, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_a_batch_is_its_recordings_side_by_side(seed):
    program = random_program(seed)
    x = np.stack([random_samples(program, 40, s) for s in range(3)])
    batch = sequence.predict(program, x)
    for one, y in zip(x, batch, strict=True):
        np.testing.assert_allclose(sequence.predict(program, one), y, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("block", [5, 60, 2**15])
def test_recordings_of_any_lengths_run_together_as_they_do_alone(seed, block, monkeypatch):
    """Estimates, observed extremes, and integers in every bit; a spread program keeps its last estimates inside."""
    monkeypatch.setattr(sequence, "BLOCK", block)
    program = random_program(seed, feedback=seed % 2 == 1, tare=0)
    lengths = [31, 0, 57, 57, 2, 44]
    samples = [random_samples(program, n, s) for s, n in enumerate(lengths)]
    extremes: list[dict[str, float]] = [{}, {}]

    def seen(largest):
        return lambda name, u: largest.update({name: max(largest.get(name, 0.0), abs(u).max(initial=0.0))})

    together = sequence.run_together(program, samples, observe=seen(extremes[0]))
    for x, y in zip(samples, together, strict=True):
        alone, _ = sequence.run(program, interpreter.init_state(program), x, seen(extremes[1]))
        np.testing.assert_allclose(y, alone, rtol=1e-11, atol=1e-11)
    assert extremes[0] == pytest.approx(extremes[1], rel=1e-9)
    made, _ = quantized(program, samples[2:4])
    for of in (made, *([passes.spread(made)] if made.stages[0].period > 1 and seed % 2 == 0 else [])):
        for x, y in zip(samples, integer_sequence.predict_together(of, samples), strict=True):
            np.testing.assert_array_equal(y, integer.predict(of, x, tared=True))


def test_step_changes_neither_state_nor_sample():
    program = random_program(3, tare=0)
    x = random_samples(program, 9)
    _, state = stepped(program, x)
    kept = {key: array.copy() for key, array in state.items()}
    interpreter.step(program, state, x[0])
    assert_states_equal(state, kept, rtol=0, atol=0)


def test_tare_takes_the_mean_of_the_first_samples_and_reset_keeps_it():
    one, zero = np.ones(1), np.zeros(1, int)
    first = o.Input("z", 0 * one, zero, -100 * one, 100 * one, tare=3)
    program = Program((Port("x"),), (Port("y"),), 1.0, (Stage(2, (first,), (), ("z",)),))
    x = np.array([[7.0], [8.0], [9.0], [10.0], [12.0], [11.0], [20.0]])
    y, state = stepped(program, x)
    assert y.tolist() == [[4.0], [12.0]]  # phase 0 is the sample after the tare, 10; reads stand at 12 and 20
    y, _ = stepped(program, x[3:5], interpreter.reset(program, state))
    assert y.tolist() == [[4.0]]


def test_delay_first_makes_the_first_difference_zero():
    one, zero = np.ones(1), np.zeros(1, int)
    first = o.Input("z", 0 * one, zero, -100 * one, 100 * one)
    ops = (first, o.Delay("past", "z", np.array([1]), np.array([0]), "first"), o.Add("d", ("z", "past"), (1, -1)))
    program = Program((Port("x"),), (Port("y"),), 1.0, (Stage(1, ops, (), ("d",)),))
    assert sequence.predict(program, np.array([[5.0], [7.0], [6.0]])).tolist() == [[0.0], [2.0], [-1.0]]


def test_feedback_through_a_delay_counts():
    """y_t = z_t + y_{t-1}."""
    one, zero = np.ones(1), np.zeros(1, int)
    first = o.Input("z", 0 * one, zero, -100 * one, 100 * one)
    ops = (first, o.Delay("past", "sum", np.array([1]), np.array([0])), o.Add("sum", ("z", "past"), (1, 1)))
    program = Program((Port("x"),), (Port("y"),), 1.0, (Stage(1, ops, (), ("sum",)),))
    assert sequence.predict(program, np.ones((4, 1))).ravel().tolist() == [1.0, 2.0, 3.0, 4.0]


# ---- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_saved_and_loaded_is_the_same_program(tmp_path, seed):
    program = random_program(seed)
    program.save(tmp_path / "a.hiss")
    loaded = load_program(tmp_path / "a.hiss")
    assert loaded.digest == program.digest
    assert storage.pack(loaded) == storage.pack(program) == (tmp_path / "a.hiss").read_bytes()
    x = random_samples(program, 30)
    np.testing.assert_array_equal(loaded.predict(x), program.predict(x))


def test_every_changed_byte_is_noticed():
    data = storage.pack(random_program(1))
    for i in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[i] ^= 0x10
        with pytest.raises(ProgramError):
            storage.unpack(bytes(damaged))


@pytest.mark.parametrize("cut", [0, 3, 8, 100, -1])
def test_a_truncated_file_is_noticed(cut):
    with pytest.raises(ProgramError):
        storage.unpack(storage.pack(random_program(1))[:cut])


def test_another_format_version_is_named():
    data = storage.pack(random_program(1))
    with pytest.raises(ProgramError, match=r"format 7; this release of hiss reads format 1"):
        storage.unpack(data.replace(b'\\"format\\": \\"1\\"', b'\\"format\\": \\"7\\"'))


@pytest.mark.parametrize("length", [2**63, 2**31, 10**6, 0])
def test_a_header_that_claims_more_than_there_is(length):
    data = storage.pack(random_program(1))
    with pytest.raises(ProgramError):
        storage.unpack(length.to_bytes(8, "little") + data[8:])


def test_a_header_whose_shapes_do_not_fit(tmp_path):
    program = random_program(1, tare=0)
    header, tensors = storage.unpack_tensors(storage.pack(program), "program", "p")
    header["stages"][0]["every"][0]["offset"] = {"tensor": "z.missing"}
    with pytest.raises(ProgramError):
        storage.unpack(storage.pack_tensors("program", header, tensors))
    with pytest.raises(ProgramError, match="expected a program"):
        storage.unpack(storage.pack_tensors("run", {}, {}))


def test_json_of_a_hostile_depth_is_refused():
    bomb = json.dumps({"__metadata__": {"hiss": "[" * 100_000}}).encode()
    with pytest.raises(ProgramError):
        storage.unpack(len(bomb).to_bytes(8, "little") + bomb)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.hiss"
    random_program(1).save(path)
    old = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(HissError, match="No space left"):
        random_program(2).save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (lambda z, e: (Stage(0, (z,), (), ("z",)),), "period"),
        (lambda z, e: (Stage(1, (z,), (), ("w",)),), "'w'"),
        (lambda z, e: (Stage(1, (z,), (), ("z", "z")),), "every value once"),
        (lambda z, e: (Stage(1, (e, z), (), ("z",)),), "Input"),
        (lambda z, e: (Stage(1, (z, o.Map("m", "n", "tanh"), o.Map("n", "z", "tanh")), (), ("n",)),), "'n'"),
        (lambda z, e: (Stage(1, (z, o.Map("m", "z", "cosh")), (), ("m",)),), "cosh"),
        (lambda z, e: (Stage(1, (z, o.Add("z", ("z",), (1,))), (), ("z",)),), "two ops"),
        (lambda z, e: (Stage(1, (z, o.Affine("m", ("z",), (np.ones((1, 2)),), np.ones(1))), (), ("m",)),), "weights"),
        (lambda z, e: (Stage(2, (z,), (o.Map("m", "z", "tanh"), e), ("e",)),), "updates on every step"),
    ],
)
def test_a_program_that_is_not_valid_cannot_be_made(stages, message):
    one = np.ones(1)
    z = o.Input("z", 0 * one, np.zeros(1, int), -one, one)
    e = o.Fir("e", "m", np.ones((1, 2)), 0 * one)
    with pytest.raises(ProgramError, match=message):
        Program((Port("x"),), (Port("y"),), 1.0, stages(z, e))
