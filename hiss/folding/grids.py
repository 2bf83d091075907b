"""Which parameters of a model become the weights of which values: formats in the words of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from hiss.errors import FoldError
from hiss.models import FlatModel, HierarchicalModel, LSTMLayer, MambaBlock, SSMBlock, Stack
from hiss.program import Program
from hiss.program import ops as o

Grids = dict[str, list[int]]


def weight_grids(module: nn.Module, program: Program, bits: Mapping[str, int]) -> Grids:
    """Parameter -> bits of each row, for the weights that gradient descent fits.

    program: what `module` was folded to;  bits: value -> bits of its weights. The embedding and the linear base are
    left out, as they read samples and have 16 bits. Raises FoldError where nothing is left.
    """
    inner: Any = getattr(module, "correction", module)
    if not isinstance(inner, FlatModel | HierarchicalModel):
        raise FoldError("the model is linear in its samples: its weights are int16 always, there is nothing to tune")
    at = "correction." if inner is not module else ""
    last = program.stages[-1].hands[0]
    output = "correction" if "correction" in bits else last
    grids: Grids = {}
    if isinstance(inner, FlatModel):
        grids |= dict(_stack("net", inner.net, program, bits))
        grids["net.decode.weight"] = [bits[output]] * inner.output_layer().out_features
    else:
        grids |= dict(_stack("low", inner.low, program, bits))
        grids |= dict(_stack("high", inner.high, program, bits))
        grids["low.decode.weight"] = [bits["low.out"]] * inner.high.d_model
        grids["head.weight"] = [bits[output]] * inner.output_layer().out_features
    return {at + name: rows for name, rows in grids.items()}


def _stack(name: str, stack: Stack, program: Program, bits: Mapping[str, int]) -> Iterator[tuple[str, list[int]]]:
    """Every matrix of a stack's blocks, and the taps of what is a filter."""
    filters = {op.out for _, _, op in program.ops() if isinstance(op, o.Fir)}
    for i, block in enumerate(stack.layers):
        for parameter, parts in _rows(block).items():
            values = [f"{name}.{i}.{value}" for value, count in parts for _ in range(count)]
            if not parameter.endswith(".taps") or values[0] in filters:
                yield f"{name}.layers.{i}.{parameter}", [bits[value] for value in values]


def _rows(block: nn.Module) -> dict[str, list[tuple[str, int]]]:
    """Parameter of a block -> the values that its rows make, and how many of them."""
    match block:
        case SSMBlock():
            width = block.mix.in_features
            return {"mix.weight": [("mix", width), ("gate", width)], "ssm.taps": [("ssm", width)]}
        case MambaBlock():
            inner = len(block.d)
            return {
                "w_in.weight": [("v", inner), ("gate", inner)],
                "w_x.weight": list(zip("sbc", block.sizes, strict=True)),
                "w_delta.weight": [("step", inner)],
                "w_out.weight": [("mix", block.w_out.out_features)],
                "conv.taps": [("conv", inner)],
            }
        case LSTMLayer():
            raise FoldError(
                "LSTM: a gate adds products of two values, whose formats its weights share, so no row has a grid of "
                "its own to train on; quantize it as it is, with int16 weights where int8 costs too much"
            )
    raise FoldError(f"{type(block).__name__}: its weights cannot be trained on a grid")
