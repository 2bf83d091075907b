"""What an AR-Net of one channel with p lags costs on a chip: flash, RAM and cycles or instructions of one sample.

    python tools/arnet_chip.py [--lags 64] [--core atmega328p --core m4f ...]

A series of known weights (.2, .3, -.5), fitted exactly with p lags, so that all p weights count; integers of 16 bits,
exact sums. The average is of a sample in the middle, the worst of the first one, which
also fills the past. Needs the compilers that CONTRIBUTING.md names.
"""

from __future__ import annotations

import argparse

import numpy as np
from bench_cores import bench_cores, table

from hiss.arnet.equations import lag_equations
from hiss.arnet.exact import exact
from hiss.arnet.synthetic import ar_series, one_step
from hiss.program import Port, Program, Stage
from hiss.program import ops as o
from hiss.quantization import quantized

COUNTS = 200.0
"""Deviation of the noise of the series, in counts of the sensor."""


def lags_program(series: np.ndarray, lags: int) -> Program:  # type: ignore[type-arg]
    """y[t+1] = sum of `lags` weights times y[t], y[t-1], ..."""
    fit = exact(lag_equations([one_step(series, lags)], lags))
    limit = float(np.abs(series).max())
    z = o.Input("z", np.zeros(1), np.zeros(1, np.int64), np.array([-limit]), np.array([limit]))
    past = o.Delay("past", "z", np.arange(1, lags), np.zeros(lags - 1, np.int64), "first")
    y = o.Affine("y_1", ("z", "past"), (fit.weight[:, :1], fit.weight[:, 1:]), fit.bias)
    stage = Stage(1, (z, past, y), (), ("y_1",))
    return Program((Port("y", "counts", -limit, limit),), (Port("y+1", "counts"),), 50.0, (stage,))


def main() -> None:
    """Print a line per core."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lags", type=int, default=64)
    parser.add_argument("--core", action="append", help="atmega328p, m0, m4f, ... [atmega328p, m0, m4f]")
    given = parser.parse_args()
    series = np.round(COUNTS * ar_series((0.2, 0.3, -0.5), 20_000, 0))
    made, _ = quantized(lags_program(series, given.lags), [series[:, None]])
    print(table(bench_cores(made, cores=tuple(given.core or ("atmega328p", "m0", "m4f")))))


if __name__ == "__main__":
    main()
