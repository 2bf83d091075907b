"""Microseconds of single steps of a stepper, on two clocks, in rounds that alternate between what is compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines import AnyStepper


def bench_steps(
    steppers: Mapping[str, AnyStepper], x: NDArray[np.float32], rounds: int = 25
) -> dict[str, dict[str, dict[str, float]]]:
    """Microseconds per sample: {stepper: {"cpu" | "wall": {"p50", "p99", "mean", "chunk"}}}, medians of the rounds.

    x: (n, C), whole chunks of them, tared;  chunk: p50 of the steps that complete a chunk of stage 0
    cpu is the clock of the thread: what the step takes when nothing else wants the core.
    """
    for stepper in steppers.values():
        timed_steps(stepper, x)
    taken: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name, stepper in steppers.items():
            for clock, us in timed_steps(stepper, x).items():
                taken.setdefault((name, clock), []).append(summary(us, stepper.program.stages[0].period))
    return {name: {clock: medians(taken[name, clock]) for clock in ("cpu", "wall")} for name in steppers}


def timed_steps(stepper: AnyStepper, x: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Microseconds of each step on both clocks, less what reading the clocks takes."""
    cpu, wall = time.thread_time_ns, time.perf_counter_ns

    def timed(action: Callable[[Any], object], samples: Iterable[Any]) -> NDArray[np.int64]:
        taken = []
        for sample in samples:
            cpu_before, wall_before = cpu(), wall()
            action(sample)
            wall_after = wall()
            taken.append((cpu() - cpu_before, wall_after - wall_before))
        return np.array(taken)

    us = (timed(stepper.step, x) - timed(id, range(200)).min(0)) / 1e3
    return {"cpu": us[:, 0], "wall": us[:, 1]}


def summary(us: NDArray[np.float64], period: int) -> dict[str, float]:
    """p50, p99, mean, and p50 of every period-th."""
    return {
        "p50": float(np.median(us)),
        "p99": float(np.percentile(us, 99)),
        "mean": float(us.mean()),
        "chunk": float(np.median(us[period - 1 :: period])),
    }


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Key by key."""
    return {key: round(statistics.median(each[key] for each in rounds), 2) for key in rounds[0]}
