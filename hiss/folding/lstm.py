"""LSTM layers -> ops: h and c come back from the step before through a Delay."""

from __future__ import annotations

import numpy as np

from hiss.folding.expressions import Builder, Expression
from hiss.folding.layers import array
from hiss.models import LSTMLayer, LSTMStack
from hiss.program import ops as o

GATES = {"in": "sigmoid", "forget": "sigmoid", "new": "tanh", "out_gate": "sigmoid"}
"""In the order of the rows."""


def lstm_layers(b: Builder, name: str, stack: LSTMStack, h: str, chunk: int | None) -> str:
    """All layers."""
    for i, layer in enumerate(stack.layers):
        assert isinstance(layer, LSTMLayer)
        h = lstm_layer(b, f"{name}.{i}", layer, h, chunk)
    return h


def lstm_layer(b: Builder, name: str, layer: LSTMLayer, x: str, chunk: int | None) -> str:
    """h = o tanh(c),   c = f c_before + i g."""
    width, restart = layer.w_h.in_features, chunk is not None
    age, channels = np.ones(width, np.int64), np.arange(width)
    h_before = b.add(o.Delay(f"{name}.h_before", f"{name}.h", age, channels, "zero", restart))
    c_before = b.add(o.Delay(f"{name}.c_before", f"{name}.c", age, channels, "zero", restart))
    bias = array(layer.w_x.bias) + array(layer.w_h.bias)
    gates = Expression({x: array(layer.w_x.weight), h_before: array(layer.w_h.weight)}, bias)
    opened: dict[str, str] = {}
    for i, (gate, function) in enumerate(GATES.items()):
        rows = b.affine(f"{name}.{gate}", gates.rows(i * width, width))
        opened[gate] = b.add(o.Map(f"{name}.{gate}.open", rows, function))
    kept = b.add(o.Mul(f"{name}.kept", (opened["forget"], c_before)))
    fresh = b.add(o.Mul(f"{name}.fresh", (opened["in"], opened["new"])))
    cell = b.add(o.Add(f"{name}.c", (kept, fresh), (1, 1)))
    squashed = b.add(o.Map(f"{name}.c.tanh", cell, "tanh"))
    return b.add(o.Mul(f"{name}.h", (opened["out_gate"], squashed)))
