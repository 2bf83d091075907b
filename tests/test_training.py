"""Training: same seed = same bytes, resume = same curve, honest bases, damaged checkpoints, train and evaluate."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402

from hiss.cli.evaluate import command as evaluate_command  # noqa: E402
from hiss.cli.settings import Settings, settings_from  # noqa: E402
from hiss.cli.settling import settled  # noqa: E402
from hiss.cli.train import command as train_command  # noqa: E402
from hiss.dataset import Batch, Retare, Sequence, Windows, fit_scaling, sequences  # noqa: E402
from hiss.errors import HissError, ProgramError, TrainingError  # noqa: E402
from hiss.models import LSTM, S4D, ARNet, Ensemble, Flat, Hierarchical, Mamba, Residual  # noqa: E402
from hiss.models.arnet import ARNetModel  # noqa: E402
from hiss.recording import Recording, make_channels, write_hdf5  # noqa: E402
from hiss.ridge import lagged  # noqa: E402
from hiss.training import Run, TrainOptions, fit, fitting, rival  # noqa: E402
from hiss.training import loop as training_loop  # noqa: E402
from hiss.training.alone import APART  # noqa: E402
from hiss.training.base import fit_base, honest_shift, mean_of_squares, mean_square  # noqa: E402
from hiss.training.data import data_of  # noqa: E402
from hiss.training.learner import Frame, Learner, schedule  # noqa: E402
from hiss.training.pretraining import network_of  # noqa: E402

TINY = S4D(4, 1, 4)
SPEC = Residual(ARNet(windows_s=(0.5, 1.0), period=5), Hierarchical(TINY, TINY, 5))
QUICK = TrainOptions(steps=12, epoch_steps=4, batch=2, window_samples=60, warmup_steps=2, min_gain=0.0, least_base=0.5)


def recording(n: int = 400, seed: int = 0, name: str = "a", split: str | None = None) -> Recording:
    """A product of two channels and a lag: linear alone cannot do it."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=(n, 2)), 0).astype(np.float32) / 5
    y = x[:, :1] * np.tanh(x[:, 1:]) + x[np.maximum(np.arange(n) - 7, 0), 1:]
    names = make_channels(["p", "q"], "uT"), make_channels(["force"], "N")
    return Recording(name, np.arange(n) / 20, x, names[0], y, names[1], rate_hz=20.0, split=split)


def quick(out: Path | None = None, spec: object = SPEC, options: TrainOptions = QUICK, **more: object) -> Run:
    train = [recording(), recording(300, 1, "b")]
    return fit(spec, train, "force", out=out, options=options, progress=False, device="cpu", **more)  # type: ignore[arg-type]


def test_same_seed_same_checkpoint_and_another_seed_another(tmp_path: Path) -> None:
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        quick(tmp_path / folder, seed=seed)
    a, b, c = ((tmp_path / f / "best.safetensors").read_bytes() for f in "abc")
    assert a == b
    assert a != c


def test_training_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    quick()
    assert torch.equal(torch.rand(3), want)


