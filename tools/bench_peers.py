"""The diagonal SSM 8 -> 16 -> 4 beside onnx2c and tflite-micro: flash and instructions a step on a Cortex-M4F.

    h <- a h + B u      (16 real states, all poles their own)
    y  = C h            (8 inputs, 4 outputs)

python tools/bench_peers.py prints the table. hiss: arm-none-eabi-gcc, counted in unicorn; one image gives its flash
(code and tables; vectors and what calls the model not counted) and its instructions. The peers' figures were measured
by the same counters on the same core, once, with float models; tflite-micro's 16x8 with its reference kernels.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_cores import measured

from hiss.engines.cores import missing, open_core
from hiss.engines.firmware import Firmware
from hiss.firmware_export import export_c
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Port, Program, Stage
from hiss.program import ops as o
from hiss.quantization import quantized

INPUTS, STATES, OUTPUTS = 8, 16, 4
CORE, LEVELS = "m4f", ("-Os", "-O2", "-O3")


@dataclass(frozen=True)
class Row:
    """What one implementation costs.   flash: bytes;  steps: instructions a step;  wrong: of the self-test."""

    name: str
    level: str
    flash: int
    steps: int
    wrong: int | None = None


PEERS = (
    Row("onnx2c, float32", "-Os", 1264, 2399),
    Row("onnx2c, float32", "-O2", 1308, 2204),
    Row("onnx2c, float32", "-O3", 2356, 1091),
    Row("by hand, float32", "-Os", 1128, 1335),
    Row("by hand, float32", "-O2", 1132, 1322),
    Row("by hand, float32", "-O3", 1536, 703),
    Row("tflite-micro, float32", "-", 31_949, 5487),  # 31.2 KB
    Row("tflite-micro, int16x8", "-", 31_949, 11_383),
)


def diagonal_ssm(seed: int = 0) -> Program:
    """u (8,) -> h (16,) real -> y (4,), time constants of 3 to 60 steps; whole-number samples of +-1000 counts."""
    rng = np.random.default_rng(seed)
    unit, limit = np.full(INPUTS, 8), 1000 * np.ones(INPUTS)
    a = np.exp(-1 / np.geomspace(3, 60, STATES))[:, None].astype(complex)
    b = rng.standard_normal((STATES, INPUTS)) * (1 - np.abs(a)) / np.sqrt(INPUTS)
    c = rng.standard_normal((OUTPUTS, STATES)) / np.sqrt(STATES)
    one, none = np.ones((STATES, 1), complex), np.zeros(STATES)
    ops = (
        o.Input("u", np.zeros(INPUTS), unit, -limit, limit),
        o.Affine("bu", ("u",), (b,), none),
        o.Diagonal("h", "bu", a, one, none),
        o.Affine("y", ("h",), (c,), np.zeros(OUTPUTS)),
    )
    inputs = tuple(Port(f"u{i}", "count", -1000.0, 1000.0) for i in range(INPUTS))
    return Program(inputs, tuple(Port(f"y{i}", "1") for i in range(OUTPUTS)), 100.0, (Stage(1, ops, (), ("y",)),))


def programs() -> dict[str, Program]:
    """The SSM in each arithmetic."""
    whole = diagonal_ssm()
    x = [usual_samples(whole, 2000).astype(float)]
    return {  # weights of 16 bits: all of its layers read samples, or states, or are the last one
        **{f"hiss, int16 weights, {s} states": quantized(whole, x, states=s)[0] for s in ("int32", "int16")},
        "hiss, float32": whole,
    }


def row(name: str, program: Program, level: str) -> Row:
    """Export, build and run."""
    with tempfile.TemporaryDirectory() as folder:
        export_c(program, folder, "ssm")
        firmware = Firmware.of(program, folder, "ssm")
        counts, flash = measured(program, firmware, CORE, level)
        wrong = open_core(CORE, firmware, compiler="gcc", optimize=level).selftest()
    return Row(name, level, sum(flash.values()), max(counts), wrong)


def rows() -> list[Row]:
    """hiss in every arithmetic at every level."""
    return [row(name, program, level) for name, program in programs().items() for level in LEVELS]


def table(found: list[Row]) -> str:
    """One line per row, hiss first."""
    lines = [f"{'':34}{'':5}{'flash':>8}{'instructions':>14}"]
    for r in (*found, *PEERS):
        wrong = "" if r.wrong is None else f"   self-test: {r.wrong} wrong"
        lines.append(f"{r.name:34}{r.level:5}{r.flash:8}{r.steps:14}{wrong}")
    return "\n".join(lines)


if __name__ == "__main__":
    reason = missing(CORE, "gcc")
    if reason is not None:
        sys.exit(f"{Path(__file__).name}: {reason}")
    print(table(rows()))
