"""Training for integers: the weights that it ends with are those that quantizing keeps, and less is lost."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is not installed: pip install 'hiss[train]'")

from test_cli import contents, hiss, recording  # noqa: E402

from hiss.errors import FoldError, TrainingError  # noqa: E402
from hiss.folding import fold  # noqa: E402
from hiss.folding.grids import weight_grids  # noqa: E402
from hiss.models import LSTM, S4, S4D, ARNet, Ensemble, Flat, Hierarchical, Mamba, Residual  # noqa: E402
from hiss.program import integer_sequence, sequence  # noqa: E402
from hiss.program import ops as o  # noqa: E402
from hiss.program.constants import constants  # noqa: E402
from hiss.quantization import quantize  # noqa: E402
from hiss.quantization.weights import weight_bits  # noqa: E402
from hiss.recording import write_hdf5  # noqa: E402
from hiss.training import Run, TrainOptions, fit  # noqa: E402
from hiss.training.grids import OnGrid, attach, settled  # noqa: E402

SMALL = S4D(3, 1, 4)
QUICK = TrainOptions(
    steps=60, epoch_steps=20, batch=2, window_samples=60, warmup_steps=5, patience=99, min_gain=0.0, least_base=0.5
)
AWARE = dataclasses.replace(QUICK, steps=160, lr=5e-4, ssm_lr=2e-4, weight_decay=0.0, ema=0.95)
MODELS = {
    "hierarchical": Hierarchical(SMALL, SMALL, 5),
    "residual": Residual(ARNet(ages=(0, 1), period=5), Hierarchical(SMALL, SMALL, 5)),
    "flat": Flat(SMALL, 5),
    "mamba": Hierarchical(Mamba(3, 1, d_state=2, dt_rank=3), Mamba(4, 1, d_state=2, dt_rank=3), 5),
    "s4": Hierarchical(S4(3, 1, d_state=4), SMALL, 5),
    "ensemble": Ensemble(
        (Hierarchical(SMALL, SMALL, 5), Hierarchical(LSTM(3, 1), Mamba(4, 1, d_state=2, dt_rank=3), 5))
    ),
}
ON_GRIDS = {"hierarchical": 5, "residual": 5, "flat": 2, "mamba": 2 * 7 + 1, "s4": 5, "ensemble": 5 + 7 + 1}
"""Affine maps of 8 bits of each; of an ensemble all but its LSTM."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny models are quickest so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(one_thread):
    """Small models, each trained for a moment."""
    train = [recording("a"), recording("b", seed=1)]
    return {name: fit(spec, train, "force", options=QUICK, progress=False) for name, spec in MODELS.items()}


def grids_of(run, weights="int8"):
    program = fold(run)
    return weight_grids(run.module, program, weight_bits(program, weights))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grid_is_the_finest_power_of_two_that_a_row_fits(bits):
    rng = np.random.default_rng(0)
    w = torch.from_numpy(rng.normal(size=(20, 9)) * np.exp2(rng.integers(-6, 6, (20, 1)))).float()
    limit = 2 ** (bits - 1) - 1
    y = OnGrid([bits] * 20)(w)
    step = torch.exp2(-torch.floor(torch.log2(limit / w.abs().amax(1, keepdim=True))))
    whole = y / step
    assert torch.equal(whole, whole.round())
    assert torch.all(whole.abs() <= limit)
    assert torch.all(whole.abs().amax(1) > limit / 2 - 1)  # one bit less would do for none of the rows
    assert torch.all((y - w).abs() <= step / 2)


def test_gradients_pass_as_if_nothing_were_rounded():
    w = torch.randn(4, 5, requires_grad=True)
    (OnGrid([8] * 4)(w) * torch.arange(5.0)).sum().backward()
    assert torch.equal(w.grad, torch.arange(5.0).expand(4, 5))


