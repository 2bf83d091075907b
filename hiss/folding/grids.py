"""Which parameters of a model become the weights of which values: formats in the words of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from hiss.errors import FoldError
from hiss.models import EnsembleModel, FlatModel, HierarchicalModel, LSTMLayer, LSTMStack, MambaBlock, SSMBlock, Stack
from hiss.program import Program
from hiss.program import ops as o

Grids = dict[str, list[int]]


def weight_grids(module: nn.Module, program: Program, bits: Mapping[str, int]) -> Grids:
    """Parameter -> bits of each row, for the weights that gradient descent fits.

    program: what `module` was folded to;  bits: value -> bits of its weights. The embedding and the linear base are
    left out, as they read samples and have 16 bits. Raises FoldError where nothing is left.
    """
    inner: Any = getattr(module, "correction", module)
    if not isinstance(inner, FlatModel | HierarchicalModel | EnsembleModel):
        raise FoldError("the model is linear in its samples: its weights are int16 always, there is nothing to tune")
    at = "correction." if inner is not module else ""
    last = program.stages[-1].hands[0]
    output = "correction" if "correction" in bits else last
    if isinstance(inner, EnsembleModel):
        return {
            f"members.{i}.{name}": rows
            for i, member in enumerate(inner.members)
            for name, rows in _stacks(member, str(i), program, bits).items()
        }
    last = "net.decode.weight" if isinstance(inner, FlatModel) else "head.weight"
    grids = _stacks(inner, "", program, bits) | {last: [bits[output]] * inner.output_layer().out_features}
    return {at + name: rows for name, rows in grids.items()}


def _stacks(net: Any, mark: str, program: Program, bits: Mapping[str, int]) -> Grids:
    """All but the head of one network. mark: what follows the names of its stacks in the program, a member's number.

    The heads of members are one sum, whose formats they share.
    """
    if isinstance(net, FlatModel):
        return dict(_stack("net", mark, net.net, program, bits))
    both = dict(_stack("low", mark, net.low, program, bits)) | dict(_stack("high", mark, net.high, program, bits))
    return both | {"low.decode.weight": [bits[f"low{mark}.out"]] * net.high.d_model}


def _stack(
    name: str, mark: str, stack: Stack, program: Program, bits: Mapping[str, int]
) -> Iterator[tuple[str, list[int]]]:
    """Every matrix of a stack's blocks, and the taps of what is a filter; of an LSTM among members none."""
    filters = {op.out for _, _, op in program.ops() if isinstance(op, o.Fir)}
    if mark and isinstance(stack, LSTMStack):
        return
    for i, block in enumerate(stack.layers):
        for parameter, parts in _rows(block).items():
            values = [f"{name}{mark}.{i}.{value}" for value, count in parts for _ in range(count)]
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
