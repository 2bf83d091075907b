"""The laws of quantizing: what is chosen follows from the data alone, budgets are kept, bad input writes nothing."""

from __future__ import annotations

import dataclasses
import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from programs import random_program, random_samples

from hiss.cli.main import command
from hiss.errors import ProgramError, RecordingError
from hiss.program import Port, Program, Stage, integer, integer_sequence, interpreter, passes, sequence, storage
from hiss.program import ops as o
from hiss.program.formats import Format
from hiss.quantization import quantize, quantized
from hiss.quantization.auto import with_int16
from hiss.quantization.calibration import prepared
from hiss.quantization.measure import windows
from hiss.quantization.weights import weight_bits
from hiss.recording import Channel, Recording, write_csv, write_hdf5

SEEDS = range(8)
N = 4


def front(n=N, tare=0):
    return o.Input("z", np.zeros(n), np.zeros(n, int), np.full(n, -64.0), np.full(n, 64.0), tare)


def ports(n=N):
    return tuple(Port(f"x{i}", "uT") for i in range(n)), tuple(Port(f"y{i}", "N") for i in range(n))


def layered(seed=0, layers=3, tare=0):
    """Bent layers whose weights may have 8 bits, and a first one that reads the sample."""
    rng = np.random.default_rng(seed)
    made = [front(tare=tare), o.Affine("first", ("z",), (rng.normal(size=(N, N)) / 4,), rng.normal(size=N))]
    for i in range(layers):
        made.append(o.Map(f"bent{i}", made[-1].out, "tanh"))
        made.append(o.Affine(f"mix{i}", (f"bent{i}",), (rng.normal(size=(N, N)),), rng.normal(size=N)))
    return Program(*ports(), 20.0, (Stage(2, tuple(made), (), (made[-1].out,)),))