@pytest.mark.parametrize("name", MODELS)
def test_what_quantizing_keeps_is_what_training_ended_with(trained, name):
    """Every weight of the folded program stands on the grid that quantize() chooses; taps are rounded as they fold.

    Small weights beside a large bias get fewer bits than 8, so that the sum fits 32: those are rounded once more.
    """
    run = trained[name]
    aware = fit(None, [recording("a")], "force", options=AWARE, start=run, grids=grids_of(run), progress=False)
    program = fold(aware)
    made, report = quantize(program, [recording("a")])
    exact = 0
    for (_, _, op), (_, _, held) in zip(program.ops(), made.ops(), strict=True):
        free = name == "ensemble" and op.out.startswith("low1.0")
        if isinstance(op, o.Affine) and report.weights[op.out] == 8 and not free:
            whole, facc = constants(held, made.formats), made.formats[op.out]["weights"].frac_bits
            for i, (read, w) in enumerate(zip(op.inputs, op.weights, strict=True)):
                frac = (facc[:, None] - made.formats[read]["out"].frac_bits).astype(float)
                fewer = (np.abs(whole[f"weights.{i}"]).max(1, keepdims=True) < 63) * np.exp2(-frac) / 2
                off = np.abs(whole[f"weights.{i}"] * np.exp2(-frac) - w)
                assert np.all(off <= fewer + 3e-7 * np.abs(w))
            exact += 1
    assert exact == ON_GRIDS[name]


def lost(run, teacher, x):
    """Mean square of what int8 says beside what the teacher says in floating point."""
    made, _ = quantize(fold(run), [recording("a"), recording("b", seed=1)])
    off = integer_sequence.predict(made, x) - sequence.predict(fold(teacher), x)
    return float((off**2).mean())


def test_training_for_integers_wins_back_most_of_what_rounding_loses(trained):
    """Half of the mean square: 3 dB."""
    run, x = trained["hierarchical"], recording("a").x
    train, options = [recording("a"), recording("b", seed=1)], dataclasses.replace(AWARE, steps=400)
    aware = fit(None, train, "force", options=options, start=run, grids=grids_of(run), progress=False)
    assert lost(aware, run, x) < 0.5 * lost(run, run, x)


def test_the_base_of_a_run_stays_as_it_is(trained):
    run = trained["residual"]
    aware = fit(None, [recording("a")], "force", options=QUICK, start=run, grids=grids_of(run), progress=False)
    before, after = run.module.base.state_dict(), aware.module.base.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert aware.module.correction is not None
    assert aware.provenance["quantize_aware"]["correction.head.weight"] == [16]
    assert aware.provenance["from"] == run.provenance


def test_the_run_that_is_fine_tuned_is_not_touched_and_the_same_seed_gives_the_same_bytes(trained):
    run = trained["hierarchical"]
    before, options = run.pack(), dataclasses.replace(QUICK, steps=20)
    one, two = (
        fit(None, [recording("a")], "force", options=options, start=run, grids=grids_of(run), progress=False)
        for _ in range(2)
    )
    assert one.pack() == two.pack()
    assert one.pack() != before
    assert run.pack() == before


def test_rows_may_have_other_widths(trained):
    grids = grids_of(trained["hierarchical"], {"low.0.mix": "int16"})
    assert grids["low.layers.0.mix.weight"] == [16, 16, 16, 8, 8, 8]  # the gate is the other half
    assert grids["low.layers.0.ssm.taps"] == [8, 8, 8]
    assert not any("embed" in name for name in grids)


def test_settling_one_copy_leaves_the_grids_of_another():
    network = MODELS["hierarchical"].build(4, 1).eval()
    shown = copy.deepcopy(network)
    attach(shown, {"head.weight": [8], "low.layers.0.ssm.taps": [8] * 3}, np.ones(1))
    other, x = copy.deepcopy(shown), torch.randn(1, 20, 4)
    y = shown(x)
    plain = settled(other, network)
    assert torch.equal(shown(x), y)
    assert plain.state_dict().keys() == network.state_dict().keys()
    assert torch.equal(plain.head.weight, OnGrid([8])(network.head.weight))


