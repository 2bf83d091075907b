"""PyShoe trials with camera tracking, as published -> recordings at 200 Hz.

DATE_LLIO.mat     imu_data (n, 6): acc m/s^2, gyr rad/s; gt (n, 2): tracked position, m; timestamps_all (n,) s, jittered

Speed: of the position under a Hann window of 15 samples. The cameras jump now and then, to 29 m/s: not valid there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hiss.folder_data import Extra, LeftOut, Trial
from hiss.matlab import fields, read_mat
from hiss.recording import Recording, make_channels

RATE_HZ = 200.0
WINDOW = 15  # samples
FASTEST = 7.0  # m/s of a foot
MARGIN = 50  # samples beside a glitch
TEST = ("2017-12-15", "2018-02-09")  # sessions
VAL = ("2017-11-22-11-25-20", "2017-11-22-11-38-45", "2017-11-22-11-51-23", "2017-11-27-11-14-52")
CHANNELS = make_channels([f"{kind}_{a}" for kind in ("acc", "gyr") for a in "xyz"], ["m/s^2"] * 3 + ["rad/s"] * 3)
SPEED = make_channels(["speed_xy"], "m/s")


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """Every *_LLIO.mat below `folder`, by its date; nothing says which others there should be."""
    paths = {path.name.removesuffix("_LLIO.mat"): path for path in sorted(folder.rglob("*_LLIO.mat"))}
    return [Trial(date, (path,), _split(date)) for date, path in sorted(paths.items())], []


def _split(date: str) -> str:
    return "test" if date.startswith(TEST) else "val" if date in VAL else "train"


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One trial."""
    (path,) = trial.files
    imu, track, t = fields(read_mat(path), path, "imu_data", "gt", "timestamps_all")
    if len(track) != len(imu):
        raise LeftOut("not tracked by cameras all the time")
    t = t - t[0]
    grid = np.arange(int(t[-1] * RATE_HZ) + 1) / RATE_HZ
    x, position = (np.stack([np.interp(grid, t, c) for c in both.T], axis=1) for both in (imu, track[:, :2]))
    weights = np.hanning(WINDOW) / np.hanning(WINDOW).sum()
    padded = np.pad(position, ((WINDOW // 2, WINDOW // 2), (0, 0)), mode="edge")
    position = np.stack([np.convolve(c, weights, "valid") for c in padded.T], axis=1)
    velocity = np.gradient(position, 1 / RATE_HZ, axis=0)
    speed = np.linalg.norm(velocity, axis=1)
    recording = Recording(
        "t" + trial.name.replace("-", ""),
        grid,
        x,
        CHANNELS,
        speed[:, None],
        SPEED,
        valid=~_near(speed > FASTEST),
        rate_hz=RATE_HZ,
        split=trial.split,
        attrs={"session": trial.name[:10], "source_file": path.name},
    )
    return recording, {"pos_xy": position.astype(np.float32), "vel_xy": velocity.astype(np.float32)}


def _near(bad: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """True within MARGIN samples of a True."""
    return np.convolve(bad.astype(float), np.ones(2 * MARGIN + 1), "same") > 0.5
