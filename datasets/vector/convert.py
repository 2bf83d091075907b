"""VECtor, as published -> recordings at 50 Hz, as CSP-Bench prepares them.

SEQUENCE.synced.imu.txt (or SEQUENCE/imu.txt)   header lines, then: s, gyr x y z rad/s, acc x y z m/s^2, ...
SEQUENCE.synced.gt.txt (or SEQUENCE/gt.txt)     header lines, then: s, position x y z m, orientation x y z w

p_x, p_y, p_z: the position as seen from the first pose, T_0^-1 T.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hiss.csp_bench import Stream, episode, first_part
from hiss.errors import RecordingError
from hiss.folder_data import Extra, Trial
from hiss.poses import relative_to_first, rotations
from hiss.recording import Recording, make_channels

IMU = make_channels([f"{kind}_{a}" for kind in ("acc", "gyr") for a in "xyz"], ["m/s^2"] * 3 + ["rad/s"] * 3)
POSITION = make_channels(["p_x", "p_y", "p_z"], "m")

parts = first_part


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """The sequences of `folder` by name, and which of their two files are not there."""
    pairs: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.rglob("*.txt")):
        name, _, kind = path.name.removesuffix(".txt").rpartition(".")
        if kind in ("imu", "gt"):
            pairs.setdefault(name.removesuffix(".synced") or path.parent.name, {})[kind] = path
    missing = [f"{name}: {kind}.txt" for name, files in pairs.items() for kind in ("imu", "gt") if kind not in files]
    whole = [Trial(name, (files["imu"], files["gt"])) for name, files in sorted(pairs.items()) if len(files) == 2]
    return whole, missing


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One sequence."""
    imu, truth = (_table(path, least) for path, least in zip(trial.files, (7, 8), strict=True))
    position, _ = relative_to_first(truth[:, 1:4], rotations(truth[:, 4:8]))
    inputs = Stream(imu[:, 0], imu[:, [4, 5, 6, 1, 2, 3]], IMU)
    return episode(trial, inputs, Stream(truth[:, 0], position, POSITION)), {}


def _table(path: Path, least: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The rows of numbers below the header."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = next((i for i, line in enumerate(lines) if _number(line)), len(lines))
    try:
        table = np.loadtxt(lines[head:], ndmin=2)
    except ValueError as error:
        raise RecordingError(f"{path}: not a table of VECtor ({error})") from error
    if len(table) < 2 or table.shape[1] < least:
        raise RecordingError(f"{path}: {table.shape} numbers; at least {least} columns are expected")
    return table


def _number(line: str) -> bool:
    try:
        return bool([float(part) for part in line.split()])
    except ValueError:
        return False
