"""The rival of a linear base: a network that is trained without it, and the choice between the two on validation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from hiss.models.flat import Flat
from hiss.models.hierarchical import Hierarchical
from hiss.models.residual import Residual
from hiss.training.base import mean_of_squares
from hiss.training.data import Data
from hiss.training.descent import Sitting, Watch, descended, finished, made_learner
from hiss.training.loop import forecast_s
from hiss.training.options import TrainOptions
from hiss.training.run import Run

WITHOUT_BASE = "without_base"
"""Folder, beside the files of a run, of the network that is trained without the base."""


def parted(spec: Any, fresh: bool) -> tuple[Hierarchical | Flat | None, Any]:
    """(the rival where there is one to train, the spec without it)."""
    if not isinstance(spec, Residual) or spec.rival is None:
        return None, spec
    return spec.rival if fresh and spec.base else None, dataclasses.replace(spec, rival=None)


def trained_rival(
    run: Run,
    spec: Hierarchical | Flat,
    data: Data,
    options: TrainOptions,
    sitting: Sitting,
    watch: Watch | None,
) -> Run:
    """The rival of a base, trained: the same whatever was trained before it."""
    torch.manual_seed(sitting.seed)
    rival = dataclasses.replace(run, spec=spec)
    rival.provenance = run.provenance | {"options": options.of_rival().to_json()}
    learner = made_learner(rival, data, None, options.of_rival(), sitting.device, None, None)
    best = descended(rival, data, None, np.inf, learner, sitting, watch)
    return finished(rival, None, best, sitting.writes)


def say_rival(run: Run, spec: Hierarchical | Flat, data: Data, options: TrainOptions, sitting: Sitting) -> None:
    """How long it takes, before anything is trained, and without a trace in the random numbers."""
    with torch.random.fork_rng():
        rival = dataclasses.replace(run, spec=spec)
        learner = made_learner(rival, data, None, options.of_rival(), sitting.device, None, None)
        minutes = forecast_s(learner, data.windows, data.val, sitting.seed) / 60
    sitting.say(f"a network without the base is trained behind it, to compare: about {minutes:.1f} minutes at most")


def better(based: Run, error: float, rival: Run, data: Data, options: TrainOptions, sitting: Sitting) -> Run:
    """Which of both validation prefers, kept as the run; in doubt the base, whose lines lead beyond what was seen.

    error: mean square of `based` over the checks of `data`.
    """
    other = mean_of_squares(rival.module, data.checks)
    wins = other < error * (1 - options.rival_gain) ** 2
    said = "is dropped" if wins else "stays"
    sitting.say(f"the base {said}: with it the validation error is {error**0.5:.4f}, without {other**0.5:.4f}")
    if wins and sitting.writes:
        rival.save(sitting.writes)
    return rival if wins else based
