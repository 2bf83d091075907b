"""Series of a known AR process, as the AR-Net paper makes them, and how far weights are from the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.arnet.equations import Rows
from hiss.errors import MissingExtraError
from hiss.ridge import F64

SETTLING = 2000
"""Samples before the series begins."""


def ar_series(weights: Sequence[float] | F64, n: int, seed: int) -> F64:
    """(n,) y_t = sum_i w_i y_{t-i} + e_t, e of variance 1."""
    try:
        from scipy.signal import lfilter
    except ModuleNotFoundError as error:
        raise MissingExtraError("scipy", "train") from error
    noise = np.random.default_rng(seed).normal(size=n + SETTLING)
    made: F64 = lfilter([1.0], np.concatenate([[1.0], -np.asarray(weights, np.float64)]), noise)[SETTLING:]
    return made


def random_weights(order: int, seed: int) -> F64:
    """(order,) uniform, divided by the sum of their magnitudes: stable."""
    w = np.random.default_rng(seed).uniform(-1, 1, order)
    made: F64 = w / np.abs(w).sum()
    return made


def one_step(series: NDArray[Any], lags: int) -> Rows:
    """x (n - 1, 1), y its next sample, rows with all lags: what classic AR is fitted on."""
    rows = np.arange(len(series) - 1) >= lags - 1
    return series[:-1, None], series[1:, None], rows


def stpe(found: NDArray[Any], true: NDArray[Any]) -> float:
    """100 sum |found - true| / sum (|found| + |true|), percent; the shorter one ends with zeros."""
    size = max(len(found), len(true))
    a, b = (np.pad(np.asarray(v, np.float64), (0, size - len(v))) for v in (found, true))
    return float(100 * np.abs(a - b).sum() / (np.abs(a) + np.abs(b)).sum())
