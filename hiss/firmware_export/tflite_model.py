"""A program as TensorFlow Lite files: one per stage, and all stages in one file."""

from __future__ import annotations

from hiss.errors import ExportError
from hiss.firmware_export.step_model import StepModel, file_metadata
from hiss.firmware_export.tflite.islands import islands
from hiss.firmware_export.tflite.settings import settings_of
from hiss.firmware_export.tflite.stage import stage_graph
from hiss.firmware_export.tflite.writer import tflite_bytes
from hiss.program import Program

WIDER = 0.1
"""Difference from the integers that is right, as a share of an output's largest value: the vectors of the check
saturate, and islands do so later than integers. A wrong graph differs by all of it."""


def tflite_model(program: Program, name: str, weights: str) -> StepModel:
    """NAME_stage_<i>.tflite with the signatures `step` and `step_last`, and NAME.tflite with those of all stages.

    A floating point program becomes float32, an integer program int8 weights x int16 values in its own formats.
    Raises ExportError, MissingExtraError.
    """
    if weights == "int8" and program.formats is None:
        raise ExportError(
            "int8 weights in TensorFlow Lite go with int16 values, whose scales come from recordings: make an integer "
            "program first (hiss quantize) and export that"
        )
    settings = None if program.formats is None else settings_of(program)
    kind = "int8" if settings else "float32"
    files: dict[str, bytes] = {}
    graphs = []
    for index in range(len(program.stages)):
        file = f"{name}_stage_{index}.tflite"
        graph = stage_graph(program, index, file, settings)
        files[file] = tflite_bytes(graph.signatures, file_metadata(program, f"stage {index}", kind))
        graphs.append(graph)
    keyed = [stage_graph(program, i, "", settings, f"stage_{i}_") for i in range(len(graphs))]
    signatures = [signature for graph in keyed for signature in graph.signatures]
    files[f"{name}.tflite"] = tflite_bytes(signatures, file_metadata(program, "single", kind))
    notes: tuple[str, ...] = ("values and weights float32",)
    if settings:
        lowered = [graph.lowering for graph in graphs]
        notes = ("values int16, weights int8, close to the program's integers", *islands(program, settings, lowered))
    stages = tuple(graph.told for graph in graphs)
    bound = WIDER if settings else 1e-5
    return StepModel("tflite", name, program, stages, files, {"single": f"{name}.tflite"}, program, notes, bound)
