"""Elementwise functions and norms as operators of TensorFlow Lite, in float32; of int16 those that have kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiss.firmware_export.tflite.floats import Floats
from hiss.firmware_export.tflite.whole import Whole
from hiss.program import ops as o

UNIT = 2.0**-15
"""Scale that LOGISTIC and TANH of int16 make."""


def _softplus(a: Floats, u: int, key: str) -> int:
    """max(u, 0) + log(1 + exp(-|u|)), which never overflows."""
    far = a.unary("EXP", a.unary("NEG", a.unary("ABS", u, f"{key}.size"), f"{key}.negative"), f"{key}.far")
    near = a.unary("LOG", a.binary("ADD", far, a.constant("one", np.ones((1, 1))), f"{key}.sum"), f"{key}.log")
    return a.binary("ADD", a.unary("RELU", u, f"{key}.positive"), near, key)


def _silu(a: Floats, u: int, key: str) -> int:
    return a.binary("MUL", u, a.unary("LOGISTIC", u, f"{key}.gate"), key)


_FLOAT: dict[str, Callable[[Floats, int, str], int]] = {
    "gelu": lambda a, u, key: a.unary("GELU", u, key, approximate=False),  # the erf form
    "silu": _silu,
    "sigmoid": lambda a, u, key: a.unary("LOGISTIC", u, key),
    "tanh": lambda a, u, key: a.unary("TANH", u, key),
    "relu": lambda a, u, key: a.unary("RELU", u, key),
    "softplus": _softplus,
    "exp": lambda a, u, key: a.unary("EXP", u, key),
}


def lower_map(a: Floats | Whole, op: o.Map, u: int) -> int:
    """The tensor of a Map over the tensor u."""
    if op.function == "clip":
        return _clipped(a, u, op.lo, op.hi, op.out)
    if isinstance(a, Floats):
        return _FLOAT[op.function](a, u, op.out)
    shape = a.graph.tensors[u].shape
    match op.function:
        case "relu":
            zero = a.bound("zero", u, np.zeros((1, 1)))
            return a.into("MAXIMUM", u, zero, a.like(u, op.out, shape))
        case "silu":
            gate = a.graph.add("LOGISTIC", (u,), a.graph.tensor(f"{op.out}.gate", shape, "int16", (UNIT,)))
            return a.binary("MUL", u, gate, op.out)
    kind = {"sigmoid": "LOGISTIC", "tanh": "TANH"}[op.function]
    return a.graph.add(kind, (u,), a.tensor(op.out, shape))


def _clipped(a: Floats | Whole, u: int, lo: float, hi: float, key: str) -> int:
    shape = a.graph.tensors[u].shape
    least, most = (a.bound(key, u, np.full((1, 1), end)) for end in (lo, hi))
    low = a.into("MAXIMUM", u, least, a.like(u, f"{key}.low", shape))
    return a.into("MINIMUM", low, most, a.like(u, key, shape))


def lower_norm(a: Floats, op: o.Norm, u: int) -> int:
    """The tensor of a Norm over the tensor u (1, n)."""
    if op.kind == "layer":
        u = a.binary("SUB", u, _mean(a, u, f"{op.out}.mean"), f"{op.out}.centred")
    power = _mean(a, a.binary("MUL", u, u, f"{op.out}.squares"), f"{op.out}.power")
    power = a.binary("ADD", power, a.constant("eps", np.full((1, 1), op.eps)), f"{op.out}.safe")
    even = a.binary("MUL", u, a.unary("RSQRT", power, f"{op.out}.factor"), f"{op.out}.even")
    gained = a.scaled(even, op.gain[None], f"{op.out}.gained")
    return a.binary("ADD", gained, a.constant(f"{op.out}.bias", op.bias[None]), op.out)


def _mean(a: Floats, u: int, key: str) -> int:
    axis = a.graph.constant("axis", np.array([1], np.int32))
    return a.graph.add("MEAN", (u, axis), a.tensor(key, (1, 1)), keep_dims=True)
