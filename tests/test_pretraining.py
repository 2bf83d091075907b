"""Pretraining: targets are the inputs themselves, causal; all but the head is taken over; shares of labels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hiss.cli.pretrain import command as pretrain_command
from hiss.cli.train import command as train_command
from hiss.dataset import Sequence, fit_scaling
from hiss.errors import TrainingError
from hiss.models import S4D, ARNet, Flat, Hierarchical, Residual
from hiss.recording import Recording, make_channels, write_hdf5
from hiss.training import Run, TrainOptions, fit, pretrain
from hiss.training.labels import some_labels
from hiss.training.pretraining import HIDDEN, Masked, NextChunk, adopt, spans

TINY = S4D(8, 1, 8)
SPEC = Hierarchical(TINY, TINY, 5)
QUICK = TrainOptions(steps=8, epoch_steps=4, batch=2, window_samples=60, warmup_steps=2, patience=99)


def recording(n: int = 300, seed: int = 0, name: str = "a", split: str | None = None) -> Recording:
    """Two tones and what they are at once; nothing of the target is in the names of the inputs."""
    t = np.arange(n) / 20
    rng = np.random.default_rng(seed)
    x = np.stack([np.sin(2 * t + seed), np.sin(0.7 * t - seed)], axis=1) + 0.05 * rng.normal(size=(n, 2))
    y = x[:, :1] * x[:, 1:]
    return Recording(
        name, t, 3 + x, make_channels(["p", "q"]), y, make_channels(["force"], "N"), rate_hz=20, split=split
    )


def windows(kind: type[NextChunk]) -> NextChunk:
    scaling = fit_scaling([recording()])
    x = scaling.inputs(recording().x)
    made = kind([Sequence(x, np.zeros((len(x), 0), np.float32), np.ones(len(x), bool))], 60, 5, scaling.resting_delta)
    made.channels = 2
    return made


def test_the_target_after_a_chunk_is_the_next_one() -> None:
    batch = windows(NextChunk).draw(np.random.default_rng(0), 4)
    assert batch.y.shape == (4, 12, 10)
    for j in range(11):
        want = batch.x[:, 5 * (j + 1) : 5 * (j + 2), :2].reshape(4, -1)
        np.testing.assert_array_equal(batch.y[:, j], want)
    assert batch.valid[:, :-1].all()
    assert not batch.valid[:, -1].any()


def test_hidden_samples_are_not_shown_and_are_what_counts() -> None:
    plain = windows(NextChunk)
    x = super(NextChunk, plain).draw(np.random.default_rng(0), 4).x
    batch = windows(Masked).draw(np.random.default_rng(0), 4)
    np.testing.assert_array_equal(batch.y, x[..., :2].reshape(4, 12, 10))  # what was there
    hidden = (batch.x == 0).all(-1)
    np.testing.assert_array_equal(batch.x[~hidden], x[~hidden])
    np.testing.assert_array_equal(batch.valid, np.repeat(hidden[..., None], 2, 2).reshape(4, 12, 10))
    assert hidden.any(1).all()
    first, again = (windows(Masked).spread(8) for _ in range(2))
    np.testing.assert_array_equal(first.x, again.x)


def test_as_many_samples_are_hidden_as_is_said_in_spans_of_the_length_that_is_said() -> None:
    hidden = spans(np.random.default_rng(0), 50, 4000, 15.0)
    assert abs(hidden[:, 200:].mean() - HIDDEN) < 0.02
    edges = np.diff(hidden.astype(int), axis=1)
    longest = hidden.sum() / (edges == 1).sum()
    assert 15 < longest < 19  # a little more than 15, as spans overlap


@pytest.mark.parametrize("task", ["next", "masked"])
def test_pretraining_is_causal_and_lowers_its_error(task: str, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, steps=120, epoch_steps=20, lr=5e-3)
    run = pretrain(SPEC, [recording(), recording(seed=1, name="b")], task=task, options=options, progress=False)
    x = recording(seed=2).x[None, :100]
    whole, part = run.estimate(x), run.estimate(x[:, :50])
    np.testing.assert_allclose(whole[:, :10], part, rtol=1e-4, atol=1e-5)  # float32; nothing of the future
    if task == "next":
        want = x[0, 5:].reshape(-1, 10)
        error = abs(whole[0, 4:-1] - want[4:]).mean()
        assert error < 0.4 * abs(3 - want[4:]).mean()  # than to say the mean


def test_a_run_is_trained_on_from_all_but_its_head(tmp_path: Path) -> None:
    train = [recording(), recording(seed=1, name="b")]
    pre = pretrain(SPEC, train, options=QUICK, progress=False)
    network: Any = SPEC.build(4, 1)
    head = network.head.weight.clone()
    adopt(network, pre)
    assert torch.equal(network.low.embed.weight, pre.module.low.embed.weight)  # type: ignore[union-attr]
    assert torch.equal(network.high.layers[0].mix.weight, pre.module.high.layers[0].mix.weight)  # type: ignore[union-attr]
    assert torch.equal(network.head.weight, head)
    short = [recording(60, 7)]
    run = fit(SPEC, short, "force", options=QUICK, pretrained=pre, progress=False, device="cpu")
    np.testing.assert_array_equal(run.scaling.mean, pre.scaling.mean)  # inputs as the net has learned to see them
    np.testing.assert_allclose(run.scaling.y_mean, short[0].y[:48].mean(0), rtol=1e-5)
    both = Residual(ARNet(windows_s=(0.5,), period=5), SPEC)
    assert fit(both, short, "force", options=QUICK, pretrained=pre, progress=False, device="cpu").provenance[
        "pretrained"
    ]
    for other in (Hierarchical(S4D(4, 1, 8), TINY, 5), Flat(TINY, 5)):
        with pytest.raises(TrainingError, match="another model"):
            fit(other, short, "force", options=QUICK, pretrained=pre, progress=False, device="cpu")


def test_what_cannot_be_pretrained_is_said() -> None:
    with pytest.raises(TrainingError, match="fitted exactly"):
        pretrain(ARNet(period=5), [recording()])
    with pytest.raises(ValueError, match="known: next, masked"):
        pretrain(SPEC, [recording()], task="all")


def test_a_share_of_the_labels_is_whole_recordings_or_the_first_part_of_each() -> None:
    many = [recording(100, i, f"r{i}", "val" if i >= 20 else "train") for i in range(30)]
    kept, said = some_labels(many, 0.1)
    assert [r.name for r in kept if r.split == "train"] == ["r5", "r15"]
    assert {len(r) for r in kept if r.split == "val"} == {10}  # one of ten: the first part of each instead
    assert len([r for r in kept if r.split == "val"]) == 10
    assert said == "labels: 12 of 30 recordings, 10% of their samples"
    assert [len(r) for r in some_labels([recording()], 0.25)[0]] == [75]
    assert some_labels(many, 1.0)[0] == many
    with pytest.raises(TrainingError, match="leaves no sample"):
        some_labels([recording(8)], 0.01)


def test_pretrain_and_train_from_it_on_the_command_line(tmp_path: Path) -> None:
    """The test recording is never read, not even in pretraining: another one there changes nothing."""
    small = ["--set", "steps=4", "--set", "window_samples=60", "--set", "epoch_steps=2"]
    net = ["--low", "8x1", "--high", "8x1", "--d-state", "8", "--period", "5"]
    made = []
    for seed in (5, 6):
        path, out = tmp_path / "all.h5", tmp_path / f"pre{seed}"
        write_hdf5(path, [recording(), recording(seed=1, name="b"), recording(seed=seed, name="c", split="test")])
        done = CliRunner().invoke(pretrain_command, [str(path), *net, *small, "-o", str(out), "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["task"] == "next"
        made.append((out / "best.safetensors").read_bytes())
    assert made[0] == made[1]
    asked = [str(path), "--target", "force", "--from-pretrained", str(out), "--labels", "50%", *small]
    done = CliRunner().invoke(train_command, [*asked, "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "labels: 2 of 2 recordings, 50% of their samples" in done.output
    run = Run.load(tmp_path / "run")
    assert run.provenance["pretrained"]["pretrained"] == "next"
    assert CliRunner().invoke(train_command, ["--resume", str(tmp_path / "run")]).exit_code == 0
    for more, why in (
        (["--low", "16x1"], "low: of a pretrained run it stays as it is"),
        (["--labels", "ten"], "such as 10% or 0.1"),
    ):
        done = CliRunner().invoke(train_command, [*asked, *more])
        assert (done.exit_code, why in done.output) == (2, True), done.output
    done = CliRunner().invoke(
        train_command, [str(path), "--target", "force", "--from-pretrained", str(tmp_path / "run")]
    )
    assert (done.exit_code, "is no run of hiss pretrain" in done.output) == (2, True)