@pytest.mark.parametrize("at", [1, 5, 9])
def test_resume_continues_the_same_curve_in_every_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Ctrl-C in update `at`, then resume: log and checkpoint are those of a run that nobody interrupted."""
    quick(tmp_path / "whole", seed=1)
    update, calls = Learner.update, []

    def interrupted(self: Learner, batch: object) -> float:
        calls.append(1)
        if len(calls) == at + 7:  # the forecast makes seven of its own
            raise KeyboardInterrupt
        return update(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(
            SPEC,
            [recording(), recording(300, 1, "b")],
            "force",
            out=tmp_path / "cut",
            options=QUICK,
            progress=True,
            seed=1,
        )
    monkeypatch.undo()
    if at <= QUICK.epoch_steps:  # nothing was kept yet
        with pytest.raises(HissError, match=r"last\.safetensors"):
            quick(tmp_path / "cut", seed=1, resume=True)
        return
    Run.load(tmp_path / "cut")  # what is kept is a whole run
    quick(tmp_path / "cut", seed=1, resume=True)
    for name in ("log.csv", "best.safetensors", "last.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_resume_of_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    quick(tmp_path)
    before = (tmp_path / "best.safetensors").read_bytes()
    quick(tmp_path, resume=True)
    assert (tmp_path / "best.safetensors").read_bytes() == before


def test_resume_with_other_options_or_another_model_is_refused(tmp_path: Path) -> None:
    quick(tmp_path)
    with pytest.raises(TrainingError, match="other options"):
        quick(tmp_path, options=dataclasses.replace(QUICK, lr=1e-4), resume=True)
    other = Residual(SPEC.base, Hierarchical(S4D(8, 1, 4), TINY, 5))
    with pytest.raises(TrainingError, match="does not fit"):
        quick(tmp_path, other, resume=True)


def test_a_nan_stops_with_the_step_and_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Windows.draw

    def wild(self: Windows, rng: np.random.Generator, count: int) -> object:
        batch = draw(self, rng, count)
        batch.y[:] = np.nan
        return batch

    monkeypatch.setattr(Windows, "draw", wild)
    with pytest.raises(TrainingError, match=r"nan at step 0.*lower lr"):
        quick(spec=Flat(TINY, 5))


def test_it_stops_early_when_validation_does_not_improve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([3.0, 2.0, 2.5, 2.5, 2.5, 2.5])
    monkeypatch.setattr(Learner, "validate", lambda self, batch: next(errors))
    quick(tmp_path, options=dataclasses.replace(QUICK, steps=100, patience=2))
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0] == ",".join(training_loop.COLUMNS)
    assert len(rows) == 1 + 4  # two better ones, two that were waited for


def test_the_schedule_is_a_warm_up_and_half_a_cosine() -> None:
    options = TrainOptions(steps=100, warmup_steps=10)
    assert schedule(0, options) == pytest.approx(0.1)
    assert schedule(50, options) == pytest.approx(0.5)
    assert schedule(99, options) < 1e-3


def test_the_plain_network_is_the_framed_one() -> None:
    """Decorrelation and scale folded into first and last layer: the same estimates, float64 sums."""
    torch.manual_seed(0)
    network = Hierarchical(TINY, TINY, 5).build(4, 2).double()
    frame = Frame(None, torch.randn(4, 4, dtype=torch.float64), torch.tensor([0.3, 20.0], dtype=torch.float64))
    learner = Learner(network, frame, QUICK, torch.device("cpu"))
    x = torch.randn(2, 30, 4, dtype=torch.float64)
    want = learner.average(x @ learner.decorrelate) * learner.scale
    torch.testing.assert_close(learner.plain_network()(x), want, rtol=0, atol=1e-11)


def test_the_base_solves_the_normal_equations() -> None:
    r = recording()
    scaling = fit_scaling([r])
    parts = sequences([r], scaling)
    val = Windows(parts, 60, 5).spread(4)
    model, strength, error = fit_base(ARNet(ages=(0, 3), period=5), parts, val, 2, 20.0)
    assert error == mean_square(model, val)
    rows = lagged(parts[0].x[:, :2], (0, 3), np.arange(len(r)))
    weight = model.linear.weight.detach().double().numpy()
    left = parts[0].y - rows @ weight.T - model.linear.bias.detach().double().numpy()
    np.testing.assert_allclose(left.T @ rows, strength * len(r) * weight, atol=1e-4 * len(r))  # float32 weights


OFFSETS = np.array([[2, 4], [1, -3], [0.5, 0]], np.float32)


def shown_with_offsets(part: Sequence, share: float) -> list[Sequence]:
    """Six times, each offset once taken off and once put on, as large as `share` of windows make it."""
    size = np.float32(np.sqrt(share / 3))
    moves = [np.concatenate((sign * size * o, np.zeros(2, np.float32))) for o in OFFSETS for sign in (-1, 1)]
    return [dataclasses.replace(part, x=part.x + move) for move in moves]


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_base_with_drift_is_fitted_as_on_all_windows_shown_so(share: float) -> None:
    """Also where each part of the data is left out. Exact: offsets of both signs leave the means as they are."""
    parts = sequences([recording(100)], fit_scaling([recording(100)]))
    val = Windows(parts, 50, 5).spread(2)
    drift = Retare(OFFSETS, 0.3).products(share)
    steady, strength, _ = fit_base(ARNet(ages=(0, 3), period=5), parts, val, 2, 20.0, drift=drift)
    shown = shown_with_offsets(parts[0], share)
    with pytest.MonkeyPatch.context() as only:
        only.setattr("hiss.training.base.STRENGTHS", (strength,))
        want, *_ = fit_base(ARNet(ages=(0, 3), period=5), shown, val, 2, 20.0)
    torch.testing.assert_close(steady.linear.weight, want.linear.weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(steady.linear.bias, want.linear.bias, rtol=1e-4, atol=1e-6)
    (shift,) = honest_shift(steady, strength, parts, 4, drift)
    unseen = [dataclasses.replace(p, valid=np.arange(100) // 25 != 1) for p in shown]
    from hiss.ridge import normal_equations

    weight, bias = normal_equations([(p.x[:, :2], p.y, np.flatnonzero(p.valid)) for p in unseen], (0, 3)).solve(
        strength
    )
    rows = lagged(parts[0].x[:, :2], (0, 3), np.arange(25, 50))
    own = rows @ steady.linear.weight.double().numpy().T + steady.linear.bias.double().numpy()
    np.testing.assert_allclose(shift[25:50], rows @ weight.T + bias - own, atol=1e-5)


def test_validation_of_a_skin_also_asks_what_another_tare_would_do() -> None:
    """Of two that are right in their own session, the one that trusts its tare is found worse."""
    steps = np.arange(400)[:, None]
    skin = dataclasses.replace(recording(), y=np.where(steps < 200, 0.0, steps % 2), tared=10)  # at rest, then not
    data = data_of([skin], [skin], 5, QUICK, None)
    plain = data_of([dataclasses.replace(skin, tared=0)], [skin], 5, QUICK, None)
    assert len(plain.checks) == 1
    as_it_is, elsewhere = data.checks
    assert as_it_is is data.val
    retare = data.windows.retare
    assert retare is not None
    assert elsewhere.shift is not None
    assert all((4 * s == retare.offsets).all(1).any() for s in elsewhere.shift)
    np.testing.assert_array_equal(elsewhere.shift, data.checks[1].shift)  # the same ones every time

    class Latest(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, 4::5, :1]

    def moved(batch: Batch) -> float:
        error = batch.shown[:, 4::5, :1] - batch.y
        return float((error[batch.valid].astype(np.float64) ** 2).mean())

    assert mean_of_squares(Latest(), data.checks) == pytest.approx((moved(as_it_is) + moved(elsewhere)) / 2)
    assert moved(as_it_is) != moved(elsewhere)


def test_a_base_that_explains_too_little_is_dropped_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    noise = dataclasses.replace(recording(), y=np.random.default_rng(0).normal(size=(400, 1)))
    run = fit(SPEC, [noise], "force", options=QUICK, progress=True)
    assert run.spec.base is None
    assert "base is dropped" in capsys.readouterr().err
    assert run.estimate(noise.x[None]).shape == (1, 80, 1)


def test_the_base_chooses_the_window_on_validation() -> None:
    parts = sequences([recording(1000)], fit_scaling([recording(1000)]))
    val = Windows(parts, 60, 5).spread(8)
    errors = [fit_base(ARNet(windows_s=(w,), period=5), parts, val, 2, 20.0)[2] for w in (0.1, 0.5)]
    assert fit_base(ARNet(windows_s=(0.1, 0.5), period=5), parts, val, 2, 20.0)[2] == min(errors)


def test_honest_residuals_are_those_of_a_base_that_has_not_seen_them() -> None:
    parts = sequences([recording(100)], fit_scaling([recording(100)]))
    model, strength, _ = fit_base(ARNet(ages=(0, 1), period=5), parts, Windows(parts, 50, 5).spread(2), 2, 20.0)
    (shift,) = honest_shift(model, strength, parts, folds=4)
    unseen = [Sequence(parts[0].x, parts[0].y, np.r_[np.ones(25, bool), np.zeros(25, bool), np.ones(50, bool)])]
    from hiss.ridge import normal_equations, thinned

    weight, bias = normal_equations([(unseen[0].x[:, :2], unseen[0].y, thinned([unseen[0].valid])[0])], (0, 1)).solve(
        strength
    )
    rows = lagged(parts[0].x[:, :2], (0, 1), np.arange(25, 50))
    own = rows @ model.linear.weight.double().numpy().T + model.linear.bias.double().numpy()
    np.testing.assert_allclose(shift[25:50], rows @ weight.T + bias - own, atol=1e-5)
    assert not honest_shift(model, strength, parts, folds=1)[0].any()


def test_the_correction_learns_from_unseen_residuals_or_from_those_that_are() -> None:
    """Without parts left out there are no others."""
    spec = dataclasses.replace(SPEC, base=ARNet(ages=(0, 3), period=5))  # one base, so that `folds` chooses none
    seen, whole, unseen = (
        quick(spec=spec, options=dataclasses.replace(KEPT, **options))
        for options in ({"unseen_residuals": False}, {"folds": 1}, {})
    )
    assert seen.spec.correction is not None
    assert_same_weights(seen, whole)
    torch.testing.assert_close(seen.module.base.linear.weight, unseen.module.base.linear.weight, rtol=0, atol=0)
    output = [run.module.correction.output_layer().weight for run in (seen, unseen)]
    assert not torch.equal(*output)


def test_a_correction_that_does_not_help_is_dropped_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    train = [recording(), recording(300, 1, "b")]
    run = fit(SPEC, train, "force", options=dataclasses.replace(QUICK, min_gain=1.0), progress=True)
    assert run.spec.correction is None
    assert "dropped" in capsys.readouterr().err
    assert run.estimate(train[0].x[None]).shape == (1, 80, 1)


TINY_NET = Hierarchical(TINY, TINY, 5)
RIVAL = Hierarchical(TINY, S4D(6, 1, 4), 5)
BOTH = dataclasses.replace(SPEC, rival=RIVAL)
KEPT = dataclasses.replace(QUICK, steps=40, least_base=0.0)


@pytest.mark.parametrize(("with_base", "wins"), [(2.0, True), (1.25, True), (1.2, False), (0.5, False)])
def test_of_a_base_and_its_rival_validation_chooses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], with_base: float, wins: bool
) -> None:
    """A tenth less error lets the rival stand; what is kept is bit for bit what it is when it is trained alone."""
    for chooses in (fitting, rival):
        monkeypatch.setattr(chooses, "mean_of_squares", lambda module, checks: _said_error(module, with_base))
    train = [recording(), recording(300, 1, "b")]
    kept = fit(BOTH, train, "force", out=tmp_path, options=KEPT, seed=2, device="cpu")
    says = capsys.readouterr().err
    assert ("the base is dropped: with it" in says, "the base stays: with it" in says) == (wins, not wins)
    want = quick(spec=RIVAL if wins else SPEC, options=KEPT.of_rival() if wins else KEPT, seed=2)
    assert kept.spec == want.spec
    assert_same_weights(kept, want)
    assert_same_weights(Run.load(tmp_path), want)


def _said_error(module: torch.nn.Module, with_base: float) -> float:
    """Squared: 3 of a base alone, 1 of a network alone."""
    if isinstance(module, ARNetModel):
        return 3.0
    return with_base if getattr(module, "base", None) is not None else 1.0


def assert_same_weights(a: Run, b: Run) -> None:
    mine, other = a.module.state_dict(), b.module.state_dict()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[key], other[key]) for key in mine)


PAIR = Ensemble((RIVAL, Flat(Mamba(4, 1, d_state=2), 5)))


@pytest.mark.parametrize("asked", ["alone", "as a rival"])
def test_members_of_an_ensemble_are_what_they_are_when_trained_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Each with a seed of its own."""
    spec, options, folder = PAIR, KEPT.of_rival(), tmp_path
    if asked == "as a rival":
        spec, options, folder = dataclasses.replace(SPEC, rival=PAIR), KEPT, tmp_path / "without_base"
        for chooses in (fitting, rival):
            monkeypatch.setattr(chooses, "mean_of_squares", lambda module, checks: _said_error(module, 2.0))
    run = quick(tmp_path, spec, options, seed=2)
    assert run.spec == PAIR
    for i, member in enumerate(PAIR.members):
        want = quick(spec=member, options=KEPT.of_rival(), seed=2 + i * APART)
        assert_same_weights(Run.load(folder / f"member_{i}"), want)
        for key, weight in want.module.state_dict().items():
            assert torch.equal(run.module.state_dict()[f"members.{i}.{key}"], weight)
    assert_same_weights(Run.load(tmp_path), run)
    x = recording(100, 9).x[None]
    said = [Run.load(folder / f"member_{i}").estimate(x) for i in (0, 1)]
    np.testing.assert_allclose(run.estimate(x), np.mean(said, 0), rtol=1e-5, atol=1e-6)


