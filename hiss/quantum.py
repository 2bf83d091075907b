"""The step of a channel: the greatest number of which all differences between its values are multiples.

It tells a sensor's gain: a magnetometer set to another range counts in other steps. Averages and interpolations have no
step, or one far below the noise of the numbers' own rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME = 0.02  # relative difference of two steps that are one
MOST = 20_000  # samples that are looked at
LEAST_STEPS = 4  # between the rounding of the numbers and a step that is one
ENOUGH = 50  # differences, or the step could be one by chance


def steps_of(x: NDArray[Any]) -> NDArray[np.float64]:
    """The step of every column of float32 samples x (n, C), in their unit; 0 where none is to be seen."""
    x = np.asarray(x, np.float32).astype(np.float64)
    return np.array([_step(column) for column in x.T])


def common_steps(recordings: Sequence[NDArray[Any]]) -> float:
    """The step of a channel in all of these recordings (n,), to 6 digits; 0 where they do not have one in common."""
    steps = [float(steps_of(x[:MOST, None])[0]) for x in recordings]
    if not steps or max(steps) - min(steps) > SAME * min(steps):
        return 0.0
    return float(f"{np.mean(steps):.6g}")


def _step(x: NDArray[np.float64]) -> float:
    differences = np.abs(np.diff(x))
    differences = differences[differences > 0]
    if len(differences) < ENOUGH:
        return 0.0
    rounding = float(np.abs(x).max()) * 2.0**-23  # of a difference of two float32
    differences = np.unique(differences)
    step = float(differences[0])
    while step > LEAST_STEPS * rounding:
        rest = np.abs(differences - step * np.round(differences / step))
        # a step that is a difference itself carries its rounding as often as it is taken
        wrong = rest > rounding * (1.5 + np.round(differences / step))
        if not wrong.any():
            return _sharpened(differences, step)
        step = float(rest[wrong].min())
    return 0.0


def _sharpened(differences: NDArray[np.float64], step: float) -> float:
    """The step from all the differences, not from the least alone (least squares)."""
    counts = np.round(differences / step)
    return float(differences @ counts / (counts @ counts))
