"""A whole program in one graph: a step with its counters inside, and the same over a sequence (Scan).

The states are those of all stages, and the counters: phase_<i> of every stage with a period, tare_left and tare_mean.
`made` tells whether y is an estimate; where it is not, y is NaN.
"""

from __future__ import annotations

import numpy as np

from hiss.firmware_export import onnx_ops as nodes
from hiss.firmware_export.onnx_graph import BATCH, Graph, Shape
from hiss.firmware_export.onnx_ops import Names
from hiss.firmware_export.onnx_steps import Result, Step, absent, run
from hiss.firmware_export.step_model import StepState, check_names, stage_states
from hiss.program import Program
from hiss.program.interpreter import input_op
from hiss.program.weights import AllRows

Y, MADE = "y", "made"


def whole_states(program: Program) -> tuple[StepState, ...]:
    """All states in order; counters are int64."""
    phases = [
        StepState(f"phase.{i}", f"phase_{i}", (), "int64") for i, stage in enumerate(program.stages) if stage.period > 1
    ]
    tare = [
        StepState("tare.mean", "tare_mean", (len(program.inputs),)),
        StepState("tare.left", "tare_left", (), "int64", program.tare),
    ]
    ops = [state for i in range(len(program.stages)) for state in stage_states(program, i)]
    return check_names((*(tare if program.tare else ()), *phases, *ops))


def shape_of(state: StepState) -> Shape:
    """In a graph: counters have no batch, they are the same for all of it."""
    return () if state.dtype == "int64" else (BATCH, *state.shape)


def outputs_of(states: tuple[StepState, ...]) -> tuple[str, ...]:
    """The outputs of a whole graph, in order."""
    return (Y, MADE, *(f"{s.name}_out" for s in states))


def single_graph(program: Program, rows: AllRows) -> Graph:
    """x and the states in, y, made and the states out."""
    states = whole_states(program)
    graph = Graph("step", outputs_of(states))
    x = graph.input("x", "float32", (BATCH, len(program.inputs)))
    held = {s.key: graph.input(f"{s.name}_in", s.dtype, shape_of(s)) for s in states}
    y, made, after = whole_step(graph, program, rows, x, held)
    graph.output(Y, y, "float32", (BATCH, len(program.outputs)))
    graph.output(MADE, made, "bool", ())
    for s in states:
        graph.output(f"{s.name}_out", after[s.key], s.dtype, shape_of(s))
    return graph


def sequence_graph(program: Program, rows: AllRows) -> Graph:
    """x (batch, steps, C) and the states in, all estimates (batch, estimates, D), made (steps,), and the states out."""
    states, n, d = whole_states(program), len(program.inputs), len(program.outputs)
    graph = Graph("sequence", outputs_of(states))
    x = graph.input("x", "float32", (BATCH, "steps", n))
    held = [graph.input(f"{s.name}_in", s.dtype, shape_of(s)) for s in states]
    body = graph.branch("step")
    inside = {s.key: body.input(f"{s.name}_step", s.dtype, shape_of(s)) for s in states}
    y, made, after = whole_step(body, program, rows, body.input("x_step", "float32", (BATCH, n)), inside)
    for s in states:
        body.output(f"{s.name}_after", after[s.key], s.dtype, shape_of(s))
    body.output("y_step", y, "float32", (BATCH, d))
    body.output("made_step", made, "bool", ())
    names = [*(f"{s.name}_end" for s in states), "y_all", "made_all"]
    found = graph.nodes(
        "Scan", [*held, x], names, body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1, 0]
    )
    *ends, y_all, made_all = found
    graph.output(Y, graph.node("Compress", [y_all, made_all], axis=1), "float32", (BATCH, "estimates", d))
    graph.output(MADE, made_all, "bool", ("steps",))
    for s, end in zip(states, ends, strict=True):
        graph.output(f"{s.name}_out", end, s.dtype, shape_of(s))
    return graph