def test_two_members_of_one_kind_are_two_networks() -> None:
    one, two = (member.head.weight for member in quick(spec=Ensemble((TINY_NET, TINY_NET))).module.members)
    assert not torch.equal(one, two)


@pytest.mark.parametrize("at", [6, 46])
def test_the_training_of_an_ensemble_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """In the first network or in the second: the same curves and the same run."""
    options = dataclasses.replace(KEPT, patience=100)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    quick(whole, PAIR, options)
    with monkeypatch.context() as m:
        m.setattr(Learner, "update", interrupted_at(at))
        with pytest.raises(KeyboardInterrupt):
            quick(cut, PAIR, options)
    quick(cut, PAIR, options, resume=True)
    for name in ("best.safetensors", "member_0/log.csv", "member_1/log.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_an_ensemble_is_fine_tuned_as_one_network() -> None:
    options = dataclasses.replace(KEPT, steps=8)
    start = quick(spec=PAIR, options=options)
    tuned = quick(spec=None, options=options, start=start)
    assert tuned.spec == PAIR
    assert tuned.provenance["from"] == start.provenance
    assert not torch.equal(tuned.module.members[0].head.weight, start.module.members[0].head.weight)


def test_an_ensemble_needs_members_of_one_period_and_one_is_pretrained_at_a_time() -> None:
    with pytest.raises(ValueError, match="two members"):
        Ensemble((TINY_NET,))
    with pytest.raises(ValueError, match="periods 5, 4"):
        Ensemble((TINY_NET, Flat(TINY, 4)))
    with pytest.raises(TrainingError, match="one network is pretrained at a time"):
        network_of(PAIR)


def interrupted_at(at: int) -> Callable[[Learner, object], float]:
    """Learner.update, which Ctrl-C ends in call `at`."""
    done, update = 0, Learner.update

    def interrupted(self: Learner, batch: object) -> float:
        nonlocal done
        done += 1
        if done == at:
            raise KeyboardInterrupt
        return update(self, batch)  # type: ignore[arg-type]

    return interrupted


@pytest.mark.parametrize(("rival", "at"), [(RIVAL, 6), (RIVAL, 46), (PAIR, 46), (PAIR, 86)])
def test_a_training_with_a_rival_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rival: Hierarchical | Ensemble, at: int
) -> None:
    """Beside the base or without it, in any network: the same curves and the same run, and nothing is done twice."""
    options, spec = dataclasses.replace(KEPT, patience=100), dataclasses.replace(SPEC, rival=rival)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    quick(whole, spec, options)
    with monkeypatch.context() as m:
        m.setattr(Learner, "update", interrupted_at(at))
        with pytest.raises(KeyboardInterrupt):
            quick(cut, spec, options)
    Run.load(cut)  # what was the best until then
    with monkeypatch.context() as m:
        done, update = [0], Learner.update
        m.setattr(Learner, "update", lambda self, batch: (done.append(1), update(self, batch))[1])
        quick(cut, spec, options, resume=True)
    networks = 2 if rival is RIVAL else 3
    assert sum(done) == networks * KEPT.n_steps - (at - 1) // KEPT.epoch_steps * KEPT.epoch_steps
    curves = [path.relative_to(whole) for path in whole.rglob("log.csv")]
    assert len(curves) == networks
    for name in (Path("best.safetensors"), *curves):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_where_the_base_says_too_little_its_rival_alone_is_trained(tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, least_base=0.999999)
    run = quick(tmp_path, BOTH, options, seed=2)
    assert run.spec == RIVAL
    assert_same_weights(run, quick(spec=RIVAL, options=options.of_rival(), seed=2))
    assert not (tmp_path / "without_base").exists()


