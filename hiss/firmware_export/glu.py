"""A gated branch beside its residual in one kernel: y = x + u sigmoid(v), three ops of a program of integers.

Every bit is that of the three kernels one after the other; their loops, loads and stores are spared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hiss.program import Program
from hiss.program import ops as o
from hiss.program.bounds import FULL

if TYPE_CHECKING:
    from hiss.firmware_export.context import Context, Lines

_LOG2_FULL = int(np.log2(FULL))


def gated_branch(ops: Sequence[o.Op], program: Program, readers: Mapping[str, int]) -> tuple[str, str, str] | None:
    """(x, u, v) where the ops are sigmoid(v), times u, plus x, and nobody else reads what lies between; else None.

    readers: how many times each value is read, handed on or kept.
    """
    if program.formats is None or len(ops) != 3:
        return None
    sigmoid, mul, add = ops
    if not (isinstance(sigmoid, o.Map) and isinstance(mul, o.Mul) and isinstance(add, o.Add)):
        return None
    between = (sigmoid.out, mul.out)
    x, u = _other(add.inputs, mul.out), _other(mul.inputs, sigmoid.out)
    if sigmoid.function != "sigmoid" or x is None or u is None or add.signs != (1, 1):
        return None
    if any(readers[name] != 1 for name in between) or not _narrow(add, program):
        return None
    return x, u, sigmoid.input


def _other(inputs: tuple[str, ...], one: str) -> str | None:
    """The input beside `one`, where there are these two."""
    rest = [name for name in inputs if name != one]
    return rest[0] if len(inputs) == 2 and len(rest) == 1 else None


def _narrow(add: o.Add, program: Program) -> bool:
    """True where the sum fits 32 bits, and each term is moved by less than its own width."""
    assert program.formats is not None
    reads = [int(program.formats[name]["out"].frac_bits[0]) for name in add.inputs]
    return max(reads) - min(reads) < _LOG2_FULL


def glu(ops: Sequence[o.Op], reads: tuple[str, ...], c: Context) -> Lines:
    """The call, with the shifts of all three in one table."""
    sigmoid, mul, add = ops
    x, u, v = reads

    def frac(name: str) -> int:
        return int(c.frac(name)[0])

    product, finest = frac(u) + frac(sigmoid.out) - frac(mul.out), max(frac(x), frac(mul.out))
    ups = (finest - frac(x), finest - frac(mul.out))
    how = np.array([frac(v), 15 - frac(sigmoid.out), product, *ups, finest - frac(add.out)])
    name = c.integers("int8_t", add, "how", how, "places of sigmoid's argument; shifts")
    return [
        f"/* {add.out} = {x} + {u} sigmoid({v}) */",
        c.call("glu", c.names[add.out], c.names[x], c.names[u], c.names[v], name, c.width(add.out)),
    ]