def whole_step(graph: Graph, program: Program, rows: AllRows, x: str, held: Names) -> tuple[str, str, Names]:
    """One sample: y, made, and the states after it."""
    if not program.tare:
        return _from_stage(graph, program, rows, 0, _sample(graph, program, x, None), held)
    taring = graph.node("Greater", [held["tare.left"], graph.constant(0, "int64")], "taring")
    steps, kept = graph.branch("measured"), graph.branch("taring")
    y, made, after = _from_stage(steps, program, rows, 0, _sample(steps, program, x, held["tare.mean"]), held)
    measured = _tared(kept, program, x, held)
    results: list[tuple[str, str, str, str, Shape]] = [
        (Y, y, absent(kept, x, len(program.outputs)), "float32", (BATCH, len(program.outputs))),
        (MADE, made, kept.constant(False, "bool"), "bool", ()),
    ]
    results += [
        (s.key, after[s.key], measured.get(s.key, held[s.key]), s.dtype, shape_of(s)) for s in whole_states(program)
    ]
    for name, stepped, other, kind, shape in results:
        steps.output(name, stepped, kind, shape)
        kept.output(name, other, kind, shape)
    names = [name for name, *_ in results]
    y, made, *ends = graph.nodes("If", [taring], names, then_branch=kept, else_branch=steps)
    return y, made, {s.key: end for s, end in zip(whole_states(program), ends, strict=True)}


def _sample(graph: Graph, program: Program, x: str, mean: str | None) -> Names:
    op = input_op(program)
    return {op.out: nodes.input_value(graph, op, x, mean)}


def _tared(graph: Graph, program: Program, x: str, held: Names) -> Names:
    """The tare after one more sample: a running mean; a sample that is not finite, in any batch, does not count."""
    mean, left = held["tare.mean"], held["tare.left"]
    inside = graph.node("Less", [graph.node("Abs", [x]), graph.constant(np.inf)])
    counts = graph.node("ReduceMin", [graph.node("Cast", [inside], to=1)], keepdims=0)
    finite = graph.node("Greater", [counts, graph.constant(0)])
    nth = graph.node("Cast", [graph.node("Sub", [graph.constant(program.tare + 1, "int64"), left])], to=1)
    moved = graph.node("Add", [mean, graph.node("Div", [graph.node("Sub", [x, mean]), nth])])
    fewer = graph.node("Sub", [left, graph.node("Cast", [finite], to=7)])
    return {"tare.mean": graph.node("Where", [finite, moved, mean]), "tare.left": fewer}


def _from_stage(
    graph: Graph, program: Program, rows: AllRows, index: int, values: Names, held: Names
) -> tuple[str, str, Names]:
    """A step of stage `index` and, where it completes its period, of those above: y, made, the states after it."""
    stage, top = program.stages[index], index == len(program.stages) - 1
    above = [s for s in whole_states(program) if _stage_of(program, s) > index]
    after = dict(held)

    def finish(inner: Graph, ready: Names) -> list[Result]:
        given = {name: ready[name] for name in stage.hands}
        if top:
            y = inner.node("Concat", list(given.values()), axis=1) if len(given) > 1 else next(iter(given.values()))
            made, later = inner.constant(True, "bool"), held
        else:
            y, made, later = _from_stage(inner, program, rows, index + 1, given, held)
        results = [Result(y, "float32", (BATCH, len(program.outputs))), Result(made, "bool", ())]
        return results + [Result(later[s.key], s.dtype, shape_of(s), held[s.key]) for s in above]

    step = Step(program, index, rows, held, values)
    last = None
    if stage.period > 1:
        phase = held[f"phase.{index}"]
        last = graph.node("Equal", [phase, graph.constant(stage.period - 1, "int64")], f"complete_{index}")
        following = graph.node("Add", [phase, graph.constant(1, "int64")])
        after[f"phase.{index}"] = graph.node("Where", [last, graph.constant(0, "int64"), following])
    (y, made, *ends), changed = run(graph, step, last, finish)
    return y, made, after | {s.key: end for s, end in zip(above, ends, strict=True)} | changed


def _stage_of(program: Program, state: StepState) -> int:
    """The stage that a state belongs to; -1 of the tare."""
    if state.key in ("tare.mean", "tare.left"):
        return -1
    owner, _, part = state.key.rpartition(".")
    if state.dtype == "int64":
        return int(part)
    return next(i for i, stage in enumerate(program.stages) if any(op.out == owner for op in stage.ops))