def test_a_rival_is_trained_on_its_own_terms_unless_they_are_set() -> None:
    rival = TrainOptions(whiten=0.01).of_rival()
    assert (rival.whiten, rival.retare, rival.lr, rival.steps) == (0.01, 0.0, 5e-3, 2400)


def test_fine_tuning_has_no_rival(tmp_path: Path) -> None:
    quick(tmp_path, BOTH, dataclasses.replace(KEPT, steps=4), start=quick(options=KEPT))
    assert not (tmp_path / "without_base").exists()


def test_skins_have_a_rival_and_what_moves_has_none() -> None:
    def asked(r: Recording, **more: object) -> Settings:
        return settled(settings_from({"target": ["force"], "rate": 20.0, **more}, "test"), [r], None)

    moving, skin = recording(), dataclasses.replace(recording(), tared=10)
    assert asked(moving).spec(5).rival is None
    assert asked(skin).spec(5).rival == Hierarchical(S4D(32, 2), Mamba(32, 2, dropout=0.1), 5)
    assert asked(skin, low="8x1").spec(5).rival == Hierarchical(S4D(8, 1), Mamba(32, 2, dropout=0.1), 5)
    assert asked(skin, rival="lstm:8x1|4x1").spec(5).rival == Hierarchical(LSTM(8, 1), S4D(4, 1), 5)
    pair = asked(skin, low="6x1", rival="4x1+lstm:8x1|mamba:4x1").spec(5).rival
    assert pair == Ensemble((Hierarchical(S4D(6, 1), S4D(4, 1), 5), Hierarchical(LSTM(8, 1), Mamba(4, 1), 5)))
    assert asked(skin, rival="none").spec(5).rival is None
    assert asked(skin, high="8x1").spec(5).rival.high == S4D(8, 1)
    run = dataclasses.replace(quick(spec=TINY_NET), targets=moving.targets)
    tuned = settled(settings_from({"target": ["force"]}, "test"), [skin], run)
    assert (tuned.rival, tuned.train_options().retare) == ("none", 0.0)  # as the network has learned
    assert asked(moving).train_options() == TrainOptions()
    of_skin = TrainOptions(batch=4, unseen_residuals=False)
    assert asked(skin).train_options() == of_skin
    assert asked(skin, unseen_residuals=True).train_options() == TrainOptions(batch=4)
    alone = asked(skin, base=False)
    assert alone.spec(5) == Hierarchical(S4D(32, 2), Mamba(32, 2, dropout=0.1), 5)
    assert alone.train_options() == of_skin.of_rival()


