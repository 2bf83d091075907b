"""The arithmetic of a step graph in int16 with int8 weights: every tensor has a power of two as scale, no zero point.

Weights have a scale per row. tflite-runtime 2.14 multiplies int16 by int8 alone, so weights that ask for 16 bits are
two layers, W = high + low. Weights of int8 never meet float32 activations: with a scale per row, that hybrid gives
zeros in tflite-runtime 2.14, and no error.   FULL: the largest int16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.tflite.floats import depthwise, shape_of
from hiss.firmware_export.tflite.graph import Graph

Array = NDArray[Any]
Layer = Callable[[int, Array, Array, Array, int], int]
"""x, integers, their scales, bias, the tensor to make -> that tensor."""

FULL = 2**15 - 1
INT8 = 127


class Whole:
    """int16.   values: value of the program -> scale."""

    dtype = "int16"

    def __init__(self, graph: Graph, values: Mapping[str, float]):
        self.graph, self.values = graph, values

    # ---- tensors ----

    def tensor(self, key: str, shape: Sequence[int]) -> int:
        """A value of the program: its scale is settled."""
        return self.graph.tensor(key, shape, "int16", (self.values[key],))

    def sized(self, key: str, shape: Sequence[int], largest: float) -> int:
        """A tensor for numbers up to `largest`."""
        return self.graph.tensor(key, shape, "int16", (scale_for(largest),))

    def like(self, x: int, key: str, shape: Sequence[int]) -> int:
        """A tensor to be made, of the scale of x."""
        return self.graph.tensor(key, shape, "int16", self.graph.tensors[x].scale)

    def constant(self, key: str, data: Array) -> int:
        """A constant, as fine as int16 can say it."""
        return self._integers(key, data, scale_for(float(np.abs(data).max())))

    def bound(self, key: str, x: int, data: Array) -> int:
        """A constant in the scale of x, at most what x can say."""
        return self._integers(key, data, self.scale(x))

    def scale(self, x: int) -> float:
        """The scale of a tensor."""
        return self.graph.tensors[x].scale[0]

    def reach(self, x: int) -> float:
        """The largest number that a tensor can say."""
        return FULL * self.scale(x)

    def _integers(self, key: str, data: Array, scale: float) -> int:
        return self.graph.constant(key, rounded(data / scale, FULL).astype(np.int16), (scale,))

    # ---- operators ----

    def binary(self, kind: str, x: int, y: int, key: str) -> int:
        """ADD, SUB or MUL, broadcast, into a value of the program."""
        return self.into(kind, x, y, self.tensor(key, shape_of(self.graph, x, y)))

    def into(self, kind: str, x: int, y: int, out: int) -> int:
        """The same, or MAXIMUM or MINIMUM, into a tensor that is there."""
        options = {"pot_scale_int16": False} if kind in ("ADD", "SUB") else {}
        return self.graph.add(kind, (x, y), out, **options)

    def scaled(self, x: int, factor: Array, key: str) -> int:
        """x times a constant, in a tensor of its own size."""
        largest = float(np.abs(factor).max()) * self.reach(x)
        constant = self.constant(f"{key}.factor", factor)
        return self.into("MUL", x, constant, self.sized(key, shape_of(self.graph, x, constant), largest))

    def sum(self, terms: Sequence[int], signs: Sequence[int], out: int) -> int:
        """The terms added up one by one, the first with a sign of +1; in between with room for both."""
        total = terms[0]
        for i, (term, sign) in enumerate(zip(terms[1:], signs[1:], strict=True), 1):
            both = scale_for(self.reach(total) + self.reach(term))
            between = self.graph.tensor("sum", self.graph.tensors[out].shape, "int16", (both,))
            total = self.into("ADD" if sign > 0 else "SUB", total, term, out if i == len(terms) - 1 else between)
        return total

    def dense(self, xs: Sequence[int], weights: Sequence[Array], bias: Array, key: str, bits: int = 16) -> int:
        """sum_i W_i x_i + b: a layer per input and per byte of its weights, added up."""
        xs, weights = self._joined(xs, weights)
        out, shape = self.tensor(key, (1, len(bias))), (1, len(bias))
        if len(xs) == 1 and bits == 8:
            return self._terms(self._layer, xs[0], weights[0], bias, out, bits)[0]
        terms: list[int] = []
        for i, (x, w) in enumerate(zip(xs, weights, strict=True)):
            b = bias if i == 0 else 0 * bias
            largest = float((np.abs(w).sum(1) * self.reach(x) + np.abs(b)).max())
            part = self.sized(f"{key}.{i}", shape, largest) if len(xs) > 1 else self.like(out, f"{key}.high", shape)
            terms += self._terms(self._layer, x, w, b, part, bits)
        return self.sum(terms, [1] * len(terms), out)

    def _joined(self, xs: Sequence[int], weights: Sequence[Array]) -> tuple[list[int], list[Array]]:
        """Inputs of one scale side by side, so that they are added up before anything is rounded."""
        groups: dict[float, list[int]] = {}
        for i, x in enumerate(xs):
            groups.setdefault(self.scale(x), []).append(i)
        joined = []
        for scale, members in groups.items():
            x, width = xs[members[0]], sum(weights[i].shape[1] for i in members)
            if len(members) > 1:
                side = self.graph.tensor("inputs", (1, width), "int16", (scale,))
                x = self.graph.add("CONCATENATION", [xs[i] for i in members], side, axis=1)
            joined.append((x, np.concatenate([weights[i] for i in members], 1)))
        return [x for x, _ in joined], [w for _, w in joined]

    def windowed(self, window: int, taps: Array, bias: Array, key: str, bits: int = 16) -> int:
        """sum_k t_k w_k + b per channel: window (K, n), taps (K, n) -> (1, n), a value of the program or less."""
        n = taps.shape[1]
        largest = float((np.abs(taps).sum(0) * self.reach(window) + np.abs(bias)).max())
        out = self.tensor(key, (1, n)) if key in self.values else self.sized(key, (1, n), largest)
        made = out if bits == 8 else self.like(out, f"{key}.high", (1, n))
        terms = self._terms(self._filter, window, taps.T, bias, made, bits)
        return terms[0] if len(terms) == 1 else self.sum(terms, [1, 1], out)

    # ---- weights ----

    def _terms(self, layer: Layer, x: int, w: Array, bias: Array, made: int, bits: int) -> list[int]:
        """One term per byte of the weights (n_out, n_in), the first into `made`."""
        (high, scales), *rest = parts(w, bits)
        terms = [layer(x, high, scales, bias, made)]
        for low, fine in rest:
            name, shape = self.graph.tensors[made].name, self.graph.tensors[made].shape
            scale = scale_for(float((np.abs(low).sum(1) * fine).max()) * self.reach(x))
            terms.append(layer(x, low, fine, 0 * bias, self.graph.tensor(f"{name}.low", shape, "int16", (scale,))))
        return terms

    def _layer(self, x: int, integers: Array, scales: Array, bias: Array, out: int) -> int:
        w = self.graph.constant("weights", integers, tuple(scales.tolist()), 0)
        return self.graph.add("FULLY_CONNECTED", (x, w, self._bias(x, bias, scales)), out)

    def _filter(self, x: int, integers: Array, scales: Array, bias: Array, out: int) -> int:
        w = self.graph.constant("taps", integers.T[None, :, None, :], tuple(scales.tolist()), 3)
        return depthwise(self.graph, x, w, self._bias(x, bias, scales), out)

    def _bias(self, x: int, bias: Array, scales: Array) -> int:
        unit = self.scale(x) * scales
        return self.graph.constant("bias", np.rint(bias / unit).astype(np.int64), tuple(unit.tolist()), 0)


def scale_for(largest: float) -> float:
    """The finest power of two with which int16 says `largest`."""
    return float(2.0 ** math.ceil(math.log2(max(largest, 2.0**-40) / FULL)))


def rounded(data: Array, limit: int) -> Array:
    """To the nearest whole number, within the limit."""
    return np.clip(np.rint(data), -limit, limit)


def parts(w: Array, bits: int) -> list[tuple[Array, Array]]:
    """Weights (n_out, n_in) as one or two int8 parts, each with a scale per row: w = sum of scale * integers."""
    made: list[tuple[Array, Array]] = []
    scales: Array = (np.maximum(np.abs(w).max(1), 1e-12) / INT8).astype(np.float32)
    for _ in range(bits // 8):
        wide = scales.astype(np.float64)
        integers = rounded(w / wide[:, None], INT8)
        made.append((integers.astype(np.int8), wide))
        w, scales = w - integers * wide[:, None], (wide / (2 * INT8)).astype(np.float32)
    return made
