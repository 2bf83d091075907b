"""export_steps: a program written as step models into a folder, once its files have passed the check."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hiss.engines.step_check import Check, check
from hiss.errors import ExportError, MissingExtraError
from hiss.files import write_together
from hiss.firmware_export.step_model import StepModel, step_model
from hiss.program import Program


@dataclass(frozen=True)
class StepExport:
    """What was written.   files: path -> bytes;  check: None where it was not made, `unchecked` then says why."""

    model: StepModel
    files: dict[Path, int]
    check: Check | None
    unchecked: str = ""


def export_steps(
    program: Program,
    folder: str | Path,
    target: str,
    name: str = "model",
    *,
    weights: str = "float32",
    check: bool | None = None,
) -> StepExport:
    """Write a program for an edge runtime, target "onnx" or "tflite": the files, NAME.json and check.json.

    weights: float32, or int8 for the layers that can have it; an integer program brings its own widths.
    check: over the golden vectors, before anything is written; None: where the runtime is installed.
    Raises ValueError for another target, name or weights; ExportError where the target cannot hold the program, or
    where a file computes other numbers; MissingExtraError; HissError when a file cannot be written.
    """
    model = step_model(program, target, name, weights)
    found, unchecked = _checked(model, check)
    if found is not None and found.wrong:
        raise ExportError(f"{', '.join(found.wrong)} of {target} differs, so nothing was written; {found.text()}")
    told = {"program": program.digest, "not checked": unchecked} if found is None else found.to_json()
    files = {**model.all_files, "check.json": (json.dumps(told, indent=2) + "\n").encode()}
    paths = {Path(folder) / file: data for file, data in files.items()}
    write_together(paths)  # type: ignore[arg-type]
    return StepExport(model, {path: len(data) for path, data in paths.items()}, found, unchecked)


def _checked(model: StepModel, wanted: bool | None) -> tuple[Check | None, str]:
    if wanted is False:
        return None, "as it was asked for"
    try:
        return check(model), ""
    except MissingExtraError as error:
        if wanted:
            raise
        return None, str(error)
