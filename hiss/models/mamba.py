"""Mamba: a recurrence whose step sizes, inputs and read-outs depend on the sample (arXiv 2312.00752).

E = expand d_model: channels inside;  N: d_state;  R: rank of the step size.   Inside a stack: (T, B, channels).

    x <- x + W_out (y silu(z)),   (v, z) = W_in LayerNorm(x)
    u = silu(conv(v))                                        causal, d_conv samples of each channel
    (s, B, C) = W_x u,   delta = softplus(W_delta s + b)     (E,), (N,), (N,)
    h <- exp(delta A) h + delta B u;   y = C h + D u         A = -exp(log_a)

The defaults are those of mamba_ssm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiss.models.scan import selective_scan
from hiss.models.stack import Stack, StackSpec

LEAST_DT = 1e-4
"""Initial step sizes are not smaller than this."""


@dataclass(frozen=True)
class Mamba(StackSpec):
    """A stack of Mamba blocks and a last norm.

    d_state: states per inner channel; d_conv: samples of the short convolution; expand: inner channels per d_model;
    dt_rank: 0 = d_model / 16, rounded up; dt_min, dt_max: range of the initial step sizes, log-uniform.
    """

    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int = 0
    dropout: float = 0.0
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        self.check_sizes(d_state=1024, d_conv=64, expand=16)
        if not 0 <= self.dt_rank <= self.inner:
            raise ValueError(f"dt_rank must be in 0 .. {self.inner}, 0 for d_model / 16; got {self.dt_rank}")
        self.check_steps()

    @property
    def inner(self) -> int:
        """Channels inside a block."""
        return self.expand * self.d_model

    @property
    def rank(self) -> int:
        """What the step sizes are made of."""
        return self.dt_rank or -(-self.d_model // 16)

    def build(self, n_in: int | None = None, n_out: int | None = None) -> MambaStack:
        """The module; None leaves the embed or the decode away."""
        return MambaStack(self, n_in, n_out)

    @property
    def least_weights(self) -> int:
        """Of the maps in and out, and of A, B and C."""
        return self.n_layers * self.inner * (3 * self.d_model + 3 * self.d_state + self.d_conv)


class ShortConv(nn.Module):
    """y_t = b + sum_j taps_j u_{t-j}, the present sample first, per channel."""

    def __init__(self, channels: int, length: int):
        super().__init__()
        bound = 1 / math.sqrt(length)
        self.weight = nn.Parameter(torch.empty(channels, length).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.rounding: nn.Module = nn.Identity()  # of the taps: training for integers puts its grid here

    def taps(self) -> Tensor:
        """(channels, length)."""
        rounded: Tensor = self.rounding(self.weight)
        return rounded

    def forward(self, u: Tensor) -> Tensor:
        """(T, B, channels) -> the same, zeros before the first."""
        taps = self.taps().unbind(1)
        padded = F.pad(u, (0, 0, 0, 0, len(taps) - 1, 0))
        y = torch.addcmul(self.bias, u, taps[0])
        for j, tap in enumerate(taps[1:], 1):
            first = len(taps) - 1 - j
            y = torch.addcmul(y, padded[first : first + len(u)], tap)
        return y


class MambaBlock(nn.Module):
    """One layer: prenorm, selective recurrence, gate, residual."""

    def __init__(self, spec: Mamba):
        super().__init__()
        inner, rank = spec.inner, spec.rank
        self.sizes = rank, spec.d_state, spec.d_state
        self.dropout = spec.dropout
        self.norm = nn.LayerNorm(spec.d_model)
        self.w_in = nn.Linear(spec.d_model, 2 * inner, bias=False)
        self.conv = ShortConv(inner, spec.d_conv)
        self.w_x = nn.Linear(inner, sum(self.sizes), bias=False)
        self.w_delta = nn.Linear(rank, inner)
        self.log_a = nn.Parameter(torch.log(torch.arange(1.0, spec.d_state + 1)).repeat(inner, 1))
        self.d = nn.Parameter(torch.ones(inner))
        self.w_out = nn.Linear(inner, spec.d_model, bias=False)
        nn.init.uniform_(self.w_delta.weight, -(rank**-0.5), rank**-0.5)
        dt = torch.empty(inner).uniform_(math.log(spec.dt_min), math.log(spec.dt_max)).exp().clamp(min=LEAST_DT)
        with torch.no_grad():
            self.w_delta.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus of it is dt

    def forward(self, x: Tensor, read: slice = slice(None)) -> Tensor:
        """x (T, B, d_model) -> the steps `read` of it, (R, B, d_model), from zero state."""
        normed = self.norm(x)
        inner = len(self.d)
        v = F.linear(normed, self.w_in.weight[:inner])
        z = F.linear(normed[read], self.w_in.weight[inner:])
        u = F.silu(self.conv(v))
        s, b, c = self.w_x(u).split(self.sizes, -1)
        delta = F.softplus(self.w_delta(s))
        a = -torch.exp(self.log_a).T.contiguous()
        y = selective_scan(u, delta, a, b, c[read], read) + self.d * u[read]
        return x[read] + F.dropout(self.w_out(y * F.silu(z)), self.dropout, self.training)


class MambaStack(Stack):
    """embed, blocks, norm, decode."""

    norm: nn.LayerNorm

    def assemble(self, spec: Mamba) -> None:
        """One block a layer, and the last norm."""
        self.layers = nn.ModuleList(MambaBlock(spec) for _ in range(spec.n_layers))
        self.norm = nn.LayerNorm(spec.d_model)

    def between(self, h: Tensor, read: slice) -> Tensor:
        """(d_model, B, T) -> (d_model, B, R)."""
        h = h.permute(2, 1, 0).contiguous()
        *first, last = self.layers
        for block in first:
            h = block(h)
        return cast(Tensor, self.norm(last(h, read))).permute(2, 1, 0)
