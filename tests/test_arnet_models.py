"""AR-Net models: what the taps say, a closed loop that settles, folding and integers of every kind."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hiss.dataset import Scaling  # noqa: E402
from hiss.errors import TrainingError  # noqa: E402
from hiss.folding import fold_model  # noqa: E402
from hiss.models import ARNet, Hierarchical, Residual  # noqa: E402
from hiss.models.spec import spec_from_json, spec_to_json  # noqa: E402
from hiss.program import ops as o  # noqa: E402
from hiss.program.cost import cost  # noqa: E402
from hiss.quantization import quantized  # noqa: E402
from hiss.recording import Recording, make_channels  # noqa: E402
from hiss.training import Run, fit  # noqa: E402
from hiss.training.lags import LARGEST_POLE, loop_poles, settled  # noqa: E402
from hiss.training.options import TrainOptions  # noqa: E402

CHANNELS, OUTPUTS = 3, 2
KINDS = {
    "ages": ARNet(ages=(0, 1, 4, 11), period=5),
    "taps": ARNet(taps=((0, 2), (3, 0), (1, 0), (7, 2)), period=2),
    "ranges": ARNet(ages=tuple(range(9)), ranges=((0, 2), (3, 8), (0, 8))),
    "hidden": ARNet(taps=((0, 0), (2, 1), (5, 1)), hidden=(6, 4), period=3),
    "own": ARNet(taps=((0, 0), (2, 1)), own=3, period=4),
    "chunk rate": ARNet(taps=((0, 0), (3, 1), (4, 1), (8, 2), (20, 0)), period=4, chunk_rate=True),
    "own, chunk rate": ARNet(taps=((4, 1), (8, 2)), own=1, period=4, chunk_rate=True),
}


def model_and_scaling(name):
    torch.manual_seed(2)
    one, std = np.ones(CHANNELS), np.array([90.0, 200.0, 30.0])
    scaling = Scaling(
        tare=0,
        lo=-1000 * one,
        hi=1000 * one,
        mean=np.array([40.0, -120.0, 10.0]),
        std=std,
        deltas=True,
        delta_mean=0 * one,
        delta_std=std / 20,
        y_mean=np.array([3.0, -7.0]),
        y_std=np.array([2.0, 0.5]),
    )
    module = KINDS[name].build(2 * CHANNELS, OUTPUTS, CHANNELS).double().eval().requires_grad_(False)
    if module.back is not None:
        module.back.weight.copy_(torch.from_numpy(settled(module.back.weight.numpy(), module.spec.own)))
    return module, scaling


def program_of(name):
    module, scaling = model_and_scaling(name)
    channels, targets = make_channels(["a", "b", "c"], "uT"), make_channels(["p", "q"], "N")
    return fold_model(module, scaling, channels=channels, targets=targets, rate_hz=100.0)


def samples(n=230, seed=0):
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=(n, CHANNELS)) * (90, 200, 30) + (40, -120, 10))


@pytest.mark.parametrize("name", KINDS)
def test_folded_steps_equal_the_model(name):
    module, scaling = model_and_scaling(name)
    x = samples()
    scaled = (np.clip(x, scaling.lo, scaling.hi) - scaling.mean) / scaling.std
    columns = np.concatenate([scaled, np.zeros_like(scaled)], -1)
    want = module(torch.from_numpy(columns[None]))[0].numpy() * scaling.y_std + scaling.y_mean
    got = program_of(name).predict(x, dtype=np.float64)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


@pytest.mark.parametrize("name", KINDS)
def test_integers_follow_the_floating_point_program(name):
    program, x = program_of(name), samples(1000)
    made, _ = quantized(program, [x], weights="int16" if name == "hidden" else "int8")
    want = program.predict(x, dtype=np.float64)
    error = np.sqrt(((made.predict(x) - want) ** 2).mean(0)) / want.std(0)
    assert error.max() < 0.02  # int16 weights and values


@pytest.mark.parametrize("name", ["hidden", "chunk rate", "own, chunk rate"])
def test_compiled_integers_are_the_definition_in_every_bit(name):
    """Usual samples, then full scale; the other kinds are among the families that run on every core."""
    from hiss.engines.c_engine import CStepper
    from hiss.engines.host_compiler import find_compiler
    from hiss.errors import HissError
    from hiss.program import integer_sequence

    try:
        find_compiler()
    except HissError as error:
        pytest.skip(str(error))
    made, _ = quantized(program_of(name), [samples(1000)], weights="int8")
    x = np.concatenate([samples(300), np.random.default_rng(0).integers(-(2**15), 2**15, (200, CHANNELS))]).astype(
        float
    )
    np.testing.assert_array_equal(CStepper(made).run(x), integer_sequence.predict(made, x).astype(np.float32))


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_recording_has_the_same_beginning(name):
    program, x = program_of(name), samples()
    part = program.predict(x[:60], dtype=np.float64)
    np.testing.assert_array_equal(part, program.predict(x, dtype=np.float64)[: len(part)])


@pytest.mark.parametrize("name", KINDS)
def test_specs_survive_json(name):
    assert spec_from_json(spec_to_json(KINDS[name])) == KINDS[name]


def test_taps_name_samples_and_repeat_the_first():
    torch.manual_seed(0)
    model = ARNet(taps=((0, 2), (3, 0)), period=2).build(4, 1, n_channels=3).double()
    x = torch.randn(1, 9, 4, dtype=torch.float64)
    for j, step in enumerate((1, 3, 5, 7)):
        past = torch.stack([x[0, step, 2], x[0, max(step - 3, 0), 0]])
        torch.testing.assert_close(model(x)[0, j], model.linear(past), rtol=0, atol=1e-12)


def test_own_estimates_come_back():
    torch.manual_seed(0)
    model = ARNet(taps=((0, 0),), own=2).build(1, 2, n_channels=1).double()
    x = torch.randn(1, 6, 1, dtype=torch.float64)
    y = [torch.zeros(2, dtype=torch.float64)] * 2
    for t in range(6):
        y.append(model.linear(x[0, t]) + model.back(torch.cat([y[-1], y[-2]])))
    torch.testing.assert_close(model(x)[0], torch.stack(y[2:]), rtol=0, atol=1e-12)


def test_a_linear_model_is_one_affine_over_a_delay():
    kinds = [type(op) for _, _, op in program_of("ages").ops()]
    assert kinds == [o.Input, o.Delay, o.Affine]


def test_every_channel_is_kept_as_long_as_its_longest_lag_and_no_longer():
    """In the bill, and in the rings of the C struct: one for each run of channels of the same length."""
    program = program_of("ranges")
    assert cost(program).states == 2 + 8 + 8
    rings = {
        op.out: (int(op.ages.max()), int(np.ptp(op.channels)) + 1) for _, _, op in program.ops() if "past" in op.out
    }
    assert sorted(rings.values()) == [(2, 1), (8, 2)]


def test_chunk_rate_keeps_a_row_a_chunk():
    fine = ARNet(taps=((0, 0), (20, 0)), period=4)
    states = {}
    for spec in (fine, ARNet(taps=((0, 0), (20, 0)), period=4, chunk_rate=True)):
        KINDS["?"] = spec
        states[spec.chunk_rate] = cost(program_of("?")).states
        del KINDS["?"]
    assert states == {False: 20, True: 5}


def test_a_loop_that_would_grow_is_damped_to_a_pole_inside():
    back = np.array([[1.4, 0.1, -0.2, 0.3], [0.2, 0.9, 0.1, 0.4]])  # two outputs, two estimates back
    assert np.abs(loop_poles(back, 2)).max() > 1
    poles = np.abs(loop_poles(settled(back, 2), 2))
    np.testing.assert_allclose(poles.max(), LARGEST_POLE, rtol=1e-9)
    ratio = np.sort(np.abs(loop_poles(back, 2))) / np.sort(poles)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)  # all by the same factor
    small = back / 10
    assert settled(small, 2) is small


def recording(n=3000, seed=0):
    """y follows itself and the channels: y_t = 0.8 y_{t-1} - 0.3 y_{t-2} + 0.5 u_t - 0.2 v_{t-3}."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 2)), np.zeros(n)
    for t in range(3, n):
        y[t] = 0.8 * y[t - 1] - 0.3 * y[t - 2] + 0.5 * x[t, 0] - 0.2 * x[t - 3, 1]
    names, target = make_channels(["u", "v"]), make_channels(["y"])
    return Recording("a", np.arange(n) / 100, x, names, y[:, None], target, rate_hz=100.0)


