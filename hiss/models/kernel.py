"""A linear recurrence as a long convolution: per channel an impulse response and a direct path.

H: channels (d_model);  L: taps;  D: (H,).   y_t = sum_l taps_l u_{t-l},  D in tap 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LongConv(nn.Module):
    """What S4D and S4 share once their response is known. A subclass has the parameter d and says response()."""

    d: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        self.rounding: nn.Module = nn.Identity()  # of the taps: training for integers puts its grid here

    def response(self, length: int) -> Tensor:
        """(H, length): what the recurrence says to a sample 1 followed by 0."""
        raise TypeError(f"{type(self).__name__} has no response")

    def taps(self, length: int) -> Tensor:
        """The impulse response (H, length), present sample first, D in tap 0."""
        response = self.response(length)
        rounded: Tensor = self.rounding(torch.cat(((response[:, 0] + self.d)[:, None], response[:, 1:]), 1))
        return rounded

    def sequence(self, u: Tensor) -> Tensor:
        """Causal convolution over long sequences by FFT: u (H, B, T) -> y (H, B, T)."""
        steps = u.shape[-1]
        n = fast_length(2 * steps - 1)
        spectrum = torch.fft.rfft(u, n) * torch.fft.rfft(self.taps(steps), n)[:, None]
        return torch.fft.irfft(spectrum, n)[..., :steps]

    def chunk(self, u: Tensor) -> Tensor:
        """The same within short chunks, as one Toeplitz product: u (H, k, n) -> y (H, k, n), each chunk from zero."""
        steps = u.shape[1]
        toeplitz = (self.taps(steps) @ shift_basis(steps, u)).view(-1, steps, steps)
        return torch.bmm(toeplitz, u)

    def chunk_end(self, u: Tensor) -> Tensor:
        """Only the last step of each chunk: u (H, k, n) -> y (H, 1, n)."""
        return torch.bmm(self.taps(u.shape[1]).flip(1)[:, None], u)


def shift_basis(steps: int, like: Tensor) -> Tensor:
    """(steps, steps * steps): row l is the matrix with ones where (row - column) = l."""
    rows = torch.arange(steps, device=like.device)
    lag = rows[:, None] - rows[None, :]
    return (lag[None] == rows[:, None, None]).to(like.dtype).flatten(1)


def fast_length(n: int) -> int:
    """The smallest 2^a 3^b 5^c, b and c at most 1, that is at least n."""
    return min(m << max(0, (-(-n // m) - 1).bit_length()) for m in (1, 3, 5, 15))
