"""Diagonal state space layer (S4D).

H: channels (d_model);  M: complex modes per channel (d_state / 2, one of each conjugate pair);  L: taps.
dt (H,);  A (H, M) with Re A < 0;  C (H, M), B = 1 (another B only multiplies C);  D (H,).

    h_k = A_bar h_{k-1} + u_k                 # (H, M) complex, from zero
    y_k = Re(sum_m C_star h_k) + D u_k        # (H,),  C_star = 2 C B_bar

Formulas: Gu et al. 2022, On the Parameterization and Initialization of Diagonal State Space Models, arXiv 2206.11893.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from hiss.models.kernel import LongConv
from hiss.models.powers import RULES, modal_filters

INITS = ("lin", "inv", "legs", "real")
DISCRETIZATIONS = tuple(RULES)


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
    elif init == "real":  # S4D-Real: the eigenvalues of HiPPO-LegS itself; training may take them off the axis
        return torch.complex(-(n + 1), torch.zeros_like(n)), torch.ones(n_modes, dtype=torch.complex128)
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

    def discrete(self) -> tuple[Tensor, Tensor]:
        """(A_bar, C_star), each (H, M) complex: h <- A_bar h + u;  y = Re(sum C_star h) + D u."""
        a, dt = torch.complex(-torch.exp(self.log_a_real), self.a_imag), torch.exp(self.log_dt)[:, None]
        made = RULES[self.discretization](a, dt)
        return made.a_bar, 2 * torch.view_as_complex(self.c) * made.b_bar

    @classmethod
    def exact_taps(cls, kernels: Sequence[LongConv], length: int) -> Tensor:
        """(layers, H, length), all in one go."""
        kernels = cast(Sequence[S4DKernel], kernels)
        made = modal_filters(cls.kinds(kernels), kernels[0].discretization, ((len(kernels), length),))
        return torch.stack(made)

    @staticmethod
    def kinds(kernels: Sequence[S4DKernel]) -> list[list[Tensor]]:
        """Their parameters as `modal_filters` has them."""
        return [[getattr(k, name) for k in kernels] for name in ("log_dt", "log_a_real", "a_imag", "c", "d")]
