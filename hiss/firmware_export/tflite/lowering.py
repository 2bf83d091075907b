"""A stage of a program as a graph: which values are there in which type, and which states go in and come out.

Of an int16 graph some operations are float32 islands, for want of kernels: `island` says which and why. A value is
converted once for all its readers.
"""

from __future__ import annotations

from typing import NamedTuple

from hiss.firmware_export.tflite.floats import Floats
from hiss.firmware_export.tflite.graph import Graph
from hiss.firmware_export.tflite.settings import Settings, island
from hiss.firmware_export.tflite.whole import Whole
from hiss.program import Program
from hiss.program import ops as o


class Held(NamedTuple):
    """A state: its tensors as it comes in and as it goes out.   restart: it returns to 0 with the period."""

    before: int
    after: int
    restart: bool


class Lowering:
    """A stage as it becomes a graph.   settings: of the int16 form, None where all is float32."""

    def __init__(self, program: Program, settings: Settings | None):
        self.program, self.settings = program, settings
        self.graph = Graph()
        self.floats = Floats(self.graph)
        self.whole = None if settings is None else Whole(self.graph, settings.scales)
        self.inputs: dict[str, int] = {}
        self.states: dict[str, Held] = {}
        self.conversions: dict[str, int] = {}  # value -> channels that are converted
        self.taken: dict[str, tuple[int, int]] = {}  # op -> its operators, and the numbers that they make
        self._made: dict[str, dict[str, int]] = {}  # value -> type -> tensor

    # ---- values ----

    @property
    def usual(self) -> Floats | Whole:
        """The arithmetic of values that stages hand on."""
        return self.whole or self.floats

    def arithmetic(self, op: o.Op) -> Floats | Whole:
        """The one that an op is computed in."""
        return self.floats if self.settings is None or island(op, self.settings) else self.usual

    def receive(self, name: str) -> None:
        """A value that the stage before hands on."""
        self.inputs[name] = self.usual.tensor(name, (1, self.program.widths[name]))
        self._made[name] = {self.usual.dtype: self.inputs[name]}

    def give(self, op: o.Op, index: int) -> None:
        """The tensor of an op's value."""
        self._made[op.out] = {self.graph.tensors[index].dtype: index}

    def read(self, name: str, a: Floats | Whole) -> int:
        """A value in the type of an arithmetic."""
        held = self._made[name]
        if a.dtype not in held:
            ((_, x),) = held.items()
            shape = self.graph.tensors[x].shape
            if isinstance(a, Whole):
                held[a.dtype] = self.graph.add("QUANTIZE", (x,), a.tensor(name, shape))
            else:
                held[a.dtype] = self.graph.add("DEQUANTIZE", (x,), a.tensor(f"{name}.float", shape))
            self.conversions[name] = shape[1]
        return held[a.dtype]

    def handed(self, name: str) -> int:
        """A value as the next stage takes it."""
        return self.read(name, self.usual)

    # ---- states ----

    def state(self, op: o.Op, part: str, shape: tuple[int, ...], dtype: str, scale: tuple[float, ...] = ()) -> int:
        """A state as it comes in."""
        return self.graph.tensor(f"{op.out}.{part}", shape, dtype, scale)

    def keep(self, op: o.Op, part: str, before: int, after: int) -> None:
        """What goes out of it."""
        self.states[f"{op.out}.{part}"] = Held(before, after, bool(getattr(op, "restart", False)))
