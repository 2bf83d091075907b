"""The recurrent program: what a trained model is once it has been folded, and what every backend reads.

Stage 0 steps once per sample; stage i steps once per hand-over of stage i-1. `every` ops are evaluated on each step of
their stage, `last` ops only on the step that completes the period, when the values in `hands` are given on. What the
last stage hands are the outputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hiss.errors import ProgramError
from hiss.program import storage
from hiss.program.formats import Formats, check_formats
from hiss.program.ops import Op
from hiss.program.tail import Tail, check_slots, tail_of
from hiss.program.validate import validate, widths


@dataclass(frozen=True)
class Port:
    """One input channel or one output: name, unit, and the declared range (in that unit; after the tare for inputs)."""

    name: str
    unit: str = ""
    lo: float = -math.inf
    hi: float = math.inf


@dataclass(frozen=True, eq=False)
class Stage:
    """Ops that step together; `period` of its own steps make one hand-over."""

    period: int
    every: tuple[Op, ...]
    last: tuple[Op, ...]
    hands: tuple[str, ...]

    @property
    def ops(self) -> tuple[Op, ...]:
        """All ops in the order in which they run."""
        return self.every + self.last


@dataclass(frozen=True, eq=False)
class Program:
    """inputs and outputs, the sample rate in Hz, stages, and where it all came from.

    formats: the number formats of an integer program (formats.py); None for floating point.
    slots: of a spread program, the slot of every op that waits for the next chunk (tail.py); None for one that is not.
    only_float64: why float32 and integers are too coarse for it (exact.py); "" where they are not.

    Made programs are valid: constructing one that is not raises ProgramError.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rate_hz: float
    stages: tuple[Stage, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    formats: Formats | None = None
    slots: Mapping[str, int] | None = None
    only_float64: str = ""

    def __post_init__(self) -> None:
        validate(self)
        check_formats(self)
        check_slots(self)

    @property
    def period(self) -> int:
        """Samples per estimate."""
        return math.prod(stage.period for stage in self.stages)

    @property
    def tare(self) -> int:
        """Samples that the program measures before it steps; 0 when it takes the samples as they are."""
        return int(getattr(self.stages[0].every[0], "tare", 0))

    @property
    def latency(self) -> int:
        """Samples from the one that an estimate belongs to until the one it comes with: 0, or a chunk where spread."""
        return 0 if self.slots is None else self.stages[0].period

    @cached_property
    def plain(self) -> Program:
        """The same program without slots: the same estimates, without latency."""
        return self if self.slots is None else dataclasses.replace(self, slots=None)

    @cached_property
    def tail(self) -> Tail:
        """What a spread program does when. Raises ProgramError for one that is not."""
        if self.slots is None:
            raise ProgramError("the program is not spread: it has no tail; use passes.spread")
        return tail_of(self)

    @cached_property
    def widths(self) -> dict[str, int]:
        """The length of every value, by name."""
        return widths(self)

    @property
    def digest(self) -> str:
        """SHA-256 of what the program computes (provenance left out), in hex: equal digests, equal estimates."""
        return hashlib.sha256(storage.pack(dataclasses.replace(self, provenance={}))).hexdigest()

    def ops(self) -> Iterator[tuple[int, str, Op]]:
        """Every op as (stage index, "every" or "last", op), in the order in which they run."""
        for i, stage in enumerate(self.stages):
            for op in stage.every:
                yield i, "every", op
            for op in stage.last:
                yield i, "last", op

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """What it is deployed in where it is in floating point: float32, but for programs that need float64."""
        return np.float64 if self.only_float64 else np.float32

    def predict(self, x: NDArray[Any], dtype: DTypeLike = None) -> NDArray[Any]:
        """Estimates of whole recordings from fresh state.

        x: (..., T, C) raw samples at rate_hz; returns (..., estimates, D): the numbers that a Stepper gives, in the
        program's own `dtype` unless another is named. An integer program is run in integers, whatever `dtype` says.
        """
        from hiss.program import integer, interpreter, sequence

        if self.formats is not None:
            return integer.predict(self, x)
        return sequence.predict(interpreter.cast(self, dtype or self.dtype), x)

    def save(self, path: str | Path) -> None:
        """Write a `.hiss` file, wholly or not at all. Raises HissError."""
        storage.save(path, self)

    def equations(self) -> str:
        """The program as update equations, one line an op."""
        from hiss.program.equations import equations

        return equations(self)
