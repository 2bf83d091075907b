"""A TensorFlow Lite graph as plain data: tensors, operators, signatures. `writer.py` makes the file of it.

Numbers are those of TensorFlow Lite: real value = scale * integer, no zero points but an int8 table's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tensor:
    """scale: () where it has none, one for all, or one per channel of `axis`;  data: of a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    axis: int = 0
    data: Array | None = None


@dataclass(frozen=True)
class Operator:
    """kind: TensorFlow Lite's name, in capitals;  inputs, outputs: indices of tensors, -1 where one is left out."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | bool] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Signature:
    """A graph that can be called: its name, and its inputs and outputs by name."""

    key: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


class Graph:
    """Tensors and operators as they are added; operators stand in an order in which they can run."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self._constants: dict[tuple[Any, ...], int] = {}

    def tensor(self, name: str, shape: Sequence[int], dtype: str, scale: tuple[float, ...] = ()) -> int:
        """A new tensor that is not constant: its index."""
        self.tensors.append(Tensor(name, tuple(map(int, shape)), dtype, scale))
        return len(self.tensors) - 1

    def constant(self, name: str, data: Array, scale: tuple[float, ...] = (), axis: int = 0) -> int:
        """A constant tensor: its index; equal ones are one tensor."""
        data = np.ascontiguousarray(data)
        key = (data.dtype.str, data.shape, data.tobytes(), scale, axis)
        if key not in self._constants:
            self.tensors.append(Tensor(name, data.shape, data.dtype.name, scale, axis, data))
            self._constants[key] = len(self.tensors) - 1
        return self._constants[key]

    def add(self, kind: str, inputs: Iterable[int], output: int, **options: int | bool) -> int:
        """An operator that makes the tensor `output`: that index."""
        self.operators.append(Operator(kind, tuple(inputs), (output,), options))
        return output

    def signature(self, key: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Signature:
        """What these outputs need, and nothing else; all inputs stay."""
        needed, kept = set(outputs.values()), []
        for operator in reversed(self.operators):
            if needed & set(operator.outputs):
                kept.append(operator)
                needed |= {index for index in operator.inputs if index >= 0}
        order = sorted(needed | set(inputs.values()))
        place = {old: new for new, old in enumerate(order)} | {-1: -1}
        operators = [
            dataclasses.replace(
                operator,
                inputs=tuple(place[i] for i in operator.inputs),
                outputs=tuple(place[i] for i in operator.outputs),
            )
            for operator in reversed(kept)
        ]
        tensors = tuple(self.tensors[i] for i in order)
        return Signature(
            key,
            tensors,
            tuple(operators),
            {name: place[i] for name, i in inputs.items()},
            {name: place[i] for name, i in outputs.items()},
        )
