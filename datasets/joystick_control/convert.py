"""CSP-Bench joystick control, as published -> recordings at 50 Hz.

demonstration_ID/touch_sensor_values.h5   timestamps s; finger_, fingertip_ and palm_sensor_values (n, ..., 3): Xela
demonstration_ID/extreme3d_values.h5      timestamps s, axes (m, 3): x, y and twist of the joystick

The skin is tared by the median of its first 100 samples and clipped to +-1000; j_x, j_y, j_z: the stick since the
start. Episodes of less than 15 s or more than 90 s are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hiss.csp_bench import Stream, demonstrations, episode, random_part
from hiss.folder_data import Extra, LeftOut, Trial
from hiss.matlab import fields
from hiss.recording import Recording, make_channels
from hiss.recording_hdf5 import hdf5_arrays

PLACES = ("finger", "fingertip", "palm")
REST = 100  # samples whose median is taken off
TARE = 50  # samples at 50 Hz that live takes the mean of: about as long
LIMIT = 1000.0
SHORTEST_S, LONGEST_S = 15.0, 90.0
STICK = make_channels(["j_x", "j_y", "j_z"])

parts = random_part


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """The demonstrations of `folder`, and the files that some of them lack."""
    return demonstrations(folder, ("touch_sensor_values.h5", "extreme3d_values.h5"))


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One demonstration."""
    touch, joystick = trial.files
    t, *places = fields(hdf5_arrays(touch), touch, "timestamps", *(f"{place}_sensor_values" for place in PLACES))
    at, axes = fields(hdf5_arrays(joystick), joystick, "timestamps", "axes")
    lengths = [np.around(stamps[-1] - stamps[0]) for stamps in (t, at)]
    if min(lengths) < SHORTEST_S or max(lengths) > LONGEST_S:
        raise LeftOut("shorter than 15 s or longer than 90 s")
    flat = [values.reshape(len(values), -1) for values in places]
    names = [
        f"{place}{i // 3}_{'xyz'[i % 3]}" for place, v in zip(PLACES, flat, strict=True) for i in range(v.shape[1])
    ]
    x = np.hstack(flat).astype(np.float64)
    x = np.clip(x - np.median(x[:REST], axis=0), -LIMIT, LIMIT)
    made = episode(trial, Stream(t, x, make_channels(names)), Stream(at, axes[:, :3], STICK), tared=TARE)
    made.y[:] -= made.y[0].copy()
    return made, {}
