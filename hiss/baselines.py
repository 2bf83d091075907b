"""What a model has to beat: ridge regression of the present sample, and of lagged samples. numpy only.

x: (T, C) tared samples;  y: (T, D);  k: period.   Protocol: 24 log-spaced lags, window and strength by validation.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.dataset import Scaling, Windows, fit_scaling, hold_out, sequences, window_length
from hiss.metrics import rmse
from hiss.recording import Recording
from hiss.ridge import lagged, log_ages, normal_equations, thinned

LAGS = 24
WINDOWS_S = (1.0, 5.0, 20.0)
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
VALIDATION_WINDOWS = 32
WINDOW_SAMPLES = 1200


@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear map of samples of some ages, with its scaling."""

    name: str
    ages: tuple[int, ...]
    strength: float  # lambda, times the number of rows
    weight: NDArray[np.float64]  # (D, C A), age-major
    bias: NDArray[np.float64]  # (D,)
    scaling: Scaling

    def estimate(self, x: NDArray[np.floating[Any]], period: int) -> NDArray[np.float64]:
        """Tared samples (T, C) from fresh state -> (T // period, D) in the units of the targets."""
        steps = np.arange(period - 1, len(x) // period * period, period)
        rows = lagged(self.scaling.inputs(x)[:, : self.scaling.n_channels], self.ages, steps)
        return self.scaling.estimates(rows @ self.weight.T + self.bias)


def baselines(
    train: Seq[Recording], period: int, *, val: Seq[Recording] | None = None, val_fraction: float = 0.2
) -> list[Ridge]:
    """[static ridge, lag ridge] of prepared recordings (one rate, targets chosen, tared)."""
    fit_on, held = hold_out(train, val, val_fraction)
    rate_hz = float(train[0].rate_hz or 1.0)
    scaling = fit_scaling(fit_on)
    lags = [log_ages(LAGS, round(window * rate_hz)) for window in WINDOWS_S]
    return [
        _best("static ridge", [(0,)], fit_on, held, scaling, period, rate_hz),
        _best("lag ridge", list(dict.fromkeys(lags)), fit_on, held, scaling, period, rate_hz),
    ]


def _best(
    name: str,
    candidates: Seq[tuple[int, ...]],
    fit_on: Seq[Recording],
    held: Seq[Recording],
    scaling: Scaling,
    period: int,
    rate_hz: float,
) -> Ridge:
    """The ages and strength with the least error on windows of the validation recordings."""
    parts, c = sequences(fit_on, scaling), scaling.n_channels
    length = window_length(held, WINDOW_SAMPLES, rate_hz, period)
    windows = Windows(sequences(held, scaling), length, period).spread(VALIDATION_WINDOWS)
    ends = np.arange(period - 1, length, period)
    steps = thinned([part.valid for part in parts])
    best: tuple[float, Ridge] | None = None
    for ages in candidates:
        equations = normal_equations(((p.x[:, :c], p.y, s) for p, s in zip(parts, steps, strict=True)), ages)
        rows = np.stack([lagged(x[:, :c], ages, ends) for x in windows.x])[windows.valid]
        for strength in STRENGTHS:
            weight, bias = equations.solve(strength)
            error = float((rmse(windows.y[windows.valid], rows @ weight.T + bias) ** 2).mean())
            if best is None or error < best[0]:
                best = error, Ridge(name, ages, strength, weight, bias, scaling)
    assert best is not None
    return best[1]
