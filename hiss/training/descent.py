"""Gradient descent on a network: what it starts from, what it is shown, and the run that is kept on the way."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hiss.dataset import Windows
from hiss.models.arnet import ARNetModel
from hiss.models.residual import Residual, ResidualModel
from hiss.training.base import honest_shift
from hiss.training.data import VALIDATION_WINDOWS, Data
from hiss.training.grids import Grids, attach
from hiss.training.group import Group
from hiss.training.learner import Frame, Learner
from hiss.training.loop import run_loop
from hiss.training.options import TrainOptions
from hiss.training.pretraining import adopt
from hiss.training.run import LAST, Run, build
from hiss.training.speed import faster

Say = Callable[[str], None]
Watch = Callable[[int, float, Callable[[], Run]], None]
"""step, best validation error so far (in deviations of the target), and a function that gives the run as it stands."""


@dataclass(frozen=True)
class Sitting:
    """How one call of fit trains, and where to."""

    seed: int
    device: torch.device
    group: Group
    out: Path | None
    progress: bool
    resume: bool
    say: Say

    @property
    def writes(self) -> Path | None:
        """Where this process keeps the run."""
        return self.out if self.group.first else None

    def aside(self, name: str) -> Sitting:
        """The same in a folder of its own in that of the run."""
        folder = self.out / name if self.out else None
        begun = self.resume and folder is not None and any(folder.rglob(LAST))
        return dataclasses.replace(self, out=folder, resume=begun)


def descended(
    run: Run,
    data: Data,
    base: ARNetModel | None,
    strength: float,
    learner: Learner,
    sitting: Sitting,
    watch: Watch | None,
) -> nn.Module:
    """The best network of a training, plain; what it has found so far is kept on the way."""
    group = sitting.group
    learner.group, learner.call = group, faster(learner.network, learner.options, sitting.device, sitting.say)
    group.begin(sitting.seed, learner.network.parameters())

    def save() -> None:
        finished(run, base, learner.plain_network(), sitting.writes)

    def watched(step: int, error: float) -> None:
        if watch is not None:
            watch(step, error, lambda: finished(run, base, learner.plain_network(), None))

    drawn = _honest(data, base, strength, learner.options)
    return run_loop(
        learner, drawn, data.val, sitting.seed, sitting.out, sitting.progress, sitting.resume, save, watched
    )


def finished(run: Run, base: ARNetModel | None, network: nn.Module | None, out: Path | None) -> Run:
    """The run with its parts put together, saved where `out` says."""
    if isinstance(run.spec, Residual):
        run.module = ResidualModel(run.spec, base, network)  # type: ignore[arg-type]
    else:
        run.module = network if network is not None else base  # type: ignore[assignment]
        run.spec = getattr(run.module, "spec", run.spec)
    run.module.eval().requires_grad_(False)
    if out:
        run.save(out)
    return run


def made_learner(
    run: Run,
    data: Data,
    base: ARNetModel | None,
    options: TrainOptions,
    device: torch.device,
    kept: nn.Module | None,
    pretrained: Run | None,
) -> Learner:
    """Of a network that goes on from the module `kept`, or is new: beside a base at first nothing, in the units of what
    the base leaves; of a pretrained run it has all but the head."""
    outputs = len(data.scaling.y_mean)
    scale = torch.ones(outputs)
    if kept is not None:
        known = copy.deepcopy(getattr(kept, "correction", kept)).requires_grad_(True)
        return Learner(known, Frame(base, None, scale), options, device)
    network: Any = build(run.spec.correction if isinstance(run.spec, Residual) else run.spec, data.scaling)
    if base is not None:
        nn.init.zeros_(network.output_layer().weight)
        nn.init.zeros_(network.output_layer().bias)
        scale = _residual_size(data, base)
    if pretrained is not None:
        adopt(network, pretrained)  # its first layer has learned to read the columns as they are
    columns = None if pretrained is not None else _decorrelation(data, options)
    return Learner(network, Frame(base, columns, scale), options, device)


def imitator(
    data: Data,
    base: ARNetModel | None,
    options: TrainOptions,
    device: torch.device,
    kept: nn.Module | None,
    grids: Grids,
) -> Learner:
    """A copy of the network with its weights on grids, which learns to say what the network says."""
    teacher: Any = getattr(kept, "correction", kept)
    network = copy.deepcopy(teacher).requires_grad_(True)
    attach(network, {name.removeprefix("correction."): bits for name, bits in grids.items()}, data.scaling.y_std)
    frame = Frame(base, None, torch.ones(len(data.scaling.y_mean)), copy.deepcopy(teacher))
    return Learner(network, frame, options, device)


def _residual_size(data: Data, base: ARNetModel) -> torch.Tensor:
    windows = data.windows.spread(VALIDATION_WINDOWS)
    left = torch.from_numpy(windows.y) - base(torch.from_numpy(windows.x))
    spread = left[torch.from_numpy(windows.valid)].square().mean(0).sqrt()
    return spread.clamp(min=1e-4)


def _decorrelation(data: Data, options: TrainOptions) -> torch.Tensor | None:
    """P (F, F): principal axes of the channels, each divided by its deviation; deltas stay as they are.

    Skin channels move together; what distinguishes one load from another lies in directions of small variance, which
    descent on the raw columns finds last.
    """
    if not options.whiten:
        return None
    c = data.scaling.n_channels
    seen = [part.x for part in data.parts]
    if data.turns:  # as they will be shown
        seen = list(data.windows.draw(np.random.default_rng(0), VALIDATION_WINDOWS).x)
    squares = sum(x.T @ x for x in (part[:, :c].astype(np.float64) for part in seen))
    variance, axes = np.linalg.eigh(squares / sum(map(len, seen)))
    p = np.eye(data.scaling.n_inputs)
    p[:c, :c] = axes / np.sqrt(np.maximum(variance, 0) + options.whiten)
    return torch.from_numpy(p.astype(np.float32))


def _honest(data: Data, base: ARNetModel | None, strength: float, options: TrainOptions) -> Windows:
    """Windows whose targets make the base's residuals as large as on data that it has not seen, where that is asked."""
    drawn, parts = data.windows, data.parts
    if base is not None and options.unseen_residuals:
        shifts = honest_shift(base, strength, parts, options.folds, data.drift(options))
        parts = [dataclasses.replace(p, y=p.y - s) for p, s in zip(parts, shifts, strict=True)]
    retare = drawn.retare if options.retare else None
    return Windows(parts, drawn.length, drawn.period, drawn.resting, retare, drawn.augment)
