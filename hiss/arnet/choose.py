"""Which fit of an AR-Net: order, ridge, dense or sparse by cross-validation on the normal equations alone, and why.

Folds are stretches of time. A fold's equations taken off all of them are those of the rest, so a candidate costs a
factorization and no pass over the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiss.arnet.equations import LagEquations, Rows, lag_equations
from hiss.arnet.exact import Exact, default_threshold, exact, sparse
from hiss.ridge import F64

Bools = NDArray[np.bool_]
METHODS = ("auto", "exact", "sparse")
RIDGES = (0.0, 1e-3, 1e-2, 1e-1)
"""Candidates for the strength, times the mean variance of the columns."""
SIMPLER = 0.002
"""A model with fewer weights is taken where its error is at most this share above the best one's."""
MOST_COLUMNS = 6000
"""(age, channel) columns whose equations are made: 288 MB at 8 bytes."""


@dataclass(frozen=True)
class Candidate:
    """lags: ages 0 .. lags - 1;  ridge: times the mean variance;  threshold: on |t|, None = dense."""

    lags: int
    ridge: float = 0.0
    threshold: float | None = None

    def solved(self, equations: LagEquations, allowed: Bools | None = None) -> Exact:
        """Its fit over the columns allowed (P,), all where None."""
        part = equations.order(self.lags)
        some = None if allowed is None else allowed[: len(part.xx)]
        strength = self.ridge * float(np.trace(part.xx)) / (len(part.xx) * part.n)
        if self.threshold is None:
            return exact(part, strength, allowed=some)
        return sparse(part, self.threshold, strength, some)

    def __str__(self) -> str:
        kind = "all lags" if self.threshold is None else f"sparse, |t| above {self.threshold:.1f}"
        return f"{self.lags} lags, {kind}" + (f", ridge {self.ridge:g}" if self.ridge else "")


@dataclass(frozen=True, eq=False)
class Choice:
    """fit: on all rows, (D, lags C) weights;  error: cross-validated MSE (D,);  why: a sentence;

    tried: every candidate with the mean over outputs of its error / variance of the target.
    """

    fit: Exact
    candidate: Candidate
    equations: LagEquations
    error: F64
    why: str
    tried: tuple[tuple[Candidate, float], ...]


def orders(lags: int) -> list[int]:
    """About nine orders up to `lags`, each some 1.5 times the one before."""
    spread = np.geomspace(min(2, lags), lags, max(2, math.ceil(math.log(max(lags, 2), 1.7))))
    return sorted({round(float(s)) for s in spread})


def candidates(lags: int, columns: int, method: str = "auto") -> list[Candidate]:
    """What cross-validation chooses from. Raises ValueError for an unknown method."""
    if method not in METHODS:
        raise ValueError(f"fit is {method!r}; known: {', '.join(METHODS)}")
    dense = [Candidate(n, ridge) for n in orders(lags) for ridge in RIDGES] if method != "sparse" else []
    thresholds = (2.0, default_threshold(columns))
    thin = [Candidate(n, 0.0, t) for n in orders(lags)[-4:] for t in thresholds] if method != "exact" else []
    return dense + thin


def choose(
    parts: Sequence[Rows], lags: int, method: str = "auto", folds: int = 5, allowed: Bools | None = None
) -> Choice:
    """The candidate with the least cross-validated error, or a smaller one that is as good.

    allowed: (lags C,) columns to choose from, [age 0 of all channels, ...]; None = all.

    Raises ValueError when there are too few rows or too many columns.
    """
    channels = np.shape(parts[0][0])[1]
    if lags * channels > MOST_COLUMNS:
        raise ValueError(
            f"{lags} lags of {channels} channels are {lags * channels:,} columns; exact equations are made of at most "
            f"{MOST_COLUMNS:,}: take fewer lags or channels, or lags that are spread (spacing log)"
        )
    whole, held = lag_equations(parts, lags), _folds(parts, lags, folds)
    variance = np.maximum(whole.yy / whole.n, 1e-300)
    rest = [whole.without(part) for part in held]
    lags = min(lags, max(1, min(part.n for part in rest) // (2 * channels)))
    tried, errors = [], []
    options = candidates(lags, lags * channels, method)
    if allowed is not None:  # an order below every range has nothing to read
        options = [c for c in options if allowed[: c.lags * channels].any()]
    for candidate in options:
        error = np.zeros_like(variance)
        for part, other in zip(held, rest, strict=True):
            fit = candidate.solved(other, allowed)
            error += part.order(candidate.lags).error(fit.weight, fit.bias) * part.n
        errors.append(error / sum(part.n for part in held))
        tried.append((candidate, float((errors[-1] / variance).mean())))
    best = min(score for _, score in tried)
    fits = [(c, s, e) for (c, s), e in zip(tried, errors, strict=True) if s <= best * (1 + SIMPLER)]
    made = [(c.solved(whole, allowed), c, e) for c, _, e in fits]
    fit, chosen, error = min(made, key=lambda m: (int(m[0].kept.sum()), m[1].ridge))
    return Choice(fit, chosen, whole, error, _why(chosen, fit, tried, best), tuple(tried))


def _why(chosen: Candidate, fit: Exact, tried: Sequence[tuple[Candidate, float]], best: float) -> str:
    score = next(s for c, s in tried if c is chosen)
    kept = int(fit.kept.sum())
    said = f"{chosen}: {kept} weights, {score:.4g} of the variance left in cross-validation of {len(tried)} candidates"
    if score <= best:
        return f"{said}, the least"
    other = next(c for c, s in tried if s == best)
    return f"{said}; the least is {best:.4g} ({other}), which is as good and larger"


def _folds(parts: Sequence[Rows], lags: int, folds: int) -> list[LagEquations]:
    """Equations of stretches of time, about equally many rows each; those without a row are left out."""
    rows = [m for _, _, m in parts]
    count = np.cumsum(np.concatenate(rows)) - 1
    place = np.minimum(count * folds // max(1, count[-1] + 1), folds - 1)
    ends = np.cumsum([len(m) for m in rows])
    made = []
    for fold in range(folds):
        inside = np.split(place == fold, ends[:-1])
        chosen = [(x, y, m & some) for (x, y, m), some in zip(parts, inside, strict=True)]
        chosen = [part for part in chosen if part[2].any()]
        if chosen:
            made.append(lag_equations(chosen, lags))
    if len(made) < 2:
        raise ValueError("too few rows to cross-validate; record longer, or take fewer lags")
    return made
