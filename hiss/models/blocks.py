"""The residual block of HiSS (norm, recurrence, GELU, mix with GLU), a stack of them, and S4D as such a stack.

Inside a stack the channels come first: (H, B, T) for whole sequences, (H, k, n) for n chunks of k steps. So norms,
mixes and convolutions all run on contiguous rows, without a copy between them; forward has (B, T, channels).

    x <- x + drop(GLU(W drop(GELU(SSM(LayerNorm(x)))) + b))     GLU: first half times sigmoid(second half)

S4 has a third dropout, right behind SSM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiss.models.kernel import LongConv
from hiss.models.s4d import DISCRETIZATIONS, INITS, S4DKernel
from hiss.models.stack import Stack, StackSpec, linear_rows


@dataclass(frozen=True)
class S4D(StackSpec):
    """A stack of S4D blocks.

    d_state counts real states per channel (d_state / 2 complex modes); init: lin, inv or legs; discretization: zoh or
    bilinear; dt_min, dt_max: range of the initial step sizes, log-uniform.
    """

    d_state: int = 16
    init: str = "lin"
    discretization: str = "zoh"
    dropout: float = 0.1
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        self.check_sizes(d_state=1024)
        if self.d_state % 2:
            raise ValueError(f"d_state must be even (conjugate pairs); got {self.d_state}")
        if self.init not in INITS:
            raise ValueError(f"init is {self.init!r}; known: {', '.join(INITS)}")
        if self.discretization not in DISCRETIZATIONS:
            raise ValueError(f"discretization is {self.discretization!r}; known: {', '.join(DISCRETIZATIONS)}")
        self.check_steps()

    def build(self, n_in: int | None = None, n_out: int | None = None) -> SSMStack:
        """The module; None leaves the embed or the decode away."""
        return SSMStack(self, n_in, n_out)

    def kernel(self) -> LongConv:
        """The recurrence of one block."""
        return S4DKernel(
            self.d_model,
            self.d_state // 2,
            init=self.init,
            discretization=self.discretization,
            dt_min=self.dt_min,
            dt_max=self.dt_max,
        )

    @property
    def least_weights(self) -> int:
        """Of the mixes, and of A and C."""
        return self.n_layers * (2 * self.d_model**2 + 2 * self.d_model * self.d_state)


class SSMSpec(Protocol):
    """What a block asks of its spec."""

    @property
    def d_model(self) -> int:
        """Channels."""

    @property
    def dropout(self) -> float:
        """Share of elements that is left out in training."""

    def kernel(self) -> LongConv:
        """A recurrence of its own for each block."""


class SSMBlock(nn.Module):
    """One layer: prenorm, recurrence, GELU, mix with GLU, residual."""

    def __init__(self, spec: SSMSpec):
        super().__init__()
        self.norm = nn.LayerNorm(spec.d_model)
        self.ssm = spec.kernel()
        self.mix = nn.Linear(spec.d_model, 2 * spec.d_model)
        self.dropout = spec.dropout
        self.drops_response = not isinstance(spec, S4D)

    def sequence(self, x: Tensor, read: slice = slice(None)) -> Tensor:
        """x (H, B, T) -> (H, B, T) or, with `read`, only those steps of it."""
        return self._mixed(x[..., read], self.ssm.sequence(_normed(self.norm, x))[..., read])

    def chunk(self, x: Tensor) -> Tensor:
        """x (H, k, n) -> (H, k, n), each chunk from zero state."""
        return self._mixed(x, self.ssm.chunk(_normed(self.norm, x)))

    def chunk_end(self, x: Tensor) -> Tensor:
        """x (H, k, n) -> (H, 1, n): the last step only."""
        return self._mixed(x[:, -1:], self.ssm.chunk_end(_normed(self.norm, x)))

    def _mixed(self, x: Tensor, y: Tensor) -> Tensor:
        if self.drops_response:
            y = F.dropout(y, self.dropout, self.training)
        y = F.dropout(F.gelu(y), self.dropout, self.training)
        y = F.glu(linear_rows(self.mix, y), 0)
        return x + F.dropout(y, self.dropout, self.training)


class SSMStack(Stack):
    """embed, blocks, decode."""

    def assemble(self, spec: Any) -> None:
        """One block a layer."""
        self.layers = nn.ModuleList(SSMBlock(spec) for _ in range(spec.n_layers))

    def between(self, h: Tensor, read: slice) -> Tensor:
        """(d_model, B, T) -> (d_model, B, R)."""
        *first, last = self._blocks()
        for block in first:
            h = block.sequence(h)
        return last.sequence(h, read)

    def ends(self, h: Tensor) -> Tensor:
        """(d_model, k, n) -> (d_model, n)."""
        *first, last = self._blocks()
        for block in first:
            h = block.chunk(h)
        return last.chunk_end(h)[:, 0]

    def _blocks(self) -> list[SSMBlock]:
        return [cast(SSMBlock, block) for block in self.layers]


class _RowNorm(torch.autograd.Function):
    """LayerNorm along the first axis, with its own backward: a third of the memory traffic of the composed one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
        """x (H, n) -> (H, n)."""
        variance, mean = torch.var_mean(x, 0, correction=0, keepdim=True)
        scale = torch.rsqrt(variance + eps)
        z = (x - mean).mul_(scale)
        ctx.save_for_backward(z, scale, gain)
        return torch.addcmul(bias[:, None], z, gain[:, None])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of x, gain and bias."""
        (grad,) = grads
        z, scale, gain = ctx.saved_tensors
        product = grad * z
        d_gain, d_bias = product.sum(1), grad.sum(1)
        rows = len(gain)
        mean_grad = (gain @ grad)[None] / rows
        mean_product = (gain @ product)[None] / rows
        d_x = (grad * gain[:, None]).sub_(mean_grad).sub_(z * mean_product).mul_(scale)
        return d_x, d_gain, d_bias, None


def _normed(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    rows = _RowNorm.apply(x.reshape(x.shape[0], -1), norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    return cast(Tensor, rows).view(x.shape)
