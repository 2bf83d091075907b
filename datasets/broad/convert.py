"""BROAD trials, as published -> recordings at 2000/21 Hz.

NAME.mat      imu_acc m/s^2, imu_gyr rad/s, imu_mag uT (n, 3); opt_quat (n, 4) sensor -> reference (east, north, up),
              w x y z; opt_pos (n, 3) m; NaN where the cameras lost it; movement (n,); sampling_rate: 2000/7 Hz
trials.json   {"trials": {NAME: {...}}}

Every sample is the block mean of three (IMU) or their centre (cameras). Velocity: the derivative of these
positions under a Hann window of 9 (84 ms); it and the vertical are turned into the sensor frame.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hiss.errors import RecordingError
from hiss.folder_data import Extra, Trial
from hiss.matlab import fields, read_mat
from hiss.poses import orientations_at, rotations
from hiss.recording import Recording, make_channels

BLOCK = 3
WINDOW = 9  # samples
VAL = ("05_", "11_", "18_", "29_")
TEST = ("03_", "09_", "12_", "16_", "21_", "25_", "31_", "36_")
"""Numbers of trials; a motion's repetitions lie in different parts, one sensor and one rig in all."""
CHANNELS = make_channels(
    [f"{kind}_{axis}" for kind in ("acc", "gyr", "mag") for axis in "xyz"],
    ["m/s^2"] * 3 + ["rad/s"] * 3 + ["uT"] * 3,
)
TARGETS = make_channels(["up_x", "up_y", "up_z", "vel_x", "vel_y", "vel_z"], ["1"] * 3 + ["m/s"] * 3)

Floats = np.ndarray[Any, np.dtype[np.float64]]


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """The trials of `folder` (the repository or its data_mat), and which of trials.json are not there."""
    index = next(iter(sorted(folder.rglob("data_mat/trials.json")) or [folder / "trials.json"]))
    try:
        names = sorted(json.loads(index.read_text(encoding="utf-8"))["trials"])
    except OSError as error:
        raise RecordingError(f"{folder}: no data_mat/trials.json in it: is it github.com/dlaidig/broad?") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{index}: not the list of BROAD's trials ({error})") from error
    paths = {name: index.parent / f"{name}.mat" for name in names}
    found = [Trial(name, (path,), _split(name)) for name, path in paths.items() if path.is_file()]
    return found, [f"{name}.mat" for name, path in paths.items() if not path.is_file()]


def _split(name: str) -> str:
    return "val" if name.startswith(VAL) else "test" if name.startswith(TEST) else "train"


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One trial."""
    (path,) = trial.files
    found = read_mat(path)
    acc, gyr, mag, quat, pos = fields(found, path, "imu_acc", "imu_gyr", "imu_mag", "opt_quat", "opt_pos")
    rate = float(fields(found, path, "sampling_rate")[0])
    n = len(acc) // BLOCK
    x = np.hstack([acc, gyr, mag])[: n * BLOCK].reshape(n, BLOCK, -1).mean(1)
    middle = slice(BLOCK // 2, n * BLOCK, BLOCK)
    seen = (np.isfinite(quat).all(1) & np.isfinite(pos).all(1))[middle]
    position = _filled(pos[middle], seen)
    velocity = np.gradient(_smoothed(position), BLOCK / rate, axis=0)
    known, steps = np.flatnonzero(np.isfinite(quat).all(1)), np.arange(len(quat))
    turns = orientations_at(known, rotations(quat[known], scalar_first=True), steps[middle])
    into_sensor = turns.inv()
    recording = Recording(
        trial.name,
        np.arange(n) * BLOCK / rate,
        x,
        CHANNELS,
        np.hstack([into_sensor.apply([0.0, 0.0, 1.0]), into_sensor.apply(velocity)]),
        TARGETS,
        valid=seen,
        rate_hz=rate / BLOCK,
        split=trial.split,
    )
    extra = {"quat": turns.as_quat()[:, [3, 0, 1, 2]], "pos": position}
    if "movement" in found:
        extra["movement"] = found["movement"].astype(np.uint8)[middle]
    return recording, {k: v if v.dtype == np.uint8 else v.astype(np.float32) for k, v in extra.items()}


def _filled(values: Floats, known: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
    """values (n, d), linear across what is not known."""
    if not known.any():
        raise RecordingError("the cameras saw nothing in this trial")
    steps = np.arange(len(values))
    return np.stack([np.interp(steps, steps[known], column[known]) for column in values.T], axis=1)


def _smoothed(values: Floats) -> Floats:
    """values (n, d) under a Hann window, the ends held."""
    weights = np.hanning(WINDOW) / np.hanning(WINDOW).sum()
    padded = np.pad(values, ((WINDOW // 2, WINDOW // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, weights, "valid") for column in padded.T], axis=1)
