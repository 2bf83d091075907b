"""TotalCapture, as published -> recordings at 50 Hz, as CSP-Bench prepares them.

S1 .. S5, of the archives sN_imu and sN_vicon_pos_ori:
sN_SEQUENCE_Xsens.sensors        "13 FRAMES", then for each frame its number and a line for each IMU:
(or ..._Xsens_AuxFields)         name, orientation w x y z in the IMUs' reference frame, acceleration x y z m/s^2, ...
sN_SEQUENCE_calib_imu_ref.txt    a header line, then name, rotation x y z w of that frame into the global one
SEQUENCE/gt_skel_gbl_pos.txt     a header line of joints, then for each frame x y z of each, inches
SEQUENCE/gt_skel_gbl_ori.txt     the same of orientations, w x y z

60 frames/s. Inputs: acceleration in the global frame and the first two columns of the rotation matrix of each IMU;
targets: each joint's position as seen from its own first pose, in metres.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from hiss.csp_bench import Stream, episode
from hiss.errors import RecordingError
from hiss.folder_data import Extra, Trial
from hiss.poses import orientations_at, relative_to_first, rotations, two_columns
from hiss.recording import Recording, make_channels

FRAMES_HZ = 60.0
M_PER_INCH = 0.0254
IMUS = (
    *("Head", "Sternum", "Pelvis", "L_UpArm", "R_UpArm", "L_LowArm", "R_LowArm"),
    *("L_UpLeg", "R_UpLeg", "L_LowLeg", "R_LowLeg", "L_Foot", "R_Foot"),
)
JOINTS = (
    *("Hips", "Spine", "Spine1", "Spine2", "Spine3", "Neck", "Head"),
    *("RightShoulder", "RightArm", "RightForeArm", "RightHand"),
    *("LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand"),
    *("RightUpLeg", "RightLeg", "RightFoot", "LeftUpLeg", "LeftLeg", "LeftFoot"),
)
TRAIN_SUBJECTS = ("s1", "s2", "s3")
TEST = ("walking2", "freestyle3", "acting3")
SENSORS = re.compile(r"(?:(s\d)_)?([a-z]+\d)_xsens(?:_auxfields)?\.sensors$", re.IGNORECASE)
CHANNELS = make_channels(
    [f"{imu}_{a}" for imu in IMUS for a in ("acc_x", "acc_y", "acc_z")]
    + [f"{imu}_r{i}{j}" for imu in IMUS for i in (1, 2, 3) for j in (1, 2)],
    ["m/s^2"] * 3 * len(IMUS) + ["1"] * 6 * len(IMUS),
)
POSITIONS = make_channels([f"p_{joint}_{a}" for joint in JOINTS for a in "xyz"], "m")

Floats = np.ndarray[Any, np.dtype[np.float64]]


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """The sequences of `folder`, those of three subjects to train on, and which files are not there."""
    files = {path: _subject(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()}
    found: dict[str, Trial] = {}
    missing = []
    for path, subject in files.items():
        match = SENSORS.match(path.name)
        if not match or not subject:
            continue
        sequence = match[2].lower()
        if sequence not in TEST and subject not in TRAIN_SUBJECTS:
            continue
        others = [
            next((p for p, s in files.items() if s == subject and fits(p)), None)
            for fits in (
                lambda p, s=sequence: p.name.lower().endswith(f"{s}_calib_imu_ref.txt"),
                lambda p, s=sequence: p.name == "gt_skel_gbl_pos.txt" and p.parent.name.lower() == s,
                lambda p, s=sequence: p.name == "gt_skel_gbl_ori.txt" and p.parent.name.lower() == s,
            )
        ]
        name = f"{subject}_{sequence}"
        kinds = ("calib_imu_ref.txt", "gt_skel_gbl_pos.txt", "gt_skel_gbl_ori.txt")
        missing += [f"{name}: {kind}" for kind, p in zip(kinds, others, strict=True) if p is None]
        whole = tuple(p for p in (path, *others) if p is not None)
        if len(whole) == 4:
            found[name] = Trial(name, whole, "test" if sequence in TEST else "train")
    if not found and any(p.name.endswith((".tar", ".tar.gz")) for p in files):
        raise RecordingError(f"{folder}: unpack the archives first: for f in *.tar.gz; do tar xf $f; done")
    return [found[name] for name in sorted(found)], missing


def _subject(path: Path, folder: Path) -> str | None:
    """s1 .. s5, of the file's name or the nearest folder that says so."""
    for part in reversed(path.relative_to(folder).parts):
        if match := re.match(r"(s\d)(?=$|_|\.)", part, re.IGNORECASE):
            return match[1].lower()
    return None


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One sequence."""
    sensors, calibration, positions, orientations = trial.files
    samples = _frames(sensors)
    turns = _rows(calibration)
    where, how = _table(positions, 3 * len(JOINTS)), _table(orientations, 4 * len(JOINTS))
    n = min(len(where), len(how), *(len(rows) for rows in samples.values()))
    t = np.arange(n) / FRAMES_HZ
    grid = np.arange(int(t[-1] * 50) + 1) / 50  # orientations go there on arcs, the rest by `episode`
    acc, columns = [], []
    for imu in IMUS:
        rows = samples[imu][:n]
        into_frame = rotations(turns[imu]) * rotations(rows[:, :4], scalar_first=True)
        acc.append(np.stack([np.interp(grid, t, c) for c in into_frame.apply(rows[:, 4:7]).T], axis=1))
        columns.append(two_columns(orientations_at(t, into_frame, grid)))
    joints = [
        relative_to_first(where[:n, 3 * j : 3 * j + 3] * M_PER_INCH, _orientation(how[:n, 4 * j : 4 * j + 4]))[0]
        for j in range(len(JOINTS))
    ]
    inputs = Stream(grid, np.hstack(acc + columns), CHANNELS)
    return episode(trial, inputs, Stream(t, np.hstack(joints), POSITIONS)), {}


def _orientation(q: Floats) -> Any:
    return rotations(q, scalar_first=True)


def _frames(path: Path) -> dict[str, Floats]:
    """IMU -> (frames, 7): orientation w x y z, acceleration x y z."""
    lines = path.read_text(encoding="utf-8").split("\n")
    try:
        count, frames = (int(part) for part in lines[0].split())
        rows: dict[str, list[list[float]]] = {imu: [] for imu in IMUS}
        for i in range(min(frames, (len(lines) - 1) // (count + 1))):
            for line in lines[2 + i * (count + 1) : 1 + (i + 1) * (count + 1)]:
                name, *numbers = line.split()
                if name in rows:
                    rows[name].append([float(x) for x in numbers[:7]])
        found = {imu: np.array(each) for imu, each in rows.items()}
    except ValueError as error:
        raise RecordingError(f"{path}: not the IMU samples of TotalCapture ({error})") from error
    lacking = [imu for imu, each in found.items() if each.ndim != 2 or each.shape[1] != 7]
    if lacking:
        raise RecordingError(f"{path}: nothing of {', '.join(lacking)}; 13 IMUs are expected")
    return found


def _rows(path: Path) -> dict[str, Floats]:
    """IMU -> rotation x y z w."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    found = {row[0]: np.array([float(x) for x in row[1:5]]) for row in rows if len(row) >= 5}
    lacking = [imu for imu in IMUS if imu not in found]
    if lacking:
        raise RecordingError(f"{path}: no calibration of {', '.join(lacking)}")
    return found


def _table(path: Path, width: int) -> Floats:
    """(frames, width) numbers below the header line."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    try:
        table = np.array([[float(x) for x in row[:width]] for row in rows])
    except ValueError as error:
        raise RecordingError(f"{path}: not numbers below a header line ({error})") from error
    if table.ndim != 2 or table.shape[1] != width:
        raise RecordingError(f"{path}: expected {width} numbers a line, for {len(JOINTS)} joints")
    return table
