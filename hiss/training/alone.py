"""Networks without a base: one, or the members of an ensemble, each trained as if it were alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from hiss.models.ensemble import Ensemble, EnsembleModel
from hiss.models.flat import Flat
from hiss.models.hierarchical import Hierarchical
from hiss.training.base import mean_square
from hiss.training.data import Data
from hiss.training.descent import Sitting, Watch, descended, finished, made_learner
from hiss.training.loop import forecast_s
from hiss.training.options import TrainOptions
from hiss.training.run import Run

APART = 100_003
"""Between the seeds of two members, so that no seed of a run is that of another's member."""

VALIDATION_ERROR = "validation_error"
"""Key of the provenance of an ensemble, which has no log of its own: in deviations of the target."""

Network = Hierarchical | Flat | Ensemble


def trained_alone(
    run: Run, spec: Network, data: Data, options: TrainOptions, sitting: Sitting, watch: Watch | None
) -> Run:
    """The run of a network without a base: the same whatever was trained before it."""
    if isinstance(spec, Ensemble):
        members = []
        for i, (member, own) in enumerate(_sittings(spec, sitting)):
            sitting.say(f"network {i + 1} of {len(spec.members)}:")
            members.append(trained_alone(run, member, data, options, own, watch).module)
        model = EnsembleModel(spec, members)
        error = {VALIDATION_ERROR: mean_square(model, data.val) ** 0.5}
        made = dataclasses.replace(run, spec=spec, provenance=run.provenance | error)
        return finished(made, None, model, sitting.writes)
    torch.manual_seed(sitting.seed)
    made = dataclasses.replace(run, spec=spec)
    learner = made_learner(made, data, None, options, sitting.device, None, None)
    return finished(made, None, descended(made, data, None, np.inf, learner, sitting, watch), sitting.writes)


def forecast_alone_s(run: Run, spec: Network, data: Data, options: TrainOptions, sitting: Sitting) -> float:
    """Seconds that it will take, without a trace in the random numbers."""
    if isinstance(spec, Ensemble):
        return sum(forecast_alone_s(run, part, data, options, own) for part, own in _sittings(spec, sitting))
    with torch.random.fork_rng():
        made = dataclasses.replace(run, spec=spec)
        learner = made_learner(made, data, None, options, sitting.device, None, None)
        return forecast_s(learner, data.windows, data.val, sitting.seed)


def _sittings(spec: Ensemble, sitting: Sitting) -> Iterator[tuple[Hierarchical | Flat, Sitting]]:
    """Every member, with a folder and a seed of its own."""
    for i, member in enumerate(spec.members):
        yield member, dataclasses.replace(sitting.aside(f"member_{i}"), seed=sitting.seed + i * APART)
