"""Lags that an affine map reads where they lie, in a ring: to copy one takes longer than its product."""

from __future__ import annotations

import numpy as np

from hiss.program import Program
from hiss.program import ops as o
from hiss.program.bounds import row_reach


def read_in_place(program: Program) -> dict[str, o.Delay]:
    """{value of an affine map: its Delay}: the map reads one channel and all its ages from 1 on, in integers."""
    if program.formats is None or program.slots is not None:
        return {}
    made = {op.out: op for _, _, op in program.ops() if isinstance(op, o.Delay)}
    maps = [op for _, _, op in program.ops() if isinstance(op, o.Affine) and op.inputs[-1] in made]
    return {op.out: made[op.inputs[-1]] for op in maps if _in_place(op, made[op.inputs[-1]], program)}


def _in_place(op: o.Affine, past: o.Delay, program: Program) -> bool:
    n, readers = len(past.ages), [other for _, _, other in program.ops() if past.out in other.reads]
    handed = any(past.out in stage.hands for stage in program.stages)
    if op.inputs != (past.input, past.out) or len(readers) > 1 or handed or n < 2:
        return False
    whole = program.widths[past.input] == 1 and bool(np.all(past.ages == np.arange(1, n + 1)))
    assert program.formats is not None
    weights = program.formats[op.out]["weights"]
    shift = np.asarray(weights.frac_bits - program.formats[op.out]["out"].frac_bits)
    fits = row_reach(op, program.formats).max() + 2.0 ** max(int(shift.max()), 0) < 2.0**39
    return whole and bool(fits) and weights.bits == 16 and int(shift.min()) >= 8 and int(shift.max()) <= 39
