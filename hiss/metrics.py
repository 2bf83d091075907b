"""How good estimates are: RMSE, R2 and NMSE over valid points pooled.

y, estimate: (n, D);  valid: (n,).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def rmse(y: Floats, estimate: Floats) -> NDArray[np.float64]:
    """(D,) root mean squared error, in the unit of y."""
    error = estimate.astype(np.float64) - y
    return np.asarray(np.sqrt((error**2).mean(0)))


def mae(y: Floats, estimate: Floats) -> NDArray[np.float64]:
    """(D,) mean absolute error, in the unit of y."""
    return np.asarray(abs(estimate.astype(np.float64) - y).mean(0))


def distance(y: Floats, estimate: Floats) -> float:
    """Mean over points of the norm of the error over all outputs."""
    return float(np.linalg.norm(estimate.astype(np.float64) - y, axis=1).mean())


def r2(y: Floats, estimate: Floats) -> NDArray[np.float64]:
    """(D,) share of the variance of y that is explained; 0 where y is constant."""
    variance = y.astype(np.float64).var(0)
    rest = (rmse(y, estimate) ** 2) / np.where(variance > 0, variance, 1)
    return np.where(variance > 0, 1 - rest, 0.0)


def nmse(y: Floats, estimate: Floats, train_std: Floats) -> float:
    """Mean over outputs of MSE / variance of the training target."""
    return float(((rmse(y, estimate) / train_std) ** 2).mean())


def cumulative(y: Floats, estimate: Floats, valid: NDArray[np.bool_], starts: Sequence[int]) -> NDArray[np.float64]:
    """(n,) how far off the sum of all estimates since the start is: the norm over outputs of the summed errors.

    starts: where recordings begin. What is not valid adds nothing. For displacements it is the error of the position.
    """
    error = np.where(valid[:, None], estimate.astype(np.float64) - y, 0.0)
    pieces = np.split(error, list(starts)[1:])
    return np.asarray(np.linalg.norm(np.concatenate([piece.cumsum(0) for piece in pieces]), axis=1))
