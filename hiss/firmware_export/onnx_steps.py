"""One step of a stage as nodes: what runs on every step, what only when the period is complete, what restarts.

The order is that of schedule.stage_step. Branches of If hold what only the last step of a period does; what goes on
from there (the hand-over, or the stages above) is the caller's `finish`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hiss.firmware_export import onnx_ops as nodes
from hiss.firmware_export.onnx_graph import Graph, Shape
from hiss.firmware_export.onnx_ops import Names
from hiss.firmware_export.step_model import StepState, stage_states
from hiss.program import Program
from hiss.program import ops as o
from hiss.program.weights import AllRows


@dataclass(frozen=True)
class Result:
    """A tensor that a branch gives.   instead: what it is where the branch is not taken; None: NaN, or false."""

    value: str
    kind: str
    shape: Shape
    instead: str | None = None


@dataclass
class Step:
    """A step of one stage in the making.   states: key -> tensor, before the step;  values: name -> tensor."""

    program: Program
    index: int
    rows: AllRows
    states: Names
    values: Names
    after: Names = field(default_factory=dict)

    def every(self, graph: Graph) -> None:
        """Values of `every`, and the states of all ops but Delays."""
        stage = self.program.stages[self.index]
        for op in stage.ops:
            if op.remembers and not isinstance(op, o.Input | o.Delay):
                self._update(graph, op)
            if op in stage.every and not isinstance(op, o.Input):
                self.values[op.out] = self._value(graph, op)

    def last(self, graph: Graph) -> None:
        """Values of `last`."""
        for op in self.program.stages[self.index].last:
            self.values[op.out] = self._value(graph, op)

    def commit(self, graph: Graph, last: str | None) -> Names:
        """The states after the step.   last: the flag of the period's last step; None: every step is one."""
        stage = self.program.stages[self.index]
        for op in stage.ops:
            if isinstance(op, o.Delay):
                self._update(graph, op)
        restarting = {op.out for op in stage.ops if getattr(op, "restart", False)}
        for state in stage_states(self.program, self.index):
            if state.key.rpartition(".")[0] in restarting:
                flag = graph.constant(True, "bool") if last is None else last
                self.after[state.key] = restarted(graph, state, flag, self.after[state.key])
        return self.after

    def _value(self, graph: Graph, op: o.Op) -> str:
        if not op.remembers:
            return nodes.evaluate(graph, op, self.values, self.rows)
        before, after = self._parts(op, self.states), self._parts(op, self.after)
        return nodes.read(graph, op, before, after, self.values, self._width(op))

    def _update(self, graph: Graph, op: o.Op) -> None:
        parts = nodes.update(graph, op, self._parts(op, self.states), self.values, self._width(op))
        self.after |= {f"{op.out}.{part}": name for part, name in parts.items()}

    def _parts(self, op: o.Op, states: Names) -> Names:
        prefix = op.out + "."
        return {key[len(prefix) :]: name for key, name in states.items() if key.rpartition(".")[0] == op.out}

    def _width(self, op: o.Op) -> int:
        return self.program.widths[op.reads[0]]


def restarted(graph: Graph, state: StepState, flag: str, value: str) -> str:
    """The initial value where `flag` holds, else `value`."""
    if state.dtype == "bool":  # onnxruntime has no Where of truth values; they begin as false
        return graph.node("And", [value, graph.node("Not", [flag])], f"{state.key}.next")
    initial = graph.constant(np.full((1,) * (1 + len(state.shape)), state.initial), state.dtype)
    return graph.node("Where", [flag, initial, value], f"{state.key}.next")


Finish = Callable[[Graph, Names], list[Result]]


def run(graph: Graph, step: Step, last: str | None, finish: Finish) -> tuple[list[str], Names]:
    """The step, and what `finish` makes of its values when the period is complete: the tensors of its results, and the
    states after the step.

    finish(graph, values) is called once, for the graph of the branch where there is one.
    """
    step.every(graph)
    if last is None:
        step.last(graph)
        made = [result.value for result in finish(graph, step.values)]
        return made, step.commit(graph, None)
    known = dict(step.values)
    then = graph.branch(f"stage {step.index} complete")
    step.last(then)
    results = finish(then, step.values)
    step.values = known
    return choice(graph, last, then, results, next(iter(known.values()))), step.commit(graph, last)


def choice(graph: Graph, condition: str, then: Graph, results: list[Result], like: str) -> list[str]:
    """If: what the branch `then` gives, or what stands instead of it.   like: a tensor (batch, ...)."""
    otherwise = graph.branch(f"{then.name}: not")
    for result in results:
        then.output(result.value, result.value, result.kind, result.shape)
        instead = result.instead
        if instead is None and result.kind == "bool":
            instead = otherwise.constant(False, "bool")
        elif instead is None:
            instead = absent(otherwise, like, result.shape[1])
        otherwise.output(result.value, instead, result.kind, result.shape)
    names = [f"{result.value}.chosen" for result in results]
    return graph.nodes("If", [condition], names, then_branch=then, else_branch=otherwise)


def absent(graph: Graph, like: str, width: int | str) -> str:
    """(batch, width) of NaN: no estimate, and nobody takes it for one.   like: a tensor (batch, ...)."""
    batch = graph.node("Shape", [like], start=0, end=1)
    shape = graph.node("Concat", [batch, graph.constant([int(width)], "int64")], axis=0)
    return graph.node("Expand", [graph.constant(np.nan), shape])
