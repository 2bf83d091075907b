"""A program printed as the update equations that it is: one line an op, small constants written out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hiss.program import ops as o
from hiss.program.difference import difference_equation

if TYPE_CHECKING:
    from hiss.program.program import Program

WRITTEN_OUT = 12
"""A row with at most this many terms is printed with its numbers."""


def equations(program: Program) -> str:
    """All stages, top to bottom. x[-a] is x as it was a steps before; h' is the state after the step.

    Of a spread program: in which step of the next chunk an op waits for its turn.
    """
    width, rate = program.widths, program.rate_hz
    lines = [
        f"x: {_names(port.name for port in program.inputs)} at {rate:g} Hz",
        f"y: {_names(f'{port.name} [{port.unit}]' if port.unit else port.name for port in program.outputs)} "
        f"at {rate / program.period:g} Hz"
        + (f", {program.latency} samples after the one that they belong to" if program.latency else ""),
    ]
    for index, stage in enumerate(program.stages):
        rows = [(op, "every") for op in stage.every] + [(op, "last") for op in stage.last]
        lines.append(f"\nstage {index}: {rate:g} steps a second, hands on every {_ordinal(stage.period)}")
        when = ""
        for op, now in rows:
            said = "  on every step" if now == "every" else f"  on the last of {stage.period} steps"
            said += "" if op.out not in (program.slots or {}) else _slot(program, op.out)
            if said != when:
                when = said
                lines.append(f"{said}:")
            name = f"{op.out} ({width[op.out]})"
            lines += [f"    {name:<22} = {text}" for text in _lines(op, program)]
        lines.append(f"  hands {', '.join(stage.hands)}")
        rate /= stage.period
    short = difference_equation(program)
    return "\n".join([*lines, "", short] if short else lines)


def _slot(program: Program, name: str) -> str:
    assert program.slots is not None
    return f", in step {program.slots[name] + 1} of the next {program.latency}"


def _ordinal(n: int) -> str:
    return "one" if n == 1 else f"{n}th"


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    return " ".join(listed) if len(listed) <= 12 else f"{' '.join(listed[:6])} ... {listed[-1]} ({len(listed)})"


def _lines(op: o.Op, program: Program) -> list[str]:
    if isinstance(op, o.Affine):
        terms = sum(weight.shape[1] for weight in op.weights)
        if terms <= WRITTEN_OUT and len(op.bias) <= 4:
            return [_affine_row(op, row, program) for row in range(len(op.bias))]
    return [_equation(op)]


def _affine_row(op: o.Affine, row: int, program: Program) -> str:
    makers = {made.out: made for _, _, made in program.ops()}
    parts = []
    for name, weight in zip(op.inputs, op.weights, strict=True):
        for column, value in enumerate(weight[row]):
            parts.append(f"{value:+.6g} {_element(makers.get(name), name, column, program)}")
    return f"{' '.join(parts)} {op.bias[row]:+.6g}" + (f"   (row {row})" if len(op.bias) > 1 else "")


def _element(maker: o.Op | None, name: str, column: int, program: Program) -> str:
    """What stands at a column: a delayed sample is named by its channel and age."""
    if isinstance(maker, o.Delay):
        return f"{maker.input}.{maker.channels[column]}[-{maker.ages[column]}]"
    return f"{name}.{column}" if program.widths[name] > 1 else name


def _span(values: NDArray[Any]) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:.4g}..{high:.4g}"


def _restart(op: o.Diagonal | o.Fir | o.Delay | o.Selective) -> str:
    return "   (restarts)" if op.restart else ""


def _equation(op: o.Op) -> str:
    match op:
        case o.Input():
            tare = f" - mean of the first {op.tare} samples" if op.tare else ""
            return f"(clip(x{tare}, lo, hi) - offset) 2^-shift   offset {_span(op.offset)}, shift {_span(op.shift)}"
        case o.Affine():
            terms = [f"W[{w.shape[0]}x{w.shape[1]}] {name}" for name, w in zip(op.inputs, op.weights, strict=True)]
            return " + ".join([*terms, "b"])
        case o.Diagonal():
            modes = f"{op.a.shape[1]} complex modes a channel, |a| {_span(np.abs(op.a))}"
            return f"Re(sum c h') + d {op.input},  h' = a h + {op.input}   {modes}{_restart(op)}"
        case o.Fir():
            return f"b + sum_k t_k {op.input}[-k]   k = 0..{op.taps.shape[1] - 1}{_restart(op)}"
        case o.Delay():
            ages = sorted(set(op.ages.tolist()))
            shown = ",".join(map(str, ages if len(ages) <= 8 else [*ages[:4], "..", ages[-1]]))
            return f"{op.input}[-{shown}]   past before the start: {op.initial}{_restart(op)}"
        case o.Selective():
            return f"{op.c} h' + d {op.input},  h' = exp({op.delta} A) h + {op.delta} {op.b} {op.input}{_restart(op)}"
        case o.Map():
            bounds = f", {op.lo:g}, {op.hi:g}" if op.function == "clip" else ""
            return f"{op.function}({op.input}{bounds})"
        case o.Norm():
            return f"{op.kind}norm({op.input}) gain + bias"
        case o.Add():
            text = " ".join(f"{'+' if s > 0 else '-'} {name}" for s, name in zip(op.signs, op.inputs, strict=True))
            return text.removeprefix("+ ")
        case o.Mul():
            return " * ".join(op.inputs)
    raise TypeError(f"{type(op).__name__} has no equation")
