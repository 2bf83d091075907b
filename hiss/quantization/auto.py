"""Widths of weights by a budget: int8 everywhere, then int16 where it gains most per byte of flash, until it is kept.

What an op gains is measured in the integer arithmetic: how much closer its int16 weights bring the estimates to
floating point. Whether the budget is kept is judged by the error itself, which single ops move up or down by chance.
"""

from __future__ import annotations

import dataclasses

from hiss.errors import ProgramError
from hiss.program import Program
from hiss.program import ops as o
from hiss.quantization.calibration import Progress
from hiss.quantization.finest import read_out, rows
from hiss.quantization.measure import Windows
from hiss.quantization.report import Choice, Raised
from hiss.quantization.weights import PARTS, count


def within_budget(
    program: Program, made: Program, windows: Windows, budget: float, progress: Progress
) -> tuple[Program, Choice]:
    """`made`, some weights raised to 16 bits, so that its error stays within the budget.

    Raises ProgramError when it does not even with all weights raised.
    """
    small = [op for _, _, op in program.ops() if type(op) in PARTS and _bits(made, op) == 8]
    estimates = windows.estimates(made)
    before = error = windows.growth(estimates)
    raised: list[Raised] = []
    if error > budget:
        _check_reachable(made, small, windows, budget, before)
        for op in _ranked(made, small, windows, windows.noise(estimates), progress):
            made = with_int16(made, [op])
            error = windows.growth(windows.estimates(made))
            raised.append(Raised(op.out, count(op), error))
            if error <= budget:
                break
    return made, Choice(budget, windows.what, before, error, tuple(raised))


def _check_reachable(made: Program, small: list[o.Op], windows: Windows, budget: float, before: float) -> None:
    least = windows.growth(windows.estimates(with_int16(made, small)))
    if least > budget:
        raise ProgramError(
            f"the budget of {budget:.3%} cannot be kept: {windows.what} is {before:.3%} as it is and {least:.3%} with "
            "int16 weights everywhere; allow more, or quantize without a budget"
        )


def _ranked(made: Program, small: list[o.Op], windows: Windows, noise: float, progress: Progress) -> list[o.Op]:
    """The ops by what int16 weights take off the noise per byte, the best one first."""
    gains: dict[str, float] = {}
    for i, op in enumerate(small):
        progress("measuring what int16 gains", i, len(small))
        gains[op.out] = (noise - windows.noise(windows.estimates(with_int16(made, [op])))) / count(op)
    progress("measuring what int16 gains", len(small), len(small))
    return sorted(small, key=lambda op: -gains[op.out])


def with_int16(made: Program, ops: list[o.Op]) -> Program:
    """An integer program with 16 bit weights of these ops."""
    formats = {name: dict(parts) for name, parts in (made.formats or {}).items()}
    raised = {op.out for op in ops}
    for stage in made.stages:
        for op in stage.ops:
            match op:
                case o.Affine() | o.Fir() if op.out in raised:
                    rows(op, PARTS[type(op)], formats, 16)
                case o.Diagonal() if op.out in raised:
                    read_out(op, formats, stage.period if op.restart else None, 16)
    return dataclasses.replace(made, formats=formats)


def _bits(made: Program, op: o.Op) -> int:
    return made.formats[op.out][PARTS[type(op)]].bits if made.formats else 0
