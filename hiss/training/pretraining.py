"""Learning from recordings without labels, on the task's own inputs (Never Train from Scratch, arXiv 2310.02980).

    next     after chunk j the model says chunk j + 1: all of its samples, scaled
    masked   spans of samples are shown as 0 (their mean); after chunk j the model says those of it that were hidden

Both are causal, so what is learned streams. The model is the one of the task but for its head, which is replaced when
the run is trained on (fit's `pretrained`). k: period;  C: channels;  W: samples of a window.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hiss.augment import augmentation, find_turns, scaling_of_turned
from hiss.dataset import Batch, Scaling, Sequence, Windows, fit_scaling, hold_out, window_length
from hiss.errors import TrainingError
from hiss.gaps import Gaps
from hiss.models.arnet import ARNet
from hiss.models.ensemble import Ensemble
from hiss.models.residual import Residual
from hiss.recording import Channel, Recording, choose_targets
from hiss.training.data import VALIDATION_WINDOWS, WINDOW_SAMPLES
from hiss.training.filtering import behind, filtered, front_of
from hiss.training.group import Group
from hiss.training.learner import Frame, Learner
from hiss.training.loop import Progress, run_loop
from hiss.training.options import TrainOptions
from hiss.training.run import Run, build
from hiss.training.sessions import prepared, rate_of, sessions_of
from hiss.training.speed import faster

TASKS = ("next", "masked")
STEPS = 1200  # updates where none are asked for
HIDDEN = 0.25  # share of the samples that are masked
SPAN = 1.5  # mean length of a masked span, in chunks


class NextChunk(Windows):
    """Windows whose targets are the samples of the chunk after each: y (B, W / k, k C)."""

    channels = 0

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Windows as they are drawn, with their own future as target."""
        return self._labelled(super().draw(rng, count))

    def spread(self, count: int) -> Batch:
        """The same of windows that cover everything."""
        return self._labelled(super().spread(count))

    def _labelled(self, batch: Batch) -> Batch:
        y = chunks_of(batch.x[..., : self.channels], self.period)
        later = np.concatenate([y[:, 1:], y[:, -1:]], axis=1)
        valid = np.concatenate([batch.valid[:, 1:], np.zeros_like(batch.valid[:, :1])], axis=1) & batch.valid
        return dataclasses.replace(batch, y=later, valid=valid)


class Masked(NextChunk):
    """Windows with hidden spans; y is the same chunk as it was, valid (B, W / k, k C) where a sample was hidden."""

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Spans differ from draw to draw."""
        return self._masked(Windows.draw(self, rng, count), rng)

    def spread(self, count: int) -> Batch:
        """The same spans every time."""
        return self._masked(Windows.spread(self, count), np.random.default_rng(0))

    def _masked(self, batch: Batch, rng: np.random.Generator) -> Batch:
        hidden = spans(rng, batch.x.shape[0], batch.x.shape[1], SPAN * self.period)
        shown = np.where(hidden[..., None], np.float32(0), batch.shown)
        of_samples = np.repeat(hidden[..., None], self.channels, axis=2)
        valid = chunks_of(of_samples, self.period) & batch.valid[..., None]
        y = chunks_of(batch.x[..., : self.channels], self.period)
        return dataclasses.replace(batch, x=shown, y=y, valid=valid, shift=None, disturbed=None)


def chunks_of(x: np.ndarray[Any, Any], period: int) -> np.ndarray[Any, Any]:
    """(B, W, C) -> (B, W / k, k C)."""
    b, w, c = x.shape
    return x.reshape(b, w // period, period * c)


def spans(rng: np.random.Generator, count: int, length: int, mean: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(count, length) True in spans of geometric length, HIDDEN of all samples on average."""
    starts = rng.random((count, length)) < -np.log1p(-HIDDEN) / mean  # as many overlap as leaves HIDDEN in the end
    ends = np.arange(length) + rng.geometric(1 / mean, (count, length))
    return np.maximum.accumulate(np.where(starts, ends, 0), axis=1) > np.arange(length)


