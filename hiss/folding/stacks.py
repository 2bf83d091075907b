"""A stack of any family -> ops: embed, what its family puts between, decode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hiss.errors import FoldError
from hiss.folding.expressions import Builder, Expression, value
from hiss.folding.layers import linear, s4d_blocks
from hiss.folding.lstm import lstm_layers
from hiss.folding.mamba import mamba_blocks
from hiss.models import LSTMStack, MambaStack, S4DStack, Stack

Between = Callable[[Builder, str, Any, str, bool], str]
"""(builder, prefix, stack, value that the blocks read, restart) -> value that they make."""
BETWEEN: dict[type[Stack], Between] = {
    S4DStack: s4d_blocks,
    MambaStack: mamba_blocks,
    LSTMStack: lstm_layers,
}


def fold_stack(b: Builder, name: str, stack: Stack, x: Expression, restart: bool) -> Expression:
    """What the stack makes of x; the decode is not yet written down. Raises FoldError."""
    between = BETWEEN.get(type(stack))
    if between is None:
        raise FoldError(f"{type(stack).__name__} cannot be folded: hiss knows no update equations for it")
    if stack.embed is not None:
        x = linear(stack.embed, x)
    h = _named(x) or b.affine(f"{name}.embed", x)
    y = value(between(b, name, stack, h, restart), stack.d_model)
    return y if stack.decode is None else linear(stack.decode, y)


def _named(x: Expression) -> str | None:
    """The value that an expression is, when it is one as it stands."""
    if len(x.terms) == 1 and not np.any(x.bias):
        [(name, weight)] = x.terms.items()
        if weight.shape[0] == weight.shape[1] and np.array_equal(weight, np.eye(len(weight))):
            return name
    return None
