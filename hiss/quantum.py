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
LEAST_STEPS = 16  # between the rounding of the numbers and a step that is one
SURE = 1 / 8  # of a step: so far the rounding of a multiple may add up
ENOUGH = 50  # differences, or the step could be one by chance
ENOUGH_SURE = 20  # of those, multiples that are told well from what lies between


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
    differences.sort()
    step = float(differences[0])
    while step > LEAST_STEPS * rounding:
        # a step that is a difference itself carries its rounding as often as it is taken
        sure = differences[: np.searchsorted(differences, step * SURE * step / rounding)]
        counts = np.round(sure / step)
        rest = np.abs(sure - step * counts)
        wrong = rest > rounding * (1.5 + counts)
        if not wrong.any():
            return float(sure @ counts / (counts @ counts)) if len(sure) >= ENOUGH_SURE else 0.0  # least squares
        step = float(rest[wrong].min())
    return 0.0