def pretrain(
    model: Any,
    recordings: Seq[Recording],
    *,
    task: str = "next",
    leave: Seq[str] = (),
    inputs: Seq[str] = (),
    rate_hz: float | None = None,
    tare: int | None = None,
    options: TrainOptions | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
    resume: bool = False,
    about: dict[str, Any] | None = None,
) -> Run:
    """Train `model` (a spec: Hierarchical or Flat, or the correction of a Residual) to say its own inputs.

    recordings: of the training part only; their targets are not read. leave: columns that are no inputs (names or
    patterns), as the targets of a CSV file. The others as in `fit`. The Run that comes of it has the next or the hidden
    chunk as outputs. Raises TrainingError, RecordingError; KeyboardInterrupt after the last checkpoint was kept.
    """
    if task not in TASKS:
        raise ValueError(f"task is {task!r}; known: {', '.join(TASKS)}")
    options = options or TrainOptions()
    options = dataclasses.replace(options, loss="l1", steps=options.steps or STEPS).settled(False)
    spec = network_of(model)
    bare = [_unlabelled(r, leave) for r in recordings]
    rate_hz = rate_of(bare, rate_hz, None)
    sessions = sessions_of(bare, (), inputs, rate_hz, tare, Gaps(), max(2, spec.period))
    whole = prepared(sessions, (), rate_hz, tare, None)
    front = front_of(whole, options, None)
    train, held = hold_out(filtered(whole, front), None, options.val_fraction)
    windows, val, scaling = _windows(task, train, held, rate_hz, spec.period, options)
    scaling = behind(scaling, front)
    channels = train[0].channels
    run = Run(
        spec=spec,
        module=nn.Module(),
        scaling=_with_outputs(scaling, spec.period),
        rate_hz=rate_hz,
        period=spec.period,
        channels=channels,
        targets=tuple(Channel(f"{c.name}+{i + 1}", c.unit) for i in range(spec.period) for c in channels),
        provenance={"pretrained": task, "inputs": list(inputs), "options": options.to_json(), "seed": seed},
        about=about or {},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(spec, run.scaling)
        learner = Learner(network, Frame(None, None, torch.ones(len(run.targets))), options, torch.device(device))
        learner.call = faster(learner.network, options, learner.device, Progress(progress).say)
        learner.group = Group()

        def finished(module: nn.Module) -> Run:
            run.module = module.eval().requires_grad_(False)
            if out:
                run.save(out)
            return run

        def save() -> None:
            finished(learner.plain_network())

        folder = Path(out) if out else None
        return finished(run_loop(learner, windows, val, seed, folder, progress, resume, save))


def network_of(model: Any) -> Any:
    """The spec of what learns by descent. Raises TrainingError for a model that is linear in its samples."""
    spec = model.correction if isinstance(model, Residual) else model
    if isinstance(spec, Ensemble):
        raise TrainingError("one network is pretrained at a time: give a member of the Ensemble")
    if spec is None or isinstance(spec, ARNet):
        raise TrainingError("an AR-Net is fitted exactly and knows its inputs' past already: nothing to pretrain")
    return spec


def _unlabelled(r: Recording, leave: Seq[str]) -> Recording:
    """Without the columns `leave`, without targets; everything counts."""
    r = choose_targets(r, list(leave)) if leave else r
    return dataclasses.replace(r, y=np.zeros((len(r), 0), np.float32), targets=(), valid=np.ones(len(r), np.bool_))


def _windows(
    task: str, train: list[Recording], held: list[Recording], rate_hz: float, period: int, options: TrainOptions
) -> tuple[Windows, Batch, Scaling]:
    turns = find_turns(options.rotate, train[0].channels, ())
    scaling = fit_scaling(train, rule=options.scaling)
    if turns:
        scaling = scaling_of_turned(scaling, train, turns)
    kind = NextChunk if task == "next" else Masked
    resting = scaling.resting_delta
    length = window_length(train, options.window_samples or WINDOW_SAMPLES, rate_hz, period)
    windows = kind(_sequences(train, scaling), length, period, resting, None, augmentation(options, scaling, turns))
    shorter = window_length(held, length, rate_hz, period)
    check = kind(_sequences(held, scaling), shorter, period, resting)
    windows.channels = check.channels = scaling.n_channels
    return windows, check.spread(VALIDATION_WINDOWS), scaling


def _sequences(recordings: Seq[Recording], scaling: Scaling) -> list[Sequence]:
    return [Sequence(scaling.inputs(r.x), r.y, r.valid) for r in recordings]


def _with_outputs(scaling: Scaling, period: int) -> Scaling:
    """Outputs are k chunks of the scaled channels."""
    return dataclasses.replace(scaling, y_mean=np.tile(scaling.mean, period), y_std=np.tile(scaling.std, period))


def adopt(network: nn.Module, pretrained: Run) -> None:
    """Give `network` the weights of a pretrained one, all but its head. Raises TrainingError when they do not fit."""
    known = pretrained.module.state_dict()
    head: Any = network.output_layer()  # type: ignore[operator]
    own = {id(p) for p in head.parameters()}
    names = [name for name, p in network.named_parameters() if id(p) not in own]
    for name in names:
        if name not in known or known[name].shape != dict(network.named_parameters())[name].shape:
            raise TrainingError(
                f"the pretrained run is another model (at {name}): train the one that was pretrained, {pretrained.spec}"
            )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in names:
                parameter.copy_(known[name])
