"""Quantization: formats of values by calibration, of states and sums by proof, of weights as they were asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError
from hiss.program import Program, Stage, bounds
from hiss.program import ops as o
from hiss.program.constants import constants, poles
from hiss.program.exact import refuse_float64_only
from hiss.program.formats import BIASED
from hiss.program.loops import fed_back
from hiss.quantization.auto import within_budget
from hiss.quantization.calibration import Observed, Progress, observe, prepared, value_formats
from hiss.quantization.finest import (
    INT16,
    Trial,
    coarsened,
    gain,
    inside,
    read_out,
    room_for_bias,
    rows,
    selective,
    state,
)
from hiss.quantization.measure import windows
from hiss.quantization.report import Choice, Moved, Report, Value
from hiss.quantization.weights import PARTS, Weights, weight_bits
from hiss.recording import Recording

STATES = ("int32", "int16")


def silent(what: str, done: int, total: int) -> None:
    """Shows no progress."""


def quantize(
    program: Program,
    calibration: Seq[Recording],
    *,
    weights: Weights = "int8",
    states: str = "int32",
    budget: float | None = None,
    progress: Progress = silent,
) -> tuple[Program, Report]:
    """The integer program, and what was proven. The calibration recordings are raw or tared, at any rate.

    weights: int8 or int16, or {name or pattern of values: int8 or int16}; layers that read samples or lags are int16
    always, last layers until they are named. states: int32, or int16 wherever the dead zone of an op's states is below
    0.1 % of their range. budget: the growth of the error that is allowed (0.01 is 1 %); weights are then raised to
    int16 until it is kept.
    Raises ProgramError, RecordingError; ValueError for other choices.
    """
    ready = [prepared(program, r) for r in calibration]
    samples = [r.x for r in ready]
    if budget is None:
        return quantized(program, samples, weights=weights, states=states, progress=progress)
    if not 0 < budget < np.inf:
        raise ValueError(f"budget is {budget}; expected a share above 0, such as 0.01")
    bits, observed = _settled(program, samples, weights, states, progress)
    made, moved = formatted(program, observed, bits, states)
    made, choice = within_budget(program, made, windows(program, ready), budget, progress)
    return made, _report(made, observed, moved, choice)


def quantized(
    program: Program,
    samples: Seq[NDArray[Any]],
    *,
    weights: Weights = "int8",
    states: str = "int32",
    progress: Progress = silent,
) -> tuple[Program, Report]:
    """The same from samples (..., T, C) at the program's rate, tared where the program has a tare."""
    bits, observed = _settled(program, samples, weights, states, progress)
    made, moved = formatted(program, observed, bits, states)
    return made, _report(made, observed, moved, None)


def _settled(
    program: Program, samples: Seq[NDArray[Any]], weights: Weights, states: str, progress: Progress
) -> tuple[dict[str, int], Observed]:
    """Bits of the weights and what calibration showed; wrong choices are said before that takes its time."""
    if states not in STATES:
        raise ValueError(f"states {states!r}; known: {', '.join(STATES)}")
    if program.formats is not None:
        raise ProgramError("the program has number formats already; quantize the floating point program")
    refuse_float64_only(program, "an integer format")
    return weight_bits(program, weights), observe(program, samples, progress)


def formatted(
    program: Program, observed: Observed, bits: Mapping[str, int], states: str
) -> tuple[Program, tuple[Moved, ...]]:
    """The program with all its formats, and the poles that moved."""
    most: dict[str, int] = {}  # frac_bits of values that a coarser sum allows
    while True:
        formats = value_formats(program, observed, most)
        made, moved = _given(program, formats, bits, states)
        coarser = {name: int(parts["out"].frac_bits[0]) for name, parts in formats.items()}
        if coarser == most:
            return dataclasses.replace(made, formats=formats), moved
        most = coarser


def _given(program: Program, formats: Trial, bits: Mapping[str, int], states: str) -> tuple[Program, tuple[Moved, ...]]:
    """The formats of all parts go into `formats`, and what a sum cannot say leaves its value; poles as they become."""
    moved: list[Moved] = []
    periods = {op.out: stage.period for stage in program.stages for op in stage.ops}

    def settled(op: o.Op) -> o.Op:
        if isinstance(op, BIASED):
            room_for_bias(formats, op)
        match op:
            case o.Affine() | o.Fir():
                rows(op, PARTS[type(op)], formats, bits[op.out])
            case o.Diagonal():
                op = inside(op, formats, moved)
                steps = periods[op.out] if op.restart else None
                state(op, formats, steps, states)
                read_out(op, formats, steps, bits[op.out])
            case o.Selective():
                selective(op, formats)
            case o.Norm():
                gain(op, formats)
        coarsened(formats, op)
        return op

    stages = tuple(
        Stage(s.period, tuple(map(settled, s.every)), tuple(map(settled, s.last)), s.hands) for s in program.stages
    )
    return dataclasses.replace(program, stages=stages), tuple(moved)


def _report(program: Program, observed: Observed, moved: tuple[Moved, ...], choice: Choice | None) -> Report:
    formats = program.formats or {}
    values = [
        Value(name, size, INT16 * 2.0 ** -int(frac.max()), int(frac.max()))
        for name, size in observed.largest.items()
        for frac in [formats[name]["out"].frac_bits]
    ]
    diagonals = [op for _, _, op in program.ops() if isinstance(op, o.Diagonal)]
    circle = max((float(np.abs(poles(op, formats)).max()) for op in diagonals), default=0.0)
    states = {name: parts["h"].bits for name, parts in formats.items() if "h" in parts}
    weights = {op.out: formats[op.out][PARTS[type(op)]].bits for _, _, op in program.ops() if type(op) in PARTS}
    for _, _, op in program.ops():
        constants(op, formats)  # all fit
    return Report(weights, states, tuple(values), moved, circle, bounds.prove(program), choice, fed_back(program))
