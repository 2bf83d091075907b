"""What pretraining is worth where few labels are there: test NMSE with a share of the labels, with and without it.

    python tools/bench_pretraining.py DATA [--sets grf,shear] [--seeds 3] [--labels 0.1] [--steps 500] [--before 1000]
                                           [--tasks none,scale,next,masked] [--out FILE.jsonl]

DATA: a folder with grf_running/grf_running.h5, eflesh/eflesh_shear_force.h5, broad/broad_95hz.h5. Every model is the
plain HiSS of S4D 32x2 over S4D 32x2, without a linear base, trained and scored alike: none starts from chance, scale
has only the ranges and scales of the unlabelled inputs, next and masked go on from a pretrained network. Unlabelled are
all training recordings; labelled is a share of them, as `hiss train --labels` takes it; the test is whole. What --out
holds already is not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiss import scoring
from hiss.dataset import prepare, target_deviation
from hiss.models import S4D, Hierarchical
from hiss.recording import Recording, choose_targets, read_recordings, split
from hiss.training import Run, TrainOptions, fit, pretrain


@dataclass(frozen=True)
class Task:
    """A data set, its target, and how it is cut: window in samples, windows per update, and windows of the test."""

    file: str
    target: str
    rate_hz: float
    period: int
    window: int
    batch: int
    test: tuple[int, int] | None = None  # count, samples; None: whole recordings


TASKS = {
    "grf": Task("grf_running/grf_running.h5", "grf", 250.0, 10, 600, 8),
    "shear": Task("eflesh/eflesh_shear_force.h5", "force", 20.0, 5, 1200, 4, (32, 1200)),
    "broad": Task("broad/broad_95hz.h5", "vel_*", 50.0, 10, 1200, 8),
}


def net(period: int) -> Hierarchical:
    """The model of all cells."""
    return Hierarchical(S4D(32, 2, 16), S4D(32, 2, 16), period)


def scored(run: Run, task: Task, train: list[Recording], test: list[Recording]) -> float:
    """Test NMSE, by the deviation of all training targets."""
    ready, all_of = (prepare(rs, task.target, task.rate_hz, run.scaling.tare) for rs in (test, train))
    std = target_deviation([r for r in all_of if r.split != "val"])
    if task.test is None:
        return scoring.score_whole(scoring.stacked(run.estimate), ready, task.period).nmse(std)
    windows = scoring.draw(ready, *task.test, 1234, task.period)
    return scoring.score_windows(scoring.stacked(run.estimate), windows, task.period).nmse(std)


def cell(name: str, how: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One training, and the pretraining before it."""
    task = TASKS[name]
    recordings = [choose_targets(r, task.target) for r in read_recordings(asked.data / task.file)]
    train, test = split(recordings)
    common: dict[str, Any] = {"batch": task.batch, "window_samples": task.window, "retare": 0.0, "patience": 10**6}
    began, before = time.perf_counter(), None
    if how != "none":
        options = TrainOptions(steps=1 if how == "scale" else asked.before, **common)
        kind = "masked" if how == "masked" else "next"
        before = pretrain(
            net(task.period), train, task=kind, rate_hz=task.rate_hz, options=options, seed=seed, progress=False
        )
    run = fit(
        net(task.period),
        train,
        task.target,
        rate_hz=task.rate_hz,
        options=TrainOptions(steps=asked.steps, labels=asked.labels, **common),
        seed=seed,
        device="cpu",
        progress=False,
        pretrained=before,
    )
    seconds = round(time.perf_counter() - began, 1)
    return {"set": name, "task": how, "seed": seed, "nmse": scored(run, task, train, test), "seconds": seconds}


def table(cells: list[dict[str, Any]]) -> str:
    """Mean and spread over seeds, and the change that pretraining makes."""
    lines = ["| set | start | test NMSE, mean (least .. largest) | against none | seeds |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(c["set"] for c in cells):
        errors: dict[str, list[float]] = {}
        for c in cells:
            if c["set"] == name:
                errors.setdefault(c["task"], []).append(c["nmse"])
        for how, found in errors.items():
            change = np.mean(found) / np.mean(errors["none"]) - 1 if "none" in errors else np.nan
            spread = f"{min(found):.4f} .. {max(found):.4f}"
            lines.append(f"| {name} | {how} | {np.mean(found):.4f} ({spread}) | {change:+.0%} | {len(found)} |")
    return "\n".join(lines)


def main() -> None:
    """All cells, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="grf,shear")
    parser.add_argument("--tasks", default="none,next")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--before", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("pretraining.jsonl"))
    asked = parser.parse_args()
    lines = asked.out.read_text(encoding="utf-8").splitlines() if asked.out.exists() else []
    cells = [json.loads(line) for line in lines]
    done = {(c["set"], c["task"], c["seed"]) for c in cells}
    for seed in range(asked.seeds):
        for name in asked.sets.split(","):
            for how in asked.tasks.split(","):
                if (name, how, seed) not in done:
                    cells.append(cell(name, how, seed, asked))
                    print(json.dumps(cells[-1]), flush=True)
                    with open(asked.out, "a", encoding="utf-8") as file:
                        file.write(json.dumps(cells[-1]) + "\n")
    print(table(cells))


if __name__ == "__main__":
    main()
