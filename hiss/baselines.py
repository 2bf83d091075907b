"""What a model has to beat: ridge regression of the present sample, and of lagged samples. numpy only.

x: (T, C) tared samples;  y: (T, D);  k: period.   Protocol: 24 log-spaced lags, window and strength by validation;
with random features, relu(z W + b) stands beside the lagged samples z: W normal / sqrt(columns), b uniform in -1 .. 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.dataset import Scaling, Windows, fit_scaling, hold_out, sequences, window_length
from hiss.metrics import rmse
from hiss.recording import Recording
from hiss.ridge import BLOCK, Part, lagged, log_ages, summed, thinned

LAGS = 24
WINDOWS_S = (1.0, 5.0, 20.0)
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
VALIDATION_WINDOWS = 32
WINDOW_SAMPLES = 1200


@dataclass(frozen=True, eq=False)
class Rows:
    """What the regression sees of scaled channels: samples of some ages, and random features of these."""

    ages: tuple[int, ...]
    weight: NDArray[np.float64]  # (C A, features)
    bias: NDArray[np.float64]  # (features,)

    @staticmethod
    def draw(ages: tuple[int, ...], channels: int, features: int, seed: int) -> Rows:
        """With `features` random features of this seed."""
        rng, columns = np.random.default_rng(seed), channels * len(ages)
        weight = rng.normal(size=(columns, features)) / np.sqrt(columns)
        return Rows(ages, weight, rng.uniform(-1.0, 1.0, features))

    def of(self, x: NDArray[np.floating[Any]], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """x (T, C) at `steps` -> (len(steps), C A + features)."""
        z = lagged(x, self.ages, steps)
        return np.hstack((z, np.maximum(z @ self.weight + self.bias, 0.0))) if len(self.bias) else z


@dataclass(frozen=True, eq=False)
class Ridge:
    """A map of samples of some ages, linear in its rows, with its scaling."""

    name: str
    rows: Rows
    strength: float  # lambda, times the number of rows
    weight: NDArray[np.float64]  # (D, columns of the rows)
    bias: NDArray[np.float64]  # (D,)
    scaling: Scaling

    @property
    def ages(self) -> tuple[int, ...]:
        """In samples, 0 = now."""
        return self.rows.ages

    def estimate(self, x: NDArray[np.floating[Any]], period: int) -> NDArray[np.float64]:
        """Tared samples (T, C) from fresh state -> (T // period, D) in the units of the targets."""
        steps = np.arange(period - 1, len(x) // period * period, period)
        rows = self.rows.of(self.scaling.inputs(x)[:, : self.scaling.n_channels], steps)
        return self.scaling.estimates(rows @ self.weight.T + self.bias)


def baselines(
    train: Seq[Recording], period: int, *, val: Seq[Recording] | None = None, val_fraction: float = 0.2
) -> list[Ridge]:
    """[static ridge, lag ridge] of prepared recordings (one rate, targets chosen, tared)."""
    kinds = {"static ridge": 1, "lag ridge": LAGS}
    return [
        ridge(train, period, lags=lags, val=val, val_fraction=val_fraction, name=name) for name, lags in kinds.items()
    ]


def ridge(
    train: Seq[Recording],
    period: int,
    *,
    lags: int = LAGS,
    features: int = 0,
    windows_s: Seq[float] = WINDOWS_S,
    seed: int = 0,
    val: Seq[Recording] | None = None,
    val_fraction: float = 0.2,
    name: str = "ridge",
) -> Ridge:
    """The ridge whose window and strength are best on validation; prepared recordings. Raises TrainingError."""
    fit_on, held = hold_out(train, val, val_fraction)
    rate_hz = float(train[0].rate_hz or 1.0)
    scaling = fit_scaling(fit_on)
    longest = [round(window * rate_hz) for window in windows_s] if lags > 1 else [0]
    ages = dict.fromkeys(log_ages(lags, n) for n in longest)
    rows = [Rows.draw(a, scaling.n_channels, features, seed) for a in ages]
    return _best(name, rows, fit_on, held, scaling, period, rate_hz)


def _best(
    name: str,
    candidates: Seq[Rows],
    fit_on: Seq[Recording],
    held: Seq[Recording],
    scaling: Scaling,
    period: int,
    rate_hz: float,
) -> Ridge:
    """The rows and strength with the least error on windows of the validation recordings."""
    parts, c = sequences(fit_on, scaling), scaling.n_channels
    length = window_length(held, WINDOW_SAMPLES, rate_hz, period)
    windows = Windows(sequences(held, scaling), length, period).spread(VALIDATION_WINDOWS)
    ends = np.arange(period - 1, length, period)
    steps = thinned([part.valid for part in parts])
    best: tuple[float, Ridge] | None = None
    for rows in candidates:
        equations = summed(_blocks(rows, [(p.x[:, :c], p.y, s) for p, s in zip(parts, steps, strict=True)]))
        shown = np.stack([rows.of(x[:, :c], ends) for x in windows.x])[windows.valid]
        for strength in STRENGTHS:
            weight, bias = equations.solve(strength)
            error = float((rmse(windows.y[windows.valid], shown @ weight.T + bias) ** 2).mean())
            if best is None or error < best[0]:
                best = error, Ridge(name, rows, strength, weight, bias, scaling)
    assert best is not None
    return best[1]


def _blocks(rows: Rows, parts: Seq[Part]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Rows and targets, a block at a time."""
    for x, y, steps in parts:
        for start in range(0, len(steps), BLOCK):
            some = steps[start : start + BLOCK]
            yield rows.of(x, some), y[some].astype(np.float64)
