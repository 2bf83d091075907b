"""RoNIN, as published -> recordings at 50 Hz, as CSP-Bench prepares them.

train_dataset_1, train_dataset_2, seen_subjects_test_set, unseen_subjects_test_set / SEQUENCE /
data.hdf5   synced/time (n,) s, synced/gyro_uncalib (n, 3) rad/s, synced/acce m/s^2, synced/game_rv (n, 4) w x y z;
            pose/tango_pos (n, 3) m, pose/tango_ori (n, 4) w x y z
info.json   imu_init_gyro_bias, imu_acce_bias, imu_acce_scale (3); start_calibration (4) w x y z; start_frame

acc and gyr are turned into the frame of the targets by the phone's own game rotation vector; only its heading at the
start comes from the tracker. (The published code takes the one of three orientations with the least error against the
truth, one of them a filter that looks ahead: no phone could.) The first 240 s.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hiss.csp_bench import Stream, episode
from hiss.errors import RecordingError
from hiss.folder_data import Extra, Trial
from hiss.matlab import fields
from hiss.poses import rotations
from hiss.recording import Recording, make_channels
from hiss.recording_hdf5 import hdf5_arrays

FOLDERS = {
    "train_dataset_1": "train",
    "train_dataset_2": "train",
    "seen_subjects_test_set": "train",
    "unseen_subjects_test_set": "test",
}
ARRAYS = (
    *("synced/time", "synced/gyro_uncalib", "synced/acce", "synced/game_rv"),
    *("pose/tango_pos", "pose/tango_ori"),
)
MOST_S = 240.0
IMU = make_channels([f"{kind}_{a}" for kind in ("acc", "gyr") for a in "xyz"], ["m/s^2"] * 3 + ["rad/s"] * 3)
POSITION = make_channels(["p_x", "p_y"], "m")


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """The sequences of the four folders, and what is not there."""
    found, missing = [], []
    for part, split in FOLDERS.items():
        places = sorted(path for path in folder.rglob(part) if path.is_dir())
        missing += [] if places else [part]
        for path in sorted(p for place in places for p in place.iterdir() if p.is_dir()):
            files = (path / "data.hdf5", path / "info.json")
            lacking = [str(f.relative_to(folder)) for f in files if not f.is_file()]
            missing += lacking
            found += [] if lacking else [Trial(path.name, files, split)]
    return found, missing


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One sequence."""
    data, about = trial.files
    info = _info(about)
    t, gyro, acc, own, position, tracked = fields(hdf5_arrays(data, *ARRAYS), data, *ARRAYS)
    gyro = gyro - np.array(info["imu_init_gyro_bias"])
    acc = np.array(info["imu_acce_scale"]) * (acc - np.array(info["imu_acce_bias"]))
    turns = rotations(own, scalar_first=True)
    tracker = rotations(tracked[:1], scalar_first=True)[0]
    mounted = rotations(np.array(info["start_calibration"]), scalar_first=True)
    into_frame = tracker * mounted * turns[0].inv() * turns
    start = int(info.get("start_frame", 0))
    imu = np.hstack([into_frame.apply(acc), into_frame.apply(gyro)])[start:]
    targets = Stream(t[start:], position[start:, :2], POSITION)
    return episode(trial, Stream(t[start:], imu, IMU), targets, most_s=MOST_S), {}


def _info(path: Path) -> dict[str, list[float]]:
    try:
        info = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecordingError(f"{path}: cannot be read ({error})") from error
    fields(info, path, "imu_init_gyro_bias", "imu_acce_scale", "imu_acce_bias", "start_calibration")
    return info
