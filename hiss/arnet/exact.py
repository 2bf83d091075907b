"""Exact least squares over lags: dense, or sparse by a threshold on t with a refit of what stays.

P: columns (age, channel);  D: outputs.   weight (D, P), bias (D,);  t = weight / its standard error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.arnet.equations import LagEquations
from hiss.errors import MissingExtraError
from hiss.ridge import F64

RIDGES = (1e-9, 1e-7, 1e-5)
"""Times the mean variance: tried in turn where the equations are singular to rounding, as for a channel that rests."""

SMALLEST_PIVOT = 1e-11
"""Times the mean variance: samples come in float32, so less than this is their rounding, and its weights are wild."""


@dataclass(frozen=True, eq=False)
class Exact:
    """weight (D, P), 0 where not kept;  bias (D,);  kept (P,);  error (D, P): standard errors, 0 where not kept;

    noise (D,): variance of what is left, over the degrees of freedom;  ridge: what was added, per row.
    """

    weight: F64
    bias: F64
    kept: NDArray[np.bool_]
    error: F64
    noise: F64
    n: int
    ridge: float

    @property
    def t(self) -> F64:
        """(D, P), 0 where not kept."""
        return self.weight / np.where(self.error > 0, self.error, np.inf)


def exact(
    equations: LagEquations, ridge: float = 0.0, errors: bool = False, allowed: NDArray[np.bool_] | None = None
) -> Exact:
    """All columns, or those `allowed` (P,); ridge: strength per row, as in hiss.ridge.

    errors: with standard errors (twice the work).
    """
    return _solved(equations, _columns(equations, allowed), ridge, errors)


def _columns(equations: LagEquations, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    if allowed is not None and not allowed.any():
        raise ValueError("no lag is allowed: look at the ranges of the channels")
    return np.ones(len(equations.x_mean), np.bool_) if allowed is None else allowed.copy()


def default_threshold(columns: int) -> float:
    """sqrt(2 ln P) + 1: what the largest |t| of P columns without effect stays below."""
    return math.sqrt(2 * math.log(max(columns, 2))) + 1


def sparse(
    equations: LagEquations,
    threshold: float | None = None,
    ridge: float = 0.0,
    allowed: NDArray[np.bool_] | None = None,
) -> Exact:
    """Columns (of those allowed) whose |t| is above `threshold` for any output, refitted; the strongest if none is.

    Of those below, the smaller half goes and the rest is fitted again: lags that tell the same must not all go at once.
    """
    limit = default_threshold(len(equations.x_mean)) if threshold is None else threshold
    kept = _columns(equations, allowed)
    while True:
        found = _solved(equations, kept, ridge, True)
        largest = np.abs(found.t).max(0)
        weak = np.flatnonzero(kept & ~(largest > limit))
        if not len(weak) or (len(weak) == 1 and kept.sum() == 1):
            return found
        order = weak[np.argsort(largest[weak], kind="stable")]
        gone = order[: max(1, (len(order) + 1) // 2)]
        if len(gone) == kept.sum():
            gone = gone[:-1]
        kept = kept.copy()
        kept[gone] = False


def nested_errors(equations: LagEquations) -> F64:
    """(p,) mean squared error over outputs of the orders 1 .. p, in sample: one factorization gives them all.

    L L^T = xx, L z = xy: the first k columns explain the sum of z^2 up to k.
    """
    lower, _ = _factor(equations.xx, 0.0)
    z = _linalg().solve_triangular(lower, equations.xy, lower=True, check_finite=False)
    explained = np.cumsum(z**2, 0)[equations.channels - 1 :: equations.channels]
    left: F64 = np.maximum(equations.yy - explained, 0.0).mean(1) / equations.n
    return left


def _solved(e: LagEquations, kept: NDArray[np.bool_], ridge: float, errors: bool) -> Exact:
    at = np.flatnonzero(kept)
    whole = len(at) == len(kept)
    xx, xy = (e.xx, e.xy) if whole else (e.xx[np.ix_(at, at)], e.xy[at])
    lower, used = _factor(xx, ridge * e.n)
    inner = _linalg().cho_solve((lower, True), xy, check_finite=False).T  # (D, kept)
    left = np.maximum(e.yy - 2 * np.einsum("dp,pd->d", inner, xy) + np.einsum("dp,dp->d", inner @ xx, inner), 0.0)
    noise = left / max(e.n - len(at) - 1, 1)
    weight, error = np.zeros((len(e.yy), len(kept))), np.zeros((len(e.yy), len(kept)))
    weight[:, at] = inner
    if errors:
        error[:, at] = np.sqrt(np.outer(noise, _inverse_diagonal(lower)))
    return Exact(weight, e.y_mean - weight @ e.x_mean, kept, error, noise, e.n, used / e.n)


def _factor(xx: F64, ridge: float) -> tuple[F64, float]:
    """(L, what was added to the diagonal) with L L^T = xx + ridge."""
    scale = float(np.trace(xx)) / max(len(xx), 1) or 1.0
    for more in (ridge, *(ridge + r * scale for r in RIDGES)):
        regular = xx.T.copy(order="F")  # symmetric: the transpose is what LAPACK reads
        regular.flat[:: len(xx) + 1] += more
        lower, info = _linalg().lapack.dpotrf(regular, lower=1, overwrite_a=1, clean=1)
        diagonal = np.diag(lower)
        if info == 0 and len(xx) and float(diagonal.min()) ** 2 > SMALLEST_PIVOT * scale:
            return lower, more
        if not len(xx):
            return lower, more
    raise ValueError("the samples do not determine the weights: is every channel constant?")


def _inverse_diagonal(lower: F64) -> F64:
    """diag((L L^T)^-1): the squares in the columns of L^-1, summed."""
    inverse, info = _linalg().lapack.dtrtri(lower, lower=1)
    if info:
        raise ValueError("the samples do not determine the weights")
    return np.einsum("ij,ij->j", inverse, inverse)


def _linalg() -> Any:
    try:
        import scipy.linalg
    except ModuleNotFoundError as error:
        raise MissingExtraError("scipy", "train") from error
    return scipy.linalg
