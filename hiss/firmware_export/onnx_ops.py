"""Every op of a program as ONNX nodes: evaluate, update and read, as interpreter.py defines them.

u, x: (batch, n) values;  h: (batch, H, 2 N) modes, real parts before imaginary ones;  past: (batch, K n), newest first.
States lie as step_model.to_graph says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.onnx_graph import Graph
from hiss.program import ops as o
from hiss.program.weights import AllRows

Names = dict[str, str]
"""Value, or part of a state -> the tensor that holds it."""


# ---- the sample ------------------------------------------------------------------------------------------------------


def input_value(graph: Graph, op: o.Input, x: str, mean: str | None) -> str:
    """z of a raw sample; mean: the tare, None where the program has none. A NaN becomes lo."""
    taken = x if mean is None else graph.node("Sub", [x, mean], f"{op.out}.tared")
    lo, hi = graph.constant(op.lo), graph.constant(op.hi)
    sure = graph.node("Where", [graph.node("IsNaN", [taken]), lo, taken], f"{op.out}.sure")
    within = graph.node("Min", [graph.node("Max", [sure, lo]), hi], f"{op.out}.within")
    from_offset = graph.node("Sub", [within, graph.constant(op.offset)])
    return graph.node("Mul", [from_offset, graph.constant(np.exp2(-op.shift.astype(float)))], op.out)


# ---- ops without memory ----------------------------------------------------------------------------------------------


def evaluate(graph: Graph, op: o.Op, values: Names, rows: AllRows) -> str:
    """The value of an op without memory.   rows: of an Affine whose weights are int8, (integers, scale) per input."""
    match op:
        case o.Affine():
            return _affine(graph, op, values, rows)
        case o.Map():
            return _map(graph, op, values[op.input])
        case o.Norm():
            return _norm(graph, op, values[op.input])
        case o.Add():
            return _add(graph, op, values)
        case o.Mul():
            return graph.node("Mul", [values[name] for name in op.inputs], op.out)
    raise TypeError(f"{type(op).__name__} is not without memory")


def _affine(graph: Graph, op: o.Affine, values: Names, rows: AllRows) -> str:
    held = rows.get(op.out)
    if held is None:
        weights = graph.constant(np.concatenate(op.weights, axis=1))
    else:
        parts = [_dequantized(graph, integers, scale) for integers, scale in held]
        weights = parts[0] if len(parts) == 1 else graph.node("Concat", parts, axis=1)
    read = [values[name] for name in op.inputs]
    u = read[0] if len(read) == 1 else graph.node("Concat", read, axis=1)
    return graph.node("Gemm", [u, weights, graph.constant(op.bias)], op.out, transB=1)


def _dequantized(graph: Graph, integers: NDArray[np.int8], scale: NDArray[np.float32]) -> str:
    """int8 weights (n_out, n_in) with a scale per row, as floats."""
    zero = graph.constant(np.zeros(len(scale)), "int8")
    return graph.node("DequantizeLinear", [graph.constant(integers, "int8"), graph.constant(scale), zero], axis=0)


def _map(graph: Graph, op: o.Map, u: str) -> str:
    match op.function:
        case "gelu":
            erf = graph.node("Erf", [graph.node("Mul", [u, graph.constant(np.sqrt(0.5))])])
            twice = graph.node("Mul", [u, graph.node("Add", [erf, graph.constant(1)])])
            return graph.node("Mul", [twice, graph.constant(0.5)], op.out)
        case "silu":
            return graph.node("Mul", [u, graph.node("Sigmoid", [u])], op.out)
        case "clip":
            return graph.node("Clip", [u, graph.constant(op.lo), graph.constant(op.hi)], op.out)
    return graph.node(op.function.capitalize(), [u], op.out)  # Sigmoid, Tanh, Relu, Softplus, Exp


def _norm(graph: Graph, op: o.Norm, u: str) -> str:
    gain, bias = graph.constant(op.gain), graph.constant(op.bias)
    if op.kind == "layer":  # centred first: runtimes take the variance as E[u^2] - E[u]^2, which cancels
        centred = graph.node("Sub", [u, graph.node("ReduceMean", [u], axes=[1])])
        return graph.node("LayerNormalization", [centred, gain, bias], op.out, axis=1, epsilon=op.eps)
    power = graph.node("ReduceMean", [graph.node("Mul", [u, u])], axes=[1])
    root = graph.node("Sqrt", [graph.node("Add", [power, graph.constant(op.eps)])])
    return graph.node("Add", [graph.node("Mul", [graph.node("Div", [u, root]), gain]), bias], op.out)


def _add(graph: Graph, op: o.Add, values: Names) -> str:
    total = values[op.inputs[0]]
    if op.signs[0] < 0:
        total = graph.node("Neg", [total])
    for name, sign in zip(op.inputs[1:], op.signs[1:], strict=True):
        total = graph.node("Add" if sign > 0 else "Sub", [total, values[name]], op.out)
    return total if total not in values.values() else graph.node("Identity", [total], op.out)


# ---- ops with memory -------------------------------------------------------------------------------------------------


def update(graph: Graph, op: o.Op, state: Names, values: Names, width: int) -> Names:
    """The parts of the state after a step; those that no graph holds (a Fir of one tap) are left out.

    width: the length of what it reads.
    """
    match op:
        case o.Diagonal():
            return {"h": _rotated(graph, op, state["h"], values[op.input])}
        case o.Selective():
            step = _column(graph, values[op.delta])
            share = graph.node("Exp", [graph.node("Mul", [step, graph.constant(op.a)])])
            driven = graph.node("Mul", [step, _column(graph, values[op.input])])
            drive = graph.node("Mul", [driven, _row(graph, values[op.b])])
            return {"h": graph.node("Add", [graph.node("Mul", [share, state["h"]]), drive], f"{op.out}.h")}
        case o.Fir():
            past = op.taps.shape[1] - 1
            return {"past": _pushed(graph, op, state["past"], values[op.input], past, width)} if past else {}
        case o.Delay():
            return _delayed(graph, op, state, values[op.input], width)
    raise TypeError(f"{type(op).__name__} has no state")


def _delayed(graph: Graph, op: o.Delay, state: Names, u: str, width: int) -> Names:
    ages = int(op.ages.max())
    past = state["past"] if ages == 1 else primed(graph, op, state, u)
    made = {"past": _pushed(graph, op, past, u, ages, width)}
    if op.initial == "first":
        yes = graph.constant(np.array([[True]]), "bool")
        made["primed"] = graph.node("Or", [state["primed"], yes], f"{op.out}.primed")
    return made


def primed(graph: Graph, op: o.Delay, state: Names, u: str) -> str:
    """The past of a Delay; with initial = "first", what lay before the first value equals it."""
    if op.initial == "zero":
        return state["past"]
    ages = int(op.ages.max())
    first = u if ages == 1 else graph.node("Concat", [u] * ages, axis=1)
    return graph.node("Where", [state["primed"], state["past"], first], f"{op.out}.known")


def read(graph: Graph, op: o.Op, before: Names, after: Names, values: Names, width: int) -> str:
    """The value of a step, from the states before and after it.   width: the length of what it reads."""
    match op:
        case o.Diagonal():
            parts = graph.constant(np.concatenate([op.c.real, -op.c.imag], axis=1))
            return _with_direct(graph, op, graph.node("Mul", [after["h"], parts]), values)
        case o.Selective():
            return _with_direct(graph, op, graph.node("Mul", [after["h"], _row(graph, values[op.c])]), values)
        case o.Fir():
            return _fir(graph, op, before, values[op.input])
        case o.Delay():
            past = primed(graph, op, before, values[op.input]) if op.initial == "first" else before["past"]
            places = (op.ages - 1) * width + op.channels
            return graph.node("Gather", [past, graph.constant(places, "int64")], op.out, axis=1)
    raise TypeError(f"{type(op).__name__} has no state")


def _with_direct(graph: Graph, op: o.Diagonal | o.Selective, products: str, values: Names) -> str:
    """The sum of the products (batch, H, N), and d u."""
    total = graph.node("ReduceSum", [products, graph.constant([2], "int64")], keepdims=0)
    return graph.node("Add", [total, graph.node("Mul", [values[op.input], graph.constant(op.d)])], op.out)


def _rotated(graph: Graph, op: o.Diagonal, h: str, u: str) -> str:
    """a h + u: re <- a_re re - a_im im + u, im <- a_re im + a_im re."""
    n = op.a.shape[1]
    turned = graph.constant(np.r_[n : 2 * n, 0:n], "int64")
    along = graph.node("Mul", [h, graph.constant(np.concatenate([op.a.real, op.a.real], axis=1))])
    across = graph.node("Gather", [h, turned], axis=2)
    across = graph.node("Mul", [across, graph.constant(np.concatenate([-op.a.imag, op.a.imag], axis=1))])
    drive = graph.node("Mul", [_column(graph, u), graph.constant(np.r_[np.ones(n), np.zeros(n)])])
    return graph.node("Add", [graph.node("Add", [along, across]), drive], f"{op.out}.h")


def _fir(graph: Graph, op: o.Fir, before: Names, u: str) -> str:
    width, taps = op.taps.shape
    if taps == 1:
        present = graph.node("Mul", [u, graph.constant(op.taps[:, 0])])
        return graph.node("Add", [present, graph.constant(op.bias)], op.out)
    window = graph.node("Concat", [u, before["past"]], axis=1)
    products = graph.node("Mul", [window, graph.constant(op.taps.T.reshape(-1))])
    by_tap = graph.node("Reshape", [products, graph.constant([-1, taps, width], "int64")])
    total = graph.node("ReduceSum", [by_tap, graph.constant([1], "int64")], keepdims=0)
    return graph.node("Add", [total, graph.constant(op.bias)], op.out)


def _pushed(graph: Graph, op: o.Op, past: str, u: str, length: int, width: int) -> str:
    """past (batch, length width) after one more value."""
    if length == 1:
        return graph.node("Identity", [u], f"{op.out}.past")
    places = [[0], [(length - 1) * width], [1]]
    kept = graph.node("Slice", [past, *(graph.constant(p, "int64") for p in places)])
    return graph.node("Concat", [u, kept], f"{op.out}.past", axis=1)


def _column(graph: Graph, u: str) -> str:
    """(batch, H) -> (batch, H, 1)."""
    return graph.node("Unsqueeze", [u, graph.constant([2], "int64")])


def _row(graph: Graph, u: str) -> str:
    """(batch, N) -> (batch, 1, N)."""
    return graph.node("Unsqueeze", [u, graph.constant([1], "int64")])
