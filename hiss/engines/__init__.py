"""Runners of a program, one a file, all with the interface of the numpy Stepper."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from hiss.engines.numpy_engine import Stepper
from hiss.program import Program

__all__ = ["ENGINES", "EXACT", "AnyStepper", "Stepper", "open_stepper"]

ENGINES = ("numpy", "c", "onnx", "tflite")
EXACT = ("numpy", "c")
"""Those that run integer programs to the bit."""


class AnyStepper(Protocol):
    """What every engine offers."""

    program: Program

    def step(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """x: (C,) raw sample -> (D,) estimate, or None while taring and until a period is complete."""

    def reset(self) -> None:
        """Fresh state; the tare is kept."""

    def tare(self) -> None:
        """Fresh state, and measure the tare anew from the next samples."""

    @property
    def taring(self) -> bool:
        """True while the tare is being measured."""


def open_stepper(program: Program, engine: str = "numpy") -> AnyStepper:
    """A stepper of a program by the engine: "numpy", "c" (compiled here, and kept), "onnx" or "tflite".

    Raises ValueError for another engine, ExportError where "c" has no compiler, MissingExtraError where a package is
    absent, ProgramError where the engine does not run integer programs. "tflite" runs them close to their integers.
    """
    if engine not in ENGINES:
        raise ValueError(f"no engine {engine!r}; there are {', '.join(ENGINES)}")
    if engine == "c":
        from hiss.engines.c_engine import CStepper

        return CStepper(program)
    if engine == "onnx":
        from hiss.engines.onnx_engine import OnnxStepper

        return OnnxStepper(program)
    if engine == "tflite":
        from hiss.engines.tflite_engine import TfliteStepper

        return TfliteStepper(program)
    if program.formats is not None:
        from hiss.engines.integer_engine import IntegerStepper

        return IntegerStepper(program)
    return Stepper(program)
