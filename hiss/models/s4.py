"""State space layer with a diagonal plus low-rank matrix (S4), from HiPPO-LegS, discretized by the bilinear rule.

H: channels;  N: states per channel, M = N / 2 conjugate pairs of which one is stored;  L: taps;  dt (H,).
a, b, c, p (H, M) complex, Re a < 0;   A = diag(a) - p p*   on all N states.

    x_k = A_bar x_{k-1} + B_bar u_k,  y_k = C x_k + D u_k      A_bar = (1 - dt A / 2)^-1 (1 + dt A / 2)
                                                               B_bar = (1 - dt A / 2)^-1 dt B
The response K_l = C A_bar^l B_bar follows from its generating function on a circle |z| = r < 1,

    sum_l K_l z^l = 2 C ((2 / dt) (1 - z) - (1 + z) A)^-1 B = 2 (S_cb - (1 + z) S_cp S_pb / (1 + (1 + z) S_pp))
    S_xy = sum over pairs of x y / w + its conjugate part,   w = (2 / dt) (1 - z) - (1 + z) a

by an inverse FFT in double precision: n points give K_l r^l + K_(l+n) r^(l+n) + ..., and r^n is next to nothing.
A + A* is negative, so the recurrence is stable whatever the parameters are.
Formulas: Gu et al. 2021, Efficiently Modeling Long Sequences with Structured State Spaces, arXiv 2111.00396.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hiss.models.blocks import SSMStack
from hiss.models.fused import fast_length
from hiss.models.kernel import LongConv
from hiss.models.s4d import legs
from hiss.models.stack import StackSpec

CIRCLES = {torch.float32: (1e-9, 1.25), torch.float64: (1e-16, 4.0)}
"""(r^n, n / L) by the type of the parameters: r^n is what of the response after n taps is seen in the first ones, and
rounding of double precision grows by r^-L; both stay below the last digit of float32, below 1e-11 for float64."""


@dataclass(frozen=True)
class S4(StackSpec):
    """A stack of S4 blocks: those of S4D with another recurrence, and a dropout right behind it.

    d_state counts real states per channel; dt_min, dt_max: range of the initial step sizes, log-uniform.
    """

    d_state: int = 64
    dropout: float = 0.1
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self) -> None:
        self.check_sizes(d_state=512)
        if self.d_state % 2:
            raise ValueError(f"d_state must be even (conjugate pairs); got {self.d_state}")
        self.check_steps()

    def build(self, n_in: int | None = None, n_out: int | None = None) -> SSMStack:
        """The module; None leaves the embed or the decode away."""
        return SSMStack(self, n_in, n_out)

    def kernel(self) -> LongConv:
        """The recurrence of one block."""
        return S4Kernel(self.d_model, self.d_state // 2, dt_min=self.dt_min, dt_max=self.dt_max)

    @property
    def least_weights(self) -> int:
        """Of the mixes, and of a, b, c and p."""
        return self.n_layers * (2 * self.d_model**2 + 4 * self.d_model * self.d_state)


class S4Kernel(LongConv):
    """The linear part of an S4 layer: per channel one recurrence and a direct path."""

    def __init__(self, d_model: int, n_modes: int, *, dt_min: float = 1e-3, dt_max: float = 1e-1):
        super().__init__()
        a, b, p = legs(2 * n_modes)
        self.log_dt = nn.Parameter(torch.empty(d_model).uniform_(math.log(dt_min), math.log(dt_max)))
        self.log_a_real = nn.Parameter(torch.log(-a.real).float().repeat(d_model, 1))
        self.a_imag = nn.Parameter(a.imag.float().repeat(d_model, 1))
        self.b = nn.Parameter(torch.view_as_real(b).float().repeat(d_model, 1, 1))
        self.p = nn.Parameter(torch.view_as_real(p).float().repeat(d_model, 1, 1))
        self.c = nn.Parameter(torch.randn(d_model, n_modes, 2) * math.sqrt(0.5))
        self.d = nn.Parameter(torch.randn(d_model))

    def system(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(dt (H, 1), a, b, c, p (H, M) complex) in double precision."""
        a = torch.complex(-torch.exp(self.log_a_real.double()), self.a_imag.double())
        b, c, p = (torch.view_as_complex(x.double()) for x in (self.b, self.c, self.p))
        return torch.exp(self.log_dt.double())[:, None], a, b, c, p

    def response(self, length: int) -> Tensor:
        """(H, length) C A_bar^l B_bar, computed in double precision."""
        alias, oversampling = CIRCLES[self.d.dtype]
        n = fast_length(math.ceil(oversampling * length))
        radius = alias ** (1 / n)
        steps = torch.arange(n, dtype=torch.float64, device=self.d.device)
        angles = -2 * math.pi / n * steps[: n // 2 + 1]
        spectrum = self._generating(torch.polar(torch.full_like(angles, radius), angles))
        grown = radius ** -steps[:length]
        return (torch.fft.irfft(spectrum, n)[:, :length] * grown).to(self.d.dtype)

    def _generating(self, z: Tensor) -> Tensor:
        """sum_l K_l z^l at all z (n,) -> (H, n).

        x y / w and its conjugate part have the real denominator-coefficients (2 / dt)^2, -(4 / dt) Re a, |a|^2 of
        (1 - z)^2, (1 - z)(1 + z), (1 + z)^2: so all sums are real matrix products.
        """
        dt, a, b, c, p = self.system()
        minus, plus = 1 - z, 1 + z
        rate = (2 / dt).expand_as(a.real)
        coefficients = torch.stack((rate**2, -2 * rate * a.real, a.abs() ** 2), -1)  # (H, M, 3)
        basis = torch.view_as_real(torch.stack((minus**2, minus * plus, plus**2))).flatten(1)  # (3, 2 n)
        denominators = _complex(coefficients @ basis)
        inverse = torch.view_as_real(denominators.reciprocal()).flatten(2)  # (H, M, 2 n)
        products = torch.stack((c * b, c * p, p.conj() * b, p.conj() * p), 1)  # (H, 4, M)
        rows = torch.cat((2 * products.real * rate[:, None], -2 * (products * a.conj()[:, None]).real), 1)
        sums = _complex(rows @ inverse)  # (H, 8, n)
        cb, cp, pb, pp = (minus * sums[:, :4] + plus * sums[:, 4:]).unbind(1)
        return 2 * (cb - plus * cp * pb / (1 + plus * pp))


def _complex(pairs: Tensor) -> Tensor:
    """(..., 2 n) real, real and imaginary parts side by side -> (..., n) complex."""
    return torch.view_as_complex(pairs.view(*pairs.shape[:-1], -1, 2))
