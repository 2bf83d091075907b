"""The arithmetic of a step graph in float32, and what both arithmetics share.

x, y: tensors by index; values are (1, n), windows (K, n), the present or the first mode on top.
whole.py has the same methods for int16, so most step operations are lowered once (lowering.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.tflite.graph import Graph

Array = NDArray[Any]


class Floats:
    """float32."""

    dtype = "float32"

    def __init__(self, graph: Graph):
        self.graph = graph

    def tensor(self, key: str, shape: Sequence[int]) -> int:
        """A tensor to be made."""
        return self.graph.tensor(key, shape, "float32")

    def like(self, x: int, key: str, shape: Sequence[int]) -> int:
        """A tensor to be made, of the scale of x."""
        return self.tensor(key, shape)

    def constant(self, key: str, data: Array) -> int:
        """A constant."""
        return self.graph.constant(key, np.asarray(data, np.float32))

    def bound(self, key: str, x: int, data: Array) -> int:
        """A constant in the scale of x."""
        return self.constant(key, data)

    def unary(self, kind: str, x: int, key: str, **options: bool) -> int:
        """An operator of one tensor that keeps its shape."""
        return self.graph.add(kind, (x,), self.tensor(key, self.graph.tensors[x].shape), **options)

    def binary(self, kind: str, x: int, y: int, key: str) -> int:
        """ADD, SUB, MUL, MAXIMUM or MINIMUM, broadcast."""
        return self.into(kind, x, y, self.tensor(key, shape_of(self.graph, x, y)))

    def into(self, kind: str, x: int, y: int, out: int) -> int:
        """The same into a tensor that is there."""
        return self.graph.add(kind, (x, y), out)

    def scaled(self, x: int, factor: Array, key: str) -> int:
        """x times a constant."""
        return self.binary("MUL", x, self.constant(f"{key}.factor", factor), key)

    def sum(self, terms: Sequence[int], signs: Sequence[int], out: int) -> int:
        """The terms added up one by one, the first with a sign of +1."""
        total = terms[0]
        for i, (term, sign) in enumerate(zip(terms[1:], signs[1:], strict=True), 1):
            made = out if i == len(terms) - 1 else self.tensor("sum", shape_of(self.graph, total, term))
            total = self.into("ADD" if sign > 0 else "SUB", total, term, made)
        return total

    def dense(self, xs: Sequence[int], weights: Sequence[Array], bias: Array, key: str, bits: int = 16) -> int:
        """sum_i W_i x_i + b: one layer over the inputs side by side."""
        x = xs[0]
        if len(xs) > 1:
            width = sum(w.shape[1] for w in weights)
            x = self.graph.add("CONCATENATION", xs, self.tensor(f"{key}.inputs", (1, width)), axis=1)
        w, b = self.constant(f"{key}.weights", np.concatenate(weights, 1)), self.constant(f"{key}.bias", bias)
        return self.graph.add("FULLY_CONNECTED", (x, w, b), self.tensor(key, (1, len(bias))))

    def windowed(self, window: int, taps: Array, bias: Array, key: str, bits: int = 16) -> int:
        """sum_k t_k w_k + b per channel: window (K, n), taps (K, n) -> (1, n)."""
        w, b = self.constant(f"{key}.taps", taps[None, :, None, :]), self.constant(f"{key}.bias", bias)
        return depthwise(self.graph, window, w, b, self.tensor(key, (1, taps.shape[1])))


def depthwise(graph: Graph, window: int, taps: int, bias: int, out: int) -> int:
    """DEPTHWISE_CONV_2D over a window that its filter fills: (K, n) -> `out` (1, n)."""
    w, made = graph.tensors[window], graph.tensors[out]
    k, n = w.shape
    shape = graph.constant("shape", np.array([1, k, 1, n], np.int32))
    wide = graph.add("RESHAPE", (window, shape), graph.tensor(f"{w.name}.wide", (1, k, 1, n), w.dtype, w.scale))
    filtered = graph.tensor(f"{made.name}.wide", (1, 1, 1, n), made.dtype, made.scale)
    options = {"padding": 1, "stride_w": 1, "stride_h": 1, "depth_multiplier": 1}
    graph.add("DEPTHWISE_CONV_2D", (wide, taps, bias), filtered, **options)
    return graph.add("RESHAPE", (filtered, graph.constant("shape", np.array([1, n], np.int32))), out)


def shape_of(graph: Graph, x: int, y: int) -> tuple[int, ...]:
    """The shape of two tensors broadcast."""
    return np.broadcast_shapes(graph.tensors[x].shape, graph.tensors[y].shape)