@pytest.mark.parametrize(
    "spec", [SPEC, Hierarchical(TINY, TINY, 5), Flat(TINY, 5), ARNet(lags=6, spacing="all", period=5)]
)
def test_a_saved_run_is_the_run(tmp_path: Path, spec: object) -> None:
    run = quick(tmp_path, spec, about={"settings": {}})
    again = Run.load(tmp_path)
    x = recording(100, 9).x[None]
    np.testing.assert_array_equal(again.estimate(x), run.estimate(x))
    assert (again.spec, again.channels, again.targets, again.period) == (run.spec, run.channels, run.targets, 5)
    assert again.about == {"settings": {}}
    assert again.pack() == (tmp_path / "best.safetensors").read_bytes()


def test_any_changed_byte_of_a_run_is_noticed(tmp_path: Path) -> None:
    quick(tmp_path, ARNet(ages=(0, 1), period=5))
    path = tmp_path / "best.safetensors"
    data = path.read_bytes()
    for place in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(ProgramError):
            Run.load(tmp_path)
    path.write_bytes(data)
    text = (tmp_path / "run.json").read_text()
    for place in range(0, len(text) - 1, 97):
        changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        if json.loads(text) == _json_or_none(changed):  # white space
            continue
        (tmp_path / "run.json").write_text(changed)
        with pytest.raises(ProgramError, match=r"run\.json"):
            Run.load(tmp_path)


