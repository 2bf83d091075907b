"""The yardstick of the training benchmark: HiSS with S4 on both levels, composed plainly from the formulas.

Nothing here is tuned: (B, T, H) between layers with a transpose around each convolution, every step of every chunk
through every layer, the response by formula at each call, all convolutions by FFT of twice the length.

H: channels;  N: states, half of them stored, the others their conjugates;  L: steps;  dt (H, 1);  a, b, c, p (H, N).

    A = diag(a) - p p*,   bilinear rule,   c stands for C (I - A_bar^L), as it is trained
    K(z) = 2 / (1 + z) (S_cb - S_cp S_pb / (1 + S_pp)),   S_xy(z) = sum_n x_n y_n / (g(z) - a_n)
    g(z) = 2 / dt (1 - z) / (1 + z)   at the L-th roots of unity z

Formulas: Gu et al. 2021, arXiv 2111.00396, section 3 and appendix C; the composition: arXiv 2402.10211, section 4.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiss.models.s4d import legs

Size = tuple[int, int]
"""d_model, n_layers."""


class ReferenceS4(nn.Module):
    """The linear part: u (B, H, L) -> y (B, H, L)."""

    def __init__(self, d_model: int, d_state: int):
        super().__init__()
        a, b, p = legs(d_state)
        self.log_dt = nn.Parameter(torch.empty(d_model, 1).uniform_(math.log(1e-3), math.log(1e-1)))
        self.log_a_real = nn.Parameter(torch.log(-a.real).float().repeat(d_model, 1))
        self.a_imag = nn.Parameter(a.imag.float().repeat(d_model, 1))
        self.b, self.p = (nn.Parameter(torch.view_as_real(x).float().repeat(d_model, 1, 1)) for x in (b, p))
        self.c = nn.Parameter(torch.randn(d_model, d_state // 2, 2) * math.sqrt(0.5))
        self.d = nn.Parameter(torch.randn(d_model))

    def response(self, length: int) -> Tensor:
        """(H, L)."""
        dt = torch.exp(self.log_dt)
        half = torch.complex(-torch.exp(self.log_a_real), self.a_imag)
        a, b, c, p = (
            torch.cat((x, x.conj()), -1) for x in (half, *map(torch.view_as_complex, (self.b, self.c, self.p)))
        )
        z = torch.exp(-2j * math.pi / length * torch.arange(length // 2 + 1))
        # with 1 + z taken into the denominator: it is 0 at the last root of an even length
        resolvent = 1 / ((2 / dt)[..., None] * (1 - z) - (1 + z) * a[..., None])  # (H, N, L / 2 + 1)
        products = torch.stack((c * b, c * p, p.conj() * b, p.conj() * p))
        cb, cp, pb, pp = (products[..., None] * resolvent).sum(-2)  # each (H, L / 2 + 1)
        return torch.fft.irfft(2 * (cb - (1 + z) * cp * pb / (1 + (1 + z) * pp)), length)

    def forward(self, u: Tensor) -> Tensor:
        """Causal convolution, from zero state."""
        steps = u.shape[-1]
        spectrum = torch.fft.rfft(u, 2 * steps) * torch.fft.rfft(self.response(steps), 2 * steps)
        return torch.fft.irfft(spectrum, 2 * steps)[..., :steps] + self.d[:, None] * u


class ByteDropout(nn.Module):
    """nn.Dropout with a byte of the generator an element, where torch's takes a whole draw: a tenth of its time.

    Some builds of torch draw masks by a vector library, others one by one; with this one the composition costs the
    same on all. The chance is rounded to 256ths.
    """

    def __init__(self, p: float):
        super().__init__()
        self.dropped = round(256 * p)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; as it is in evaluation."""
        if not self.training:
            return x
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
        return x * (draws[: x.numel()].view(x.shape) >= self.dropped) * (256 / (256 - self.dropped))


class ReferenceBlock(nn.Module):
    """x + dropout(mix(dropout(GELU(dropout(S4(LayerNorm(x)))))))."""

    def __init__(self, d_model: int, d_state: int, drop: nn.Module):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.s4 = ReferenceS4(d_model, d_state)
        self.drop = drop
        self.mix = nn.Conv1d(d_model, 2 * d_model, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, H) -> (B, L, H)."""
        y = self.drop(self.s4(self.norm(x).transpose(1, 2)))
        y = F.glu(self.mix(self.drop(F.gelu(y))), 1)
        return x + self.drop(y.transpose(1, 2))


class ReferenceHiSS(nn.Module):
    """S4 on chunks of `period` samples, S4 on what their last steps say. byte_masks: ByteDropout for nn.Dropout."""

    def __init__(self, low: Size, high: Size, n_in: int, n_out: int, *, byte_masks: bool = False):
        super().__init__()
        d_state, period, dropout = 64, 10, 0.1
        drop = ByteDropout(dropout) if byte_masks else nn.Dropout(dropout)
        self.period = period
        self.embed, self.hand_over = nn.Linear(n_in, low[0]), nn.Linear(low[0], high[0])
        self.low, self.high = (
            nn.Sequential(*(ReferenceBlock(d_model, d_state, drop) for _ in range(n_layers)))
            for d_model, n_layers in (low, high)
        )
        self.head = nn.Linear(high[0], n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T / period, n_out)."""
        batch, steps, n_in = x.shape
        chunks = x.reshape(-1, self.period, n_in)
        handed = self.hand_over(self.low(self.embed(chunks)))[:, -1]
        return self.head(self.high(handed.view(batch, steps // self.period, -1)))
