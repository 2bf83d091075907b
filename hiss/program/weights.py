"""Weights as a program's readers round them: which layers must not have 8 bits, and the floating point program that
equals rounded constants.

n_out, n_in: of an Affine's weights;  H: channels;  N: modes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError
from hiss.program import loops
from hiss.program import ops as o
from hiss.program.constants import NORM_FRAC, STATE_SHIFT, constants, poles
from hiss.program.formats import Formats
from hiss.program.program import Program, Stage

Rows = tuple[NDArray[np.int8], NDArray[np.float32]]
"""Weights (n_out, n_in) as integers, and the scale (n_out,) of each row: weight = integer scale."""
AllRows = dict[str, tuple[Rows, ...]]
"""Affine -> its weights for each value that it reads."""


def sampled(program: Program) -> set[str]:
    """The Affines whose weights 8 bits are too coarse for: those that read the sample, a lag, or a sum of them, for
    they cancel; and those that drive a recurrence that is fed back, for what they err is summed up. What is squashed
    before it comes back (an LSTM's h) is a state and no lag."""
    names = {program.stages[0].every[0].out}
    states = _squashed(program)
    for _, _, op in program.ops():
        lag = isinstance(op, o.Delay) and op.input not in states
        if lag or (isinstance(op, o.Add) and set(op.inputs) <= names):
            names.add(op.out)
    recurrences = [
        op
        for stage in program.stages
        for group in loops.groups(stage)
        for op in group
        if loops.is_loop(group) and isinstance(op, o.Diagonal)
    ]
    drives = {op.input for op in recurrences}
    names |= {op.out for op in recurrences}
    affines = [op for _, _, op in program.ops() if isinstance(op, o.Affine)]
    return {op.out for op in affines if names & set(op.inputs) or op.out in drives}


def last_layers(program: Program) -> set[str]:
    """The Affines whose sums are the outputs, or are added up to them; and Affines that these read, as the heads of an
    ensemble's members."""
    made = {op.out: op for _, _, op in program.ops()}
    summed = [made[name] for name in program.stages[-1].hands]
    ahead: list[o.Op] = []
    while summed:
        op = summed.pop()
        if isinstance(op, o.Add):
            summed += [made[name] for name in op.inputs]
        else:
            ahead.append(op)
    found: set[str] = set()
    while ahead:
        op = ahead.pop()
        if isinstance(op, o.Affine):
            found.add(op.out)
            ahead += [made[name] for name in op.inputs]
    return found


def _squashed(program: Program) -> set[str]:
    """Values that functions keep within -1 to 1, and products of such."""
    names: set[str] = set()
    for _, _, op in program.ops():
        bounded = isinstance(op, o.Map) and op.function in ("sigmoid", "tanh")
        if bounded or (isinstance(op, o.Mul) and names.issuperset(op.inputs)):
            names.add(op.out)
    return names


def int8_rows(program: Program) -> AllRows:
    """The weights that can have 8 bits.

    An integer program: where its formats say 8 bits, in those formats. A floating point one: all but those that
    `sampled` names, symmetric, the largest weight of a row as 127.
    """
    affines = [op for _, _, op in program.ops() if isinstance(op, o.Affine)]
    formats = program.formats
    if formats is not None:
        return {op.out: _in_formats(op, formats) for op in affines if formats[op.out]["weights"].bits == 8}
    kept = sampled(program)
    return {op.out: tuple(map(_symmetric, op.weights)) for op in affines if op.out not in kept}


def _in_formats(op: o.Affine, formats: Formats) -> tuple[Rows, ...]:
    held, facc = constants(op, formats), formats[op.out]["weights"].frac_bits
    made = []
    for i, name in enumerate(op.inputs):
        frac = facc - int(formats[name]["out"].frac_bits[0])
        made.append((held[f"weights.{i}"].astype(np.int8), np.ldexp(1.0, -frac).astype(np.float32)))
    return tuple(made)


def _symmetric(weights: NDArray[np.float64]) -> Rows:
    largest = np.abs(weights).max(axis=1, initial=0)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.clip(np.rint(weights / scale[:, None]), -127, 127).astype(np.int8), scale


def with_rows(program: Program, rows: AllRows) -> Program:
    """The floating point program with these weights in place of its own."""

    def op_with(op: o.Op) -> o.Op:
        if not isinstance(op, o.Affine) or op.out not in rows:
            return op
        return dataclasses.replace(op, weights=tuple(q * scale[:, None].astype(float) for q, scale in rows[op.out]))

    return _mapped(program, op_with)


def rounded(program: Program) -> Program:
    """The floating point program whose constants are the integers of an integer program; values are not rounded.

    Raises ProgramError for a program without formats.
    """
    formats = program.formats
    if formats is None:
        raise ProgramError("the program has no number formats; there is nothing to round to")
    return _mapped(program, lambda op: _rounded(op, formats))


def _mapped(program: Program, change: Callable[[o.Op], o.Op]) -> Program:
    def stage(s: Stage) -> Stage:
        return dataclasses.replace(s, every=tuple(map(change, s.every)), last=tuple(map(change, s.last)))

    return dataclasses.replace(program, stages=tuple(map(stage, program.stages)), formats=None)


def _rounded(op: o.Op, formats: Formats) -> o.Op:
    own, held = formats[op.out], constants(op, formats)

    def number(integers: NDArray[np.int64], frac: NDArray[np.int64] | int) -> NDArray[np.float64]:
        return np.ldexp(integers.astype(float), -np.asarray(frac))

    match op:
        case o.Affine():
            facc = own["weights"].frac_bits
            fracs = [(facc - formats[name]["out"].frac_bits[0])[:, None] for name in op.inputs]
            weights = tuple(number(held[f"weights.{i}"], frac) for i, frac in enumerate(fracs))
            return dataclasses.replace(op, weights=weights, bias=number(held["bias"], facc))
        case o.Fir():
            facc = own["taps"].frac_bits
            taps = number(held["taps"], (facc - formats[op.input]["out"].frac_bits)[:, None])
            return dataclasses.replace(op, taps=taps, bias=number(held["bias"], facc))
        case o.Diagonal():
            dropped = STATE_SHIFT if own["h"].bits == 32 else 0
            c = number(held["c"], (own["c"].frac_bits[:, None] + dropped - own["h"].frac_bits)[..., None])
            d = number(held["d"], own["c"].frac_bits - formats[op.input]["out"].frac_bits)
            return dataclasses.replace(op, a=poles(op, formats), c=c[..., 0] - 1j * c[..., 1], d=d)
        case o.Selective():
            return dataclasses.replace(
                op, a=-number(held["a"], own["a"].frac_bits), d=number(held["d"], own["d"].frac_bits)
            )
        case o.Norm():
            facc = own["gain"].frac_bits
            gain = number(held["gain"], facc - NORM_FRAC) / math.sqrt(len(op.gain))
            return dataclasses.replace(op, gain=gain, bias=number(held["bias"], facc))
        case o.Input():
            return dataclasses.replace(op, offset=number(held["offset"], own["offset"].frac_bits))
    return op
