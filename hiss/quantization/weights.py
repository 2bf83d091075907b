"""Which weights have 8 bits and which 16: one width for all, or widths by value name and pattern.

Weights of samples, now or past, have 16 bits always: neighbouring samples are alike, so their weights cancel, and 8
bits are too coarse for what is left. The read-out of a recurrence and the last layer have 16 bits unless their own
name asks for 8. An LSTM's h is no sample: with 8 bits in its gates test NMSE went by -2 to +2 % on eFlesh normal and
running GRF (flat LSTM, LSTM below LSTM and Mamba; with 16 bits -0.5 to +2.8 %), for about half of the flash and of the
instructions.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

from hiss.program import Program
from hiss.program import ops as o
from hiss.program.weights import last_layers, sampled

WIDTHS = {"int8": 8, "int16": 16}
Weights = str | Mapping[str, str]
"""int8 or int16 for all, or {pattern: int8 or int16}: of the patterns that fit a value, the last one counts."""
PARTS: dict[type[o.Op], str] = {o.Affine: "weights", o.Fir: "taps", o.Diagonal: "c"}
"""The ops whose weights have a choice of width, and the name of the part."""


def weight_bits(program: Program, weights: Weights) -> dict[str, int]:
    """Value -> bits of its weights. What no pattern names has 8; read-outs of recurrences and last layers then 16.

    Modes cancel as lags do: with 8 bits in c the RMSE of eFlesh normal grew by 2.3 %, of running GRF by 4.0 %. Errors
    of a last layer go into the estimate as they are: most of the noise of int8 there (docs/comparison.md), for a byte
    a weight. Raises ValueError.
    """
    chosen = {"*": weights} if isinstance(weights, str) else weights
    names = [op.out for _, _, op in program.ops() if type(op) in PARTS]
    fixed = sampled(program)
    fine = last_layers(program) | {op.out for _, _, op in program.ops() if isinstance(op, o.Diagonal)}
    bits = dict.fromkeys(names, 8) | dict.fromkeys(fine, 16)
    for pattern, width in chosen.items():
        if width not in WIDTHS:
            raise ValueError(f"weights {width!r} of {pattern!r}; known: {', '.join(WIDTHS)}")
        found = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        everything = pattern == "*"
        if not found and not everything:
            raise ValueError(f"no value with weights fits {pattern!r}; known: {', '.join(names)}")
        if width == "int8" and fixed.issuperset(found) and not everything:
            raise ValueError(f"{', '.join(found)}: weights of samples, now or past, cancel: they are int16 always")
        if everything and width == "int8":
            found = [name for name in found if name not in fine]
        bits |= dict.fromkeys(found, WIDTHS[width])
    return bits | dict.fromkeys(fixed, 16)


def count(op: o.Op) -> int:
    """Weights of an op whose width can be chosen: the bytes that 16 bits take more than 8."""
    if isinstance(op, o.Affine):
        return sum(int(w.size) for w in op.weights)
    if isinstance(op, o.Diagonal):
        return 2 * int(op.c.size)
    return int(op.taps.size) if isinstance(op, o.Fir) else 0
