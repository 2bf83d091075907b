"""Recordings on disk: the same training in less memory than they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hiss.dataset import fit_scaling, sequences  # noqa: E402
from hiss.errors import HissError  # noqa: E402
from hiss.recording import Recording, make_channels, write_hdf5  # noqa: E402
from hiss.recording_hdf5 import read_hdf5  # noqa: E402
from hiss.spool import LEAST_BYTES, kept, spooled_in  # noqa: E402

LIMITED = """
import resource, sys
import torch, hiss.training, hiss.folding
from hiss.cli.train import command
torch.set_num_threads(1)
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + (int(sys.argv[1]) << 20),) * 2)
command(sys.argv[2:])
"""


def skin(folder: Path, recordings: int, samples: int) -> Path:
    made, channels = [], 24
    for i in range(recordings):
        rng = np.random.default_rng(i)
        x = rng.normal(size=(samples, channels)).astype(np.float32)
        y = x[:, :1] * np.tanh(x[:, 1:2])
        names = make_channels([f"m{j}" for j in range(channels)], "uT"), make_channels(["force"], "N")
        made.append(Recording(f"r{i}", np.arange(samples) / 50, x, names[0], y, names[1], rate_hz=50))
    write_hdf5(folder / "skin.h5", made)
    return folder / "skin.h5"


def test_what_lies_on_disk_reads_like_what_lies_in_memory(tmp_path: Path) -> None:
    path = skin(tmp_path, 2, 15_000)
    plain = read_hdf5(path)
    with spooled_in(tmp_path):
        spooled = read_hdf5(path)
        assert kept(spooled[0].x[10:]).base is not None  # a view of what lies there stays where it is
        parts = sequences(spooled, fit_scaling(spooled))
    assert [p.name for p in tmp_path.iterdir()] == ["skin.h5"]  # nothing is left behind
    for a, b in zip(plain, spooled, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        assert a.x.nbytes > LEAST_BYTES
    for a, b in zip(sequences(plain, fit_scaling(plain)), parts, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)


def test_a_folder_that_refuses_is_named(tmp_path: Path) -> None:
    with spooled_in(tmp_path / "gone"), pytest.raises(HissError, match="gone: 7 MB cannot be put there"):
        kept(np.zeros((1000, 1000)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory and /proc are Linux")
def test_training_runs_in_less_memory_than_its_recordings_take(tmp_path: Path) -> None:
    """140 MB of samples: 160 MB of memory for them and all that is made of them do with --stream, and not without."""
    path = skin(tmp_path, 20, 72_000)
    asked = [path, "--target", "force", "--period", "5", "--low", "4x1", "--high", "s4d:4x1", "--set", "whiten=0"]
    asked += ["--set", "steps=2", "--set", "epoch_steps=2", "--no-base", "-o", tmp_path / "run"]
    for more, done in ((["--stream", tmp_path], True), ([], False)):
        command = [sys.executable, "-c", LIMITED, "160", *map(str, asked + more)]
        found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        assert (found.returncode == 0) is done, found.stderr[-2000:]