def test_a_closed_loop_tells_with_few_weights_what_takes_many_lags():
    """In free run: it never sees the target."""
    r = recording()
    errors = {}
    for own in (0, 2):
        spec = ARNet(lags=4, spacing="all", fit="exact", own=own)
        run = fit(spec, [r], "y", progress=False)
        errors[own] = float(np.sqrt(np.mean((run.estimate(r.x[None])[0] - r.y) ** 2)) / r.y.std())
        if own:
            poles = loop_poles(run.module.back.weight.double().numpy(), own)
            assert np.abs(poles).max() <= LARGEST_POLE + 1e-6
    assert errors[2] < 0.5 * errors[0]


def test_gradients_and_exact_weights_agree_as_models():
    """fit = "sgd", the paper's: on inputs that are noise it says what the exact fit does, to 1 % of the target."""
    r, made = recording(), {}
    for kind in ("exact", "sgd"):
        made[kind] = fit(ARNet(lags=4, spacing="all", fit=kind), [r], "y", progress=False).estimate(r.x[None])[0]
    assert np.sqrt(np.mean((made["sgd"] - made["exact"]) ** 2)) < 0.01 * r.y.std()
    with pytest.raises(ValueError, match="all lags of all channels"):
        ARNet(lags=4, spacing="all", fit="sgd", own=1)


