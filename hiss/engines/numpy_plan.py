"""What the numpy stepper computes in one call, and where values lie so that it can.

A call of numpy on a few dozen numbers costs the same whatever it does, so fewer calls are a faster step. An Affine is
one product [W_1 W_2 .. b] [x_1; x_2; ..; 1]: the values it reads lie side by side with a 1 behind them.
A gate (two Affines of the same values, a sigmoid, a Mul) is one product of twice as many rows, a `Glu`. The constants
of a GELU stand in the weights before and behind it (`Gelu`). A Norm before a Fir writes into its window (`direct`).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.numpy_part import Past
from hiss.program import Stage
from hiss.program import ops as o

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Glu(o.Op):
    """y = (V x + a) sigmoid(G x + b): what four ops of a program become in the stepper."""

    value: o.Affine
    gate: o.Affine

    @property
    def inputs(self) -> tuple[str, ...]:
        """The values that both parts multiply."""
        return self.value.inputs

    @property
    def reads(self) -> tuple[str, ...]:
        """The same."""
        return self.inputs


@dataclass(frozen=True, eq=False)
class Gelu(o.Op):
    """y = v erfc(v): with v = -sqrt(1/2) u it is gelu(u) but for the factor -sqrt(1/2).

    One factor stands in the weights of what makes v, the other in those of all that read y.
    """

    input: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The value v."""
        return (self.input,)


def fused(stage: Stage) -> Stage:
    """The stage with its gates as Glu and its GELUs as Gelu, where nothing else reads what lies between."""
    readers = _readers(stage)
    stage = dataclasses.replace(stage, every=fused_ops(stage.every, readers), last=fused_ops(stage.last, readers))
    readers = _readers(stage)
    return dataclasses.replace(stage, every=_eased(stage.every, readers), last=_eased(stage.last, readers))


def fused_ops(ops: tuple[o.Op, ...], readers: Counter[str]) -> tuple[o.Op, ...]:
    """Some ops that run one after the other, with their gates as Glu; readers: how many there are of each value."""
    private = {op.out: op for op in ops if readers[op.out] == 1}
    changed: dict[str, o.Op | None] = {}
    for op in ops:
        found = _glu(op, private) if isinstance(op, o.Mul) else None
        if found:
            changed |= dict.fromkeys((*op.reads, found.value.out, found.gate.out)) | {op.out: found}
    kept = [changed.get(op.out, op) for op in ops]
    return tuple(op for op in kept if op is not None)


def _glu(op: o.Mul, private: dict[str, o.Op]) -> Glu | None:
    for value, opened in (op.inputs, op.inputs[::-1]):
        mix, sigmoid = private.get(value), private.get(opened)
        if isinstance(mix, o.Affine) and isinstance(sigmoid, o.Map) and sigmoid.function == "sigmoid":
            gate = private.get(sigmoid.input)
            if isinstance(gate, o.Affine) and gate.inputs == mix.inputs:
                return Glu(op.out, mix, gate)
    return None


def direct(stages: Iterable[Stage]) -> dict[str, int]:
    """The values of Norms that one Fir reads and nobody else, with the length of its window."""
    found: dict[str, int] = {}
    for stage in stages:
        readers, norms = _readers(stage), {op.out for op in stage.every if isinstance(op, o.Norm)}
        firs = [op for op in stage.ops if isinstance(op, o.Fir) and op.input in norms and readers[op.input] == 1]
        found |= {op.input: op.taps.shape[1] for op in firs}
    return found


def ahead(stages: Iterable[Stage]) -> frozenset[str]:
    """The Diagonals that are read in each step, do not restart, and whose input still stands there behind the step."""
    found: set[str] = set()
    for stage in stages:
        delayed = {op.out for op in stage.ops if isinstance(op, o.Delay)}
        lasting = [op for op in stage.every if isinstance(op, o.Diagonal) and not op.restart]
        found |= {op.out for op in lasting if op.input not in delayed}
    return frozenset(found)


def _readers(stage: Stage) -> Counter[str]:
    return Counter([*stage.hands, *(name for op in stage.ops for name in op.reads)])


def _eased(ops: tuple[o.Op, ...], readers: Counter[str]) -> tuple[o.Op, ...]:
    """With each gelu as Gelu whose maker and readers have weights and are among these ops."""
    now, here = {op.out: op for op in ops}, Counter(name for op in ops for name in op.reads)
    for op in ops:
        if not isinstance(op, o.Map) or op.function != "gelu":
            continue
        maker, takers = now.get(op.input), [each for each in now.values() if op.out in each.reads]
        weighted = takers and all(isinstance(each, o.Affine | Glu) for each in takers)
        if isinstance(maker, _MAKERS) and readers[op.input] == 1 and weighted and here[op.out] == readers[op.out]:
            now |= {maker.out: _scaled(maker), op.out: Gelu(op.out, op.input)}
            now |= {each.out: _taking(each, op.out) for each in takers}
    return tuple(now[op.out] for op in ops)


