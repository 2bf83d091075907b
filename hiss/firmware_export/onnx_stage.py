"""The graph of one stage: one step of it, with `last` as an input where its period is longer than 1."""

from __future__ import annotations

from hiss.firmware_export import onnx_ops as nodes
from hiss.firmware_export.onnx_graph import BATCH, Graph
from hiss.firmware_export.onnx_ops import Names
from hiss.firmware_export.onnx_steps import Result, Step, run
from hiss.firmware_export.step_model import StepStage, stage_states, tensor_names
from hiss.program import Program
from hiss.program.interpreter import input_op
from hiss.program.weights import AllRows

SAMPLE, TARE, LAST = "x", "tare", "last"
"""Inputs of stage 0: the raw sample, and the mean that was measured; of every stage with a period: the flag."""


def stage_graph(program: Program, index: int, file: str, rows: AllRows) -> tuple[Graph, StepStage]:
    """The graph, and what the manifest says of it."""
    stage, width = program.stages[index], program.widths
    reads = _reads(program, index)
    last = None if stage.period == 1 else LAST if LAST not in reads else f"{LAST}_step"
    # what is received may be handed on: no output is called as an input is
    hands = {name: f"{name}_out" if name in reads else name for name in stage.hands}
    sizes = {tensor: width[name] for name, tensor in hands.items()}
    told = StepStage(file, stage.period, reads, sizes, last, stage_states(program, index))
    graph = Graph(f"stage {index}", (*sizes, *(after for _, _, after in tensor_names(told))))
    inputs = {name: graph.input(name, "float32", (BATCH, n)) for name, n in reads.items()}
    if last:
        graph.input(last, "bool", ())
    states = {s.key: graph.input(name, s.dtype, (BATCH, *s.shape)) for s, name, _ in tensor_names(told)}
    step = Step(program, index, rows, states, _values(graph, program, index, inputs))
    handed, after = _run(graph, step, last)
    for name, value in zip(stage.hands, handed, strict=True):
        graph.output(hands[name], value, "float32", (BATCH, width[name]))
    for s, _, name in tensor_names(told):
        graph.output(name, after[s.key], s.dtype, (BATCH, *s.shape))
    return graph, told


def _reads(program: Program, index: int) -> dict[str, int]:
    if index:
        return {name: program.widths[name] for name in program.stages[index - 1].hands}
    n = len(program.inputs)
    return {SAMPLE: n, TARE: n} if program.tare else {SAMPLE: n}


def _values(graph: Graph, program: Program, index: int, inputs: Names) -> Names:
    if index:
        return inputs
    op = input_op(program)
    return {op.out: nodes.input_value(graph, op, inputs[SAMPLE], inputs.get(TARE))}


def _run(graph: Graph, step: Step, last: str | None) -> tuple[list[str], Names]:
    """Hands and states; a hand that `every` makes, or that was received, is there on every step."""
    stage, width = step.program.stages[step.index], step.program.widths
    late = [op.out for op in stage.last if op.out in stage.hands]
    chosen: list[str] = []
    if last and not late:
        step.every(graph)
        after = step.commit(graph, last)
    else:
        chosen, after = run(
            graph, step, last, lambda _, values: [Result(values[n], "float32", (BATCH, width[n])) for n in late]
        )
    known = step.values | dict(zip(late, chosen, strict=True))
    return [known[name] for name in stage.hands], after