def test_the_errors_of_weights_are_those_of_least_squares():
    """Read from a fitted run, in the units of the data; with a ridge they shrink."""
    from hiss.arnet.equations import lag_equations
    from hiss.arnet.exact import exact
    from hiss.training.read_run import _errors

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3))
    y = x @ [1.0, 0.0, -2.0] + rng.normal(size=500)
    fit_ = exact(lag_equations([(x, y[:, None], np.ones(500, bool))], 1), errors=True)
    left = y - x @ fit_.weight[0] - fit_.bias[0]
    np.testing.assert_allclose(_errors(x, left, 0.0), fit_.error[0], rtol=1e-9)
    assert (_errors(x, left, 1.0) < fit_.error[0]).all()


def test_auto_takes_old_ages_where_they_tell_more():
    """Slow channels whose sample of two seconds ago is the target: near lags alone cannot know it."""
    rng = np.random.default_rng(0)
    x = np.stack([np.convolve(rng.normal(size=6300), np.hanning(301), "valid") for _ in range(2)], 1)
    y = np.roll(x[:, :1], 200, 0) + 0.1 * rng.normal(size=(len(x), 1))
    names, target = make_channels(["u", "v"]), make_channels(["y"])
    r = Recording("a", np.arange(len(x)) / 100, x, names, y, target, rate_hz=100.0)
    far = fit(ARNet(lags=5, spacing="all", fit="auto"), [r], "y", progress=False)
    assert max(far.module.ages) >= 200
    near = fit(ARNet(lags=5, spacing="all", fit="exact"), [r], "y", progress=False)
    errors = [np.sqrt(np.mean((run.estimate(r.x[None])[0] - r.y) ** 2)) for run in (far, near)]
    assert errors[0] < 0.5 * errors[1]


def test_a_fitted_run_is_read_back_equal_and_fits_again_to_the_same_bytes(tmp_path):
    spec = ARNet(lags=12, spacing="all", fit="auto")
    runs = [fit(spec, [recording()], "y", progress=False, out=tmp_path / str(i)) for i in range(2)]
    assert runs[0].pack() == runs[1].pack()
    back = Run.load(tmp_path / "0")
    assert back.spec.taps
    np.testing.assert_array_equal(back.estimate(recording().x[None]), runs[0].estimate(recording().x[None]))


