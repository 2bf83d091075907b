"""What a board that runs a program must say: what the computer compares with, and the info that the board sends."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.c import Model
from hiss.firmware_export.selftest import vectors
from hiss.program import Port, Program

PROTOCOL = 1
"""HISS_BOARD_VERSION of the runtime."""

_BOTH_SIDES = 2  # the self-test's tolerance is against exact numbers; here both sides are float32


@dataclass(frozen=True)
class Contract:
    """What a board must say.

    version: of the states, 32 bits;  x, y: C types of a sample and of an estimate, as numpy types;
    scratch: (from, to), the bytes of the struct that do not count as state;
    tolerance: of a difference per output (D,) in floating point; None where every bit must be equal.
    """

    version: int
    x: np.dtype[np.generic]
    y: np.dtype[np.generic]
    scratch: tuple[int, int]
    tolerance: NDArray[np.float32] | None


def contract_of(program: Program) -> Contract:
    """The contract of a program. Raises ExportError where C cannot hold it."""
    model = Model(program, "model")
    whole = model.numbers.whole
    tolerance = None if whole else np.float32(_BOTH_SIDES) * vectors(program).tolerance
    return Contract(model.version, _dtype(model.numbers.x), _dtype(model.numbers.value), _scratch(model), tolerance)


def info_of(model: Model) -> bytes:
    """What the board says of itself: JSON, ASCII."""
    program = model.program
    facts = {
        "protocol": PROTOCOL,
        "name": model.name,
        "version": f"0x{model.version:08x}",
        "rate_hz": program.rate_hz,
        "period": program.period,
        "latency": program.latency,
        "tare": program.tare,
        "x": model.numbers.x,
        "y": model.numbers.value,
        "inputs": _ports(program.inputs, _frac_bits(model, samples=True)),
        "outputs": _ports(program.outputs, _frac_bits(model, samples=False)),
    }
    return json.dumps(facts, separators=(",", ":")).encode("ascii")


def _ports(ports: tuple[Port, ...], bits: list[int]) -> list[dict[str, object]]:
    """Name, unit, and scale: a number on the wire times this is in the unit."""
    return [{"name": p.name, "unit": p.unit, "scale": 2.0**-b} for p, b in zip(ports, bits, strict=True)]


def _frac_bits(model: Model, *, samples: bool) -> list[int]:
    program, formats = model.program, model.program.formats
    if formats is None:
        return [0] * len(program.inputs if samples else program.outputs)
    if samples:
        return [int(f) for f in formats[program.stages[0].every[0].out]["x"].frac_bits]
    return [int(f) for name in program.stages[-1].hands for f in formats[name]["out"].frac_bits]


def _scratch(model: Model) -> tuple[int, int]:
    at = 0
    for member in model.layout.members:
        if member.name == "scratch":
            return at, at + member.bytes
        at += member.bytes
    return at, at


def _dtype(kind: str) -> np.dtype[np.generic]:
    return np.dtype("<f4" if kind == "float" else np.dtype(kind.removesuffix("_t")).newbyteorder("<"))
