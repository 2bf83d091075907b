"""What a training step costs: the product's S4D beside the reference's S4 composition and a flat LSTM, in one process.

    python tools/bench_training.py --out training.json      # about 3 minutes; --quick leaves the large models away

Batch 4 x 1200 x 60, period 10, 2 outputs; forward, mean square, backward. Rounds alternate between the models, so that
other work on the computer meets all alike; the medians of the quieter half of the rounds are given: those in which
other processes took least. On one thread (the default) the clock is the CPU time of the process, else wall time.
Ratios of the least times, of all rounds, stand beside those of the medians, for comparison.

The yardstick counts only where its step stands to the LSTM's as that of the reference implementation did, by medians.
It runs in two forms, with nn.Dropout and with masks of a byte an element: where torch draws masks one by one, dropout
alone is a third of the step, and the first form tells more of the generator than of S4.
Memory is the peak of a fresh process after two steps with Adam, less that of the same process with one channel and 20
samples, which has loaded the same libraries. Also: evaluation without gradients, and the step with products in bfloat16
or compiled.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_models import FlatLSTM, hierarchical
from bench_steps import medians
from reference_s4 import ReferenceHiSS
from torch import nn

from hiss.files import write_text
from hiss.training.speed import has_bf16, no_compiler

BATCH, STEPS, COLUMNS, OUTPUTS = 4, 1200, 60, 2
NOTHING = "nothing"
SIZES = {
    "small": ((32, 2), (32, 2), (32, 2)),
    "large": ((256, 6), (128, 6), (128, 2)),
    NOTHING: ((1, 1), (1, 1), (1, 1)),
}
"""low, high, flat LSTM."""
REFERENCE = {"small": (1.75, 0.3), "large": (6.8, 1.2)}
"""HiSS S4 | S4 step / flat LSTM step of the reference implementation, 24.9 / 14.2 and 450 / 66 ms, and how far the
yardstick's may be from it."""
HALF, COMPILED = "s4d, bfloat16", "s4d, torch.compile"
YARDSTICKS = {"yardstick": False, "yardstick, byte masks": True}


def models_of(size: str) -> dict[str, Callable[[], nn.Module]]:
    """How each model is made."""
    low, high, lstm = SIZES[size]
    return {
        "lstm": lambda: FlatLSTM(lstm, COLUMNS, OUTPUTS),
        **{
            name: functools.partial(ReferenceHiSS, low, high, COLUMNS, OUTPUTS, byte_masks=byte_masks)
            for name, byte_masks in YARDSTICKS.items()
        },
        "s4d": lambda: hierarchical(low, high, 64).build(COLUMNS, OUTPUTS),
        "s4d, N = 16": lambda: hierarchical(low, high, 16).build(COLUMNS, OUTPUTS),
    }


