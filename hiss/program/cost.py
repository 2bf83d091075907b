"""What a program costs: products (MAC), bytes of constants and states, per op and per sample.

MAC counts the products of Affine, Diagonal, Fir and Selective. Norm and Map are listed beside as elements: what they
take depends on the target. A Fir that restarts computes no taps that reach before its chunk.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hiss.program import ops as o
from hiss.program.tail import Deferred, deferred, now_ops

if TYPE_CHECKING:
    from hiss.program.program import Program


@dataclass(frozen=True)
class OpCost:
    """One op. macs: per sample on average;  worst: on the sample that completes every period;  elements: Norm, Map."""

    out: str
    kind: str
    stage: int
    when: str
    macs: float
    worst: int
    constants: int
    states: int
    elements: float


@dataclass(frozen=True)
class Cost:
    """The cost of a program, op by op.  worst_macs: products on the sample that takes most, all periods complete."""

    ops: tuple[OpCost, ...]
    worst_macs: int

    @property
    def macs(self) -> float:
        """Products per sample on average."""
        return sum(op.macs for op in self.ops)

    @property
    def constants(self) -> int:
        """Numbers in tables (a complex one is two)."""
        return sum(op.constants for op in self.ops)

    @property
    def states(self) -> int:
        """Numbers remembered from step to step (a complex one is two)."""
        return sum(op.states for op in self.ops)

    def elements(self, kind: str) -> float:
        """Elements of Norm or Map per sample on average."""
        return sum(op.elements for op in self.ops if op.kind == kind)


def cost(program: Program) -> Cost:
    """The cost of every op."""
    made: list[OpCost] = []
    width = program.widths
    steps = 1.0  # of the stage, per sample
    for index, stage in enumerate(program.stages):
        for op in stage.ops:
            each = op in stage.every
            reading = steps if each else steps / stage.period
            made.append(
                OpCost(
                    op.out,
                    type(op).__name__,
                    index,
                    "every" if each else "last",
                    steps * average_macs(op, stage.period, each),
                    update_macs(op) + read_macs(op, stage.period),
                    constant_count(op),
                    state_count(op, width[op.reads[0]] if op.reads else 0),
                    reading * width[op.out] if isinstance(op, o.Norm | o.Map) else 0.0,
                )
            )
        steps /= stage.period
    return Cost(tuple(made), int(max(per_phase(program, macs_at))))


# ---- phase by phase ----

Price = Callable[[o.Op, int, bool], float]
"""(op, step of its stage's period, whether its value is read) -> what that step of the op takes."""


def per_phase(program: Program, price: Price) -> tuple[float, ...]:
    """The price of each step of stage 0's period, when each stage that can step completes its own."""
    taken, slots = without_tail(program, price), program.slots
    for d in deferred(program.stages):
        taken[-1 if slots is None else slots[d.op.out]] += waiting_price(program, d, price)
    return tuple(taken)


def without_tail(program: Program, price: Price) -> list[float]:
    """The same without what a spread program can put off."""
    first = program.stages[0]
    now, end = now_ops(first), first.period - 1
    return [
        sum(price(op, phase, True) for op in first.every)
        + sum(price(op, phase, phase == end) for op in now if op.remembers or phase == end)
        for phase in range(first.period)
    ]


def waiting_price(program: Program, d: Deferred, price: Price) -> float:
    """The price of an op that can be put off, at its most."""
    return price(d.op, program.stages[d.stage].period - 1, True)


# ---- op by op ----


def macs_at(op: o.Op, phase: int, reading: bool) -> int:
    """Products of one step of an op, the one of `phase` in its stage's period."""
    return update_macs(op) + (read_macs(op, phase + 1) if reading else 0)


def average_macs(op: o.Op, period: int, reads_each: bool) -> float:
    """Products per step of the op's stage; `reads_each`: its value is made on every step, else on the last alone."""
    if not reads_each:
        return update_macs(op) + read_macs(op, period) / period
    if isinstance(op, o.Fir) and op.restart:
        taps = sum(min(op.taps.shape[1], phase + 1) for phase in range(period)) / period
        return len(op.taps) * taps
    return update_macs(op) + read_macs(op, period)


def update_macs(op: o.Op) -> int:
    """Products of a state update: 4 real ones for a complex mode."""
    match op:
        case o.Diagonal():
            return 4 * op.a.size
        case o.Selective():
            return 3 * op.a.size + len(op.d)  # D A, exp(.) h, (D u) B
    return 0


def read_macs(op: o.Op, period: int) -> int:
    """Products of a value on the last step of its period."""
    match op:
        case o.Affine():
            return sum(weight.size for weight in op.weights)
        case o.Diagonal():
            return 2 * op.c.size + int(np.count_nonzero(op.d))
        case o.Selective():
            return op.a.size + int(np.count_nonzero(op.d))
        case o.Fir():
            return len(op.taps) * (min(op.taps.shape[1], period) if op.restart else op.taps.shape[1])
    return 0


def constant_count(op: o.Op) -> int:
    """Numbers in the tables of an op; a complex one is two."""
    arrays = [getattr(op, field.name) for field in dataclasses.fields(op)]
    flat = [a for held in arrays for a in (held if isinstance(held, tuple) else (held,)) if isinstance(a, np.ndarray)]
    return sum(a.size * (2 if np.iscomplexobj(a) else 1) for a in flat)


def state_count(op: o.Op, width: int) -> int:
    """Numbers an op remembers; a complex one is two. A Delay keeps each channel as long as its own longest age."""
    match op:
        case o.Diagonal():
            return 2 * op.a.size
        case o.Selective():
            return int(op.a.size)
        case o.Fir():
            return len(op.taps) * (op.taps.shape[1] - 1)
        case o.Delay():
            return sum(int(op.ages[op.channels == c].max(initial=0)) for c in range(width))
        case o.Input():
            return len(op.offset) + 1 if op.tare else 0
    return 0


def settling_steps(op: o.Diagonal, share: float = 0.01) -> float:
    """Steps of the stage until the slowest mode has decayed to `share`: ln(share) / ln |a|."""
    slowest = float(np.abs(op.a).max())
    if slowest == 0:
        return 1.0
    return math.inf if slowest >= 1 else math.log(share) / math.log(slowest)
