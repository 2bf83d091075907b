"""One automatic AR-Net setting on real series: one-step RMSE on the test tail beside the stored AR baseline.

    python tools/arnet_series.py ../shared/data/univariate/univariate.h5

Lags up to a quarter of the training samples, at most 400; order, ridge and sparsity by cross-validation on the
training samples alone. The test tail is forecast one step at a time, from the true past. A series where neither model
leaves less than 95 % of the naive forecast's error, or less than the variance, is a null case.
"""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np

from hiss.arnet.choose import choose
from hiss.arnet.equations import lag_equations
from hiss.arnet.exact import exact

MOST_LAGS = 400
NULL = 0.95


def one_step_rmse(y: np.ndarray, first: int, weight: np.ndarray, bias: float) -> float:  # type: ignore[type-arg]
    """RMSE of y[first:], each forecast from the samples before it."""
    past = np.lib.stride_tricks.sliding_window_view(y, len(weight))[first - len(weight) : len(y) - len(weight)]
    return float(np.sqrt(np.mean((past @ weight[::-1] + bias - y[first:]) ** 2)))


def main() -> None:
    """Print the table."""
    wins, null = 0, []
    print(f"{'series':<20} {'n':>6} {'naive':>9} {'stored AR':>16} {'same AR here':>13} {'auto':>9}  chosen")
    with h5py.File(sys.argv[1]) as file:
        for name in file:
            y = np.asarray(file[name]["y"], np.float64).ravel()
            stored, train = json.loads(file[name].attrs["baseline"]), len(y) - int(file[name].attrs["test_tail"])
            x, ahead = y[: train - 1, None], y[1:train, None]

            def rows(lags: int, n: int = train) -> np.ndarray:  # type: ignore[type-arg]
                return np.arange(n - 1) >= lags - 1

            lags = min(train // 4, MOST_LAGS)
            chosen = choose([(x, ahead, rows(min(lags, train // 8 + 1)))], lags)
            weight = chosen.fit.weight[0]
            error = one_step_rmse(y, train, weight[: chosen.candidate.lags], chosen.fit.bias[0])
            order = stored["ar_order"]
            same = exact(lag_equations([(x, ahead, rows(order))], order))
            classic = one_step_rmse(y, train, same.weight[0], same.bias[0])
            wins += error <= stored["ar_rmse"]
            if min(error, stored["ar_rmse"]) > NULL * min(stored["naive_rmse"], float(y[train:].std())):
                null.append(name)
            print(
                f"{name:<20} {len(y):>6} {stored['naive_rmse']:>9.4g} {stored['ar_rmse']:>11.5g} ({order:>2}) "
                f"{classic:>13.5g} {error:>9.5g}{' ' if error <= stored['ar_rmse'] else '!'} {chosen.candidate}, "
                f"{int(chosen.fit.kept.sum())} weights"
            )
    print(f"at or below the stored AR baseline: {wins} series; null cases: {', '.join(null) or 'none'}")


if __name__ == "__main__":
    main()