_FACTOR = -math.sqrt(0.5)
_MAKERS = (o.Affine, o.Fir, o.Diagonal)


def _scaled(op: o.Affine | o.Fir | o.Diagonal) -> o.Op:
    """_FACTOR times its value."""
    if isinstance(op, o.Affine):
        return dataclasses.replace(op, weights=tuple(w * _FACTOR for w in op.weights), bias=op.bias * _FACTOR)
    if isinstance(op, o.Fir):
        return dataclasses.replace(op, taps=op.taps * _FACTOR, bias=op.bias * _FACTOR)
    return dataclasses.replace(op, c=op.c * _FACTOR, d=op.d * _FACTOR)


def _taking(op: o.Op, name: str) -> o.Op:
    """A Glu or an Affine with _FACTOR in its weights of a value."""
    if isinstance(op, Glu):
        return dataclasses.replace(op, value=_weighted(op.value, name), gate=_weighted(op.gate, name))
    return _weighted(op, name) if isinstance(op, o.Affine) else op


def _weighted(op: o.Affine, name: str) -> o.Affine:
    pairs = zip(op.weights, op.inputs, strict=True)
    return dataclasses.replace(op, weights=tuple(w * _FACTOR if read == name else w for w, read in pairs))


class Buffers:
    """The place of every value, by name.

    passing: values that nobody reads when a step of their stage ends;  direct, ahead: see these functions
    """

    def __init__(
        self,
        ops: list[o.Op],
        widths: dict[str, int],
        dtype: Any,
        passing: frozenset[str] = frozenset(),
        stages: Sequence[Stage] = (),
    ):
        self.passing = passing
        self.direct, self.ahead = direct(stages), ahead(stages)
        self._windows: dict[str, Past] = {}
        self._places: dict[str, Array] = {}
        self._rows: dict[tuple[str, ...], Array] = {}
        self._widths, self._dtype = widths, dtype
        self._shared: dict[tuple[str, int, float], Array] = {}
        for op in ops:
            if isinstance(op, o.Affine | Glu) and self._free(op.inputs):
                self._rows[op.inputs], parts = self._row(op.inputs)
                self._places.update(parts)
        for op in ops:
            if op.out not in self._places:
                self._places[op.out] = np.zeros(widths[op.out], dtype)

    def __getitem__(self, name: str) -> Array:
        return self._places[name]

    def row(self, names: tuple[str, ...]) -> tuple[Array, list[tuple[Array, Array]]]:
        """[x_1; x_2; ..; 1] of some values, and the copies (to, from) that are due before it is read."""
        if names in self._rows:
            return self._rows[names], []
        row, parts = self._row(names)
        return row, [(part, self[name]) for name, part in parts]

    def window(self, name: str) -> Past:
        """Of a value in `direct`: the past that its Norm writes and its Fir reads."""
        if name not in self._windows:
            self._windows[name] = Past(self.direct[name], self[name])
        return self._windows[name]

    def full(self, length: int, number: float) -> Array:
        """So many times one number, one array for all who ask: what was just read need not be fetched again."""
        return self._common("full", length, number)

    def scratch(self, length: int, name: str = "") -> Array:
        """Room within one `read`, one array for all who ask."""
        return self._common(f"scratch {name}", length, 0.0)

    def centring(self, length: int) -> Array:
        """(n, n): what takes off the mean."""
        key = ("centring", length, 0.0)
        if key not in self._shared:
            self._shared[key] = (np.eye(length) - 1 / length).astype(self._dtype)
        return self._shared[key]

    def _common(self, kind: str, length: int, number: float) -> Array:
        key = (kind, length, float(number))
        if key not in self._shared:
            self._shared[key] = np.full(length, number, self._dtype)
        return self._shared[key]

    def _free(self, names: tuple[str, ...]) -> bool:
        return len(set(names)) == len(names) and not any(name in self._places for name in names)

    def _row(self, names: tuple[str, ...]) -> tuple[Array, list[tuple[str, Array]]]:
        ends = np.cumsum([self._widths[name] for name in names])
        row = np.zeros(ends[-1] + 1, self._dtype)
        row[-1] = 1
        return row, list(zip(names, np.split(row[:-1], ends[:-1]), strict=True))
