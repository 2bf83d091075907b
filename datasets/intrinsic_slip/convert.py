"""CSP-Bench intrinsic slip, as published -> recordings at 50 Hz.

BOX/demonstration_ID/reskin_sensor_values.h5      timestamps (n,) s, sensor_values (n, 30): x y z of ten magnetometers
BOX/demonstration_ID/kinova_cartesian_states.h5   timestamps s, positions (m, 3) m, orientations (m, 4) x y z w

p_x, p_z, p_theta: the pose since the first one, T T_0^-1: along x and z, and the turn about y.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hiss.csp_bench import ROBOT, SKIN, TARE, Stream, demonstrations, episode, random_part, reskin
from hiss.folder_data import Extra, Trial
from hiss.matlab import fields
from hiss.poses import rotations, turned_since_first
from hiss.recording import Recording, make_channels
from hiss.recording_hdf5 import hdf5_arrays

POSE = make_channels(["p_x", "p_z", "p_theta"], ["m", "m", "rad"])

parts = random_part


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """The demonstrations of `folder`, and the files that some of them lack."""
    return demonstrations(folder, (SKIN, ROBOT))


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One demonstration."""
    skin, robot = trial.files
    t, position, quaternion = fields(hdf5_arrays(robot), robot, "timestamps", "positions", "orientations")
    theta = np.unwrap(turned_since_first(rotations(quaternion))[:, 1])
    pose = np.column_stack([(position - position[0])[:, [0, 2]], theta])
    return episode(trial, reskin(skin), Stream(t, pose, POSE), tared=TARE), {}
