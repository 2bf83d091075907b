"""What each sample of a chunk takes, and slots that make it even.

Instructions are estimated, linear in the sizes of an op:  per product, tap, mode or element, per row, and per call.
The factors are those of generated code on an emulated Cortex-M4F at -O2 (tools/pace_factors.py); they place ops, and
promise nothing: what a program takes is counted by `hiss export --emulate`.   P: period of stage 0;  phase: 0..P-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from hiss.program import cost
from hiss.program import ops as o
from hiss.program.tail import deferred, last_reads

if TYPE_CHECKING:
    from hiss.program.program import Program


@dataclass(frozen=True)
class Factors:
    """Instructions: per product and row of Affine, tap and channel of Fir, mode of Diagonal and Selective, element."""

    mac: float
    row: float
    tap: float
    channel: float
    update: float
    read: float
    selective: float
    norm: float
    element: float
    maps: Mapping[str, float] = field(hash=False)
    call: float = 40.0


FLOAT = Factors(
    mac=3.5,
    row=25,
    tap=6.5,
    channel=9,
    update=14.7,
    read=5.3,
    selective=66,
    norm=18,
    element=6,
    maps={"gelu": 31, "silu": 45, "sigmoid": 44, "tanh": 30, "relu": 8, "softplus": 66, "exp": 38, "clip": 13},
)
"""float32 with a floating point unit."""

INTEGER = Factors(
    mac=1.2,
    row=11,
    tap=3.4,
    channel=20,
    update=18,
    read=3,
    selective=170,
    norm=15,
    element=6,
    maps={"gelu": 22, "silu": 22, "sigmoid": 24, "tanh": 24, "relu": 14, "softplus": 22, "exp": 46, "clip": 20},
)
"""int8 weights, int32 states."""


def factors_of(program: Program) -> Factors:
    """Those of the program's arithmetic."""
    return FLOAT if program.formats is None else INTEGER


def instructions(program: Program, factors: Factors | None = None) -> tuple[float, ...]:
    """Estimated instructions of each phase of a chunk, the longest of its kind: (P,)."""
    f, width = factors or factors_of(program), program.widths
    return cost.per_phase(program, lambda op, phase, reading: op_instructions(op, width[op.out], phase, reading, f))


def op_instructions(op: o.Op, width: int, phase: int, reading: bool, f: Factors) -> float:
    """Estimated instructions of one step of an op whose value has `width` elements."""
    spent = f.call
    match op:
        case o.Affine():
            spent += f.mac * cost.macs_at(op, phase, True) + f.row * width
        case o.Diagonal():
            spent += f.update * op.a.size + (f.read * op.a.size + f.row * width if reading else 0)
        case o.Selective():
            spent += f.selective * op.a.size + (f.mac * op.a.size + f.row * width if reading else 0)
        case o.Fir():
            spent += f.element * width
            spent += f.tap * cost.macs_at(op, phase, True) + f.channel * width if reading else 0
        case o.Map():
            spent += f.maps[op.function] * width
        case o.Norm():
            spent += f.norm * width
        case o.Delay():
            spent += f.element * (width if reading else 1)
        case _:
            spent += f.element * width * max(1, len(op.reads) - 1)
    return spent


# ---- slots -----------------------------------------------------------------------------------------------


def even_slots(program: Program, factors: Factors | None = None) -> dict[str, int]:
    """Slots with the shortest longest phase; among those with few values held at a time, and even phases.

    program: not spread yet, and checked to be spreadable.
    """
    f, width = factors or factors_of(program), program.widths

    def price(op: o.Op, phase: int, reading: bool) -> float:
        return op_instructions(op, width[op.out], phase, reading, f)

    waiting = deferred(program.stages)
    base = cost.without_tail(program, price)
    sums = [0.0, *accumulate(cost.waiting_price(program, d, price) for d in waiting)]
    at = placed(base, sums, _held_before(program), shortest(base, sums))
    return {d.op.out: slot for d, slot in zip(waiting, at, strict=True)}


def shortest(base: Sequence[float], sums: Sequence[float]) -> float:
    """The least that the longest phase can take, to one in 2^40; sums: running price of the ops, from 0."""
    low, high = max(base), max(base) + sums[-1]
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if _all_fit(base, sums, middle) else (middle, high)
    return high


def _all_fit(base: Sequence[float], sums: Sequence[float], bound: float) -> bool:
    """Whether all ops find a slot when each slot takes as many as it can."""
    done = 0
    for taken in base:
        begin = sums[done]
        while done < len(sums) - 1 and taken + sums[done + 1] - begin <= bound:
            done += 1
    return done == len(sums) - 1


def placed(base: Sequence[float], sums: Sequence[float], held: Sequence[int], bound: float) -> list[int]:
    """The slot of each op: no phase above `bound`, least (largest held[j] at a slot's end, sum of squared phases)."""
    best: dict[int, tuple[tuple[float, float], list[int]]] = {0: ((0.0, 0.0), [])}  # ops done -> cost, their slots
    for slot, taken in enumerate(base):
        reached: dict[int, tuple[tuple[float, float], list[int]]] = {}
        for done, ((peak, square), at) in best.items():
            for upto in range(done, len(sums)):
                phase = taken + sums[upto] - sums[done]
                if phase > bound:
                    break
                spent = (max(peak, held[upto]), square + phase**2)
                if upto not in reached or spent < reached[upto][0]:
                    reached[upto] = (spent, at + [slot] * (upto - done))
        best = reached
    return best[len(sums) - 1][1]


def _held_before(program: Program) -> list[int]:
    """Numbers that must outlive a step when a slot ends before op j, for j = 0..: what was made and is read later."""
    waiting, width = deferred(program.stages), program.widths
    place = {d.op.out: j for j, d in enumerate(waiting)}
    until = last_reads(program, {d.op.out: max(place[d.op.out], place.get(d.op.reads[0], 0)) for d in waiting})
    until |= dict.fromkeys(program.stages[-1].hands, len(waiting))
    return [
        sum(width[name] for name in until if place.get(name, -1) < j <= until[name]) for j in range(len(waiting) + 1)
    ]
