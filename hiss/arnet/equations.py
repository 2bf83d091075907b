"""Normal equations of lagged samples without the rows: first row by FFT, the rest by a recursion along the diagonals.

x: (n, C) samples;  y: (n, D) what is wanted;  m: (n,) 1 where a step is a row, else 0;  lags p: ages 0 .. p - 1.
A row is [age 0 of all channels, age 1 of all channels, ...]; the past before the first sample equals the first sample.

    G[i, j] = sum_t m_t x[t-i] x[t-j]
    G[i+1, j+1] - G[i, j] = sum_s (m_{s+1} - m_s) x[s-i] x[s-j]

The right side has a term per edge of m only: two for a series without gaps (the covariance method), two more per gap.
In all O(C (C + D) n log n + edges (C p)^2) and no approximation but rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import MissingExtraError
from hiss.ridge import F64, NormalEquations

Samples = NDArray[np.floating[Any]]
Rows = tuple[Samples, Samples, NDArray[np.bool_]]
"""x (n, C), y (n, D) and which steps (n,) are rows, of one recording; all of x is finite, y where it is a row."""


@dataclass(frozen=True, eq=False)
class LagEquations(NormalEquations):
    """Normal equations of lags, with what the targets vary: yy (D,), the centred sum of their squares."""

    yy: F64
    channels: int

    @property
    def lags(self) -> int:
        """p: ages 0 .. p - 1 of every channel."""
        return len(self.x_mean) // self.channels

    def order(self, lags: int) -> LagEquations:
        """The same of the first ages alone: a leading block. Exact, as the past of a row does not depend on p."""
        k = lags * self.channels
        return LagEquations(self.n, self.x_mean[:k], self.y_mean, self.xx[:k, :k], self.xy[:k], self.yy, self.channels)

    def without(self, other: LagEquations) -> LagEquations:
        """These rows less those of `other`, which are among them."""
        n = self.n - other.n
        if n <= 0:
            raise ValueError("no row is left to fit on")
        raw, part = self._raw(), other._raw()
        return _centred(n, [a - b for a, b in zip(raw, part, strict=True)], self.channels)

    def error(self, weight: F64, bias: F64) -> F64:
        """(D,) mean squared error of y = weight x + bias on these rows; weight (D, P)."""
        offset = self.y_mean - weight @ self.x_mean - bias
        spread = self.yy - 2 * np.einsum("dp,pd->d", weight, self.xy) + ((weight @ self.xx) * weight).sum(1)
        return np.maximum(spread, 0.0) / self.n + offset**2

    def _raw(self) -> tuple[F64, F64, F64, F64, F64]:
        """sx, sy, xx, xy, yy, not centred."""
        n, mx, my = self.n, self.x_mean, self.y_mean
        return n * mx, n * my, self.xx + n * np.outer(mx, mx), self.xy + n * np.outer(mx, my), self.yy + n * my**2


def lag_equations(parts: Sequence[Rows], lags: int) -> LagEquations:
    """Sum over recordings, in float64. Raises ValueError when there is no row, or one that is not finite."""
    if lags < 1:
        raise ValueError(f"lags must be at least 1; got {lags}")
    checked = [_checked(*part) for part in parts]
    count = sum(int(m.sum()) for _, _, m in checked)
    if not count:
        raise ValueError("no valid sample to fit an AR-Net on")
    # sums of squares of what is far from 0 would lose digits: all is counted from a point among the rows
    x0 = np.sum([x[m].sum(0) for x, _, m in checked], 0) / count
    y0 = np.sum([y[m].sum(0) for _, y, m in checked], 0) / count
    total: list[F64] | None = None
    for x, y, m in checked:
        new = _sums(x - x0, np.where(m[:, None], y - y0, 0.0), m, lags)
        total = list(new) if total is None else [np.add(a, b, out=a) for a, b in zip(total, new, strict=True)]
    assert total is not None
    made = _centred(count, total, len(x0))
    return LagEquations(count, made.x_mean + np.tile(x0, lags), made.y_mean + y0, made.xx, made.xy, made.yy, len(x0))


def _checked(x: Samples, y: Samples, rows: NDArray[np.bool_]) -> tuple[F64, F64, NDArray[np.bool_]]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not np.isfinite(x).all():
        bad = int(np.argmin(np.isfinite(x).all(1)))
        raise ValueError(f"sample {bad} is not finite; fill it, and leave the rows that need it out")
    if not np.isfinite(y[rows]).all():
        raise ValueError("a target that is not finite stands in a row; leave such rows out")
    return x, y, np.asarray(rows, np.bool_)


def _centred(n: int, sums: Sequence[F64], channels: int) -> LagEquations:
    """Of (sx, sy, xx, xy, yy); xx is taken over, not copied: at 4,000 lags it has 128 MB."""
    sx, sy, xx, xy, yy = sums
    mx, my = sx / n, sy / n
    for i, mean in enumerate(mx):
        xx[i] -= n * mean * mx
    return LagEquations(n, mx, my, xx, xy - n * np.outer(mx, my), np.maximum(yy - n * my**2, 0.0), channels)


def _sums(x: F64, y: F64, rows: NDArray[np.bool_], lags: int) -> tuple[F64, F64, F64, F64, F64]:
    """(sx (P,), sy (D,), xx (P, P), xy (P, D), yy (D,)) of one recording."""
    m = np.concatenate([np.zeros(lags - 1), rows])
    z = np.concatenate([np.repeat(x[:1], lags - 1, axis=0), x])  # (N, C): the past before the start is there
    y = np.concatenate([np.zeros((lags - 1, y.shape[1])), y])
    first, xy = _correlations(z, np.hstack([z * m[:, None], y]), lags)
    change = np.diff(m, append=0.0)
    edges = np.flatnonzero(change)
    signs = change[edges]
    past = z[edges[:, None] - np.arange(lags - 1)]  # (edges, p - 1, C)
    sx = np.concatenate([(z * m[:, None]).sum(0)[None], np.einsum("e,epc->pc", signs, past)]).cumsum(0)
    return sx.ravel(), y.sum(0), _filled(first, past, signs), xy, (y**2).sum(0)


def _correlations(z: F64, left: F64, lags: int) -> tuple[F64, F64]:
    """first[c, j, d] = sum_t m_t z[t, c] z[t-j, d] and xy[(j, d), k] = sum_t y[t, k] z[t-j, d]."""
    fft = _fft()
    size, channels = fft.next_fast_len(len(z), real=True), z.shape[1]
    right = fft.rfft(z.T, size).conj()
    found = np.empty((left.shape[1], lags, channels))
    for k, column in enumerate(fft.rfft(np.ascontiguousarray(left.T), size)):
        found[k] = fft.irfft(column * right, size)[:, :lags].T
    return found[:channels], found[channels:].reshape(-1, lags * channels).T


def _filled(first: F64, past: F64, signs: F64) -> F64:
    """The whole (P, P) from its first row of blocks, along the diagonals."""
    channels, lags = first.shape[:2]
    gram = np.empty((lags, channels, lags * channels))
    gram[0] = first.reshape(channels, -1)
    flat = past.reshape(len(signs), -1)
    for i in range(lags - 1):
        row = (past[:, i] * signs[:, None]).T @ flat  # a row at a time: it stays in the cache
        row += gram[i, :, :-channels]
        gram[i + 1, :, channels:] = row
        gram[i + 1, :, :channels] = first[:, i + 1].T
    return gram.reshape(lags * channels, lags * channels)


def _fft() -> Any:
    try:
        import scipy.fft
    except ModuleNotFoundError as error:
        raise MissingExtraError("scipy", "train") from error
    return scipy.fft
