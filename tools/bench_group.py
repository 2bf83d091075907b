"""Updates per second of one process and of two that train together, one thread each.

    python tools/bench_group.py                       # about half a minute

What `torchrun --nproc-per-node 2 -m hiss train` does at each update: the same windows drawn, those of the own
recordings computed, gradients added up (hiss/training/group.py). 32x2|32x2, N = 16, 16 windows of 1200 x 60.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from bench_models import hierarchical

from hiss.dataset import Sequence, Windows
from hiss.training.group import joined
from hiss.training.learner import Frame, Learner
from hiss.training.options import TrainOptions

COLUMNS, OUTPUTS, SAMPLES, PERIOD, BATCH = 60, 2, 1200, 10, 16
RECORDINGS, UPDATES = 16, 24


def bench_group() -> dict[str, float]:
    """Milliseconds per update of one and of two processes, and how many times faster two are; wall time."""
    ms = {f"{n}": processes_ms(n) for n in (1, 2)}
    return {"ms_1": ms["1"], "ms_2": ms["2"], "faster": round(ms["1"] / ms["2"], 2)}


def processes_ms(processes: int) -> float:
    """The median of an update's milliseconds, as the first process has it."""
    start = [sys.executable] if processes == 1 else [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    several = [] if processes == 1 else ["--nproc-per-node", str(processes)]
    found = subprocess.run([*start, *several, __file__, "--worker"], capture_output=True, text=True, check=True)
    return float(found.stdout.split()[-1])


def work() -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    some = [rng.normal(size=(2 * SAMPLES, n)).astype(np.float32) for n in [COLUMNS, OUTPUTS] * RECORDINGS]
    parts = [Sequence(x, y, np.ones(len(x), bool)) for x, y in zip(some[::2], some[1::2], strict=True)]
    windows = Windows(parts, SAMPLES, PERIOD)
    torch.manual_seed(0)
    network = hierarchical((32, 2), (32, 2), 16).build(COLUMNS, OUTPUTS)
    options = TrainOptions(batch=BATCH, steps=UPDATES).settled(False)
    device = torch.device("cpu")
    learner = Learner(network, Frame(None, None, torch.ones(OUTPUTS)), options, device)
    taken = []
    with joined(device) as group:
        learner.group = group
        group.begin(0, network.parameters())
        for _ in range(UPDATES):
            batch, began = windows.draw(rng, BATCH), time.perf_counter()
            learner.update(batch)
            taken.append((time.perf_counter() - began) * 1e3)
        if group.first:
            print(round(statistics.median(taken[4:]), 2))


def group_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table."""
    ms = f"wall {found['ms_1']:.1f} ms in one process, {found['ms_2']:.1f} ms in two"
    title = rf"update 32x2 \| 32x2, {BATCH} x {SAMPLES} x {COLUMNS}, a thread each"
    return [(title, ms, f"two are {found['faster']:.2f} times faster")]


def main() -> None:
    """Measure and print, or be one of the processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().worker:
        work()
        return
    print("\n".join(f"| {' | '.join(row)} |" for row in group_rows(bench_group())))


if __name__ == "__main__":
    main()
