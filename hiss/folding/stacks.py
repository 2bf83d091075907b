"""A stack of any family -> ops: embed, what its family puts between, decode; and what cannot be folded, or only partly.

chunk: the steps after which a low level restarts;  None: the stack carries its state on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hiss.errors import FoldError
from hiss.folding.expressions import Builder, Expression, value
from hiss.folding.layers import linear, ssm_blocks
from hiss.folding.lstm import lstm_layers
from hiss.folding.mamba import mamba_blocks
from hiss.models import (
    S4,
    Ensemble,
    Flat,
    Hierarchical,
    LSTMStack,
    MambaStack,
    Residual,
    SSMStack,
    Stack,
    StackSpec,
    Transformer,
)

Between = Callable[[Builder, str, Any, str, int | None], str]
"""(builder, prefix, stack, value that the blocks read, chunk) -> value that they make."""
BETWEEN: dict[type[Stack], Between] = {
    SSMStack: ssm_blocks,
    MambaStack: mamba_blocks,
    LSTMStack: lstm_layers,
}


def fold_stack(b: Builder, name: str, stack: Stack, x: Expression, chunk: int | None) -> Expression:
    """What the stack makes of x; the decode is not yet written down. Raises FoldError."""
    between = BETWEEN.get(type(stack))
    if between is None:
        why = why_not_folded(stack.spec) or "hiss knows no update equations for it"
        raise FoldError(f"{type(stack.spec).__name__} cannot be folded: {why}")
    if stack.embed is not None:
        x = linear(stack.embed, x)
    h = _named(x) or b.affine(f"{name}.embed", x)
    y = value(between(b, name, stack, h, chunk), stack.d_model)
    return y if stack.decode is None else linear(stack.decode, y)


def _named(x: Expression) -> str | None:
    """The value that an expression is, when it is one as it stands."""
    if len(x.terms) == 1 and not np.any(x.bias):
        [(name, weight)] = x.terms.items()
        if weight.shape[0] == weight.shape[1] and np.array_equal(weight, np.eye(len(weight))):
            return name
    return None


# ---- said before an hour of training -----------------------------------------------------------------------------


def why_not_folded(spec: Any) -> str:
    """Why a model of this spec has no program; "" where it has one."""
    if any(isinstance(stack, Transformer) for stack, _ in _stacks(spec)):
        return (
            "attention reads every step since the first, so what it must remember grows with the sequence and there "
            "are no fixed update equations; take S4D, Mamba or LSTM for what is to be deployed"
        )
    return ""


def why_float64(spec: Any) -> str:
    """Why the program of this spec runs in float64 only; "" where it does not."""
    if any(isinstance(stack, S4) and carries for stack, carries in _stacks(spec)):
        return (
            "S4 carries its state on, and its matrix, diagonal plus low rank, cannot be made diagonal without losing "
            "its digits (error .7 in float32); take S4D or Mamba there, or S4 as low level, where it is a short filter"
        )
    return ""


def limits(spec: Any) -> tuple[str, ...]:
    """What will not be possible with a model of this spec, a sentence each."""
    found = []
    if why := why_not_folded(spec):
        found.append(f"this model will not fold: it can be compared, not deployed: {why}")
    elif why := why_float64(spec):
        found.append(f"this model folds to a program in float64 that no exporter and no integer format takes: {why}")
    return tuple(found)


def _stacks(spec: Any) -> list[tuple[StackSpec, bool]]:
    """The stacks of a spec, each with whether it carries its state on."""
    match spec:
        case StackSpec():
            return [(spec, True)]
        case Flat():
            return [(spec.net, True)]
        case Hierarchical():
            return [(spec.low, not spec.restart), (spec.high, True)]
        case Residual():
            return _stacks(spec.correction)
        case Ensemble():
            return [found for member in spec.members for found in _stacks(member)]
    return []
