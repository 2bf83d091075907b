"""One residual block of an SSM stack as one operation with a gradient of its own: few passes over few new arrays.

    x + drop(GLU(W drop(GELU(drop'(F(norm(x)) + shift))) + b))     F: a linear filter of each channel

H: channels;  n: columns (samples of all sequences), k steps of a chunk, m chunks;  p: share that dropout leaves out.
Composed of torch's operations (`composed`) it says the same (tests/test_fused.py) in more time: a variance along the
first axis, a Bernoulli mask and each large array that is new cost more than the arithmetic.

Dropout adds BARRED to what it leaves out, before GELU and before the sigmoid: both, and their slopes, are 0 there. So
masks are neither multiplied by nor kept for the gradient.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hiss.models.stack import full_precision

BARRED = 1e30
EVERY = slice(None)
GELU_BACKWARD = torch.ops.aten.gelu_backward.grad_input
SIGMOID_BACKWARD = torch.ops.aten.sigmoid_backward.grad_input


class Head(NamedTuple):
    """All but the filter: weight (2 H, H), bias (2 H,), eps of the norm, p;  p_response: the share of drop'."""

    weight: Tensor
    bias: Tensor
    eps: float
    p: float = 0.0
    p_response: float = 0.0


def block(x: Tensor, taps: Tensor, shift: Tensor, head: Head, read: slice = EVERY) -> Tensor:
    """The block that the module's docstring prints.

    taps (H, T), shift (H, T): x (H, B, T) is convolved with taps, from zero -> (H, B, R), the steps `read` of it.
    taps (H, r, k), shift (H, r): matrices that make the last r steps of chunks, x (H, k, m) -> (H, r, m).
    """
    if torch.compiler.is_compiling():  # the compiler fuses what it sees
        return composed(x, taps, shift, head, read)
    made = _Block.apply(x, taps, shift, *head, read)  # type: ignore[no-untyped-call]
    return cast(Tensor, made)


def composed(x: Tensor, taps: Tensor, shift: Tensor, head: Head, read: slice = EVERY) -> Tensor:
    """What `block` says, of torch's operations."""
    weight, bias, eps, p, p_response = head
    off = x - x.mean(0, keepdim=True)
    z = off * torch.rsqrt(off.square().mean(0, keepdim=True) + eps)
    if taps.dim() == 3:
        y, x = torch.baddbmm(shift[..., None], taps, z), x[:, -shift.shape[1] :]
    else:
        y, x = (_convolved(z, taps) + shift[:, None])[..., read], x[..., read]
    y = F.dropout(y, p_response)
    pre = weight @ F.dropout(F.gelu(y), p).flatten(1) + bias[:, None]
    return x + F.dropout(F.glu(pre, 0), p).view(x.shape)


def convolved(u: Tensor, taps: Tensor) -> Tensor:
    """Causal convolution, by FFT: u (H, B, T), taps (H, T) -> (H, B, T)."""
    return _by_spectrum(u, torch.fft.rfft(taps, fast_length(2 * u.shape[-1] - 1)))


def _by_spectrum(u: Tensor, taps_f: Tensor) -> Tensor:
    n = fast_length(2 * u.shape[-1] - 1)
    return torch.fft.irfft(torch.fft.rfft(u, n).mul_(taps_f[:, None]), n)[..., : u.shape[-1]]


_convolved = _disable_dynamo(convolved)  # compilers make nothing of complex numbers


