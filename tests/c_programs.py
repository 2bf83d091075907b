"""Programs in which every op stands in every position that C export treats in its own way."""

from __future__ import annotations

import numpy as np

from hiss.program import Port, Program, Stage
from hiss.program import ops as o

N = 4
"""Channels of every value but Selective's B and C."""


def every_position(tare: int = 3) -> Program:
    """Three stages: each op in `every` and in `last`, restarting and not; rings of one row, and longer ones.

    Kept contracting (tanh, norms), so that differences of rounding do not grow.
    """
    rng = np.random.default_rng(7)

    def mat(rows: int = N, columns: int = N) -> np.ndarray:
        return rng.standard_normal((rows, columns)) / np.sqrt(columns)

    def vec(n: int = N) -> np.ndarray:
        return rng.standard_normal(n) / 2

    def gain(n: int = N) -> np.ndarray:
        return 1 + rng.standard_normal(n) / 5

    def modes() -> tuple[np.ndarray, np.ndarray]:
        a = rng.uniform(0.5, 0.97, (N, 3)) * np.exp(1j * rng.uniform(0, 3, (N, 3)))
        return a, (rng.standard_normal((N, 3)) + 1j * rng.standard_normal((N, 3))) / 3

    def diagonal(out: str, u: str, restart: bool) -> o.Op:
        a, c = modes()
        return o.Diagonal(out, u, a, c, vec(), restart)

    def fir(out: str, u: str, taps: int, restart: bool) -> o.Op:
        return o.Fir(out, u, mat(N, taps), vec(), restart)

    def delay(out: str, u: str, ages: list[int], channels: list[int], initial: str, restart: bool = False) -> o.Op:
        return o.Delay(out, u, np.array(ages), np.array(channels), initial, restart)

    def scan(out: str, u: str, c: str, restart: bool) -> o.Op:
        return o.Selective(out, u, "delta", "b", c, -rng.uniform(0.5, 4, (N, 2)), vec(), restart)

    every0 = (
        o.Input("z", vec() * 20, np.array([3, 4, 5, 3]), np.full(N, -100.0), np.full(N, 120.0), tare),
        delay("before", "z", [1, 1, 1, 1], [0, 1, 2, 3], "first"),
        o.Add("dz", ("z", "before"), (1, -1)),
        delay("fed back", "loop", [1, 3, 2, 1], [3, 0, 0, 1], "zero"),  # its input is made later
        o.Affine("float", ("z", "dz", "fed back"), (mat(), mat(), mat()), vec()),
        o.Norm("x", "float", "layer", gain(), vec()),
        diagonal("y", "x", True),
        diagonal("h.0", "x", False),
        fir("fir */ one \\", "y", 1, True),
        fir("fir short", "fir */ one \\", 3, True),  # shorter than the chunk: its ring goes round within it
        fir("fir chunk", "fir short", 5, True),
        fir("fir long", "h.0", 9, True),  # longer than the chunk: what can never be reached is left out
        fir("fir free", "h.0", 4, False),
        o.Add("mixed", ("fir chunk", "fir long", "fir free", "fir chunk"), (-1, -1, 1, -1)),
        o.Norm("mild", "mixed", "rms", gain() / 2, vec() / 2),
        o.Map("loop", "mild", "tanh"),
        o.Affine("pre delta", ("loop",), (mat(),), vec()),
        o.Map("delta", "pre delta", "softplus"),
        o.Affine("b", ("loop",), (mat(2, N),), vec(2)),
        scan("scan", "loop", "b", True),
        o.Map("act", "scan", "gelu"),
        delay("lags", "act", [2, 2, 2, 2, 4, 4, 4, 4], [0, 1, 2, 3] * 2, "zero", True),
        delay("picked", "act", [6, 1, 4], [1, 1, 2], "first", True),
    )
    last0 = (
        o.Affine("c", ("lags", "picked", "act"), (mat(2, 8), mat(2, 3), mat(2, N)), vec(2)),
        scan("scan last", "act", "c", False),
        diagonal("diagonal last", "act", True),
        diagonal("diagonal carried", "act", False),
        fir("fir last", "act", 5, True),
        fir("fir last free", "act", 3, False),
        delay("delay last", "act", [7, 2, 2, 1], [0, 1, 1, 3], "first"),
        delay("delay last zero", "act", [1, 2, 3, 4], [1, 2, 1, 2], "zero", True),
        o.Mul("gate", ("scan last", "diagonal last")),
        o.Norm("even", "gate", "rms", gain(), vec()),
        o.Map("sig", "fir last", "sigmoid"),
        o.Add("sum", ("even", "sig", "fir last free", "delay last", "delay last zero", "diagonal carried"), (1,) * 6),
        o.Norm("level", "sum", "layer", gain(), vec()),
        o.Map("low", "level", "clip", -1.6, 1.8),
    )
    every1 = (
        diagonal("h.1", "low", True),
        o.Map("silu", "h.1", "silu"),
        o.Add("minus", ("silu",), (-1,)),
        delay("low before", "low", [1, 1, 2], [1, 2, 1], "first"),
    )
    last1 = (
        fir("fir high", "minus", 2, True),
        o.Mul("square", ("fir high", "fir high")),
        o.Map("rest", "square", "relu"),
    )
    # stage 2 has a period of 1; `low` is received by stage 1 and handed on
    every2 = (
        o.Map("shrunk", "low", "clip", -1.2, 1.2),
        o.Map("exp", "shrunk", "exp"),
        diagonal("h.2", "exp", True),
        o.Affine("force", ("h.2", "rest", "low before"), (mat(2, N), mat(2, N), mat(2, 3)), vec(2)),
    )
    stages = (
        Stage(5, every0, last0, ("low",)),
        Stage(2, every1, last1, ("rest", "low", "low before")),
        Stage(1, every2, (delay("late", "force", [3, 1], [0, 1], "zero"),), ("force", "late")),
    )
    inputs = tuple(Port(f"m{i}", "uT", -100.0, 120.0) for i in range(N))
    outputs = tuple(Port(name, "N") for name in ("Fx */ trick", "Fy \\", "Fx late", "Fy late"))
    return Program(inputs, outputs, 100.0, stages)
