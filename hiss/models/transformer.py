"""Causal Transformer encoder (Vaswani et al. 2017, arXiv 1706.03762), norm first, with sine and cosine positions.

    x <- x + attention(LayerNorm(x));   x <- x + W_2 relu(W_1 LayerNorm(x) + b_1) + b_2
    attention: per head softmax(q k^T / sqrt(d)) v over the steps up to now, heads mixed by W_out
    position t adds sin(t / 10000^(2i/d)) to channel 2i and the cosine to channel 2i + 1

It is there to be compared with: its state grows with the sequence, so it does not fold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


class EncoderLayer(nn.Module):
    """One layer. Dropout acts on what attention and the feed-forward part make, not within attention: so no matrix of
    steps by steps is ever held."""

    def __init__(self, spec: Transformer):
        super().__init__()
        self.n_heads, self.dropout = spec.n_heads, spec.dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(spec.d_model), nn.LayerNorm(spec.d_model)
        self.w_qkv = nn.Linear(spec.d_model, 3 * spec.d_model)
        self.w_out = nn.Linear(spec.d_model, spec.d_model)
        self.w_1, self.w_2 = nn.Linear(spec.d_model, spec.d_ff), nn.Linear(spec.d_ff, spec.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) -> the same; step t sees the steps up to t."""
        x = x + self._dropped(self.w_out(self._attention(self.norm_1(x))))
        wide = self._dropped(F.relu(self.w_1(self.norm_2(x))))
        return x + self._dropped(self.w_2(wide))

    def _attention(self, x: Tensor) -> Tensor:
        batch, steps, width = x.shape
        q, k, v = self.w_qkv(x).view(batch, steps, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)  # (B, heads, T, d)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(batch, steps, width)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class TransformerStack(Stack):
    """embed, positions, layers, decode."""

    def assemble(self, spec: Transformer) -> None:
        """One layer after the other."""
        self.dropout = spec.dropout
        self.layers = nn.ModuleList(EncoderLayer(spec) for _ in range(spec.n_layers))

    def between(self, h: Tensor, read: slice) -> Tensor:
        """(d_model, B, T) -> (d_model, B, R)."""
        h = h.permute(1, 2, 0)
        h = F.dropout(h + positions(h), self.dropout, self.training)
        for layer in self.layers:
            h = layer(h)
        return h[:, read].permute(2, 0, 1)


def positions(like: Tensor) -> Tensor:
    """(T, d) for a tensor (B, T, d)."""
    steps, width = like.shape[1:]
    t = torch.arange(steps, dtype=torch.float64, device=like.device)[:, None]
    rates = torch.exp(-math.log(10000.0) / width * torch.arange(0, width, 2, device=like.device, dtype=torch.float64))
    table = torch.stack((torch.sin(t * rates), torch.cos(t * rates)), -1).flatten(1)
    return table[:, :width].to(like.dtype)
