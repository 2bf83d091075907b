"""Ground reaction forces of running, as published -> recordings at 500 Hz, one per condition.

Accelerometer_*.csv  no header; a row a condition: n vertical, then n anterior-posterior accelerations, g
GRF_*.csv            the same rows: n forces, body weights
Sub_Info_*.csv       header; Sub, Mass kg, RFS %, Speed m/s, Slope deg, ... of each row
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from hiss.errors import RecordingError
from hiss.folder_data import Extra, Trial
from hiss.recording import Recording, make_channels

RATE_HZ = 500.0
KINDS = ("Accelerometer", "GRF", "Sub_Info")
VAL = (3, 15, 21)  # rows
TEST_SLOPE = 5.0  # deg, up or down
CHANNELS = make_channels(["acc_v", "acc_ap"], "g")
FORCE = make_channels(["grf"], "BW")

Floats = np.ndarray[Any, np.dtype[np.float64]]


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """The conditions of the tables in `folder`. Raises RecordingError where tables do not belong together."""
    paths = {kind: next(iter(sorted(folder.rglob(f"{kind}_*.csv"))), None) for kind in KINDS}
    missing = [f"{kind}_*.csv" for kind, path in paths.items() if path is None]
    if missing:
        raise RecordingError(
            f"{folder}: no {', '.join(missing)}: is it github.com/alcantarar/Recurrent_GRF_Prediction?"
        )
    acc, force, info = (path for path in paths.values() if path)
    x, y, rows = _table(acc), _table(force), _rows(info)
    if not len(x) == len(y) == len(rows) or x.shape[1] != 2 * y.shape[1]:
        raise RecordingError(
            f"{folder}: {acc.name} has {x.shape[0]} rows of {x.shape[1]}, {force.name} {y.shape[0]} of {y.shape[1]}, "
            f"{info.name} {len(rows)}; they are not of the same conditions"
        )
    return [_trial(i, x[i], y[i], row) for i, row in enumerate(rows)], []


def _trial(i: int, x: Floats, y: Floats, row: dict[str, str]) -> Trial:
    slope, speed = float(row["Slope"]), float(row["Speed"])
    name = f"c{i:02}_v{speed:.2f}_s{slope:g}".replace(".", "p").replace("-", "m")
    split = "test" if abs(slope) == TEST_SLOPE else "val" if i in VAL else "train"
    about = {"slope_deg": slope, "speed_mps": speed, "mass_kg": float(row["Mass"]), "rfs": float(row["RFS"])}
    return Trial(name, (), split, {"x": x.reshape(2, -1).T, "y": y[:, None], "attrs": about})


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One condition."""
    x, y = trial.about["x"], trial.about["y"]
    attrs = {key: str(value) for key, value in trial.about["attrs"].items()}
    t = np.arange(len(x)) / RATE_HZ
    return Recording(trial.name, t, x, CHANNELS, y, FORCE, rate_hz=RATE_HZ, split=trial.split, attrs=attrs), {}


def _table(path: Path) -> Floats:
    try:
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: not a table of numbers ({error})") from error


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    missing = [key for key in ("Slope", "Speed", "Mass", "RFS") if rows and key not in rows[0]]
    if missing or not rows:
        raise RecordingError(f"{path}: no column {', '.join(missing)}" if missing else f"{path}: no rows")
    return rows
