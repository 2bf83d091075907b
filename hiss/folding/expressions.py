"""Affine expressions of values that have not been written down as an op yet.

Scalings, embeddings and decoders are affine maps; multiplied out here, a chain of them becomes one Affine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiss.program import ops as o

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Expression:
    """sum_i W_i x_i + b;  terms: value name -> W_i (n, n_i);  bias: (n,)."""

    terms: dict[str, Array]
    bias: Array

    def linear(self, weight: Array, bias: Array) -> Expression:
        """W self + b."""
        return Expression({name: weight @ w for name, w in self.terms.items()}, weight @ self.bias + bias)

    def scaled(self, factor: Array, offset: Array) -> Expression:
        """factor self + offset, elementwise."""
        return Expression({name: factor[:, None] * w for name, w in self.terms.items()}, factor * self.bias + offset)

    def rows(self, first: int, count: int) -> Expression:
        """`count` elements from `first` on."""
        some = slice(first, first + count)
        return Expression({name: w[some] for name, w in self.terms.items()}, self.bias[some])


def value(name: str, width: int) -> Expression:
    """A value as it stands."""
    return Expression({name: np.eye(width)}, np.zeros(width))


def stacked(parts: list[Expression]) -> Expression:
    """The elements of all parts, one below the other."""
    names = dict.fromkeys(name for part in parts for name in part.terms)
    widths = {name: part.terms[name].shape[1] for part in parts for name in part.terms}
    terms = {
        name: np.concatenate([part.terms.get(name, np.zeros((len(part.bias), widths[name]))) for part in parts])
        for name in names
    }
    return Expression(terms, np.concatenate([part.bias for part in parts]))


def sums(parts: Sequence[Expression], factors: Sequence[float]) -> Expression:
    """sum_i factor_i part_i."""
    terms: dict[str, Array] = {}
    for part, factor in zip(parts, factors, strict=True):
        for name, w in part.terms.items():
            terms[name] = terms[name] + factor * w if name in terms else factor * w
    bias: Array = np.sum([f * part.bias for part, f in zip(parts, factors, strict=True)], axis=0)
    return Expression(terms, bias)


class Builder:
    """Collects the ops of one stage."""

    def __init__(self) -> None:
        self.ops: list[o.Op] = []

    def add(self, op: o.Op) -> str:
        """Append `op`; returns the name of its value."""
        self.ops.append(op)
        return op.out

    def affine(self, name: str, expression: Expression) -> str:
        """Write an expression down as one Affine; terms that are zero are left away."""
        terms = {key: w for key, w in expression.terms.items() if np.any(w)} or expression.terms
        return self.add(o.Affine(name, tuple(terms), tuple(terms.values()), expression.bias))
