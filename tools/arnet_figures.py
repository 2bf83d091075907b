"""The figures of the AR-Net paper that can be repeated from synthetic data, as tables and a plot.

    python tools/arnet_figures.py [--out arnet_figures.png] [--seeds 3] [--epochs 8] [--longest 100]

sTPE = 100 sum |found - true| / sum (|found| + |true|). 100,000 samples of noise 1.
1. known order p: weights uniform, sum |w| = 1; exact and by gradients (step size by the range test), and the sTPE
   between the two.   2. sparse: w = .2, .3, -.5, fitted with p lags: exact, sparse exact, and by gradients with the
   paper's regulariser (one seed, p up to --longest).   3. small: 1,000 samples, p = 20, true lags 1, 3, 10, 20 seeds.
One thread. Gradients take most of the time.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from hiss.arnet.descent import Descent, descend
from hiss.arnet.equations import lag_equations
from hiss.arnet.exact import exact, sparse
from hiss.arnet.synthetic import ar_series, one_step, random_weights, stpe
from hiss.plotting import plot_curves

Curve = tuple[list[int], list[float]]
SAMPLES = 100_000
KNOWN = (3, 5, 10, 15, 20, 25)
SPARSE = (3, 10, 25, 50, 100, 200, 500, 1000)
TRUE = (0.2, 0.3, -0.5)
PAPER_KNOWN = (0.7, 0.8, 1.9, 3.1, 3.2, 3.6)
PAPER_SPARSE: Curve = ([200, 500, 1000], [0.45, 0.7, 0.8])
"""sTPE of the paper's AR-Net; 0.25 to 0.45 up to p = 200."""


def known_orders(seeds: int, epochs: int) -> dict[str, Curve]:
    """sTPE against p where the order is known: medians over seeds; gradients on the first seed."""
    print(f"known order (medians of {seeds} seeds; gradients: seed 0, {epochs} epochs)")
    print(f"{'p':>5} {'exact':>8} {'gradients':>10} {'between':>8} {'paper':>6} {'step size':>10}")
    rows: list[tuple[float, float, float]] = []
    for p, paper in zip(KNOWN, PAPER_KNOWN, strict=True):
        found = []
        for seed in range(seeds):
            true = random_weights(p, seed)
            parts = [one_step(ar_series(true, SAMPLES, seed), p)]
            fit = exact(lag_equations(parts, p)).weight[0]
            found.append(stpe(fit, true))
            if seed == 0:
                made, first, first_true = descend(parts, p, Descent(epochs=epochs)), fit, true
        by, between = stpe(made.weight[0], first_true), stpe(made.weight[0], first)
        rows.append((float(np.median(found)), by, between))
        print(f"{p:>5} {rows[-1][0]:>8.3f} {by:>10.3f} {between:>8.3f} {paper:>6} {made.lr:>10.2g}", flush=True)
    names = ("exact", "gradients", "between the two")
    return {n: (list(KNOWN), [r[i] for r in rows]) for i, n in enumerate(names)} | {
        "paper": (list(KNOWN), list(PAPER_KNOWN))
    }


def sparse_orders(seeds: int, epochs: int, longest: int) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """(sTPE, seconds) against p of a true AR-3."""
    print(f"\nsparse AR-3 (medians of {seeds} seeds; gradients: seed 0, {epochs} epochs, s = 3/p)")
    print(
        f"{'p':>5} {'exact':>8} {'sparse':>8} {'gradients':>10} {'exact ms':>9} {'sparse ms':>10} {'gradients':>10} s"
    )
    errors: dict[str, Curve] = {n: ([], []) for n in ("exact", "sparse exact", "gradients")}
    seconds: dict[str, Curve] = {n: ([], []) for n in errors}
    for p in SPARSE:
        got: dict[str, list[tuple[float, float]]] = {n: [] for n in errors}
        for seed in range(seeds):
            parts = [one_step(ar_series(TRUE, SAMPLES, seed), p)]
            for name, solve in (("exact", exact), ("sparse exact", sparse)):
                began = time.perf_counter()
                fit = solve(lag_equations(parts, p))
                got[name].append((stpe(fit.weight[0], np.array(TRUE)), time.perf_counter() - began))
            if seed == 0 and p <= longest:
                began = time.perf_counter()
                made = descend(parts, p, Descent(epochs=epochs, sparsity=min(1.0, 3 / p)))
                got["gradients"].append((stpe(made.weight[0], np.array(TRUE)), time.perf_counter() - began))
        for name, values in got.items():
            if values:
                errors[name][0].append(p), errors[name][1].append(float(np.median([v[0] for v in values])))
                seconds[name][0].append(p), seconds[name][1].append(float(np.median([v[1] for v in values])))
        last = {n: (errors[n][1][-1], seconds[n][1][-1]) if got[n] else (np.nan, np.nan) for n in errors}
        print(
            f"{p:>5} {last['exact'][0]:>8.2f} {last['sparse exact'][0]:>8.3f} {last['gradients'][0]:>10.2f} "
            f"{1e3 * last['exact'][1]:>9.1f} {1e3 * last['sparse exact'][1]:>10.1f} {last['gradients'][1]:>10.1f}",
            flush=True,
        )
    return errors, seconds


def small_data(seeds: int = 20) -> None:
    """Mean sTPE over seeds."""
    true = np.zeros(20)
    true[[0, 2, 9]] = TRUE
    parts = [[one_step(ar_series(true, 1000, seed), 20)] for seed in range(seeds)]
    dense, thin = (np.mean([stpe(f(lag_equations(p, 20)).weight[0], true) for p in parts]) for f in (exact, sparse))
    print(
        f"\n1,000 samples, p = 20, true lags 1, 3, 10, {seeds} seeds: mean sTPE exact {dense:.2f} (paper 18.3), "
        f"sparse exact {thin:.2f} (paper's AR-Net 3.2)"
    )


def main() -> None:
    """Print the tables, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="arnet_figures.png")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--longest", type=int, default=100, help="largest p of the sparse fit by gradients")
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = known_orders(given.seeds, given.epochs)
    errors, seconds = sparse_orders(given.seeds, given.epochs, given.longest)
    small_data()
    panels = [
        ("known order", "p", "sTPE (%)", known),
        ("true AR-3, fitted with p lags", "p", "sTPE (%)", errors | {"paper's AR-Net": PAPER_SPARSE}),
        ("time of a fit", "p", "s", seconds),
    ]
    plot_curves(given.out, panels, log="xy")


if __name__ == "__main__":
    main()
