"""Integer programs over whole sequences: the same integers as integer.run() in every bit, sooner.

Always from fresh state, the tare behind it. Sums are exact in integers, so their order cannot matter.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.program import integer, sequence
from hiss.program.integer import Integer
from hiss.program.ops import Index
from hiss.program.program import Program


def predict(program: Program, x: NDArray[Any], by: Integer | None = None) -> NDArray[np.float64]:
    """Tared samples (..., T, C), each recording from fresh state -> estimates (..., n, D) in their units."""
    return integer.estimates(program, run(program, integer.samples(program, x), by))


def predict_together(program: Program, recordings: Seq[NDArray[Any]]) -> list[NDArray[np.float64]]:
    """predict() of tared recordings (T, C) of any lengths, side by side -> (n, D) of each."""
    by, whole = integer.arithmetic(program), [integer.samples(program, x) for x in recordings]
    return [integer.estimates(program, y) for y in sequence.run_together(program, whole, by)]


def run(program: Program, x: Index, by: Integer | None = None) -> Index:
    """Integers of tared samples (..., T, C) -> integer estimates (..., (T - latency) // period, D)."""
    by, x = by or integer.arithmetic(program), sequence.in_time(program, x)
    return sequence.run(program.plain, sequence.fresh(program.plain, by, x.shape[:-2]), x, by=by)[0]
