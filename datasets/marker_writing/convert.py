"""CSP-Bench marker writing, as published -> recordings at 50 Hz.

demonstration_ID/reskin_sensor_values.h5      timestamps (n,) s, sensor_values (n, 30): x y z of ten magnetometers
demonstration_ID/kinova_cartesian_states.h5   timestamps s, positions (m, 3) m, orientations (m, 4) x y z w

p_x, p_y: position of the marker in the robot's frame.
"""

from __future__ import annotations

from pathlib import Path

from hiss.csp_bench import ROBOT, SKIN, TARE, Stream, demonstrations, episode, first_part, reskin
from hiss.folder_data import Extra, Trial
from hiss.matlab import fields
from hiss.recording import Recording, make_channels
from hiss.recording_hdf5 import hdf5_arrays

POSITION = make_channels(["p_x", "p_y"], "m")

parts = first_part


def trials(folder: Path) -> tuple[list[Trial], list[str]]:
    """The demonstrations of `folder`, and the files that some of them lack."""
    return demonstrations(folder, (SKIN, ROBOT))


def read(trial: Trial) -> tuple[Recording, Extra]:
    """One demonstration."""
    skin, robot = trial.files
    t, position = fields(hdf5_arrays(robot), robot, "timestamps", "positions")
    return episode(trial, reskin(skin), Stream(t, position[:, :2], POSITION), tared=TARE), {}
