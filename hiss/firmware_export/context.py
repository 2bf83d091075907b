"""What the emit functions of kernels.py (float32) and integer_kernels.py share: names, tables, places, calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.layout import counts_own_place, past_shape, state_name
from hiss.firmware_export.names import Names
from hiss.firmware_export.numbers import Numbers
from hiss.firmware_export.schedule import Schedule
from hiss.firmware_export.tables import Tables
from hiss.program import Program
from hiss.program import ops as o
from hiss.program.ops import Index

Lines = list[str]


@dataclass(frozen=True)
class Context:
    """What an emit function may look at."""

    names: Names
    tables: Tables
    program: Program
    stage: Schedule
    numbers: Numbers

    @property
    def widths(self) -> dict[str, int]:
        """The length of every value."""
        return self.program.widths

    def table(self, op: o.Op, part: str, values: NDArray[Any], shape: str) -> str:
        """A float table of one op."""
        return self.tables.floats(f"{op.out}_{part}", values, f"{part} of {op.out}: {shape.removesuffix('U')}")

    def integers(self, kind: str, op: o.Op, part: str, values: NDArray[Any], said: str, *, words: bool = False) -> str:
        """An integer table of one op.   words: read a word at a time."""
        said = f"{part} of {op.out}: {said.removesuffix('U')}"
        return self.tables.integers(kind, f"{op.out}_{part}", values, said, words=words)

    def frac(self, value: str) -> Index:
        """frac_bits of a value of an integer program, one a channel."""
        assert self.program.formats is not None
        return self.program.formats[value]["out"].frac_bits

    def call(self, kernel: str, *arguments: str) -> str:
        """One kernel call."""
        return f"hiss_{kernel}_{self.numbers.suffix}({', '.join(arguments)});"

    def width(self, value: str) -> str:
        """The length of a value as a C constant."""
        return count(self.widths[value])

    def state(self, op: o.Op) -> str:
        """The state of an op in the struct."""
        return f"self->{self.names[state_name(op)]}"

    def place(self, op: o.Op) -> str:
        """Where the ring of an op takes its next sample."""
        rows, _ = past_shape(op, self.stage.period, 1)
        if counts_own_place(op, self.stage.period):
            return f"self->{self.names[state_name(op) + '_at']}"
        if rows <= 1:
            return "0U"
        return "phase" if rows >= self.stage.period - 1 else f"phase % {count(rows)}"

    def advance(self, op: o.Op, rows: int) -> Lines:
        """The next place of a ring that counts its own."""
        if not counts_own_place(op, self.stage.period):
            return []
        return [f"{self.place(op)} = hiss_next({self.place(op)}, {count(rows)});"]

    def past(self, op: o.Fir, taps: int) -> str:
        """How many samples of its past count for a Fir."""
        rows = taps - 1
        if not op.restart or not rows:
            return count(rows)
        return "phase" if rows >= self.stage.period - 1 else f"hiss_past(phase, {rows}U)"


def count(n: int) -> str:
    """A size in C."""
    return f"{n}U"


def shift_of(shift: Index | int) -> Index:
    """Shifts as a kernel takes them: a value has 16 bits, so what lies beyond changes nothing."""
    return np.clip(np.asarray(shift, np.int64), -30, 32)
