"""The low-pass of a training: made of the recordings as they come, run over each of them as the program will."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Seq

import numpy as np

from hiss.dataset import Scaling, fit_scaling
from hiss.errors import TrainingError
from hiss.filters import Lowpass, centred
from hiss.recording import Recording
from hiss.training.options import TrainOptions


def front_of(recordings: Seq[Recording], options: TrainOptions, known: Scaling | None) -> Scaling | None:
    """What stands before the model: ranges of the samples as they come, and the low-pass; None where there is none.

    known: of a run that is trained on; its low-pass stays. Raises TrainingError where the options ask for another.
    """
    rate_hz = recordings[0].rate_hz or 1.0
    if known is not None:
        own = 0.0 if known.lowpass is None else known.lowpass.cutoff * rate_hz
        if options.lowpass_hz not in (0.0, own):
            raise TrainingError(f"lowpass_hz is {options.lowpass_hz:g}, but the run that is trained on has {own:g}")
        return known if known.lowpass else None
    if options.lowpass_hz == 0:
        return None
    raw = fit_scaling(recordings)
    try:
        lowpass = Lowpass(options.lowpass_hz / rate_hz, options.lowpass_order, centred(raw.mean, raw.std))
    except ValueError as error:
        raise TrainingError(f"lowpass_hz is {options.lowpass_hz:g} at {rate_hz:g} samples/s: {error}") from error
    return dataclasses.replace(raw, lowpass=lowpass)


def filtered(recordings: Seq[Recording], front: Scaling | None) -> list[Recording]:
    """Each recording clipped and filtered, from rest."""
    if front is None:
        return list(recordings)
    return [dataclasses.replace(r, x=front.lowpassed(r.x).astype(np.float32)) for r in recordings]


def behind(scaling: Scaling, front: Scaling | None) -> Scaling:
    """The scaling of filtered samples, with the front before it: both ranges are covered."""
    if front is None:
        return scaling
    lo, hi = np.minimum(scaling.lo, front.lo), np.maximum(scaling.hi, front.hi)
    return dataclasses.replace(scaling, lo=lo, hi=hi, lowpass=front.lowpass)
