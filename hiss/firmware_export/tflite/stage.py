"""The graph of one stage, to be called in two ways: `step`, and `step_last` on the step that completes its period.

`step` makes the states alone; `step_last` the hands too, and what restarts is 0 again. A stage whose every step
completes its period has `step` alone, which hands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiss.errors import ExportError
from hiss.firmware_export.step_model import StepStage, StepState, state_name
from hiss.firmware_export.tflite.graph import Graph, Signature
from hiss.firmware_export.tflite.lowering import Held, Lowering
from hiss.firmware_export.tflite.settings import Settings
from hiss.firmware_export.tflite.steps import given, lower, push
from hiss.program import Program
from hiss.program import ops as o

STEP, LAST = "step", "step_last"


@dataclass(frozen=True, eq=False)
class StageGraph:
    """told: for the manifest;  signatures: what the file holds;  lowering: the whole graph, for the report."""

    told: StepStage
    signatures: tuple[Signature, ...]
    lowering: Lowering


def stage_graph(program: Program, index: int, file: str, settings: Settings | None, prefix: str = "") -> StageGraph:
    """The graph of a stage. prefix: before the keys of its signatures."""
    stage, low = program.stages[index], Lowering(program, settings)
    for name in program.stages[index - 1].hands if index else ():
        low.receive(name)
    for op in stage.ops:
        lower(low, op)
    for op in stage.ops:  # the input of a Delay may have been made after it
        if isinstance(op, o.Delay):
            push(low, op)
    read = {name: low.graph.tensors[i].shape[1] for name, i in low.inputs.items()}
    hands = {name: _handed(low, name, index == len(program.stages) - 1) for name in stage.hands}
    signatures = []
    if stage.period > 1 and low.states:
        signatures.append(_signature(low, prefix + STEP, {}, False))
    last = prefix + (LAST if stage.period > 1 else STEP)
    signatures.append(_signature(low, last, hands, True))
    told = StepStage(
        file,
        stage.period,
        read,
        {name: program.widths[name] for name in stage.hands},
        last if stage.period > 1 else None,
        tuple(_told(low.graph, key, held) for key, held in low.states.items()),
    )
    return StageGraph(told, tuple(signatures), low)


def _handed(low: Lowering, name: str, final: bool) -> int:
    """What goes to the next stage as it takes it, to the caller as float32; an island's value saturates as all do."""
    index = low.handed(name)
    if low.whole is None or not final:
        return index
    low.conversions[name] = low.program.widths[name]
    return low.graph.add("DEQUANTIZE", (index,), low.floats.tensor(name, low.graph.tensors[index].shape))


def _signature(low: Lowering, key: str, hands: dict[str, int], complete: bool) -> Signature:
    graph = low.graph
    inputs, outputs = dict(low.inputs), {}
    taken = set(inputs.values())
    for name, index in hands.items():
        outputs[name] = _own(graph, index, taken)
    for state, held in low.states.items():
        name = _name(state)
        if f"{name}_in" in inputs or f"{name}_out" in outputs:
            raise ExportError(f"two tensors of a stage would be called {name}_in or {name}_out; rename the values")
        inputs[f"{name}_in"] = held.before
        after = _initial(graph, held) if complete and held.restart else held.after
        outputs[f"{name}_out"] = _own(graph, after, taken)
    return graph.signature(key, inputs, outputs)


def _own(graph: Graph, index: int, taken: set[int]) -> int:
    """A tensor that nothing else goes in or out by: a copy where it must be."""
    t = graph.tensors[index]
    if index in taken:
        shape = graph.constant("shape", np.array(t.shape, np.int32))
        index = graph.add("RESHAPE", (index, shape), graph.tensor(f"{t.name}.copy", t.shape, t.dtype, t.scale))
    taken.add(index)
    return index


def _initial(graph: Graph, held: Held) -> int:
    t = graph.tensors[held.before]
    return given(graph, np.zeros(t.shape, t.dtype), t.scale)


def _told(graph: Graph, key: str, held: Held) -> StepState:
    t = graph.tensors[held.before]
    return StepState(key, _name(key), t.shape, t.dtype)


def _name(key: str) -> str:
    out, _, part = key.rpartition(".")
    return state_name(out, part)
