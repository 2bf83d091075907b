"""Causal Transformer encoder (Vaswani et al. 2017, arXiv 1706.03762), norm first, with sine and cosine positions.

    x <- x + attention(LayerNorm(x));   x <- x + W_2 relu(W_1 LayerNorm(x) + b_1) + b_2
    position t adds sin(t / 10000^(2i/d)) to channel 2i and the cosine to channel 2i + 1

It is there to be compared with: its state grows with the sequence, so it does not fold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiss.models.stack import Stack, StackSpec


@dataclass(frozen=True)
class Transformer(StackSpec):
    """A stack of encoder layers. n_heads must divide d_model; d_ff: width of the feed-forward part."""

    n_layers: int = 4
    n_heads: int = 2
    d_ff: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        self.check_sizes(n_heads=1024, d_ff=65536)
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads must divide d_model; got {self.n_heads} and {self.d_model}")
        self.check_steps()

    def build(self, n_in: int | None = None, n_out: int | None = None) -> TransformerStack:
        """The module; None leaves the embed or the decode away."""
        return TransformerStack(self, n_in, n_out)

    @property
    def least_weights(self) -> int:
        """Of the attention and of the feed-forward part."""
        return self.n_layers * self.d_model * (4 * self.d_model + 2 * self.d_ff)


class TransformerStack(Stack):
    """embed, positions, layers, decode."""

    def assemble(self, spec: Any) -> None:
        """One layer after the other."""
        self.dropout = spec.dropout
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                spec.d_model, spec.n_heads, spec.d_ff, spec.dropout, batch_first=True, norm_first=True
            )
            for _ in range(spec.n_layers)
        )

    def between(self, h: Tensor, read: slice) -> Tensor:
        """(d_model, B, T) -> (d_model, B, R)."""
        h = h.permute(1, 2, 0)
        h = F.dropout(h + positions(h), self.dropout, self.training)
        future = nn.Transformer.generate_square_subsequent_mask(h.shape[1], device=h.device, dtype=h.dtype)
        for layer in self.layers:
            h = layer(h, src_mask=future, is_causal=True)
        return h[:, read].permute(2, 0, 1)


def positions(like: Tensor) -> Tensor:
    """(T, d) for a tensor (B, T, d)."""
    steps, width = like.shape[1:]
    t = torch.arange(steps, dtype=torch.float64, device=like.device)[:, None]
    rates = torch.exp(-math.log(10000.0) / width * torch.arange(0, width, 2, device=like.device, dtype=torch.float64))
    table = torch.stack((torch.sin(t * rates), torch.cos(t * rates)), -1).flatten(1)
    return table[:, :width].to(like.dtype)
