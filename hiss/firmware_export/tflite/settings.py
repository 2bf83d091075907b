"""What the int16 form of a program is made with: scales of its values, sizes of its states, float32 islands.

All of it follows from the program and its formats: a state of int16 is as fine as what its input can make of it.
H: channels;  N: modes per channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.tflite.maps import UNIT
from hiss.program import Program, bounds, loops
from hiss.program import ops as o
from hiss.program.formats import SUMS

Array = NDArray[Any]

DEAD_ZONE = 1e-3
"""Share of its range that a state of int16 may not see."""

_FLOAT_MAPS = {
    "gelu": "GELU has no int16 kernel",
    "softplus": "LOG has no int16 kernel",
    "exp": "EXP of int16 is off by 230 units",
}


@dataclass(frozen=True, eq=False)
class Settings:
    """scales: value -> scale;  bits: op -> bits of its weights;  modes: Diagonal -> (H, N) largest |h|

    slow: Diagonals whose states int16 would not see decay, and why
    summed: what is fed back through them, and what comes of that, with the reason.
    """

    scales: Mapping[str, float]
    bits: Mapping[str, int]
    modes: Mapping[str, Array]
    slow: Mapping[str, str]
    summed: Mapping[str, str]


def settings_of(program: Program) -> Settings:
    """The settings of an integer program."""
    formats = program.formats or {}
    every = [op for _, _, op in program.ops()]
    bits = {op.out: formats[op.out][SUMS[type(op)]].bits for op in every if type(op) in SUMS}
    steps = {op.out: stage.period for stage in program.stages for op in stage.ops}
    diagonals = {op: _growth(op, steps[op.out]) for op in every if isinstance(op, o.Diagonal)}
    slow = {op.out: said for op, growth in diagonals.items() if (said := _slow(op, growth))}
    modes = {op.out: growth * _largest(op.input, program) for op, growth in diagonals.items()}
    return Settings(_scales(program), bits, modes, slow, _around(program, slow))


def island(op: o.Op, settings: Settings) -> str:
    """Why an op is computed in float32 in an int16 graph; "" where it is not."""
    if op.out in settings.slow or op.out in settings.summed:
        return settings.slow.get(op.out) or settings.summed[op.out]
    match op:
        case o.Input():
            return "raw samples are float32"
        case o.Norm():
            return "RSQRT has no int16 kernel"
        case o.Selective():
            return "EXP of int16 is off by 230 units"
        case o.Map():
            return _FLOAT_MAPS.get(op.function, "")
    return ""


def _around(program: Program, slow: Mapping[str, str]) -> dict[str, str]:
    """The ops of a loop through a slow Diagonal, of its stage what they are made of, and what is made of them alone.

    The rounding of each step, small as it is, is summed up there, and what comes out has parts that cancel.
    """
    found: dict[str, str] = {}
    for stage in program.stages:
        made = {op.out: op for op in stage.ops if not isinstance(op, o.Input)}
        for group in loops.groups(stage):
            if loops.is_loop(group) and any(op.out in slow for op in group):
                unseen = [op.out for op in group]
                while unseen:
                    name = unseen.pop()
                    if name in made and name not in found:
                        found[name] = "its rounding would be summed up"
                        unseen.extend(made[name].reads)
        for name, op in made.items():
            if isinstance(op, o.Affine | o.Add) and found.keys() >= set(op.reads):
                found.setdefault(name, "what it reads is float32, and cancels")
    return found


def _scales(program: Program) -> dict[str, float]:
    """Those of the formats, but where an operator makes its own or keeps that of what it reads."""
    formats = program.formats or {}
    scales = {name: 2.0 ** -int(formats[name]["out"].frac_bits[0]) for name in program.widths}
    keeps: dict[str, str] = {}
    for _, _, op in program.ops():
        if isinstance(op, o.Map) and op.function in ("sigmoid", "tanh"):
            scales[op.out] = UNIT
        if isinstance(op, o.Delay) or (isinstance(op, o.Map) and op.function in ("relu", "clip")):
            keeps[op.out] = op.input
    for _ in keeps:  # chains of them
        for name, source in keeps.items():
            scales[name] = scales[source]
    return scales


def _growth(op: o.Diagonal, period: int) -> Array:
    """(H, N) how many times its largest input |h| becomes at most: its parts' sums of |Re a^k| and of |Im a^k|."""
    return np.hypot(*np.moveaxis(bounds.l1_sums(op.a, period if op.restart else None), -1, 0))


def _largest(name: str, program: Program) -> Array:
    """(H, 1) the largest that a value can say."""
    formats = program.formats or {}
    return np.ldexp(float(bounds.FULL), -formats[name]["out"].frac_bits)[:, None]


def _slow(op: o.Diagonal, growth: Array) -> str:
    """Why a state of int16 is too coarse, or "".

    Two rounded products are off by up to a unit, so below a unit over |1 - a| a state stays where it is; and an input
    below half a unit is nothing.
    """
    stays = 0.0 if op.restart else float((1 / np.maximum(np.abs(1 - op.a), 1e-12)).max())
    share = max(stays, float(growth.max()) / 2) / bounds.FULL
    return f"a state of int16 would not see {share:.1%} of its range" if share > DEAD_ZONE else ""
