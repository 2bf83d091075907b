"""What a training step costs against the length of sequences and their number: straight lines, plotted.

    python tools/bench_linear.py --out linear         # about 1 minute; writes linear/linear.png and linear/linear.json

32x2|32x2, N = 64, 60 columns, period 10; one sequence of 1,000 to 64,000 samples, and 1 to 64 sequences of 1,000.
CPU time on one thread, medians of rounds that alternate between all sizes; freed memory is kept, as `hiss train` does.
A line a + b n is fitted to relative errors; `off` is the largest distance of a size from it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_models import hierarchical
from bench_training import COLUMNS, OUTPUTS, alternating, stepping
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hiss.files import write_text
from hiss.training.memory import keep_freed_memory

SIZES = tuple(1000 * 2**i for i in range(7))
SHAPES = {"length": [(1, n) for n in SIZES], "batch": [(n // 1000, 1000) for n in SIZES]}
"""(sequences, samples of each)."""


def bench_linear(rounds: int = 9) -> dict[str, Any]:
    """Milliseconds of each size, the line through them, and the largest relative distance from it."""
    torch.manual_seed(0)
    keep_freed_memory()
    model = hierarchical((32, 2), (32, 2), 64).build(COLUMNS, OUTPUTS)
    shapes = [shape for each in SHAPES.values() for shape in each]
    work = {f"{b}x{t}": stepping(model, torch.randn(b, t, COLUMNS)) for b, t in shapes}
    ms = {name: found["cpu"] for name, found in alternating(work, rounds).items()}
    found: dict[str, Any] = {"samples": SIZES}
    for of, each in SHAPES.items():
        times = np.array([ms[f"{b}x{t}"] for b, t in each])
        line = fitted(np.array(SIZES, float), times)
        found[of] = {"ms": times.tolist(), "line": line, "off": round(float(np.abs(off(line, times)).max()), 3)}
    return found


def fitted(n: NDArray[np.float64], ms: NDArray[np.float64]) -> tuple[float, float]:
    """a and b of ms = a + b n, least squares of relative errors."""
    design = np.stack([1 / ms, n / ms], 1)
    a, b = np.linalg.lstsq(design, np.ones(len(n)), rcond=None)[0]
    return float(a), float(b)


def off(line: tuple[float, float], ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative distances from the line."""
    return ms / (line[0] + line[1] * np.array(SIZES)) - 1


def plot(found: dict[str, Any], path: Path) -> None:
    """Both on logarithmic axes, with their lines."""
    figure = Figure((7.5, 5), layout="constrained")
    axes = figure.subplots()
    n = np.geomspace(SIZES[0], SIZES[-1], 100)
    for of, label in (("length", "one sequence of n samples"), ("batch", "n / 1,000 sequences of 1,000 samples")):
        a, b = found[of]["line"]
        (dots,) = axes.loglog(SIZES, found[of]["ms"], "o", label=f"{label}: off the line by {found[of]['off']:.0%}")
        axes.loglog(n, a + b * n, color=dots.get_color(), linewidth=1)
    axes.set(xlabel="samples in a step", ylabel="training step, ms of CPU time", title="32x2 | 32x2, N = 64")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def linear_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table."""
    return [
        (
            rf"training step 32x2 \| 32x2 against {of}, 1k to 64k samples",
            f"cpu {found[of]['ms'][0]:.1f} to {found[of]['ms'][-1]:.1f} ms",
            f"a straight line to within {found[of]['off']:.0%}",
        )
        for of in SHAPES
    ]


def main() -> None:
    """Measure, plot, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of linear.png and linear.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    found = bench_linear()
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "linear.json", json.dumps(found, indent=2) + "\n")
    plot(found, out / "linear.png")
    print("\n".join(f"| {' | '.join(row)} |" for row in linear_rows(found)))


if __name__ == "__main__":
    main()
