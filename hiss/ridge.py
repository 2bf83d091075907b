"""Exact ridge least squares over lagged samples, numpy only: the linear AR-Net and the baselines.

x: (n, C) samples;  ages: (A,) in samples, 0 = now;  a row is [age 0 of all channels, age 1 of all channels, ...].
The past before the first sample of a recording equals its first sample, so ages never reach into another recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
BLOCK = 4096  # rows at a time: bounds memory at (BLOCK, A C)


def log_ages(count: int, longest: int) -> tuple[int, ...]:
    """Up to `count` different ages from 0 to `longest` samples, log-spaced."""
    spread = np.logspace(0.0, np.log10(longest + 1.0), count)
    return tuple(sorted({round(float(s)) - 1 for s in spread}))


def lagged(x: NDArray[np.floating[Any]], ages: Sequence[int], steps: NDArray[np.int64]) -> F64:
    """Rows (len(steps), A C) of the samples that are `ages` old at `steps`."""
    past = np.maximum(steps[:, None] - np.asarray(ages), 0)
    return x[past].reshape(len(steps), -1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """What least squares needs to know of the data: means, covariances, and how many rows there were."""

    n: int
    x_mean: F64  # (P,)
    y_mean: F64  # (D,)
    xx: F64  # (P, P) centred sum of products
    xy: F64  # (P, D)

    def solve(self, strength: float) -> tuple[F64, F64]:
        """weight (D, P), bias (D,) with the least sum (y - W x - b)^2 + strength n |W|^2; the bias is free."""
        regular = self.xx + strength * self.n * np.eye(len(self.xx))
        try:
            weight = np.linalg.solve(regular, self.xy).T
        except np.linalg.LinAlgError:  # a dead channel and no strength: the shortest solution
            weight = np.linalg.lstsq(regular, self.xy, rcond=None)[0].T
        return weight, self.y_mean - weight @ self.x_mean


Part = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]], NDArray[np.int64]]
"""x (n, C), y (n, D) of one recording and the steps (m,) to learn from."""


def normal_equations(parts: Iterable[Part], ages: Sequence[int]) -> NormalEquations:
    """Sum over recordings, in float64. Raises ValueError when there is no row."""
    return summed(
        (lagged(x, ages, some), y[some].astype(np.float64))
        for x, y, steps in parts
        for some in (steps[start : start + BLOCK] for start in range(0, len(steps), BLOCK))
    )


def summed(blocks: Iterable[tuple[F64, F64]]) -> NormalEquations:
    """Of blocks of rows (n, P) and targets (n, D). Raises ValueError when there is no row."""
    count, sums = 0, None
    for row, want in blocks:
        new = (row.sum(0), want.sum(0), row.T @ row, row.T @ want)
        sums = new if sums is None else tuple(a + b for a, b in zip(sums, new, strict=True))
        count += len(row)
    if sums is None:
        raise ValueError("no valid sample to fit a ridge on")
    sx, sy, xx, xy = sums
    x_mean, y_mean = sx / count, sy / count
    return NormalEquations(
        count, x_mean, y_mean, xx - count * np.outer(x_mean, x_mean), xy - count * np.outer(x_mean, y_mean)
    )


def thinned(valid: Sequence[NDArray[np.bool_]], most: int = 40_000) -> list[NDArray[np.int64]]:
    """The valid steps of each recording, every n-th of them when there are more than `most` in all."""
    stride = max(1, -(-sum(int(v.sum()) for v in valid) // most))
    return [np.flatnonzero(v)[::stride] for v in valid]
