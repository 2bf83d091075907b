"""An exported model as something to run: where its files lie, how its step is called, and the C that goes round it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiss.program import Program, schedule

_TYPES = {"float": "<f4", "int16_t": "<i2", "int32_t": "<i4"}


@dataclass(frozen=True)
class Firmware:
    """folder: where export_c wrote it;  name: its C name;  x_type, y_type: "float", "int16_t" or "int32_t"."""

    folder: Path
    name: str
    inputs: int
    outputs: int
    x_type: str = "float"
    y_type: str = "float"

    def __post_init__(self) -> None:
        unknown = {self.x_type, self.y_type} - set(_TYPES)
        if unknown:
            raise ValueError(f"samples of type {', '.join(sorted(unknown))}; expected one of {', '.join(_TYPES)}")

    @classmethod
    def of(cls, program: Program, folder: str | Path, name: str) -> Firmware:
        """What export_c(program, folder, name) has written."""
        return cls(Path(folder), name, len(program.inputs), len(program.outputs), *element_types(program))

    @property
    def x_dtype(self) -> np.dtype[np.generic]:
        """Of one element of x, as it lies in memory."""
        return np.dtype(_TYPES[self.x_type])

    @property
    def y_dtype(self) -> np.dtype[np.generic]:
        """Of one element of y, as it lies in memory."""
        return np.dtype(_TYPES[self.y_type])

    @property
    def x_bytes(self) -> int:
        """Bytes of a sample."""
        return self.inputs * self.x_dtype.itemsize

    @property
    def y_bytes(self) -> int:
        """Bytes of an estimate."""
        return self.outputs * self.y_dtype.itemsize

    def sources(self, *, test: bool = True) -> list[Path]:
        """The C files: the runtime, the model and, with `test`, its self-test."""
        own = [self.folder / f"{self.name}.c", *([self.folder / f"{self.name}_selftest.c"] if test else [])]
        return [*sorted(self.folder.glob("hiss_*.c")), *own]

    def samples(self, x: NDArray[np.generic]) -> NDArray[np.generic]:
        """x (n, C) as it lies in memory. Raises ValueError for another shape, or numbers that the type cannot hold."""
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ValueError(f"samples of shape {x.shape}; expected (n, {self.inputs})")
        if self.x_type == "float":
            return x.astype("<f4")
        made = x.astype(self.x_dtype)
        if not np.array_equal(made, x):
            raise ValueError(f"samples that are no {self.x_type}: whole numbers are expected, within its range")
        return made

    def glue_header(self, *, test: bool) -> str:
        """glue.h: the model under one name and type, whatever it is called."""
        functions = ("reset", "tare", "step", *(("selftest",) if test else ()))
        defines = [f"#define model_{function} {self.name}_{function}" for function in functions]
        defines += [f"#define MODEL_INPUTS {self.inputs}", f"#define MODEL_OUTPUTS {self.outputs}"]
        defines += ["#define MODEL_SELFTEST 1"] if test else []
        types = [f"typedef {kind} {name};" for kind, name in ((self.x_type, "x_t"), (self.y_type, "y_t"))]
        return "\n".join([f'#include "{self.name}.h"', *types, f"typedef {self.name}_t model_t;", *defines, ""])


def element_types(program: Program) -> tuple[str, str]:
    """C types of an element of x and of y."""
    if program.formats is None:
        return "float", "float"
    return f"int{program.formats[schedule.input_op(program).out]['x'].bits}_t", "int16_t"


def driver_text(file: str) -> str:
    """The text of one of the C files beside the engines."""
    return resources.files("hiss.engines").joinpath("drivers", file).read_text(encoding="utf-8")


def write_drivers(folder: Path, *files: str) -> list[Path]:
    """Put driver files into `folder`; the ones to compile."""
    for file in files:
        (folder / file).write_text(driver_text(file), encoding="utf-8")
    return [folder / file for file in files if file.endswith(".c")]