def test_hidden_layers_are_fitted_by_gradients_on_the_lags_that_a_linear_fit_keeps():
    r = recording(1500)
    run = fit(
        ARNet(lags=6, spacing="all", fit="sparse", hidden=(8,)),
        [r],
        "y",
        options=TrainOptions(steps=120, lr=0.01, window_samples=200, epoch_steps=20),
        progress=False,
    )
    assert run.spec.hidden == (8,)
    assert run.spec.taps
    estimate = run.estimate(r.x[None])[0]
    assert np.sqrt(np.mean((estimate - r.y) ** 2)) < 0.6 * r.y.std()


def test_a_residuals_base_is_plain():
    with pytest.raises(ValueError, match="one linear map"):
        Residual(ARNet(ages=(0,), own=1), Hierarchical())


def test_fits_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="goes with spacing 'all'"):
        ARNet(fit="sparse")
    with pytest.raises(ValueError, match="without hidden layers"):
        ARNet(own=1, hidden=(3,))
    with pytest.raises(TrainingError, match="take fewer lags"):
        fit(ARNet(lags=9000, spacing="all", fit="auto"), [recording(500)], "y", progress=False)
    with pytest.raises(TrainingError, match="2 channels"):
        fit(ARNet(lags=9, spacing="all", fit="auto", ranges=((0, 3),)), [recording(500)], "y", progress=False)


def test_the_command_line_fits_reads_and_scores_a_sensor(tmp_path):
    """hiss train --model arnet on channels and a target; lags.txt names the true ones."""
    from test_cli import hiss

    from hiss.recording import write_hdf5

    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2)).astype(np.float32)
    y = 0.7 * np.roll(x[:, :1], 2, 0) - 0.4 * np.roll(x[:, 1:], 5, 0) + 0.1 * rng.normal(size=(3000, 1))
    made = [
        Recording(
            f"r{i}",
            np.arange(1500) / 50,
            x[at],
            make_channels(["u", "v"], "g"),
            y[at],
            make_channels(["f"], "N"),
            rate_hz=50.0,
        )
        for i, at in enumerate((slice(0, 1500), slice(1500, 3000)))
    ]
    write_hdf5(tmp_path / "a.h5", made)
    run = tmp_path / "run"
    asked = ["--target", "f", "--model", "arnet", "--lags", 12, "--period", 1, "--fit", "sparse", "-o", run]
    code, _, said = hiss("train", tmp_path / "a.h5", *asked)
    assert code == 0, said
    text = (run / "lags.txt").read_text().splitlines()
    assert [line.split()[0] for line in text[2:4]] == ["2", "5"]
    assert [line.split()[2] for line in text[2:4]] == ["u", "v"]
    assert "noise" in said
    code, out, said = hiss("inspect", run)
    assert code == 0, said
    assert "u[t-2]" in out
    assert "v[t-5]" in out
    for more, kept in ((["--range", "v=0:3"], "u"), (["--own", 1, "--period", 2, "--chunk-rate"], "f (own)")):
        code, _, said = hiss("train", tmp_path / "a.h5", *asked[:-1], tmp_path / "more", *more)
        assert code == 0, said
        found = {
            line.split(maxsplit=2)[2].rsplit(maxsplit=4)[0].strip() for line in said.splitlines() if " .. " in line
        }
        assert kept in found
        assert ("v" in found) is (kept != "u")  # v speaks at age 5 alone
        code, _, said = hiss("inspect", tmp_path / "more", "--plot", tmp_path / "more.png", "--no-equations")
        assert code == 0, said
        assert (tmp_path / "more.png").read_bytes()[:4] == b"\x89PNG"
    assert "poles" in said
    code, _, said = hiss("train", tmp_path / "a.h5", *asked, "--range", "w=0:3")
    assert code == 2
    assert "CHANNEL=FIRST:LAST" in said
