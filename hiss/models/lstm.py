"""LSTM (Hochreiter and Schmidhuber 1997), as torch computes it.

i, f, g, o = W_x x + W_h h + b        sigmoid, sigmoid, tanh, sigmoid
c <- f c + i g;   h <- o tanh(c)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiss.models.stack import Stack, StackSpec


@dataclass(frozen=True)
class LSTM(StackSpec):
    """A stack of LSTM layers, d_model cells each; dropout acts between layers."""

    dropout: float = 0.1

    def __post_init__(self) -> None:
        self.check_sizes()
        self.check_steps()

    def build(self, n_in: int | None = None, n_out: int | None = None) -> LSTMStack:
        """The module; None leaves the embed or the decode away."""
        return LSTMStack(self, n_in, n_out)

    @property
    def least_weights(self) -> int:
        """Of both maps of all gates."""
        return 8 * self.n_layers * self.d_model**2


class LSTMLayer(nn.Module):
    """One layer; the rows of both maps are those of i, f, g, o."""

    def __init__(self, d_model: int):
        super().__init__()
        self.w_x = nn.Linear(d_model, 4 * d_model)
        self.w_h = nn.Linear(d_model, 4 * d_model)
        bound = 1 / math.sqrt(d_model)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, d_model) -> the same, from zero state."""
        zero = x.new_zeros(1, x.shape[1], x.shape[2])
        weights = [self.w_x.weight, self.w_h.weight, self.w_x.bias, self.w_h.bias]
        return torch.lstm(x, [zero, zero], weights, True, 1, 0.0, self.training, False, False)[0]


class LSTMStack(Stack):
    """embed, layers, decode."""

    def assemble(self, spec: LSTM) -> None:
        """One layer after the other."""
        self.dropout = spec.dropout
        self.layers = nn.ModuleList(LSTMLayer(spec.d_model) for _ in range(spec.n_layers))

    def between(self, h: Tensor, read: slice) -> Tensor:
        """(d_model, B, T) -> (d_model, B, R)."""
        h = h.permute(2, 1, 0).contiguous()
        for i, layer in enumerate(self.layers):
            h = layer(h if i == 0 else F.dropout(h, self.dropout, self.training))
        return h[read].permute(2, 1, 0)