def _json_or_none(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def test_two_runs_cannot_be_mixed(tmp_path: Path) -> None:
    quick(tmp_path / "a", ARNet(ages=(0, 1), period=5))
    quick(tmp_path / "b", ARNet(ages=(0, 2), period=5))
    (tmp_path / "a" / "run.json").replace(tmp_path / "b" / "run.json")
    with pytest.raises(ProgramError, match="does not belong"):
        Run.load(tmp_path / "b")


def test_a_hostile_header_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    """A file whose checksum is right, but whose spec wants far more weights than the file has."""
    run = quick(spec=Flat(TINY, 5))
    run.spec = Flat(S4D(8192, 256), 5)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "best.safetensors").write_bytes(run.pack())
    with pytest.raises(ProgramError, match="more than"):
        Run.load(tmp_path)
    run.spec = Flat(TINY, 6)  # another period than the header's
    (tmp_path / "best.safetensors").write_bytes(run.pack())
    with pytest.raises(ProgramError, match="period"):
        Run.load(tmp_path)


def test_fine_tuning_keeps_model_and_scaling_and_does_not_get_worse(tmp_path: Path) -> None:
    run = quick()
    mine = dataclasses.replace(recording(300, 7, "mine"), y=recording(300, 7).y * 1.2 + 0.3)
    tuned = fit(None, [mine], "force", options=QUICK, progress=False, start=run)
    np.testing.assert_array_equal(tuned.scaling.mean, run.scaling.mean)
    windows = Windows(sequences([mine.cut(240)], run.scaling), 60, 5).spread(2)
    assert mean_square(tuned.module, windows) < mean_square(run.module, windows)
    assert tuned.provenance["from"] == run.provenance


