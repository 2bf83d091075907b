"""NeuralProphet's AR-Net on real series: one-step RMSE on the test tail, for an environment that has neuralprophet.

    python -m venv np && np/bin/pip install torch==2.13.0 neuralprophet h5py "pandas<3"
    export TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1   # it loads its own checkpoint, with pickle, to find a step size
    np/bin/python tools/arnet_neuralprophet.py ../shared/data/univariate/univariate.h5 air_passengers yosemite_temps

As many lags as the stored AR baseline has, all other settings its defaults (trend, automatic seasonality); the test
tail is forecast one step at a time from the true past. Beside tools/arnet_series.py, which needs no such environment.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from neuralprophet import NeuralProphet, set_log_level, set_random_seed

STEPS = {2678400: "MS", 604800: "7D", 2629800: "MS"}
"""Seconds between samples -> frequency of pandas, where it is not a number of seconds."""


def one_step_rmse(y: np.ndarray, lags: int, test: int, step_s: float) -> tuple[float, float]:  # type: ignore[type-arg]
    """(RMSE of the last `test` samples, seconds of the fit)."""
    freq = STEPS.get(round(step_s), f"{round(step_s)}s")
    frame = pd.DataFrame({"ds": pd.date_range("2000-01-01", periods=len(y), freq=freq), "y": y})
    set_random_seed(0)
    model = NeuralProphet(n_lags=lags, n_forecasts=1)
    began = time.perf_counter()
    model.fit(frame[:-test], freq=freq, progress=None, minimal=True)
    seconds = time.perf_counter() - began
    made = model.predict(frame[-test - lags :], decompose=False)["yhat1"].to_numpy(np.float64)[lags:]
    return float(np.sqrt(np.mean((made - y[-test:]) ** 2))), seconds


def main() -> None:
    """Print a line a series."""
    set_log_level("ERROR")
    with h5py.File(Path(sys.argv[1]).resolve()) as file, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it leaves checkpoints where it runs
        for name in sys.argv[2:] or list(file):
            about, stored = file[name].attrs, json.loads(file[name].attrs["baseline"])
            y = np.asarray(file[name]["y"], np.float64).ravel()
            error, seconds = one_step_rmse(y, stored["ar_order"], int(about["test_tail"]), float(about["dt_seconds"]))
            print(
                f"{name:<20} stored AR {stored['ar_rmse']:.5g}, neuralprophet {error:.5g}, {seconds:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
