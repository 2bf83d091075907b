"""A program as ONNX files: one per stage, the whole step in one graph, the same over a sequence."""

from __future__ import annotations

from hiss.firmware_export.onnx_graph import IR_VERSION, OPSET
from hiss.firmware_export.onnx_stage import stage_graph
from hiss.firmware_export.onnx_whole import sequence_graph, single_graph, whole_states
from hiss.firmware_export.step_model import StepModel, file_metadata
from hiss.program import Program
from hiss.program.weights import int8_rows, rounded, with_rows


def onnx_model(program: Program, name: str, weights: str) -> StepModel:
    """NAME_stage_<i>.onnx, NAME.onnx (a step) and NAME_sequence.onnx. Raises ExportError, MissingExtraError."""
    rows = int8_rows(program) if weights == "int8" or program.formats is not None else {}
    reference = with_rows(program if program.formats is None else rounded(program), rows)
    kind = "int8" if rows else "float32"
    files: dict[str, bytes] = {}
    stages = []
    for index in range(len(program.stages)):
        file = f"{name}_stage_{index}.onnx"
        graph, told = stage_graph(reference, index, file, rows)
        files[file] = graph.model(file_metadata(program, f"stage {index}", kind))
        stages.append(told)
    said = "int8, float32 where they must be finer" if rows else "float32"
    notes: tuple[str, ...] = (
        f"opset {OPSET}, IR version {IR_VERSION}; values float32, weights {said}",
        "shapes are without the batch, the first axis of all but counters and flags",
    )
    if program.tare:
        notes += (
            f"stage 0 reads the mean of the first {program.tare} samples as `tare`; NAME.onnx measures it itself",
        )
    if program.formats is not None:
        notes += ("an integer program: its rounded constants, but values in floating point, so not its integers",)
    others = {"single": f"{name}.onnx", "sequence": f"{name}_sequence.onnx"}
    for form, made in (("single", single_graph), ("sequence", sequence_graph)):
        files[others[form]] = made(reference, rows).model(file_metadata(program, form, kind))
    whole = whole_states(reference)
    return StepModel("onnx", name, program, tuple(stages), files, others, reference, notes, whole=whole)