@lru_cache(maxsize=256)
def fast_length(n: int) -> int:
    """The smallest 2^a 3^b 5^c, b and c at most 1, that is at least n."""
    return min(m << max(0, (-(-n // m) - 1).bit_length()) for m in (1, 3, 5, 15))


class _Block(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        taps: Tensor,
        shift: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        p: float,
        p_response: float,
        read: slice,
    ) -> Tensor:
        half = _autocast_type(x)
        with full_precision(x.device):
            z, scale = standardised(x.reshape(len(x), -1), eps)
            z, x = z.view(x.shape), x[:, -shift.shape[1] :] if taps.dim() == 3 else x[..., read]
            if taps.dim() == 2:
                taps = torch.fft.rfft(taps, fast_length(2 * z.shape[-1] - 1))
            noise = F.dropout(torch.ones_like(x), p_response) if p_response else None
            first, second = _barred(x, p) if p else (None, None)
            y = _filtered(z, taps, shift, read, noise, first).view(len(x), -1)
            a = F.gelu(y)
            pre = _mixed(a, weight, bias, 1 / (1 - p), second, half)  # what is kept counts more
            value, gate = _halves(pre)
            torch.sigmoid(gate, out=gate)
            ctx.save_for_backward(z, scale, taps, y, a, pre, weight, noise)
            ctx.more, ctx.half, ctx.read = 1 / (1 - p), half, read
            return torch.addcmul(x, value.view(x.shape), gate.view(x.shape), value=ctx.more)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, scale, taps, y, a, pre, weight, noise = ctx.saved_tensors
        more, half = ctx.more, ctx.half
        with full_precision(grad.device):
            d_pre = _through_gate(grad.reshape(len(y), -1), pre)  # without the two factors `more`
            d_weight = _product(d_pre, a.t(), more**2, half)
            d_y = _product(weight.t(), d_pre, more**2, half)
            GELU_BACKWARD(d_y, y, grad_input=d_y)
            d_y = d_y.view(grad.shape)
            if noise is not None:
                d_y.mul_(noise)
            d_z, d_taps, d_shift = _through_filter(d_y, z, taps, ctx.read)
            d_x = _through_standardised(d_z, z, scale)
            scale = scale.view(1, *z.shape[1:])
            if d_x.shape == grad.shape:
                torch.addcmul(grad, d_x, scale, out=d_x)
            else:
                d_x.mul_(scale)
                beside = d_x[:, -grad.shape[1] :] if taps.dim() == 3 else d_x[..., ctx.read]
                beside.add_(grad)
            return d_x, d_taps, d_shift, d_weight, d_pre.sum(1).mul_(more), None, None, None, None


def standardised(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """z and 1 / deviation (1, n) of x (H, n): two passes, as accurate as the running form and far faster."""
    ones = _constant(len(x), 1 / len(x), x.dtype, x.device)
    z = x - torch.mm(ones, x)
    scale = torch.addmm(_constant(1, eps, x.dtype, x.device), ones, z * z).rsqrt_()
    return z.mul_(scale), scale


def _through_standardised(grad: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """Gradient of x, times the deviation, out of that of z (H, ...), which is overwritten."""
    ones, rows = _constant(len(z), 1 / len(z), z.dtype, z.device), scale.shape[1]
    flat, z = grad.view(-1, rows), z.view(-1, rows)
    product = torch.mm(ones, flat * z)
    flat.sub_(torch.mm(ones, flat)).addcmul_(z, product, value=-1)
    return grad


@lru_cache(maxsize=64)
def _constant(count: int, value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A row (1, count)."""
    with torch.inference_mode(False):  # what is kept must serve training too
        return torch.full((1, count), value, dtype=dtype, device=device)


def _filtered(
    z: Tensor, taps: Tensor, shift: Tensor, read: slice, noise: Tensor | None, barred: Tensor | None
) -> Tensor:
    """noise (F(z) + shift), barred, contiguous; taps: matrices, or the spectrum of a convolution's."""
    if taps.dim() == 3:
        start = shift[..., None]
        if barred is None or noise is not None:
            y = torch.baddbmm(start, taps, z)
        else:
            return torch.add(start, barred, alpha=BARRED).baddbmm_(taps, z)
    else:
        y = _by_spectrum(z, taps)[..., read] + shift[:, None, read]
    if noise is not None:
        y.mul_(noise)
    return y if barred is None else y.add_(barred, alpha=BARRED)


def _through_filter(grad: Tensor, z: Tensor, taps: Tensor, read: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of z, taps and shift; that of z is new."""
    if taps.dim() == 3:
        back = taps.transpose(1, 2)
        d_z = back * grad if taps.shape[1] == 1 else torch.bmm(back, grad)
        return d_z, torch.bmm(grad, z.transpose(1, 2)), grad.sum(-1)
    if read != EVERY:
        part, grad = grad, torch.zeros_like(z)
        grad[..., read] = part
    n, steps = fast_length(2 * z.shape[-1] - 1), z.shape[-1]
    grad_f, z_f = torch.fft.rfft(grad, n), torch.fft.rfft(z, n)
    d_taps = torch.fft.irfft(z_f.conj().mul(grad_f).sum(1), n)[:, :steps]
    d_z = torch.fft.irfft(grad_f.mul_(taps.conj()[:, None]), n)[..., :steps]
    return d_z.contiguous(), d_taps, grad.sum(1)


def _mixed(
    a: Tensor, weight: Tensor, bias: Tensor, more: float, barred: Tensor | None, half: torch.dtype | None
) -> Tensor:
    """more weight a + bias, the second half of it barred."""
    if half is None:
        pre = torch.addmm(bias[:, None], weight, a, alpha=more)
    else:
        pre = _product(weight, a, more, half).add_(bias[:, None])
    if barred is not None:
        gate = _halves(pre)[1]
        gate.add_(barred.view(gate.shape), alpha=BARRED)
    return pre


def _halves(pre: Tensor) -> tuple[Tensor, Tensor]:
    rows = len(pre) // 2
    return pre[:rows], pre[rows:]


def _through_gate(grad: Tensor, pre: Tensor) -> Tensor:
    """Gradient (2 H, n) of W a + b out of that of value * gate; pre (2 H, n): value over gate."""
    value, gate = _halves(pre)
    made = torch.empty_like(pre)
    d_value, d_gate = _halves(made)
    torch.mul(grad, gate, out=d_value)
    torch.mul(grad, value, out=d_gate)
    SIGMOID_BACKWARD(d_gate, gate, grad_input=d_gate)
    return made


def _barred(like: Tensor, p: float) -> tuple[Tensor, ...]:
    """Two of the shape of `like`, -1 with probability p (to 2^-16), else 0."""
    if like.device.type != "cpu":
        kept = torch.empty((2, *like.shape), dtype=torch.bfloat16, device=like.device).bernoulli_(1 - p)
        return kept.sub_(1).unbind()
    count = 2 * like.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)  # 64 bits for four elements
    limit = round(p * 2**16) - 2**15
    shares = words.view(torch.int16).clamp_(limit - 1, limit).sub_(limit)
    return shares[:count].view(2, *like.shape).unbind()


def _autocast_type(x: Tensor) -> torch.dtype | None:
    """What matrix products are made in, where a context of torch.autocast says so."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _product(a: Tensor, b: Tensor, more: float, half: torch.dtype | None) -> Tensor:
    """more a b, in the type of a."""
    if half is None:
        return torch.addmm(_constant(1, 0.0, a.dtype, a.device), a, b, beta=0, alpha=more)
    return torch.mm(a.to(half), b.to(half)).to(a.dtype).mul_(more)
