"""Diagonal state space layer (S4D).

H: channels (d_model);  M: complex modes per channel (d_state / 2, one of each conjugate pair);  L: taps.
dt (H,);  A (H, M) with Re A < 0;  C (H, M), B = 1 (another B only multiplies C);  D (H,).

    h_k = A_bar h_{k-1} + u_k                 # (H, M) complex, from zero
    y_k = Re(sum_m C_star h_k) + D u_k        # (H,),  C_star = 2 C B_bar

Formulas: Gu et al. 2022, On the Parameterization and Initialization of Diagonal State Space Models, arXiv 2206.11893.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from hiss.models.kernel import LongConv

INITS = ("lin", "inv", "legs")
DISCRETIZATIONS = ("zoh", "bilinear")


def initial_modes(init: str, n_modes: int) -> tuple[Tensor, Tensor]:
    """A and B (n_modes,) complex128 for one channel: half of each conjugate pair of an order 2 n_modes system."""
    n = torch.arange(n_modes, dtype=torch.float64)
    order = 2 * n_modes
    if init == "lin":
        imag = math.pi * n
    elif init == "inv":
        imag = order / math.pi * (order / (2 * n + 1) - 1)
    elif init == "legs":
        a, b, _ = legs(order)
        return a, torch.complex(b.real, b.imag.clamp(-2, 2))  # as the reference clips it
    else:
        raise ValueError(f"init is {init!r}; known: {', '.join(INITS)}")
    return torch.complex(torch.full_like(n, -0.5), imag), torch.ones(n_modes, dtype=torch.complex128)


def legs(order: int) -> tuple[Tensor, Tensor, Tensor]:
    """HiPPO-LegS as V (diag(a) - p p*) V*, one of each conjugate pair: a, and b and p in that basis, (order / 2,)."""
    q = np.sqrt(2.0 * np.arange(order) + 1)
    skew = -0.5 * np.tril(np.outer(q, q), -1)
    skew = skew - skew.T
    frequency, vectors = np.linalg.eigh(-1j * skew)  # ascending: the last half are the positive ones
    half = slice(order // 2, None)
    basis = vectors.conj().T[half]
    b, p = basis @ q, basis @ (q * math.sqrt(0.5))
    return torch.from_numpy(-0.5 + 1j * frequency[half]), torch.from_numpy(b), torch.from_numpy(p)


def discretize_zoh(a: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """A_bar = exp(dt A), B_bar = (A_bar - 1) / A   for B = 1; a (H, M), dt (H, 1)."""
    a_bar = torch.exp(dt * a)
    return a_bar, (a_bar - 1) / a


def discretize_bilinear(a: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """A_bar = (1 + dt A / 2) / (1 - dt A / 2), B_bar = dt / (1 - dt A / 2)   for B = 1."""
    denominator = 1 - dt * a / 2
    return (1 + dt * a / 2) / denominator, dt / denominator


class S4DKernel(LongConv):
    """The linear part of an S4D layer: per channel one diagonal recurrence and a direct path."""

    def __init__(
        self,
        d_model: int,
        n_modes: int,
        *,
        init: str = "lin",
        discretization: str = "zoh",
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
    ):
        super().__init__()
        if discretization not in DISCRETIZATIONS:
            raise ValueError(f"discretization is {discretization!r}; known: {', '.join(DISCRETIZATIONS)}")
        self.d_model, self.n_modes, self.discretization = d_model, n_modes, discretization
        a, b = initial_modes(init, n_modes)
        c = torch.view_as_complex(torch.randn(d_model, n_modes, 2, dtype=torch.float64)) * math.sqrt(0.5)
        self.log_dt = nn.Parameter(torch.empty(d_model).uniform_(math.log(dt_min), math.log(dt_max)))
        self.log_a_real = nn.Parameter(torch.log(-a.real).float().repeat(d_model, 1))
        self.a_imag = nn.Parameter(a.imag.float().repeat(d_model, 1))
        self.c = nn.Parameter(torch.view_as_real(c * b).float())
        self.d = nn.Parameter(torch.randn(d_model))

    def _modes(self) -> tuple[Tensor, Tensor]:
        """A (H, M) complex and dt (H, 1)."""
        return torch.complex(-torch.exp(self.log_a_real), self.a_imag), torch.exp(self.log_dt)[:, None]

    def discrete(self) -> tuple[Tensor, Tensor]:
        """(A_bar, C_star), each (H, M) complex: h <- A_bar h + u;  y = Re(sum C_star h) + D u."""
        a, dt = self._modes()
        a_bar, b_bar = discretize_zoh(a, dt) if self.discretization == "zoh" else discretize_bilinear(a, dt)
        return a_bar, 2 * torch.view_as_complex(self.c) * b_bar

    def response(self, length: int) -> Tensor:
        """(H, length) Re(sum C_star A_bar^l)."""
        a_bar, c_star = self.discrete()
        inner = max(1, min(length, round(math.sqrt(length))))
        outer = -(-length // inner)
        # two levels of powers, l = inner j + i: far fewer exponentials than a full Vandermonde matrix
        fine = _powers(a_bar, inner)  # (H, M, inner)
        coarse = c_star[..., None] * _powers(fine[..., -1] * a_bar, outer)  # (H, M, outer)
        left = torch.cat((coarse.real, -coarse.imag), 1).transpose(1, 2)  # (H, outer, 2M)
        right = torch.cat((fine.real, fine.imag), 1)  # (H, 2M, inner)
        return torch.bmm(left, right).flatten(1)[:, :length]


def _powers(a: Tensor, count: int) -> Tensor:
    """a^0 .. a^(count - 1) along a new last axis."""
    if count == 1:
        return torch.ones_like(a)[..., None]
    ones = torch.ones_like(a)[..., None]
    return torch.cat((ones, torch.cumprod(a[..., None].expand(*a.shape, count - 1), -1)), -1)
