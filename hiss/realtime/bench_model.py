"""The built-in model of `hiss bench-live`: low 32x2 | high 32x2 as training folds it, with random weights; no torch.

30 magnetometer channels with their deltas -> 3 forces every 10th sample. Low level: norm, FIR of 10 taps, GELU, gate;
high level: norm, diagonal state space of 16 real states a channel, GELU, gate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hiss.program import Port, Program, Stage
from hiss.program.ops import Add, Affine, Delay, Diagonal, Fir, Input, Map, Mul, Norm, Op
from hiss.realtime.bench_board import SWING

WIDTH, LAYERS, MODES, PERIOD = 32, 2, 8, 10


def bench_program(channels: int = 30, rate_hz: float = 1000.0) -> Program:
    """The program; always the same."""
    rng = np.random.default_rng(0)
    full = np.full(channels, 10 * SWING)
    one = np.ones(channels, np.int64)
    low: list[Op] = [
        Input("z", np.zeros(channels), 8 * one, -full, full),
        Delay("before", "z", one, np.arange(channels), "first"),
        Add("delta", ("z", "before"), (1, -1)),
        Affine("embed", ("z", "delta"), (_weights(rng, channels), _weights(rng, channels)), np.zeros(WIDTH)),
    ]
    every, last, value = low, list[Op](), "embed"
    for layer in range(LAYERS):
        taps = rng.normal(0, 1, (WIDTH, PERIOD)) * np.exp(-np.arange(PERIOD) / 3)
        fir = Fir(f"low{layer}.ssm", f"low{layer}.norm", taps, np.zeros(WIDTH), restart=True)
        norm, mix = _layer(rng, f"low{layer}", value)
        ends = layer == LAYERS - 1
        every += [norm] if ends else [norm, fir, *mix]
        last += [fir, *mix] if ends else []
        value = mix[-1].out
    last.append(Affine("hand", (value,), (_weights(rng),), np.zeros(WIDTH)))
    high: list[Op] = []
    value = "hand"
    for layer in range(LAYERS):
        poles = np.exp(-rng.uniform(0.01, 0.3, (WIDTH, MODES)) + 1j * rng.uniform(0, 1, (WIDTH, MODES)))
        reads = rng.normal(0, 0.1, (WIDTH, MODES)) + 1j * rng.normal(0, 0.1, (WIDTH, MODES))
        norm, mix = _layer(rng, f"high{layer}", value)
        high += [norm, Diagonal(f"high{layer}.ssm", norm.out, poles, reads, np.ones(WIDTH)), *mix]
        value = mix[-1].out
    high.append(Affine("force", (value,), (_weights(rng)[:3],), np.zeros(3)))
    inputs = tuple(Port(f"m{i // 3}_{'xyz'[i % 3]}", "uT", -10 * SWING, 10 * SWING) for i in range(channels))
    outputs = tuple(Port(f"force_{axis}", "N") for axis in "xyz")
    stages = (Stage(PERIOD, tuple(every), tuple(last), ("hand",)), Stage(1, tuple(high), (), ("force",)))
    return Program(inputs, outputs, rate_hz, stages)


def bench_samples(program: Program, steps: int) -> npt.NDArray[np.float64]:
    """What the bench's sensor sends, (steps, channels): to calibrate with."""
    from hiss.realtime.bench_board import blocks

    channels = len(program.inputs)
    raw = np.concatenate([block[:, 8:-2] for block in blocks(channels, program.rate_hz, steps)])
    return np.ascontiguousarray(raw).view("<f4").astype(np.float64)


def _weights(rng: np.random.Generator, columns: int = WIDTH) -> npt.NDArray[Any]:
    return rng.normal(0, float(columns) ** -0.5, (WIDTH, columns))


def _layer(rng: np.random.Generator, name: str, value: str) -> tuple[Norm, list[Op]]:
    """What stands before and behind the memory of a layer, whose value is {name}.ssm."""
    gate: list[Op] = [
        Map(f"{name}.gelu", f"{name}.ssm", "gelu"),
        Affine(f"{name}.mix", (f"{name}.gelu",), (_weights(rng),), np.zeros(WIDTH)),
        Affine(f"{name}.gate", (f"{name}.gelu",), (_weights(rng),), np.zeros(WIDTH)),
        Map(f"{name}.open", f"{name}.gate", "sigmoid"),
        Mul(f"{name}.glu", (f"{name}.mix", f"{name}.open")),
        Add(f"{name}.out", (value, f"{name}.glu"), (1, 1)),
    ]
    return Norm(f"{name}.norm", value, "layer", np.ones(WIDTH), np.zeros(WIDTH)), gate
