"""A linear recurrence as a long convolution: per channel an impulse response and a direct path.

H: channels (d_model);  L: taps;  D: (H,).   y_t = sum_l taps_l u_{t-l},  D in tap 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from hiss.models.stack import full_precision


class LongConv(nn.Module):
    """What S4D and S4 share once their response is known. A subclass has the parameter d and says response()."""

    d: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        self.rounding: nn.Module = nn.Identity()  # of the taps: training for integers puts its grid here

    @property
    def rounds(self) -> bool:
        """True where the taps are rounded."""
        return not isinstance(self.rounding, nn.Identity)

    def response(self, length: int) -> Tensor:
        """(H, length): what the recurrence says to a sample 1 followed by 0."""
        raise TypeError(f"{type(self).__name__} has no response")

    @classmethod
    def exact_taps(cls, kernels: Sequence[LongConv], length: int) -> Tensor:
        """(layers, H, length): the impulse responses of kernels of one family and size, D in tap 0."""
        responses = torch.stack([kernel.response(length) for kernel in kernels])
        direct = torch.stack([kernel.d for kernel in kernels])[..., None]
        return torch.cat((responses[..., :1] + direct, responses[..., 1:]), -1)

    def taps(self, length: int) -> Tensor:
        """The impulse response (H, length), present sample first, D in tap 0."""
        return taps_of([self], length)[0]


def taps_of(kernels: Sequence[LongConv], length: int) -> Tensor:
    """(layers, H, length): the taps of kernels of one family and size."""
    taps = type(kernels[0]).exact_taps(kernels, length)
    if not any(kernel.rounds for kernel in kernels):
        return taps
    return torch.stack([kernel.rounding(each) for kernel, each in zip(kernels, taps, strict=True)])


def toeplitz(taps: Tensor) -> Tensor:
    """(..., L) -> (..., L, L): y = matrix u is causal convolution from zero."""
    steps = taps.shape[-1]
    with full_precision(taps.device):
        return (taps @ shift_basis(steps, taps.dtype, taps.device)).view(*taps.shape, steps)


@_disable_dynamo
@lru_cache(maxsize=16)
def shift_basis(steps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(steps, steps * steps): row l is the matrix with ones where (row - column) = l."""
    with torch.inference_mode(False):  # what is kept must serve training too
        rows = torch.arange(steps, device=device)
        lag = rows[:, None] - rows[None, :]
        return (lag[None] == rows[:, None, None]).to(dtype).flatten(1)
