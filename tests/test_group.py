"""Several processes train one model: the same as one process, a lost one ends all, and a checkpoint goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hiss.dataset import Sequence, Windows  # noqa: E402
from hiss.recording import Recording, make_channels, write_hdf5  # noqa: E402
from hiss.training import Run  # noqa: E402
from hiss.training.group import Group  # noqa: E402

ROOT = Path(__file__).parents[1]
SHORT = ["--set", "steps=12", "--set", "epoch_steps=4", "--set", "batch=4", "--set", "window_samples=60"]
ASKED = ["--target", "force", "--period", "5", "--low", "4x1", "--high", "4x1", "--d-state", "4", "--set", "min_gain=0"]


def windows() -> Windows:
    rng = np.random.default_rng(0)
    parts = [
        Sequence(*(rng.normal(size=(n, 2)).astype(np.float32) for _ in range(2)), np.ones(n, bool))
        for n in (80, 90, 70)
    ]
    return Windows(parts, 20, 5)


def test_every_window_belongs_to_one_process_and_a_recording_to_one_alone() -> None:
    batch = windows().draw(np.random.default_rng(1), 12)
    parts = [Group(rank, 2).own(batch) for rank in range(2)]
    assert sum(len(p.x) for p in parts) == 12
    assert not set(parts[0].which) & set(parts[1].which)
    rejoined = np.concatenate([p.x for p in parts])
    order = np.argsort(batch.which % 2, kind="stable")
    np.testing.assert_array_equal(rejoined, batch.x[order])
    assert Group().own(batch) is batch


def skin(folder: Path, tared: int = 0) -> Path:
    made = []
    for seed, name in enumerate("abcd"):
        rng = np.random.default_rng(seed)
        x = np.cumsum(rng.normal(size=(300, 2)), 0).astype(np.float32) / 5
        y = (x[:, :1] * np.tanh(x[:, 1:])).astype(np.float32)
        channels = make_channels(["p", "q"], "uT"), make_channels(["force"], "N")
        made.append(Recording(name, np.arange(300) / 20, x, channels[0], y, channels[1], rate_hz=20, tared=tared))
    write_hdf5(folder / "skin.h5", made)
    return folder / "skin.h5"


def command(processes: int, *arguments: object) -> list[str]:
    train = ["-m", "hiss", "train", *map(str, arguments)]
    if processes == 1:
        return [sys.executable, *train]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *torchrun, *train]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("tared", [0, 10])
def test_two_processes_give_what_one_gives(tmp_path: Path, tared: int) -> None:
    """float32 gradients of 4 windows, in another order, over 12 updates of size 2e-3; tared, of the rival as well."""
    config = tmp_path / "plain.toml"
    config.write_text(f'files = ["{skin(tmp_path, tared)}"]\ndropout = 0.0\n')
    for n in (1, 2):
        done = subprocess.run(
            command(n, config, *ASKED, *SHORT, "--set", "least_base=0", "-o", tmp_path / str(n)),
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("trained in") == 1  # one process speaks
    one, two = (Run.load(tmp_path / str(n)).module.state_dict() for n in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
    for log in ["log.csv", *(["without_base/log.csv"] if tared else [])]:
        logs = [np.loadtxt(tmp_path / str(n) / log, delimiter=",", skiprows=1) for n in (1, 2)]
        np.testing.assert_allclose(logs[1], logs[0], rtol=1e-4)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_process_ends_all_and_the_checkpoint_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    long = ["--set", "steps=4000", "--set", "epoch_steps=20", "--set", "patience=500", "--set", "window_samples=60"]
    running = subprocess.Popen(
        command(2, skin(tmp_path), *ASKED, *long, "-o", out),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (out / "last.safetensors").exists() and time.monotonic() < deadline:
            assert running.poll() is None, running.stderr and running.stderr.read()
            time.sleep(0.1)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        _, said = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode != 0
    from hiss.program.storage import read, unpack_tensors

    before = int(unpack_tensors(read(out / "last.safetensors"), "checkpoint", "last")[0]["step"])
    assert before >= 20, said
    again = subprocess.Popen(command(1, "--resume", out), env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and again.poll() is None:
            if int(unpack_tensors(read(out / "last.safetensors"), "checkpoint", "last")[0]["step"]) > before:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the resumed training made no checkpoint")
    finally:
        again.kill()
        again.communicate()