def recording(program, n=400, seed=0, name="a", targets=True, split=None, noise=0.02):
    """Samples, and what the program says of them as the target, a little off."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 4, (n, len(program.inputs))).astype(np.float32)
    y = np.zeros((n, len(program.outputs)), np.float32)
    ends = sequence.predict(interpreter.cast(program.plain, np.float64), x)
    y[program.period - 1 :: program.period][: len(ends)] = ends + rng.normal(0, noise, ends.shape)
    channels = tuple(Channel(p.name, p.unit) for p in program.inputs)
    outputs = tuple(Channel(p.name, p.unit) for p in program.outputs)
    known = {"y": y, "targets": outputs} if targets else {}
    return Recording(name, np.arange(n) / 20, x, channels, rate_hz=20.0, split=split, **known)


# ---- the same, whatever the way ------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [None, 0.005])
def test_quantizing_twice_gives_the_same_bytes_whatever_the_order_of_the_recordings(budget):
    program = layered()
    one, two = recording(program, seed=1), recording(program, seed=2, name="b")
    first, report = quantize(program, [one, two], budget=budget)
    second, again = quantize(program, [one, two], budget=budget)
    assert storage.pack(first) == storage.pack(second)
    assert report == again
    if budget is None:  # a budget is measured on windows, which are drawn in order
        assert storage.pack(quantize(program, [two, one])[0]) == storage.pack(first)


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_whole_sequences_give_the_bits_of_single_steps(seed, feedback):
    program = random_program(seed, feedback=feedback, tare=0)
    made, _ = quantized(program, [random_samples(program, 200, seed)])
    x = np.stack([random_samples(program, 61, s) for s in range(2)])
    for n in (0, 1, 7, 61):
        np.testing.assert_array_equal(
            integer_sequence.predict(made, x[:, :n]), integer.predict(made, x[:, :n], tared=True)
        )


def test_whole_sequences_of_a_spread_program_give_its_bits():
    """What its last chunk says has not come out yet, neither here nor there."""
    program = layered()
    middle = Stage(2, program.stages[0].ops[:4], program.stages[0].ops[4:], program.stages[0].hands)
    made, _ = quantized(passes.spread(dataclasses.replace(program, stages=(middle,))), [recording(program).x])
    x = recording(program, 31, seed=3).x
    spread = integer_sequence.predict(made, x)
    np.testing.assert_array_equal(spread, integer.predict(made, x))
    assert len(spread) == 14


# ---- errors are small ----------------------------------------------------------------------------------------


def one_op(kind, rng):
    """The ops of a program that is one op of this kind, behind what it needs."""
    z, w = "z", rng.normal(size=(N, N))
    a = rng.uniform(0.3, 0.99, (N, 3)) * np.exp(1j * rng.uniform(0, 3, (N, 3)))
    c = rng.normal(size=(N, 3)) + 1j * rng.normal(size=(N, 3))
    step = o.Map("step", z, "softplus")
    b, r = (o.Affine(k, (z,), (rng.normal(size=(2, N)),), rng.normal(size=2)) for k in ("b", "r"))
    decay = -rng.uniform(0.1, 2, (N, 2))
    soft = o.Map("soft", z, "tanh")
    return {
        "Affine": [soft, o.Affine("y", ("soft",), (w,), rng.normal(size=N))],
        "Diagonal": [o.Diagonal("y", z, a, c, rng.normal(size=N))],
        "Fir": [o.Fir("y", z, rng.normal(size=(N, 5)), rng.normal(size=N))],
        "Delay": [o.Delay("y", z, np.arange(1, N + 1), np.arange(N), "first")],
        "Selective": [step, b, r, o.Selective("y", z, "step", "b", "r", decay, rng.normal(size=N))],
        "Norm": [o.Norm("y", z, "layer", rng.uniform(0.5, 2, N), rng.normal(size=N), 1e-5)],
        "Add": [soft, o.Add("y", (z, "soft"), (1, -1))],
        "Mul": [soft, o.Mul("y", (z, "soft"))],
        **{f"Map {f}": [o.Map("y", z, f, -1.0, 1.5)] for f in o.FUNCTIONS if f != "exp"},
        "Map exp": [soft, o.Map("y", "soft", "exp")],
    }[kind]


KINDS = ["Affine", "Diagonal", "Fir", "Delay", "Selective", "Norm", "Add", "Mul", "Map exp"]
KINDS += [f"Map {f}" for f in o.FUNCTIONS if f != "exp"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("weights", "decibel"), [("int16", 60), ("int8", 34)])
def test_every_kind_of_op_is_close_to_floating_point(kind, weights, decibel):
    """int16: values of 15 bits with a quarter of headroom; int8: weights of 7 bits, the largest of a row to half."""
    rng = np.random.default_rng(3)
    program = Program(*ports(), 20.0, (Stage(1, (front(), *one_op(kind, rng)), (), ("y",)),))
    x = rng.normal(0, 1, (500, N))
    made, _ = quantized(program, [x], weights=weights)
    exact = sequence.predict(program, x)
    error = integer_sequence.predict(made, x) - exact
    assert 10 * np.log10((exact**2).mean() / ((error**2).mean() + 1e-30)) > decibel


@pytest.mark.parametrize("seed", SEEDS)
def test_16_bits_are_closer_than_8(seed):
    program = layered(seed)
    seen = windows(program, [recording(program, seed=seed)])
    noise = [seen.noise(seen.estimates(quantized(program, [seen.x], weights=w)[0])) for w in ("int8", "int16")]
    assert noise[1] < noise[0] / 30  # 8 bits more are 48 dB, of which values of 16 bits leave 15


# ---- widths of weights ---------------------------------------------------------------------------------------


def test_widths_follow_the_last_pattern_that_fits_and_samples_have_16_bits():
    bits = weight_bits(layered(), {"*": "int8", "mix*": "int16", "mix1": "int8"})
    assert bits == {"first": 16, "mix0": 16, "mix1": 8, "mix2": 16}
    made, report = quantized(layered(), [recording(layered()).x], weights={"mix2": "int16"})
    assert report.weights == {"first": 16, "mix0": 8, "mix1": 8, "mix2": 16}
    assert made.formats["mix2"]["weights"].bits == 16


@pytest.mark.parametrize(("functions", "bits"), [(("sigmoid", "tanh"), 8), (("relu", "tanh"), 16), (None, 16)])
def test_what_comes_back_squashed_is_a_state_and_no_lag(functions, bits):
    """The gates of an LSTM may have 8 bits; what reads an estimate of before, or a lag, may not."""
    rng = np.random.default_rng(0)
    gates = [(rng.normal(size=(N, N)) / 4, rng.normal(size=(N, N)) / 4) for _ in range(2)]
    made = [
        front(),
        o.Affine("embed", ("z",), (rng.normal(size=(N, N)) / 4,), np.zeros(N)),
        o.Map("x", "embed", "tanh"),
    ]
    made.append(o.Delay("before", "h", np.ones(N, int), np.arange(N), "zero", False))
    made += [o.Affine(f"gate{i}", ("x", "before"), w, np.zeros(N)) for i, w in enumerate(gates)]
    if functions:
        made += [o.Map(f"open{i}", f"gate{i}", function) for i, function in enumerate(functions)]
    made.append(o.Mul("h", ("open0", "open1") if functions else ("gate0", "gate1")))
    program = Program(*ports(), 20.0, (Stage(2, tuple(made), (), ("h",)),))
    assert weight_bits(program, "int8") == {"embed": 16, "gate0": bits, "gate1": bits}


@pytest.mark.parametrize("ends", ["affine", "sum", "heads"])
def test_the_last_layer_has_16_bits_unless_it_is_named(ends):
    """What makes the outputs, or is added up to them, and heads that it reads; nothing behind a function."""
    rng = np.random.default_rng(0)

    def layer(name, *reads):
        return o.Affine(name, reads, tuple(rng.normal(size=(N, N)) for _ in reads), np.zeros(N))

    made = [front(), o.Map("bent", "z", "tanh"), layer("mix", "bent"), o.Map("again", "mix", "tanh")]
    last = {
        "affine": [layer("y", "again", "bent")],
        "sum": [layer("a", "again"), layer("b", "bent"), layer("c", "bent"), o.Add("ab", ("a", "b"), (1, 1))],
        "heads": [layer("head", "bent"), layer("y", "again", "head")],
    }[ends]
    last += [o.Add("y", ("ab", "c"), (1, -1))] if ends == "sum" else []
    program = Program(*ports(), 20.0, (Stage(2, tuple(made), tuple(last), ("y",)),))
    fine = {op.out for op in last if isinstance(op, o.Affine)}
    assert weight_bits(program, "int8") == {"mix": 8} | dict.fromkeys(fine, 16)
    assert weight_bits(program, dict.fromkeys(fine, "int8")) == {"mix": 8} | dict.fromkeys(fine, 8)


@pytest.mark.parametrize(
    ("weights", "words"),
    [({"mx*": "int16"}, "first, mix0"), ({"mix0": "int4"}, "int4"), ({"first": "int8"}, "int16 always"), ("w", "int8")],
)
def test_widths_that_fit_nothing_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        quantized(layered(), [recording(layered()).x], weights=weights)


def test_a_pattern_changes_the_formats_of_its_own_weights_alone():
    x = [recording(layered()).x]
    before, after = (quantized(layered(), x, weights=w)[0].formats for w in ("int8", {"mix1": "int16"}))
    for name, parts in before.items():
        for part, held in parts.items():
            same = held.bits == after[name][part].bits and np.array_equal(held.frac_bits, after[name][part].frac_bits)
            assert same == ((name, part) != ("mix1", "weights")), (name, part)


# ---- budgets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_budget_is_kept_with_no_op_too_many(seed, targets):
    program = layered(seed)
    seen = [recording(program, seed=seed, targets=targets)]
    none, least = (
        windows(program, seen).growth(integer_sequence.predict(m, windows(program, seen).x))
        for m in (quantize(program, seen, weights=w)[0] for w in ("int8", "int16"))
    )
    budget = (none * least) ** 0.5
    made, report = quantize(program, seen, budget=budget)
    choice = report.choice
    assert choice.before == none
    assert choice.error <= budget
    assert windows(program, seen).growth(windows(program, seen).estimates(made)) == choice.error
    assert choice.raised
    assert all(step.error > budget for step in choice.raised[:-1])
    assert {name for name, bits in report.weights.items() if bits == 16} == {
        "first",
        "mix2",
        *(r.out for r in choice.raised),
    }
    assert choice.bytes == N * N * len(choice.raised)
    assert ("targets" in choice.measure) == targets
    assert f"{choice.bytes} bytes" in report.text()


def test_a_budget_that_int8_keeps_costs_nothing():
    program = layered()
    made, report = quantize(program, [recording(program)], budget=10.0)
    assert report.choice.raised == ()
    assert storage.pack(made) == storage.pack(quantize(program, [recording(program)])[0])


def test_the_op_that_gains_most_per_byte_is_raised_first():
    """Of two ops with the same number of weights, the one whose int8 weights do more harm."""
    rng = np.random.default_rng(0)
    soft = o.Map("soft", "z", "tanh")
    loud, quiet = (o.Affine(k, ("soft",), (s * rng.normal(size=(N, N)),), np.zeros(N)) for k, s in (("a", 1), ("b", 9)))
    both, bent = o.Add("both", ("a", "b"), (1, 1)), o.Map("y", "both", "relu")
    program = Program(*ports(), 20.0, (Stage(1, (front(), soft, loud, quiet, both, bent), (), ("y",)),))
    seen = [recording(program, targets=False)]
    before = quantize(program, seen, budget=10.0)[1].choice.before
    assert [r.out for r in quantize(program, seen, budget=before / 2)[1].choice.raised] == ["b"]


def test_a_budget_that_cannot_be_kept_is_said_with_its_figures():
    program = layered()
    with pytest.raises(ProgramError, match=r"cannot be kept.*int16 weights everywhere"):
        quantize(program, [recording(program, targets=False)], budget=1e-7)
    for wrong in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="budget"):
            quantize(program, [recording(program)], budget=wrong)


def test_int16_in_an_integer_program_is_int16_from_the_start():
    program, x = layered(), [recording(layered()).x]
    ops = [op for _, _, op in program.ops() if isinstance(op, o.Affine)]
    raised = with_int16(quantized(program, x)[0], ops)
    assert storage.pack(raised) == storage.pack(quantized(program, x, weights="int16")[0])


# ---- calibration ---------------------------------------------------------------------------------------------


def test_samples_before_their_tare_may_need_more_than_16_bits():
    """30,000 counts at rest: tared they are small, and still no sample is cut."""
    program = layered(tare=4)
    raw = recording(program, targets=False)
    raw = dataclasses.replace(raw, x=np.round(raw.x) + 30_000.0)
    made, _ = quantize(program, [raw])
    assert made.formats["z"]["x"].bits == 32
    shifted = integer.predict(made, raw.x + 9_000)
    np.testing.assert_array_equal(shifted, integer.predict(made, raw.x))


def test_what_calibration_never_showed_saturates_and_does_not_wrap():
    program = layered()
    made, _ = quantized(program, [0.1 * recording(program).x])
    y = integer_sequence.predict(made, np.full((8, N), 60.0))
    held = made.formats["mix2"]["out"]
    assert np.all(np.abs(y) <= np.ldexp(float(2 ** (held.bits - 1)), -held.frac_bits))


def test_recordings_that_cannot_calibrate_are_refused():
    program = layered()
    with pytest.raises(ProgramError, match="at least one"):
        quantize(program, [])
    with pytest.raises(ProgramError, match="shorter than a period"):
        quantize(program, [recording(program, 2, targets=False).cut(0, 1)])
    fewer = recording(program, targets=False)
    with pytest.raises(RecordingError):
        quantize(program, [dataclasses.replace(fewer, x=fewer.x[:, :3], channels=fewer.channels[:3])])


def test_windows_hold_targets_only_where_all_outputs_were_recorded():
    program = layered()
    whole = recording(program)
    some = dataclasses.replace(whole, y=whole.y[:, :2], targets=whole.targets[:2])
    assert windows(program, [prepared(program, whole)]).y is not None
    assert windows(program, [prepared(program, some)]).y is None
    never = dataclasses.replace(whole, valid=np.zeros(len(whole), bool))
    assert windows(program, [prepared(program, never)]).y is None


# ---- hiss quantize -------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    """float.hiss and skin.h5, of which one recording is a test recording with wild samples."""
    program = layered()
    program.save(tmp_path / "float.hiss")
    wild = recording(program, name="wild", split="test")
    wild = dataclasses.replace(wild, x=1e4 * wild.x)
    train = recording(program, name="calm", split="train")
    write_hdf5(tmp_path / "skin.h5", [train, wild])
    write_hdf5(tmp_path / "calm.h5", [dataclasses.replace(train, split=None)])
    return tmp_path


def run(place, *words, calibrate="skin.h5", model="float.hiss"):
    words = ["quantize", str(place / model), "--calibrate", str(place / calibrate), *map(str, words)]
    return CliRunner().invoke(command, [*words, "-o", str(place / "made.hiss")])


def test_test_recordings_are_not_looked_at(place):
    for words in ([], ["--auto", "0.5%"]):
        assert run(place, *words).exit_code == 0
        whole = (place / "made.hiss").read_bytes()
        assert run(place, *words, calibrate="calm.h5").exit_code == 0
        assert (place / "made.hiss").read_bytes() == whole


def test_the_report_says_which_weights_have_which_width_and_what_that_costs(place):
    done = run(place, "--weights", "int8", "--weights", "mix1=int16", "--json")
    assert json.loads(done.stdout)["weights"] == {"first": 16, "mix0": 8, "mix1": 16, "mix2": 16}
    done = run(place, "--auto", "0.2%", "--json")
    choice = json.loads(done.stdout)["choice"]
    assert choice["error"] <= 0.002 < choice["before"]
    assert all({"out", "bytes", "error"} == set(step) for step in choice["raised"])
    shown = run(place, "--auto", "0.2%").stdout
    assert "bytes of flash" in shown
    assert all(step["out"] in shown for step in choice["raised"])


def test_a_budget_that_cannot_be_kept_writes_nothing(place):
    done = run(place, "--auto", "0.0000001%")
    assert done.exit_code != 0
    assert isinstance(done.exception, ProgramError)
    assert not (place / "made.hiss").exists()


@pytest.mark.parametrize("words", [["--weights", "int4"], ["--weights", "=int8"], ["--weights", "mx*=int16"]])
def test_widths_that_mean_nothing_are_usage_errors(place, words):
    done = run(place, *words)
    assert done.exit_code == 2
    assert "Error" in done.output
    assert not (place / "made.hiss").exists()


@pytest.mark.parametrize("budget", ["0", "-1%", "nan", "much", "inf"])
def test_a_budget_is_a_share_above_0(place, budget):
    assert run(place, "--auto", budget).exit_code == 2


def test_a_csv_without_targets_calibrates(place):
    bare = recording(layered(), targets=False)
    write_csv(place / "bare.csv", bare)
    done = run(place, "--auto", "3%", "--json", calibrate="bare.csv")
    assert done.exit_code == 0, done.output
    assert "variation" in json.loads(done.stdout)["choice"]["measure"]


def test_formats_know_their_width():
    """The bits of a weight are those that the report says."""
    made, report = quantized(layered(), [recording(layered()).x], weights="int16")
    assert all(isinstance(made.formats[name]["weights"], Format) for name in report.weights)
    assert {made.formats[name]["weights"].bits for name in report.weights} == {16}


def damaged(place, what):
    """(model, calibration file) of which one is not what it should be."""
    program = layered()
    bad, model = place / "bad.h5", "float.hiss"
    one = recording(program)
    match what:
        case "model cut":
            (place / "cut.hiss").write_bytes((place / "float.hiss").read_bytes()[:-100])
            return "cut.hiss", "skin.h5"
        case "model is no model":
            return "skin.h5", "skin.h5"
        case "already integer":
            quantize(program, [one])[0].save(place / "int.hiss")
            return "int.hiss", "skin.h5"
        case "recording cut":
            bad.write_bytes((place / "skin.h5").read_bytes()[:3000])
        case "recording empty":
            bad.write_bytes(b"")
        case "no recordings":
            h5py.File(bad, "w").close()
        case "other channels":
            write_hdf5(bad, [dataclasses.replace(one, x=one.x[:, :3], channels=one.channels[:3])])
        case "more channels":
            more = tuple(Channel(f"q{i}") for i in range(N))
            write_hdf5(bad, [dataclasses.replace(one, x=np.hstack([one.x, one.x]), channels=one.channels + more)])
        case "nothing finite":
            with h5py.File(place / "calm.h5") as good, h5py.File(bad, "w") as file:
                for key, value in good.attrs.items():
                    file.attrs[key] = value
                good.copy("calm", file)
                file["calm/x"][...] = np.nan
        case "too short":
            write_hdf5(bad, [one.cut(0, 1)])
        case "no samples":
            with h5py.File(place / "calm.h5") as good, h5py.File(bad, "w") as file:
                for key, value in good.attrs.items():
                    file.attrs[key] = value
                for key in ("x", "y"):
                    file[f"calm/{key}"] = good[f"calm/{key}"][:0]
                file["calm"].attrs["rate_hz"] = 20.0
        case "only test":
            write_hdf5(bad, [dataclasses.replace(one, split="test")])
        case "no rate":
            np.savetxt(place / "bad.csv", one.x, delimiter=",", header="x0,x1,x2,x3", comments="")
            return model, "bad.csv"
        case "another rate":
            write_hdf5(bad, [dataclasses.replace(one, t=one.t / 1e6, rate_hz=20e6)])
    return model, "bad.h5"


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("model cut", 2, "cut.hiss"),
        ("model is no model", 2, "skin.h5"),
        ("already integer", 2, "already"),
        ("recording cut", 2, "bad.h5"),
        ("recording empty", 2, "bad.h5"),
        ("no recordings", 2, "bad.h5"),
        ("other channels", 5, "x3"),
        ("more channels", 5, "q0"),
        ("nothing finite", 2, "x0 is nan"),
        ("too short", 2, "period"),
        ("no samples", 2, "samples"),
        ("only test", 2, "test recordings"),
        ("no rate", 2, "rate"),
        ("another rate", 2, "shorter than a period"),
    ],
)
def test_bad_input_ends_in_one_line_its_code_and_nothing_written(place, what, code, words):
    from test_cli import contents, hiss

    model, file = damaged(place, what)
    before = contents(place)
    done, out, err = hiss("quantize", place / model, "--calibrate", place / file, "-o", place / "made.hiss")
    assert "Traceback" not in err
    assert done == code, err
    assert sum(line.lower().startswith("error") for line in err.splitlines()) == 1, err
    assert words in err
    assert out == ""
    assert contents(place) == before


def test_a_program_that_cannot_be_written_is_said(place):
    from test_cli import hiss

    taken = place / "float.hiss" / "made.hiss"
    code, out, err = hiss("quantize", place / "float.hiss", "--calibrate", place / "skin.h5", "-o", taken)
    assert (code, out) == (7, "")
    assert "error: " in err


def test_the_read_out_of_a_recurrence_has_16_bits_unless_it_is_named():
    """Its modes cancel, as lags do."""
    rng = np.random.default_rng(0)
    program = Program(*ports(), 20.0, (Stage(1, (front(), *one_op("Diagonal", rng)), (), ("y",)),))
    assert weight_bits(program, "int8") == {"y": 16}
    assert weight_bits(program, {"y": "int8"}) == {"y": 8}
