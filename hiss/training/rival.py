"""The rival of a linear base: a network that is trained without it, and the choice between the two on validation."""

from __future__ import annotations

import dataclasses
from typing import Any

from hiss.models.ensemble import Ensemble
from hiss.models.residual import Residual
from hiss.training.alone import Network, forecast_alone_s, trained_alone
from hiss.training.base import mean_of_squares
from hiss.training.data import Data
from hiss.training.descent import Sitting, Watch
from hiss.training.options import TrainOptions
from hiss.training.run import Run

WITHOUT_BASE = "without_base"
"""Folder, beside the files of a run, of the network that is trained without the base."""


def parted(spec: Any, fresh: bool) -> tuple[Network | None, Any]:
    """(the rival where there is one to train, the spec without it)."""
    if not isinstance(spec, Residual) or spec.rival is None:
        return None, spec
    return spec.rival if fresh and spec.base else None, dataclasses.replace(spec, rival=None)


def trained_rival(
    run: Run, spec: Network, data: Data, options: TrainOptions, sitting: Sitting, watch: Watch | None
) -> Run:
    """The rival of a base, trained on its own terms."""
    rival = dataclasses.replace(run, provenance=run.provenance | {"options": options.of_rival().to_json()})
    return trained_alone(rival, spec, data, options.of_rival(), sitting, watch)


def say_rival(run: Run, spec: Network, data: Data, options: TrainOptions, sitting: Sitting) -> None:
    """How long it takes, before anything is trained."""
    minutes = forecast_alone_s(run, spec, data, options.of_rival(), sitting) / 60
    what = f"{len(spec.members)} networks" if isinstance(spec, Ensemble) else "a network"
    sitting.say(f"without the base, {what} will be trained as well, to compare: about {minutes:.1f} minutes at most")


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
