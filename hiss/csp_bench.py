"""What the readers of CSP-Bench (arXiv 2402.10211) have in common: demonstrations, skins, one grid, splits.

Differences from the published code, in all six sets: both streams lie on one grid (there each began at its own first
sample after the start, up to a sample apart); a target belongs to the last sample of its chunk (there to the first:
180 ms of look-ahead); nothing is padded; a displacement that begins before the recording is not valid (there it is 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiss.folder_data import LeftOut, Trial
from hiss.matlab import fields
from hiss.recording import Channel, Recording, align, make_channels
from hiss.recording_hdf5 import hdf5_arrays

RATE_HZ = 50.0
LARGEST_JUMP = 1000.0
TARE = 5  # samples
SKIN, ROBOT = "reskin_sensor_values.h5", "kinova_cartesian_states.h5"


@dataclass(frozen=True, eq=False)
class Stream:
    """Samples x (n, C) at stamps t (n,) s of a session."""

    t: Any
    x: Any
    columns: tuple[Channel, ...]


def demonstrations(folder: Path, files: Sequence[str]) -> tuple[list[Trial], list[str]]:
    """The folders demonstration_ID below `folder`, in the order of their paths, and which of `files` some lack."""
    folders = sorted(path for path in folder.rglob("demonstration_*") if path.is_dir())
    found = {path: tuple(path / name for name in files) for path in folders}
    missing = [str(f.relative_to(folder)) for each in found.values() for f in each if not f.is_file()]
    whole = [path for path, each in found.items() if all(f.is_file() for f in each)]
    names = ["_".join(path.relative_to(folder).parts) for path in whole]
    return [Trial(name, found[path]) for name, path in zip(names, whole, strict=True)], missing


def reskin(path: Path) -> Stream:
    """timestamps (n,) s and sensor_values (n, 30), x y z of ten magnetometers, less the mean of the first five samples.

    Raises LeftOut for a jump of more than 1000 from one sample to the next.
    """
    t, values = fields(hdf5_arrays(path), path, "timestamps", "sensor_values")
    if abs(np.diff(values, axis=0)).max() > LARGEST_JUMP:
        raise LeftOut("a sample jumps by more than 1000")
    names = [f"m{i}_{axis}" for i in range(values.shape[1] // 3) for axis in "xyz"]
    return Stream(t, values - values[:TARE].mean(0), make_channels(names))


def first_part(n: int, share: float = 0.8) -> list[str]:
    """The first `share` of n to train on, the rest to test on."""
    return ["train"] * int(share * n) + ["test"] * (n - int(share * n))


def random_part(n: int, share: float = 0.8, seed: int = 0) -> list[str]:
    """A random `share` of n to train on: the one that torch's random_split draws with this seed."""
    import torch

    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = set(order[: int(share * n)])
    return ["train" if i in chosen else "test" for i in range(n)]


def episode(trial: Trial, inputs: Stream, targets: Stream, *, most_s: float = math.inf, tared: int = 0) -> Recording:
    """Both streams on one 50 Hz grid, from the later first stamp, whole seconds, at most `most_s`, no extrapolation.

    tared: samples at 50 Hz, as many as live is to take off where the inputs are tared already. Raises LeftOut where
    they do not overlap for a second.
    """
    parts = {"inputs": _distinct(inputs), "targets": _distinct(targets)}
    overlap = min(p.t[-1] for p in parts.values()) - max(p.t[0] for p in parts.values())
    count = int(min(math.floor(overlap + 1e-6), most_s) * RATE_HZ)
    if count < RATE_HZ:
        raise LeftOut("its streams overlap for less than a second")
    names = {k: ([c.name for c in p.columns], [c.unit for c in p.columns]) for k, p in parts.items()}
    both = align({k: (p.t, p.x, *names[k]) for k, p in parts.items()}, RATE_HZ)
    c = len(inputs.columns)
    return Recording(
        trial.name,
        np.arange(count) / RATE_HZ,
        both.x[:count, :c],
        inputs.columns,
        both.x[:count, c:],
        targets.columns,
        rate_hz=RATE_HZ,
        split=trial.split,
        tared=tared,
    )


def _distinct(stream: Stream) -> Stream:
    """Without the samples whose stamp is not later than all before."""
    n = min(len(stream.t), len(stream.x))
    t = np.asarray(stream.t[:n], np.float64)
    kept = np.concatenate(([True], t[1:] > np.maximum.accumulate(t)[:-1]))
    return Stream(t[kept], np.asarray(stream.x)[:n][kept], stream.columns)
