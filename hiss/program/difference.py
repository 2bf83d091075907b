"""The difference equation of a program that is linear in lagged samples: an AR-Net, written in the units of its inputs.

y_i[t] = c_i + sum w x_channel[t - age]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hiss.program import ops as o

if TYPE_CHECKING:
    from hiss.program.program import Program

MOST_TERMS = 400
"""Terms of all outputs that are written out; the rest is counted."""
A_LINE = 5


def difference_equation(program: Program) -> str | None:
    """The equation, an output after the other; None where the program is not one Affine over samples and their lags."""
    found = [op for _, _, op in program.ops()]
    z, past, maps = _parts(found)
    if z is None or len(maps) != 1 or len(found) != 2 + len(past) or len(program.stages) != 1:
        return None
    [y] = maps
    if program.stages[-1].hands != (y.out,):
        return None
    unit = np.exp2(-z.shift.astype(np.float64))
    lines, left = [], MOST_TERMS
    for row, port in enumerate(program.outputs):
        terms, constant = [], float(y.bias[row])
        for name, weight in zip(y.inputs, y.weights, strict=True):
            for column, value in enumerate(weight[row]):
                age, channel = (0, column) if name == z.out else _lag(past[name], column)
                scaled = float(value * unit[channel])
                constant -= scaled * float(z.offset[channel])
                if scaled:
                    terms.append((age, channel, scaled))
        terms.sort()
        lines += [f"{port.name}[t] = {constant:+.6g}", *_written(program, terms[: max(left, 0)], len(terms))]
        left -= len(terms)
    tared = ", the tare taken off" if program.tare else ""
    return "\n".join([f"difference equation, x[t-a] is the sample of a steps before{tared}:", *lines])


def _parts(found: list[o.Op]) -> tuple[o.Input | None, dict[str, o.Delay], list[o.Affine]]:
    z = next((op for op in found if isinstance(op, o.Input)), None)
    past = {op.out: op for op in found if isinstance(op, o.Delay) and z is not None and op.input == z.out}
    return z, past, [op for op in found if isinstance(op, o.Affine)]


def _lag(delay: o.Delay, column: int) -> tuple[int, int]:
    return int(delay.ages[column]), int(delay.channels[column])


def _written(program: Program, terms: list[tuple[int, int, float]], count: int) -> list[str]:
    names = [port.name for port in program.inputs]
    said = [f"{w:+.6g} {names[channel]}[t{f'-{age}' if age else ''}]" for age, channel, w in terms]
    lines = ["    " + "  ".join(said[at : at + A_LINE]) for at in range(0, len(said), A_LINE)]
    return lines + ([f"    ... and {count - len(said)} more"] if count > len(said) else [])
