"""Exported C in every shape: which programs, which files, and the names that tests call them by."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from c_programs import every_position
from core_families import integer_program

from hiss.firmware_export import export_c
from hiss.program import Program, passes

SHAPES = {
    "int8 weights": lambda: integer_program("every position"),
    "int16 weights and states": lambda: integer_program("every position, int16"),
    "integers, spread": lambda: integer_program("every position, spread"),
    "float32": every_position,
    "float32, spread": lambda: passes.spread(every_position()),
}
"""Programs in which every op stands in every position, in each arithmetic, at once and spread."""


@functools.cache
def program_of(shape: str) -> Program:
    """A program of SHAPES, made once."""
    return SHAPES[shape]()


@functools.cache
def exported(shape: str) -> list[Path]:
    """A program of SHAPES exported as `model`, once; its C files, the runtime first. Nobody writes there."""
    folder = Path(tempfile.mkdtemp(prefix="exported-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    export_c(program_of(shape), folder, "model")
    return [*sorted(folder.glob("hiss_*.c")), folder / "model.c", folder / "model_selftest.c"]
