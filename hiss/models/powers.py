"""Taps of diagonal recurrences, with a gradient of their own: sums of powers on two levels.

H: channels;  M: modes;  L: taps = J blocks of I.   a, c (H, M) complex,  dt (H, 1),  d (H,)

    a_bar, b_bar = discretize(a, dt),   C = 2 c b_bar
    K_l = Re sum_m C_m a_bar_m^l + (d at l = 0)     a_bar^(I j + i) = (a_bar^I)^j a_bar^i,   l = I j + i

So I + J powers of a mode are made instead of I J. With g_l = dL/dK_l (gradients as torch has them, of conjugates):

    dL/dC = conj(sum_l g_l a_bar^l),   dL/da_bar = conj(C / a_bar sum_l l g_l a_bar^l)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
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


Groups = tuple[tuple[int, int], ...]
"""Layers and taps of each: layers of one group have one length."""


def modal_taps(
    log_dt: Tensor, log_a_real: Tensor, a_imag: Tensor, c: Tensor, d: Tensor, rule: str, length: int
) -> Tensor:
    """(H, length): log_dt, d (H,), log_a_real = log(-Re a), a_imag (H, M), c (H, M, 2); rule: a name of RULES."""
    return modal_filters([[log_dt], [log_a_real], [a_imag], [c], [d]], rule, ((1, length),))[0]


def modal_filters(kinds: Sequence[Sequence[Tensor]], rule: str, groups: Groups) -> tuple[Tensor, ...]:
    """K of each layer, (H, length), its elementwise part made for all groups at once.

    kinds: the parameters of `modal_taps`, each of all layers, one group after the other. With two kinds more, gain and
    bias (H,): for each group, gain K of its layers, then bias times the sum of K up to each tap of its layers.
    """
    together = [each for kind in kinds for each in kind]
    return cast(tuple[Tensor, ...], _ModalFilters.apply(rule, groups, *together))  # type: ignore[no-untyped-call]


class _ModalFilters(Function):
    @staticmethod
    def forward(ctx: Any, rule: str, groups: Groups, *parameters: Tensor) -> tuple[Tensor, ...]:
        layers, width = sum(count for count, _ in groups), len(parameters[0])
        kinds = [torch.cat(parameters[i : i + layers]) for i in range(0, len(parameters), layers)]
        log_dt, log_a_real, a_imag, c, d, *norm = kinds
        a, dt = torch.complex(-torch.exp(log_a_real), a_imag), torch.exp(log_dt)[:, None]
        made, twice = RULES[rule](a, dt), 2 * torch.view_as_complex(c)
        read = twice * made.b_bar
        parts, at = [], 0
        found: list[Tensor] = []
        for count, length in groups:
            rows = slice(at, at + count * width)
            part = _Part(_levels(made.a_bar[rows], length), *(each[rows, None] for each in norm))
            parts.append(part)
            for of_all in part.forward(read[rows], d[rows], length):
                found += of_all.view(count, width, length).unbind()
            at = rows.stop
        ctx.kept = a, dt, made, twice, read, parts  # neither inputs nor outputs
        ctx.width, ctx.per_layer = width, 1 + len(norm) // 2
        return tuple(found)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a, dt, made, twice, read, parts = ctx.kept
        of_layers, found = iter(grads), []
        for part in parts:
            count = len(part.fine) // ctx.width
            found.append(part.backward(*(torch.cat(list(islice(of_layers, count))) for _ in range(ctx.per_layer))))
        sums, weighed, d_d, *d_norm = (torch.cat(kind) for kind in zip(*found, strict=True))
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
        kinds = by_dt.real.sum(1) * dt[:, 0], by_a.real * a.real, -by_a.imag, d_c, d_d, *d_norm
        return None, None, *(its for kind in kinds for its in kind.split(ctx.width))


class _Part:
    """One group: its powers, and what its gradient needs."""

    def __init__(self, powers: tuple[Tensor, Tensor], gain: Tensor | None = None, bias: Tensor | None = None):
        self.fine, self.coarse = powers
        self.gain, self.bias = gain, bias

    def forward(self, read: Tensor, direct: Tensor, length: int) -> tuple[Tensor, ...]:
        """K, or gain K and bias sum K, each (rows, length)."""
        # Re(x y) is the sum of products of the parts of conj(x) and y
        outer, inner = _parts((read[:, None] * self.coarse).conj()), _parts(self.fine)
        self.taps = torch.bmm(outer, inner.transpose(1, 2)).flatten(1)[:, :length]
        self.taps[:, 0] += direct
        if self.gain is None or self.bias is None:
            return (self.taps,)
        self.so_far = self.taps.cumsum(1)
        return self.taps * self.gain, self.so_far * self.bias

    def backward(self, grad: Tensor, by_shift: Tensor | None = None) -> tuple[Tensor, ...]:
        """The two sums of powers, and gradients of d, gain and bias."""
        more: tuple[Tensor, ...] = ()
        if self.gain is not None and self.bias is not None and by_shift is not None:
            more = (grad * self.taps).sum(1), (by_shift * self.so_far).sum(1)
            after = (by_shift * self.bias).flip(1).cumsum(1).flip(1)
            grad = torch.addcmul(after, grad, self.gain)
        return *_power_sums(self.fine, self.coarse, grad), grad[:, 0], *more


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
