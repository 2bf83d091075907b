"""A board that is a program of this computer: the exported C with the board's protocol, compiled here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hiss.engines.host_compiler import find_compiler, run_compiler
from hiss.firmware_export.board import Contract, board_texts, contract_of, host_text
from hiss.firmware_export.c import Model
from hiss.firmware_export.export import texts_of
from hiss.program import Program

__all__ = ["Contract", "build_host", "contract_of"]

FLAGS = ("-std=c99", "-O2")


def build_host(program: Program, folder: Path, name: str = "model", flags: Sequence[str] = FLAGS) -> Path:
    """The program, compiled in `folder`. Raises ExportError where there is no compiler, or where it refuses."""
    model = Model(program, name)
    texts = {**texts_of(model), **board_texts(model), f"{name}_host.c": host_text(model)}
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    made = folder / f"{name}_host"
    sources = [folder / file for file in texts if file.endswith(".c")]
    run_compiler(find_compiler(), [*flags, "-I", folder, *sources, "-o", made])
    return made
