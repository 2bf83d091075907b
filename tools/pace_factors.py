"""The factors of hiss/program/pace.py, measured op by op on an emulated core: instructions per product, mode, element.

    python tools/pace_factors.py --core m4f            # float32; about a minute
    python tools/pace_factors.py --core m4f --int8     # integers, weights int8

Each op stands alone behind the Input of a program, in two sizes or more; what the Input takes is taken off, and the
rest is fitted by a line in the op's sizes. What a call takes is left out: pace.py has one figure for all ops.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hiss.engines.emulator import Emulator, usual_input
from hiss.engines.firmware import Firmware
from hiss.firmware_export import export_c
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Port, Program, Stage
from hiss.program import ops as o
from hiss.quantization import quantized

SIZES = (8, 32)
rng = np.random.default_rng(0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--core", default="m4f")
    parser.add_argument("--int8", action="store_true", help="an integer program, weights int8, states int32")
    args = parser.parse_args()

    def taken(n: int, *ops: o.Op, last: bool = False) -> float:
        """Instructions of the ops on an ordinary step, behind a squashed input: their weights are int8, if integer.

        last: they stand in `last` of a period that does not complete here, so that only states move.
        """
        squash = o.Map("t", "z", "tanh")
        return steps(program(n, (squash, *ops), last), args) - steps(program(n, (squash, *ops[:0]), last), args)

    mac, row = fitted(
        ((r * n, r), taken(n, o.Affine("a", ("t",), (normal(r, n),), normal(r)))) for n in SIZES for r in (4, n)
    )
    tap, channel = fitted(
        ((n * k, n), taken(n, o.Fir("a", "t", normal(n, k), normal(n)))) for n in SIZES for k in (2, 8)
    )
    both, _ = fitted(((n * k, n), taken(n, diagonal(n, k))) for n in SIZES for k in (2, 8))
    update, _ = fitted(((n * k, n), taken(n, diagonal(n, k), last=True)) for n in SIZES for k in (2, 8))
    norm = slope(lambda n: taken(n, o.Norm("a", "t", "layer", normal(n), normal(n))))
    element = slope(lambda n: taken(n, o.Mul("a", ("t", "t"))))
    maps = {f: round(slope(lambda n, f=f: taken(n, o.Map("a", "t", f, -1, 1)))) for f in o.FUNCTIONS}
    print(f"mac={mac:.1f} row={row:.0f} tap={tap:.1f} channel={channel:.0f}")
    print(f"update={update:.1f} read={both - update:.1f} norm={norm:.0f} element={element:.0f}")
    print(f"maps={maps}")


def program(n: int, ops: tuple[o.Op, ...], last: bool) -> Program:
    """Input, then the ops; the last one's value is the output."""
    z = o.Input("z", np.zeros(n), np.full(n, 3), np.full(n, -50.0), np.full(n, 50.0))
    out = ops[-1].out
    width = len(getattr(ops[-1], "bias", np.zeros(n)))
    cut = 1 if last else len(ops)
    stage = Stage(100 if last else 1, (z, *ops[:cut]), ops[cut:], (out,))
    ports = tuple(Port(f"x{i}") for i in range(n))
    return Program(ports, tuple(Port(f"y{i}") for i in range(width)), 100.0, (stage,))


def steps(program: Program, args: argparse.Namespace) -> float:
    """Mean instructions of a step, once rings are full."""
    if args.int8:
        program, _ = quantized(program, [usual_samples(program, 300)])
    with tempfile.TemporaryDirectory() as folder:
        export_c(program, folder, "model")
        core = Emulator.of(Firmware.of(program, folder, "model"), args.core)
        core.tare()
        return float(np.mean(core.count_steps(usual_input(program, 40))[20:]))


def fitted(points: object) -> NDArray[np.float64]:
    """The slopes of a line through (sizes, instructions), its offset left out."""
    sizes, spent = zip(*points, strict=True)  # type: ignore[call-overload]
    return np.linalg.lstsq(np.column_stack([sizes, np.ones(len(sizes))]), np.array(spent), rcond=None)[0][:-1]


def slope(spent: Callable[[int], float]) -> float:
    """Instructions per element."""
    return (spent(SIZES[1]) - spent(SIZES[0])) / (SIZES[1] - SIZES[0])


def diagonal(n: int, modes: int) -> o.Op:
    """Poles within the unit circle."""
    a = rng.uniform(0.5, 0.97, (n, modes)) * np.exp(1j * rng.uniform(0, 3, (n, modes)))
    return o.Diagonal("a", "t", a, normal(n, modes) + 1j * normal(n, modes), normal(n))


def normal(*shape: int) -> NDArray[np.float64]:
    """Weights of usual size."""
    return rng.standard_normal(shape) / 4


if __name__ == "__main__":
    main()
