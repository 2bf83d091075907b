"""What a model is fitted on: scales, sequences, windows over them and windows to validate on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiss.augment import Turns, augmentation, find_turns, scaling_of_turned
from hiss.dataset import (
    Batch,
    Scaling,
    Sequence,
    Windows,
    find_retare,
    fit_scaling,
    sequences,
    target_deviation,
    window_length,
)
from hiss.errors import TrainingError
from hiss.recording import Recording, check_channels
from hiss.training.filtering import behind
from hiss.training.options import TrainOptions
from hiss.training.run import Run

VALIDATION_WINDOWS = 32
WINDOW_SAMPLES = 1200
"""Length of a training window, or half the longest recording where that is shorter, so that windows differ."""


@dataclass(frozen=True, eq=False)
class Data:
    """What a model is fitted on: sequences, windows over them, validation windows."""

    parts: list[Sequence]
    windows: Windows
    val: Batch
    scaling: Scaling
    rate_hz: float
    turns: Turns | None = None
    target_std: list[float] | None = None  # where the scaling of targets is not their deviation

    def drift(self, options: TrainOptions) -> NDArray[np.float64] | None:
        """(C, C) mean products of the offsets that a base is fitted with; None where there are none."""
        return self.windows.retare.products(options.retare_base) if self.windows.retare else None

    @property
    def checks(self) -> list[Batch]:
        """The validation windows, and, where another tare would leave offsets, the same with some of them.

        What is validated in the session that it has seen would else be found better the more it trusts its tare.
        """
        return [self.val, *([self.windows.retare.elsewhere(self.val)] if self.windows.retare else [])]


def data_of(
    fit_on: list[Recording],
    val: list[Recording],
    period: int,
    options: TrainOptions,
    start: Run | None,
    pretrained: Run | None = None,
    front: Scaling | None = None,
) -> Data:
    """Recordings (tared, regular, filtered) as data; scales are of `start`, or of `fit_on`, inputs' of `pretrained`.

    front: what stands before the model, where there is a low-pass.

    Raises TrainingError, RecordingError.
    """
    rate_hz = fit_on[0].rate_hz
    assert rate_hz is not None  # prepare has resampled
    turns = find_turns(options.rotate, fit_on[0].channels, fit_on[0].targets)
    scaling = behind(_scaling(fit_on, turns, options, start, pretrained), front)
    longest = max((len(r) for r in fit_on), default=0)
    wanted = options.window_samples or max(period, min(WINDOW_SAMPLES, longest // 2))
    length = window_length(fit_on, wanted, rate_hz, period)
    parts, resting = sequences(fit_on, scaling), scaling.resting_delta if scaling.deltas else None
    held = Windows(sequences(val, scaling), window_length(val, length, rate_hz, period), period, resting)
    batch = held.spread(VALIDATION_WINDOWS)
    if not batch.valid.any():
        raise TrainingError("no sample of the validation recordings is valid: give others, or a larger val_fraction")
    retare = find_retare(fit_on, scaling, options.retare)
    augment = augmentation(options, scaling, turns)
    std = None if options.scaling == "standard" or start else target_deviation(fit_on).tolist()
    return Data(parts, Windows(parts, length, period, resting, retare, augment), batch, scaling, rate_hz, turns, std)


def _scaling(
    fit_on: list[Recording], turns: Turns | None, options: TrainOptions, start: Run | None, pretrained: Run | None
) -> Scaling:
    if start is not None:
        return start.scaling
    alone = pretrained is None and not options.lowpass_hz  # both stand for other columns
    scaling = fit_scaling(fit_on, rule=options.scaling, inertial=options.inertial and alone)
    if pretrained is not None:
        check_channels(fit_on[0], [c.name for c in pretrained.channels])
        return dataclasses.replace(pretrained.scaling, y_mean=scaling.y_mean, y_std=scaling.y_std)
    return scaling_of_turned(scaling, fit_on, turns) if turns else scaling