def test_fine_tuning_on_another_sensor_is_refused() -> None:
    run = quick()
    other = dataclasses.replace(recording(), channels=make_channels(["p", "z"], "uT"))
    with pytest.raises(HissError, match="'z'"):
        fit(None, [other], "force", options=QUICK, progress=False, start=run)


def test_bad_options_and_devices_are_said() -> None:
    for bad in ({"steps": 0}, {"lr": 0.0}, {"ema": 1.0}, {"whiten": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            TrainOptions(**bad)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="cpu"):
        fit(SPEC, [recording()], "force", device="warp:9", options=QUICK, progress=False)


# ---- the verbs -------------------------------------------------------------------------------------------

ASKED = ["--target", "force", "--period", "5", "--low", "4x1", "--high", "4x1", "--d-state", "4"]
FAST = [f"--set={k}={v}" for k, v in (("steps", 8), ("epoch_steps", 4), ("batch", 2), ("window_samples", 60))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    write_hdf5(
        folder / "skin.h5", [recording(split="train"), recording(300, 1, "b", "train"), recording(300, 2, "c", "test")]
    )
    result = CliRunner().invoke(train_command, [str(folder / "skin.h5"), *ASKED, *FAST, "-o", str(folder / "run")])
    assert result.exit_code == 0, result.output
    return folder


def test_train_prints_and_keeps_its_settings(trained: Path) -> None:
    about = json.loads((trained / "run" / "run.json").read_text())
    assert about["settings"]["steps"] == 8
    assert about["settings"]["lr"] == TrainOptions().lr  # a default, written too
    assert about["files"][0]["path"] == str(trained / "skin.h5")
    assert [r["name"] for r in about["provenance"]["train"]] == ["a", "b"]  # never the test run


@pytest.mark.parametrize("windows", [[], ["--windows", "4x5s", "--seed", "7"]])
def test_evaluate_prints_its_json_and_nothing_else(trained: Path, windows: list[str]) -> None:
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(evaluate_command, [str(trained / "run"), *windows, "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert set(data) >= {"outputs", "nmse", "lookahead_s", "split", "arithmetic", "data", "seed"}
    row = data["outputs"]["force"]
    assert set(row) == {"rmse", "r2", "mae", "unit"}
    assert (data["split"], data["lookahead_s"], row["unit"]) == ("test", 0.0, "N")
    run = Run.load(trained / "run")
    assert data["nmse"] == pytest.approx((row["rmse"] / run.scaling.y_std[0]) ** 2)
    assert (trained / "run" / "force.png").stat().st_size > 1000
    assert "force.png" in result.stderr


def test_evaluate_scores_the_deployed_arithmetic(trained: Path) -> None:
    """The folded program in float32 against the torch module: float32, sums of some hundred terms."""
    data = json.loads(CliRunner().invoke(evaluate_command, [str(trained / "run"), "--json"]).stdout)
    test = recording(300, 2)
    estimate = Run.load(trained / "run").estimate(test.x[None])[0]
    want = float(np.sqrt(((estimate - test.y[4::5]) ** 2).mean()))
    assert data["outputs"]["force"]["rmse"] == pytest.approx(want, rel=1e-4)


def test_evaluate_of_other_files(trained: Path) -> None:
    write_hdf5(trained / "other.h5", [recording(200, 5, "d")])
    result = CliRunner().invoke(evaluate_command, [str(trained / "run"), "--data", str(trained / "other.h5"), "--json"])
    assert json.loads(result.stdout)["split"] == "all"


def test_evaluate_notices_that_the_data_has_changed(trained: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(trained / "run", tmp_path / "run")
    run = Run.load(tmp_path / "run")
    run.about["files"][0]["path"] = str(tmp_path / "gone.h5")
    run.save(tmp_path / "run")
    result = CliRunner().invoke(evaluate_command, [str(tmp_path / "run"), "--json"])
    assert result.exit_code == 2
    assert "--data" in result.output


def test_a_config_file_has_the_same_keys(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'files = "{trained / "skin.h5"}"\ntarget = "force"\nperiod = 5\nlow = "4x1"\nhigh = "4x1"\nd_state = 4\n'
        f'steps = 8\nepoch_steps = 4\nbatch = 2\nwindow_samples = 60\nout = "{tmp_path / "run"}"\n'
    )
    result = CliRunner().invoke(train_command, [str(tmp_path / "c.toml"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["run"] == str(tmp_path / "run")
    same = [(folder / "run" / "best.safetensors").read_bytes() for folder in (tmp_path, trained)]
    assert same[0] == same[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "froce"], "did you mean force"),
        (["--target", "force", "--set", "stepps=3"], "did you mean 'steps'"),
        (["--target", "force", "--low", "32"], "32x2"),
        (["--target", "force", "--tare", "some"], "auto"),
        ([], "--target"),
    ],
)
def test_a_mistake_in_the_command_is_named(trained: Path, arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(train_command, [str(trained / "skin.h5"), "-o", str(trained / "no"), *arguments])
    assert result.exit_code == 2, result.output
    assert words in result.output


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'period'"):
        settings_from({"periode": 3}, "c.toml")
    with pytest.raises(ValueError, match="period cannot be '3'"):
        settings_from({"period": "3"}, "c.toml")


def test_resume_and_fine_tune_from_the_command_line(trained: Path, tmp_path: Path) -> None:
    before = (trained / "run" / "best.safetensors").read_bytes()
    assert CliRunner().invoke(train_command, ["--resume", str(trained / "run")]).exit_code == 0
    assert (trained / "run" / "best.safetensors").read_bytes() == before
    out = str(tmp_path / "mine")
    asked = [str(trained / "skin.h5"), "--from", str(trained / "run"), "-o", out, *FAST]
    result = CliRunner().invoke(train_command, asked)
    assert result.exit_code == 0, result.output
    assert Run.load(out).spec.base == Run.load(trained / "run").spec.base
