"""Reading a fitted AR-Net: which lags it uses and how surely, what it answers to a pulse and to a frequency, whether it
would settle as a closed loop, and whether what it leaves is noise.

w: (P,) weights of one output and channel, age 0 first: y_{t+1} = sum_i w_i y_{t-i} + c;  rate_hz: of the series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.ridge import F64

Z95 = 1.96
"""Standard errors of a 95 % interval."""


@dataclass(frozen=True, eq=False)
class LjungBox:
    """statistic of `lags` autocorrelations, with that many less the fitted weights of freedom, and its p-value."""

    statistic: float
    lags: int
    freedom: int
    p: float


def poles(w: F64) -> NDArray[np.complex128]:
    """Roots of z^P = sum_i w_i z^{P-1-i}: how the series goes on by itself. Outside the circle it grows."""
    trimmed = np.trim_zeros(np.asarray(w, np.float64), "b")
    return np.asarray(np.roots(np.concatenate([[1.0], -trimmed])), np.complex128)


def stability_warning(w: F64) -> str | None:
    """A sentence where forecasts that are fed back would grow; None where they settle."""
    found = np.abs(poles(w))
    largest = float(found.max()) if len(found) else 0.0
    if largest < 1:
        return None
    return (
        f"unstable as a closed loop: a pole has modulus {largest:.4f}, expected below 1; forecast several samples "
        "ahead directly (--forecast) rather than by feeding estimates back"
    )


def impulse_response(w: F64, steps: int) -> F64:
    """(steps,) the series after a pulse of 1 at step 0 and nothing since."""
    made = np.zeros(steps)
    if steps:
        made[0] = 1.0
    for t in range(1, steps):
        part = w[:t]
        made[t] = part @ made[t - 1 :: -1][: len(part)]
    return made


def frequency_response(w: F64, rate_hz: float, points: int = 256) -> tuple[F64, F64]:
    """(Hz (points,), gain (points,)) of the loop 1 / (1 - sum w_i e^{-i w (i+1)}), up to half the rate."""
    hz = np.linspace(0, rate_hz / 2, points)
    turns = np.exp(-2j * np.pi * np.outer(hz / rate_hz, np.arange(1, len(w) + 1)))
    with np.errstate(divide="ignore"):
        return hz, np.abs(1 / (1 - turns @ w))


def autocorrelation(left: F64, lags: int) -> F64:
    """(lags,) of residuals (n,), from lag 1 on."""
    centred = left - left.mean()
    power = float(centred @ centred) or 1.0
    return np.array([centred[k:] @ centred[: len(centred) - k] / power for k in range(1, lags + 1)])


def ljung_box(left: F64, lags: int, weights: int = 0) -> LjungBox:
    """Whether residuals (n,) of a fit with so many weights are noise: a small p says that they are not."""
    from scipy.stats import chi2

    n, r = len(left), autocorrelation(left, lags)
    statistic = float(n * (n + 2) * (r**2 / (n - np.arange(1, lags + 1))).sum())
    freedom = max(1, lags - weights)
    return LjungBox(statistic, lags, freedom, float(chi2.sf(statistic, freedom)))


@dataclass(frozen=True, eq=False)
class Lag:
    """One weight and its 95 % interval; age in samples."""

    age: int
    channel: str
    weight: float
    low: float
    high: float


def selected_lags(taps: Sequence[tuple[int, int]], weight: F64, error: F64, channels: Sequence[str]) -> list[Lag]:
    """The weights (P,) of taps (age, channel) that are not 0, the largest first."""
    made = [
        Lag(age, channels[channel], float(w), float(w - Z95 * e), float(w + Z95 * e))
        for (age, channel), w, e in zip(taps, weight, error, strict=True)
        if w != 0
    ]
    return sorted(made, key=lambda lag: -abs(lag.weight))


def taps_response(ages: Sequence[int], weights: Sequence[float], rate_hz: float, points: int = 256) -> tuple[F64, F64]:
    """(Hz (points,), gain (points,)) of sum_i w_i x_{t - age_i}, up to half the rate."""
    hz = np.linspace(0, rate_hz / 2, points)
    return hz, np.abs(np.exp(-2j * np.pi * np.outer(hz / rate_hz, ages)) @ np.asarray(weights, np.float64))


def text(
    lags: Sequence[Lag], left: F64, rate_hz: float, loop: F64 | None = None, loop_hz: float = 1.0, most: int = 20
) -> str:
    """A report. left: residuals (n,);  loop: the weights of a series of rate loop_hz on itself, where poles mean
    something."""
    lines = [f"{'age':>6} {'seconds':>9} {'channel':<12} {'weight':>11} {'95 % interval':>25}"]
    for lag in lags[:most]:
        low_high = f"{lag.low:.5g} .. {lag.high:.5g}"
        lines.append(f"{lag.age:>6} {lag.age / rate_hz:>9.4g} {lag.channel:<12} {lag.weight:>11.5g} {low_high:>25}")
    if len(lags) > most:
        lines.append(f"... and {len(lags) - most} smaller ones")
    test = ljung_box(left, min(40, max(1, len(left) // 5)), 0)
    verdict = "noise" if test.p > 0.05 else "not noise: more lags, or another model, would find something in them"
    lines.append(f"residuals: Ljung-Box {test.statistic:.4g} over {test.lags} lags, p {test.p:.3g}: {verdict}")
    if loop is not None:
        lines.append(_loop_text(loop, loop_hz))
    return "\n".join(lines)


def _loop_text(loop: F64, rate_hz: float) -> str:
    warning = stability_warning(loop)
    if warning:
        return f"WARNING: {warning}"
    found = poles(loop)
    if not len(found):
        return "poles: none"
    slowest = found[np.abs(found).argmax()]
    hz, size = abs(np.angle(slowest)) * rate_hz / (2 * math.pi), abs(slowest)
    settling = math.log(0.01) / math.log(size) / rate_hz if 0 < size < 1 else 0.0
    return f"poles: the slowest has modulus {size:.4f} at {hz:.4g} Hz, down to 1 % after {settling:.4g} s; all inside"


def panels(lags: Sequence[Lag], left: F64, loop: F64 | None = None, loop_hz: float = 1.0) -> dict[str, Any]:
    """What hiss.plotting.plot_reading draws, as plain arrays."""
    made: dict[str, Any] = {
        "lags": {
            name: [(lag.age, lag.weight, lag.low, lag.high) for lag in lags if lag.channel == name]
            for name in dict.fromkeys(lag.channel for lag in lags)
        },
        "autocorrelation": autocorrelation(left, min(40, max(1, len(left) // 5))),
        "noise": Z95 / math.sqrt(max(1, len(left))),
    }
    if loop is not None:
        made["impulse"] = impulse_response(loop, min(400, 4 * len(loop) + 20))
        made["frequency"] = frequency_response(loop, loop_hz)
        made["poles"] = poles(loop)
    return made
