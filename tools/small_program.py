"""Writes model.hiss and recording.h5 into a folder: a small AR-Net with known weights, for checks without torch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hiss.program import Port, Program, Stage
from hiss.program import ops as o
from hiss.recording import Recording, make_channels, write_hdf5


def small_program() -> Program:
    """force = 0.02 x + 0.01 y - 0.015 x[-3] + 1, every 5th sample at 50 Hz, tare over 10 samples."""
    two = np.ones(2)
    z = o.Input("z", 0 * two, np.array([5, 5]), -1000 * two, 1000 * two, tare=10)
    past = o.Delay("past", "z", np.array([3]), np.array([0]), "first")
    unit = 2.0**5
    force = o.Affine("force", ("z", "past"), (np.array([[0.02, 0.01]]) * unit, np.array([[-0.015]]) * unit), np.ones(1))
    inputs = (Port("m0_x", "uT", -1000, 1000), Port("m0_y", "uT", -1000, 1000))
    return Program(inputs, (Port("force", "N"),), 50.0, (Stage(5, (z, past), (force,), ("force",)),))


def recording() -> Recording:
    """20 s of two irregularly stamped channels."""
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.uniform(0.012, 0.025, 1000))
    x = np.stack([200 * np.sin(t), 100 * np.cos(2 * t)], axis=1) + rng.normal(size=(1000, 2))
    return Recording(
        name="walk",
        t=t,
        x=x.astype(np.float32),
        channels=make_channels(["m0_x", "m0_y"], "uT"),
        y=np.zeros((1000, 0), np.float32),
        targets=(),
        valid=np.ones(1000, bool),
        rate_hz=None,
        split=None,
        tared=0,
        attrs={},
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    small_program().save(folder / "model.hiss")
    write_hdf5(folder / "recording.h5", [recording()])