def bench_training(size: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of a training step and of an evaluation, megabytes, and what they are beside the yardstick's."""
    torch.manual_seed(0)
    models = {name: make() for name, make in models_of(size).items()}
    x = torch.randn(BATCH, STEPS, COLUMNS)
    steps = {name: stepping(model, x) for name, model in models.items()}
    if has_bf16(x.device):
        steps[HALF] = stepping(models["s4d"], x, half=True)
    if size == "small" and not no_compiler():
        steps[COMPILED] = stepping(torch.compile(models["s4d"]), x)
    step_ms = alternating(steps, rounds)
    for model in models.values():
        model.eval()
    eval_ms = alternating({name: evaluating(model, x) for name, model in models.items()}, rounds)
    clock = "cpu" if torch.get_num_threads() == 1 else "wall"
    memory_mb = {name: extra_mb(size, name) for name in ("lstm", "yardstick", "s4d")}
    by_clock = [{name: ms[which] for name, ms in step_ms.items()} for which in (clock, f"least_{clock}")]
    return {
        "size": size,
        "rounds": rounds,
        "clock": clock,
        "ms": step_ms,
        "eval_ms": eval_ms,
        "memory_mb": memory_mb,
        "beside": beside(size, *by_clock, {name: ms[clock] for name, ms in eval_ms.items()}, memory_mb),
    }


def beside(
    size: str, step: dict[str, float], least: dict[str, float], run: dict[str, float], memory: dict[str, float]
) -> dict[str, Any]:
    """What is asked of each yardstick, and what the product is beside it; least: the least times of steps."""
    return {
        "yardsticks": {name: beside_yardstick(size, name, step, least) for name in YARDSTICKS},
        "eval_faster": round(run["yardstick"] / run["s4d"], 2),
        "memory_share": round(memory["s4d"] / memory["yardstick"], 2),
    }


def beside_yardstick(size: str, name: str, step: dict[str, float], least: dict[str, float]) -> dict[str, Any]:
    """Whether it counts, and how much faster each form of the product is."""
    stands, (wanted, off) = step[name] / step["lstm"], REFERENCE[size]
    return {
        "to_lstm": round(stands, 2),
        "counts": abs(stands - wanted) <= off,
        "to_lstm_by_least": round(least[name] / least["lstm"], 2),
        "faster": faster(step, name),
        "faster_by_least": faster(least, name),
    }


def faster(step: dict[str, float], yardstick: str) -> dict[str, float]:
    """Yardstick's time / that of each form of the product."""
    return {name: round(step[yardstick] / ms, 2) for name, ms in step.items() if name.startswith("s4d")}


def stepping(model: nn.Module, x: torch.Tensor, half: bool = False) -> Callable[[], None]:
    """Forward, mean square, backward; half: products in bfloat16."""

    def step() -> None:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = model(x)
        y.square().mean().backward()

    return step


def evaluating(model: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Forward without gradients."""

    def evaluate() -> None:
        with torch.no_grad():
            model(x)

    return evaluate


def alternating(work: dict[str, Callable[[], None]], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds on both clocks, medians of the quieter half of the rounds, and the least of all.

    What first calls allocate and keep is not counted.
    """
    for each in work.values():
        each()
    taken: list[tuple[float, dict[str, dict[str, float]]]] = []
    for _ in range(rounds):
        before, times = others_s(), {}
        for name, each in work.items():
            cpu, wall = time.process_time(), time.perf_counter()
            each()
            now = time.process_time(), time.perf_counter()
            times[name] = {"cpu": (now[0] - cpu) * 1e3, "wall": (now[1] - wall) * 1e3}
        taken.append((others_s() - before, times))
    taken.sort(key=lambda found: found[0])
    quieter = [times for _, times in taken[: -(-rounds // 2)]]
    least = {
        name: {f"least_{clock}": round(min(times[name][clock] for _, times in taken), 2) for clock in ("cpu", "wall")}
        for name in work
    }
    return {name: medians([times[name] for times in quieter]) | least[name] for name in work}


def others_s() -> float:
    """Seconds of CPU time that other processes have taken so far; 0 where the system does not say."""
    try:
        fields = [int(n) for n in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]]
    except OSError:
        return 0.0
    idle = fields[3] + fields[4]  # and waiting for disks
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK") - time.process_time()


# ---- memory ----------------------------------------------------------------------------------------------------------


def extra_mb(size: str, name: str) -> float:
    """What two training steps of a model add to the peak memory of a fresh process."""
    return round(peak_mb(size, name) - peak_mb(NOTHING, name), 1)


def peak_mb(size: str, name: str) -> float:
    """VmHWM of a process of its own."""
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), "--peak", size, name]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(found.stdout)


def print_peak(size: str, name: str) -> None:
    """Two steps with Adam, then the peak of this process."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, 20 if size == NOTHING else STEPS, COLUMNS)
    model = models_of(size)[name]()
    optimiser, step = torch.optim.Adam(model.parameters()), stepping(model, x)
    for _ in range(2):
        step()
        optimiser.step()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")))


# ---- what is printed -------------------------------------------------------------------------------------------------


def training_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table: what, measured, beside it."""
    low, high, lstm = (f"{d}x{n}" for d, n in SIZES[found["size"]])
    clock, asked, title = found["clock"], found["beside"], rf"{low} \| {high}"
    step, run = ({name: ms[clock] for name, ms in found[key].items()} for key in ("ms", "eval_ms"))
    wanted, most = REFERENCE[found["size"]]
    yardsticks = asked["yardsticks"]
    memory = found["memory_mb"]
    of_yardsticks = [
        (
            rf"{name}, plain S4 \| S4 {title}, training step",
            f"{clock} {step[name]:.1f} ms = {stands['to_lstm']:.2f} x flat LSTM {lstm} ({step['lstm']:.1f} ms; "
            f"least times {stands['to_lstm_by_least']:.2f} x)",
            f"the reference's: {wanted} x, +- {most}: "
            + ("it counts" if stands["counts"] else "IT DOES NOT COUNT in this run"),
        )
        for name, stands in yardsticks.items()
    ]
    of_s4d = [
        (
            f"{name}, {title}, training step",
            f"{clock} {step[name]:.1f} ms",
            "; ".join(
                f"{yardstick} / this = {stands['faster'][name]:.2f} (least times {stands['faster_by_least'][name]:.2f})"
                for yardstick, stands in yardsticks.items()
            ),
        )
        for name in yardsticks["yardstick"]["faster"]
    ]
    return [
        *of_yardsticks,
        *of_s4d,
        (f"s4d, {title}, evaluation", f"{clock} {run['s4d']:.1f} ms", f"yardstick / this = {asked['eval_faster']:.2f}"),
        (
            f"s4d, {title}, peak memory of training",
            f"+{memory['s4d']:.0f} MB",
            f"yardstick +{memory['yardstick']:.0f} MB: a share of {asked['memory_share']:.2f}",
        ),
    ]


def gpu_row(size: str, repeats: int = 20) -> tuple[str, str, str]:
    """The S4D step on a GPU, or why there is none to measure."""
    low, high, _ = SIZES[size]
    what = rf"s4d, {low[0]}x{low[1]} \| {high[0]}x{high[1]}, training step on a GPU"
    if not torch.cuda.is_available():
        return what, "not measured", "torch finds no CUDA device on this computer"
    step = stepping(models_of(size)["s4d"]().cuda(), torch.randn(BATCH, STEPS, COLUMNS, device="cuda"))
    step()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    torch.cuda.synchronize()
    return what, f"wall {(time.perf_counter() - began) / repeats * 1e3:.1f} ms", torch.cuda.get_device_name()


def main() -> None:
    """Both sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    parser.add_argument("--quick", action="store_true", help="without the large models")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    parser.add_argument("--peak", nargs=2, metavar=("SIZE", "MODEL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        print_peak(*args.peak)
        return
    found = {"small": bench_training("small", 41)}
    if not args.quick:
        found["large"] = bench_training("large", 11)
    if args.out:
        write_text(args.out, json.dumps(found, indent=2) + "\n")
    rows = [row for part in found.values() for row in training_rows(part)]
    rows += [gpu_row(size) for size in found]
    print("\n".join(["| what | measured | beside it |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]))


if __name__ == "__main__":
    main()
