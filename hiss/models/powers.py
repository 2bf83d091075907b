"""Taps of diagonal recurrences, with a gradient of their own: sums of powers on two levels.

H: channels;  M: modes;  L: taps = J blocks of I.   a, c (H, M) complex,  dt (H, 1),  d (H,)

    a_bar, b_bar = discretize(a, dt),   C = 2 c b_bar
    K_l = Re sum_m C_m a_bar_m^l + (d at l = 0)     a_bar^(I j + i) = (a_bar^I)^j a_bar^i,   l = I j + i

So I + J powers of a mode are made instead of I J. With g_l = dL/dK_l (gradients as torch has them, of conjugates):

    dL/dC = conj(sum_l g_l a_bar^l),   dL/da_bar = conj(C / a_bar sum_l l g_l a_bar^l)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Discrete:
    """A discretization of h' = a h + u with step dt, and its slopes.

    a_bar, b_bar: h <- a_bar h + b_bar u;  b_of_step: by dt a, with a and dt elsewhere held;  b_of_a, b_of_dt: by those;
    log_a_of_step: of log(a_bar) by dt a, None = 1.
    """

    a_bar: Tensor
    b_bar: Tensor
    b_of_step: Tensor
    log_a_of_step: Tensor | None = None
    b_of_a: Tensor | None = None
    b_of_dt: Tensor | None = None


def zoh(a: Tensor, dt: Tensor) -> Discrete:
    """a_bar = exp(dt a), b_bar = (a_bar - 1) / a."""
    a_bar = torch.polar(torch.exp(dt * a.real), dt * a.imag)  # a complex exp takes four times as long
    b_bar = (a_bar - 1) / a
    return Discrete(a_bar, b_bar, a_bar / a, b_of_a=-b_bar / a)


def bilinear(a: Tensor, dt: Tensor) -> Discrete:
    """a_bar = (1 + dt a / 2) / (1 - dt a / 2), b_bar = dt / (1 - dt a / 2)."""
    inverse = 1 / (1 - dt * a / 2)
    slope = inverse / (1 + dt * a / 2)  # a_bar' = inverse^2
    return Discrete((1 + dt * a / 2) * inverse, dt * inverse, dt * inverse**2 / 2, slope, b_of_dt=inverse)


RULES = {"zoh": zoh, "bilinear": bilinear}


def modal_taps(
    log_dt: Tensor, log_a_real: Tensor, a_imag: Tensor, c: Tensor, d: Tensor, rule: str, length: int
) -> Tensor:
    """(H, length): log_dt, d (H,), log_a_real = log(-Re a), a_imag (H, M), c (H, M, 2); rule: a name of RULES."""
    made = _ModalTaps.apply(log_dt, log_a_real, a_imag, c, d, rule, length)  # type: ignore[no-untyped-call]
    return cast(Tensor, made)


class _ModalTaps(Function):
    @staticmethod
    def forward(
        ctx: Any, log_dt: Tensor, log_a_real: Tensor, a_imag: Tensor, c: Tensor, d: Tensor, rule: str, length: int
    ) -> Tensor:
        a, dt = torch.complex(-torch.exp(log_a_real), a_imag), torch.exp(log_dt)[:, None]
        made, twice = RULES[rule](a, dt), 2 * torch.view_as_complex(c)
        read = twice * made.b_bar
        fine, coarse = _levels(made.a_bar, length)
        ctx.kept = a, dt, made, twice, read, fine, coarse  # neither inputs nor outputs
        # Re(x y) is the sum of products of the parts of conj(x) and y
        taps = torch.bmm(_parts((read[:, None] * coarse).conj()), _parts(fine).transpose(1, 2)).flatten(1)[:, :length]
        taps[:, 0] += d
        return taps

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, None, None]:
        a, dt, made, twice, read, fine, coarse = ctx.kept
        sums, weighed = _power_sums(fine, coarse, grad)
        # all that follows holds conjugates; they are taken back where parameters are real, at the end
        by_b = twice * sums
        by_log = read * weighed
        by_step = torch.addcmul(
            by_log if made.log_a_of_step is None else made.log_a_of_step * by_log, made.b_of_step, by_b
        )
        by_a, by_dt = dt * by_step, a * by_step
        if made.b_of_a is not None:
            by_a = by_a + made.b_of_a * by_b
        if made.b_of_dt is not None:
            by_dt = by_dt + made.b_of_dt * by_b
        d_c = torch.view_as_real((2 * made.b_bar * sums).conj().resolve_conj())
        return by_dt.real.sum(1) * dt[:, 0], by_a.real * a.real, -by_a.imag, d_c, grad[:, 0], None, None


def _power_sums(fine: Tensor, coarse: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """sum_l w_l a^l and sum_l l w_l a^l, (H, M) complex, of weights (H, L) and the powers of `_levels`."""
    length, inner, outer = weights.shape[1], fine.shape[1], coarse.shape[1]
    lags = torch.arange(length, dtype=weights.dtype, device=weights.device)
    both = F.pad(torch.stack((weights, weights * lags), 1), (0, inner * outer - length))
    parts = torch.bmm(both.view(len(fine), 2 * outer, inner), _parts(fine))
    by_block = torch.view_as_complex(parts.view(len(fine), 2, outer, -1, 2))  # (H, 2, J, M)
    sums, weighed = (by_block * coarse[:, None]).sum(2).unbind(1)
    return sums, weighed


def _levels(a: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """a^i (H, I, M) and a^(I j) (H, J, M), I J >= length."""
    inner = max(1, round(math.sqrt(length)))
    fine = _powers(a, inner)
    return fine, _powers(fine[:, -1] * a, -(-length // inner))


def _powers(a: Tensor, count: int) -> Tensor:
    """a^0 .. a^(count - 1): (H, M) -> (H, count, M)."""
    steps = a[:, None]
    ones = torch.ones_like(steps)
    return ones if count == 1 else torch.cat((ones, steps.expand(-1, count - 1, -1).cumprod(1)), 1)


def _parts(z: Tensor) -> Tensor:
    """Real and imaginary parts in turn, (..., M) complex -> (..., 2 M)."""
    return torch.view_as_real(z.resolve_conj()).flatten(-2)
