"""The residual block of HiSS (norm, recurrence, GELU, mix with GLU), a stack of them, and S4D as such a stack.

Inside a stack the channels come first: (H, B, T) for whole sequences, (H, k, n) for n chunks of k steps. So norms,
mixes and convolutions all run on contiguous rows, without a copy between them; forward has (B, T, channels).

    x <- x + drop(GLU(W drop(GELU(SSM(LayerNorm(x)))) + b))     GLU: first half times sigmoid(second half)

S4 has a third dropout, right behind SSM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from hiss.models.fused import Head, block
from hiss.models.keeping import kept
from hiss.models.kernel import LongConv, taps_of, toeplitz
from hiss.models.powers import modal_filters
from hiss.models.s4d import DISCRETIZATIONS, INITS, S4DKernel
from hiss.models.stack import Stack, StackSpec, full_precision


@dataclass(frozen=True)
class S4D(StackSpec):
    """A stack of S4D blocks.

    d_state counts real states per channel (d_state / 2 complex modes); init: lin, inv, legs or real (as a high level it
    forgets more slowly and does not ring: docs/comparison.md); discretization: zoh or bilinear; dt_min, dt_max: range
    of the initial step sizes, log-uniform.
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

    def sequence(self, x: Tensor, taps: Tensor, shift: Tensor, read: slice = slice(None)) -> Tensor:
        """x (H, B, T), taps and shift (H, T) of `filters` -> (H, B, T) or, with `read`, only those steps of it."""
        return self._block(x, taps, shift, read)

    def chunk(self, x: Tensor, mixing: Tensor, shift: Tensor) -> Tensor:
        """x (H, k, m) -> (H, r, m): the last r steps of each chunk, mixing (H, r, k) of all, shift (H, r)."""
        return self._block(x, mixing, shift)

    def _block(self, x: Tensor, taps: Tensor, shift: Tensor, read: slice = slice(None)) -> Tensor:
        p = self.dropout if self.training else 0.0
        p_response = p if self.drops_response else 0.0
        head = Head(self.mix.weight, self.mix.bias, self.norm.eps, p, p_response)
        return block(x, taps, shift, head, read)


Filters = tuple[Sequence[Tensor], Sequence[Tensor]]
"""taps, shifts."""


class SSMStack(Stack):
    """embed, blocks, decode."""

    def assemble(self, spec: Any) -> None:
        """One block a layer."""
        self.layers = nn.ModuleList(SSMBlock(spec) for _ in range(spec.n_layers))

    def between(self, h: Tensor, read: slice, filters: Filters | None = None) -> Tensor:
        """(d_model, B, T) -> (d_model, B, R)."""
        taps, shifts = filters or self.filters(h.shape[-1])
        blocks = self._blocks()
        for each, its, shift in zip(blocks[:-1], taps[:-1], shifts[:-1], strict=True):
            h = each.sequence(h, its, shift)
        return blocks[-1].sequence(h, taps[-1], shifts[-1], read)

    def ends(self, h: Tensor, filters: Filters | None = None) -> Tensor:
        """(d_model, k, n) -> (d_model, n)."""
        taps, shifts = filters or self.filters(h.shape[1])
        blocks = self._blocks()
        for each, its, shift in zip(blocks[:-1], taps[:-1], shifts[:-1], strict=True):
            h = each.chunk(h, toeplitz(its), shift)
        return blocks[-1].chunk(h, taps[-1].flip(1)[:, None], shifts[-1][:, -1:])[:, 0]

    @_disable_dynamo  # complex numbers, and what is kept
    def filters(self, length: int) -> Filters:
        """taps and shifts of the layers, each (H, length): recurrence(gain z + bias) = taps * z + shift.

        Gain and bias of a norm act on channels as the recurrence does, so they go with it. Kept while nobody learns.
        """
        if torch.is_grad_enabled():
            return self._filters(length)
        return kept(self, length, lambda: self._filters(length))

    def _filters(self, length: int) -> Filters:
        if plain := plain_filters((self, length)):
            return plain[0]
        blocks = self._blocks()
        with full_precision(blocks[0].ssm.d.device):
            gain, bias = (torch.stack([getattr(b.norm, of) for b in blocks])[..., None] for of in ("weight", "bias"))
            taps = taps_of([b.ssm for b in blocks], length)
            return (taps * gain).unbind(), (taps.cumsum(-1) * bias).unbind()

    def _blocks(self) -> list[SSMBlock]:
        return [cast(SSMBlock, each) for each in self.layers]


def plain_filters(*wanted: tuple[Stack, int]) -> list[Filters] | None:
    """What `filters` gives for each of some stacks and lengths, in one go; None where they are not S4D of one kind."""
    blocks = [each for stack, _ in wanted for each in stack.layers]
    kernels = [each.ssm for each in blocks if isinstance(each, SSMBlock) and type(each.ssm) is S4DKernel]
    alike = {(kernel.c.shape, kernel.discretization) for kernel in kernels}
    if len(kernels) < len(blocks) or len(alike) > 1 or any(k.rounds for k in kernels):
        return None
    norms = [[getattr(each.norm, of) for each in blocks] for of in ("weight", "bias")]
    groups = tuple((len(stack.layers), length) for stack, length in wanted)
    with full_precision(kernels[0].d.device):
        made = modal_filters([*S4DKernel.kinds(kernels), *norms], kernels[0].discretization, groups)
    its = iter(made)
    return [(list(islice(its, count)), list(islice(its, count))) for count, _ in groups]


@_disable_dynamo
def joint_filters(*wanted: tuple[Stack, int]) -> list[dict[str, Any]]:
    """For each stack and length what its `rows` or `chunk_ends` may be told: {} where it makes its own filters."""
    made = plain_filters(*wanted) if torch.is_grad_enabled() else None
    return [{"filters": each} for each in made] if made else [{} for _ in wanted]