def test_what_has_nothing_to_tune_is_refused(trained):
    run = trained["hierarchical"]
    with pytest.raises(ValueError, match="start"):
        fit(MODELS["flat"], [recording("a")], "force", grids=grids_of(run), progress=False)
    with pytest.raises(TrainingError, match=r"no weights named .hood"):
        fit(None, [recording("a")], "force", start=run, grids={"hood.weight": [8]}, options=QUICK, progress=False)
    linear = fit(ARNet(ages=(0, 1), period=5), [recording("a")], "force", progress=False)
    with pytest.raises(FoldError, match="linear"):
        grids_of(linear)
    with pytest.raises(TrainingError, match="linear"):
        fit(None, [recording("a")], "force", start=linear, grids={"linear.weight": [8]}, options=QUICK, progress=False)


# ---- hiss train --resume RUN --quantize-aware ----------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(one_thread, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aware")
    write_hdf5(folder / "skin.h5", [recording("a"), recording("b", seed=1), recording("c", seed=2)])
    asked = ["--target", "force", "--period", 5, "--low", "3x1", "--high", "3x1", "--d-state", 4, "--no-base"]
    quick = ["--set", "steps=20", "--set", "epoch_steps=10", "--set", "batch=2", "--set", "window_samples=60"]
    assert hiss("train", folder / "skin.h5", *asked, *quick, "-o", folder / "run")[0] == 0
    return folder


SHORT = ["--set", "steps=20"]


def test_a_run_is_fine_tuned_beside_itself_and_can_be_resumed(run_folder):
    run, made = run_folder / "run", run_folder / "run-aware"
    before = contents(run)
    assert hiss("train", "--resume", run, "--quantize-aware", "--weights", "high.*=int16", *SHORT)[0] == 0
    assert contents(run) == before
    about = json.loads((made / "run.json").read_text())
    assert about["settings"]["quantize_aware"] == ["high.*=int16"]
    assert about["provenance"]["quantize_aware"]["high.layers.0.mix.weight"] == [16]
    whole = (made / "best.safetensors").read_bytes()
    assert hiss("train", "--resume", made)[0] == 0  # nothing is left to do: the same bytes
    assert (made / "best.safetensors").read_bytes() == whole
    assert Run.load(made).provenance["from"] == Run.load(run).provenance


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quantize-aware"], "--resume RUN"),
        (["--resume", "RUN", "--weights", "int8"], "--resume RUN"),
        (["--resume", "RUN", "--quantize-aware", "--low", "8x1"], "at most"),
        (["--resume", "RUN", "--quantize-aware", "--weights", "int4"], "int4"),
        (["--resume", "RUN", "--quantize-aware", "--weights", "hgh*=int16"], "hgh*"),
        (["--resume", "RUN", "--quantize-aware", "-o", "RUN"], "another folder"),
        (["--resume", "RUN", "skin.h5", "--quantize-aware"], "own files"),
    ],
)
def test_what_does_not_fit_is_a_usage_error_and_changes_nothing(run_folder, words, said):
    there = {"RUN": run_folder / "run", "skin.h5": run_folder / "skin.h5"}
    before = contents(run_folder)
    code, _, err = hiss("train", *[there.get(word, word) for word in words])
    assert code == 2
    assert said in err
    assert contents(run_folder) == before


def test_a_fine_tuned_run_is_not_fine_tuned_again(run_folder):
    made = run_folder / "twice"
    assert hiss("train", "--resume", run_folder / "run", "--quantize-aware", "-o", made, *SHORT)[0] == 0
    code, _, err = hiss("train", "--resume", made, "--quantize-aware")
    assert code == 2
    assert "already" in err


def test_gates_of_an_lstm_are_refused_with_a_reason():
    run = fit(Flat(LSTM(4, 1), 5), [recording("a")], "force", options=QUICK, progress=False)
    with pytest.raises(FoldError, match="formats its weights share"):
        grids_of(run)
