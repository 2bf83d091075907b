"""Time of AR-Net fits against p, and one run beside what else fits AR models.

    python tools/bench_arnet.py [--peers 1000] [--most 4000]

A true AR-3 (.2, .3, -.5), 100,000 training samples. Times hold the equations. One thread: seconds of the processor, the
least of 7 runs (of 2 beyond p = 1000, of 1 for peers), which other work on the computer hardly changes; wall time
beside them.
`--peers P`: at P lags (0: none) also statsmodels AutoReg (pip install 'hiss[dev]') and one epoch of gradients.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from hiss.arnet.descent import Descent, descend
from hiss.arnet.equations import LagEquations, lag_equations
from hiss.arnet.exact import Exact, exact, sparse
from hiss.arnet.synthetic import ar_series, one_step, stpe

TRUE = np.array([0.2, 0.3, -0.5])
ORDERS = (10, 30, 100, 300, 1000, 2000, 4000)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(processor seconds, wall seconds) of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def least_s(work: Callable[[], object], count: int) -> tuple[float, float]:
    """The least processor and the least wall seconds of `count` calls, after one that warms up."""
    work()
    taken = [timed(work) for _ in range(count)]
    return min(cpu for cpu, _ in taken), min(wall for _, wall in taken)


def solved(fit: Callable[[LagEquations], Exact], series: np.ndarray, p: int) -> Exact:  # type: ignore[type-arg]
    """A fit with the equations that it needs."""
    return fit(lag_equations([one_step(series, p)], p))


def against_order(series: np.ndarray, most: int) -> None:  # type: ignore[type-arg]
    """Time and sTPE of both exact fits, and the exponent of the time."""
    print(f"{'p':>5} {'exact ms':>9} {'wall':>7} {'sparse ms':>10} {'wall':>7} {'sTPE exact':>11} {'sTPE sparse':>12}")
    times = []
    for p in [p for p in ORDERS if p <= most]:
        count = 7 if p <= 1000 else 2
        fits = [least_s(functools.partial(solved, f, series, p), count) for f in (exact, sparse)]
        dense, thin = (solved(f, series, p).weight[0] for f in (exact, sparse))
        times.append((p, fits[0][0], fits[1][0]))
        (own, own_wall), (few, few_wall) = ((1e3 * cpu, 1e3 * wall) for cpu, wall in fits)
        print(
            f"{p:>5} {own:>9.1f} {own_wall:>7.1f} {few:>10.1f} {few_wall:>7.1f} {stpe(dense, TRUE):>11.2f} "
            f"{stpe(thin, TRUE):>12.3f}",
            flush=True,
        )
    for first, last in ((10, 300), (300, most)):
        some = np.log([t for t in times if first <= t[0] <= last])
        if len(some) > 1:
            slopes = [np.polyfit(some[:, 0], some[:, i], 1)[0] for i in (1, 2)]
            print(f"time grows as p^{slopes[0]:.2f} (exact), p^{slopes[1]:.2f} (sparse) from {first} to {last}")


def beside_peers(series: np.ndarray, p: int) -> None:  # type: ignore[type-arg]
    """Exact, one epoch of gradients, AutoReg, on the same samples."""
    parts = [one_step(series, p)]
    own, own_wall = least_s(lambda: exact(lag_equations(parts, p)), 7)
    thin, thin_wall = least_s(lambda: sparse(lag_equations(parts, p)), 7)
    made = []
    epoch, wall = timed(lambda: made.append(descend(parts, p, Descent(epochs=1, lr=1e-3))))
    print(f"\np = {p}: exact {1e3 * own:.1f} ms (wall {1e3 * own_wall:.1f}), sparse exact {1e3 * thin:.1f} ms ", end="")
    print(f"(wall {1e3 * thin_wall:.1f})\none epoch of gradients {epoch:.2f} s (wall {wall:.2f}), ", end="")
    print(f"{epoch / own:.0f} x exact (sTPE {stpe(made[0].weight[0], TRUE):.1f})", flush=True)
    try:
        from statsmodels.tsa.ar_model import AutoReg
    except ModuleNotFoundError:
        print("statsmodels is not installed: pip install 'hiss[dev]'")
        return
    classic = []
    other, wall = timed(lambda: classic.append(AutoReg(series, p, trend="c").fit()))
    apart = np.abs(classic[0].params[1:] - exact(lag_equations(parts, p)).weight[0]).max()
    print(
        f"statsmodels AutoReg {other:.2f} s (wall {wall:.2f}), {other / own:.0f} x exact; "
        f"largest difference of a weight {apart:.1e}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--most", type=int, default=4000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    series = ar_series(TRUE, 100_000, 0)
    against_order(series, given.most)
    if given.peers:
        beside_peers(series, given.peers)


if __name__ == "__main__":
    main()
