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


@dataclass(frozen=True, eq=False)
class Sums:
    """Over n rows: of the rows, of the targets, of their products."""

    n: int
    x: F64  # (P,)
    y: F64  # (D,)
    xx: F64  # (P, P)
    xy: F64  # (P, D)

    @staticmethod
    def of(rows: F64, targets: F64) -> Sums:
        """Of rows (n, P) and targets (n, D)."""
        return Sums(len(rows), rows.sum(0), targets.sum(0), rows.T @ rows, rows.T @ targets)

    def __add__(self, other: Sums) -> Sums:
        """Of the rows of both."""
        return Sums(self.n + other.n, self.x + other.x, self.y + other.y, self.xx + other.xx, self.xy + other.xy)

    def __sub__(self, other: Sums) -> Sums:
        """Without the rows of `other`, which are among these."""
        return Sums(self.n - other.n, self.x - other.x, self.y - other.y, self.xx - other.xx, self.xy - other.xy)

    def equations(self) -> NormalEquations:
        """Centred."""
        x, y, n = self.x / self.n, self.y / self.n, self.n
        return NormalEquations(n, x, y, self.xx - n * np.outer(x, x), self.xy - n * np.outer(x, y))


def summed(blocks: Iterable[tuple[F64, F64]]) -> NormalEquations:
    """Of blocks of rows (n, P) and targets (n, D). Raises ValueError when there is no row."""
    total: Sums | None = None
    for rows, targets in blocks:
        new = Sums.of(rows, targets)
        total = new if total is None else total + new
    if total is None:
        raise ValueError("no valid sample to fit a ridge on")
    return total.equations()


def thinned(valid: Sequence[NDArray[np.bool_]], most: int = 40_000) -> list[NDArray[np.int64]]:
    """The valid steps of each recording, every n-th of them when there are more than `most` in all."""
    stride = max(1, -(-sum(int(v.sum()) for v in valid) // most))
    return [np.flatnonzero(v)[::stride] for v in valid]
