"""One residual block of an SSM stack as one operation with a gradient of its own: few passes over few new arrays.

    x + drop(GLU(W drop(GELU(drop'(F(norm(x)) + shift))) + b))     F: a linear filter of each channel

H: channels;  n: columns (samples of all sequences), k steps of a chunk, m chunks;  p: share that dropout leaves out.
Composed of torch's operations (`composed`) it says the same (tests/test_fused.py) in more time: a variance along the
first axis, a Bernoulli mask and each large array that is new cost more than the arithmetic.

Dropout adds BARRED to what it leaves out, before GELU and before the sigmoid: both, and their slopes, are 0 there. So
masks are neither multiplied by nor kept for the gradient.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from hiss.models.stack import full_precision

BARRED = 1e30
EVERY = slice(None)
OPS = torch.ops.aten


def block(
    x: Tensor,
    taps: Tensor,
    shift: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    p: float = 0.0,
    p_response: float = 0.0,
    read: slice = EVERY,
) -> Tensor:
    """The block of the module's head: weight (2 H, H), bias (2 H,);  p_response: share that drop' leaves out.

    taps (H, T), shift (H, T): x (H, B, T) is convolved with taps, from zero -> (H, B, R), the steps `read` of it.
    taps (H, r, k), shift (H, r): matrices that make the last r steps of chunks, x (H, k, m) -> (H, r, m).
    """
    if torch.compiler.is_compiling():  # the compiler fuses what it sees
        return composed(x, taps, shift, weight, bias, eps, p, p_response, read)
    made = _Block.apply(x, taps, shift, weight, bias, eps, p, p_response, read)  # type: ignore[no-untyped-call]
    return cast(Tensor, made)


def composed(
    x: Tensor,
    taps: Tensor,
    shift: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    p: float = 0.0,
    p_response: float = 0.0,
    read: slice = EVERY,
) -> Tensor:
    """What `block` says, of torch's operations."""
    off = x - x.mean(0, keepdim=True)
    z = off * torch.rsqrt(off.square().mean(0, keepdim=True) + eps)
    if taps.dim() == 3:
        y, x = torch.baddbmm(shift[..., None], taps, z), x[:, -shift.shape[1] :]
    else:
        y, x = (convolved(z, taps) + shift[:, None])[..., read], x[..., read]
    y = F.dropout(y, p_response)
    pre = weight @ F.dropout(F.gelu(y), p).flatten(1) + bias[:, None]
    return x + F.dropout(F.glu(pre, 0), p).view(x.shape)


@_disable_dynamo  # compilers make nothing of complex numbers
def convolved(u: Tensor, taps: Tensor) -> Tensor:
    """Causal convolution, by FFT: u (H, B, T), taps (H, T) -> (H, B, T)."""
    n = fast_length(2 * u.shape[-1] - 1)
    return torch.fft.irfft(torch.fft.rfft(u, n).mul_(torch.fft.rfft(taps, n)[:, None]), n)[..., : u.shape[-1]]


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
        rows, keep = len(x), 1 - p
        z, scale = standardised(x.reshape(rows, -1), eps)
        z = z.view(x.shape)
        with full_precision(x.device):
            y, x = _filtered(z, taps, shift, read), _read(x, shift, taps, read)
        noise = F.dropout(torch.ones_like(y), p_response) if p_response else None
        if noise is not None:
            y.mul_(noise)
        first, second = _barred(y, p) if p else (None, None)
        if first is not None:
            y.add_(first, alpha=BARRED)
        y = y.view(rows, -1)
        a = F.gelu(y)
        half = _autocast_type(a)
        pre = _product(weight / keep, a, half).add_(bias[:, None])  # 1 / keep: what is kept counts more
        value, gate = pre[:rows], pre[rows:]
        if second is not None:
            gate.add_(second.view(gate.shape), alpha=BARRED)
        torch.sigmoid(gate, out=gate)
        ctx.save_for_backward(z, scale, taps, y, a, pre, weight, noise)
        ctx.keep, ctx.half, ctx.read = keep, half, read
        return torch.addcmul(x, value.view(x.shape), gate.view(x.shape), value=1 / keep)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, scale, taps, y, a, pre, weight, noise = ctx.saved_tensors
        rows, keep = len(y), ctx.keep
        d_pre = _through_gate(grad.reshape(rows, -1), pre)  # without the two factors 1 / keep
        d_weight = _product(d_pre, a.t(), ctx.half).mul_(keep**-2)
        d_bias = d_pre.sum(1).mul_(1 / keep)
        d_y = _product((weight * keep**-2).t(), d_pre, ctx.half)
        OPS.gelu_backward.grad_input(d_y, y, grad_input=d_y)
        d_y = d_y.view(grad.shape)
        if noise is not None:
            d_y.mul_(noise)
        with full_precision(grad.device):
            d_z, d_taps, d_shift = _through_filter(d_y, z, taps, ctx.read)
            d_x = _through_standardised(d_z.view(rows, -1), z.view(rows, -1), scale).view(z.shape)
        if d_x.shape == grad.shape:
            torch.addcmul(grad, d_x, scale.view(1, *grad.shape[1:]), out=d_x)
        else:
            _read(d_x.mul_(scale.view(1, *z.shape[1:])), d_shift, taps, ctx.read).add_(grad)
        return d_x, d_taps, d_shift, d_weight, d_bias, None, None, None, None


def standardised(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """z and 1 / deviation (1, n) of x (H, n): two passes, as accurate as the running form and far faster."""
    ones = _mean_row(x)
    with full_precision(x.device):
        z = x - ones @ x
        scale = torch.rsqrt(ones @ (z * z) + eps)
    return z.mul_(scale), scale


def _through_standardised(grad: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """Gradient of x, times the deviation, out of that of z, which is overwritten."""
    ones = _mean_row(z)
    product = ones @ (grad * z)
    return grad.sub_(ones @ grad).addcmul_(z, product, value=-1)


def _mean_row(x: Tensor) -> Tensor:
    return x.new_full((1, x.shape[0]), 1 / x.shape[0])


def _read(x: Tensor, shift: Tensor, taps: Tensor, read: slice) -> Tensor:
    """The part of x that a block has an output for."""
    return x[:, -shift.shape[1] :] if taps.dim() == 3 else x[..., read]


def _filtered(z: Tensor, taps: Tensor, shift: Tensor, read: slice) -> Tensor:
    """F(z) + shift, contiguous."""
    if taps.dim() == 3:
        return torch.bmm(taps, z).add_(shift[..., None])
    return convolved(z, taps)[..., read] + shift[:, None, read]


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
    grad_f, z_f, taps_f = (torch.fft.rfft(each, n) for each in (grad, z, taps))
    d_taps = torch.fft.irfft(z_f.conj().mul(grad_f).sum(1), n)[:, :steps]
    return torch.fft.irfft(grad_f.mul_(taps_f.conj()[:, None]), n)[..., :steps].contiguous(), d_taps, grad.sum(1)


def _through_gate(grad: Tensor, pre: Tensor) -> Tensor:
    """Gradient (2 H, n) of W a + b out of that of value * gate; pre (2 H, n): value over gate."""
    value, gate = pre.chunk(2)
    made = torch.empty_like(pre)
    d_value, d_gate = made.chunk(2)
    torch.mul(grad, gate, out=d_value)
    torch.mul(grad, value, out=d_gate)
    OPS.sigmoid_backward.grad_input(d_gate, gate, grad_input=d_gate)
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


def _product(a: Tensor, b: Tensor, half: torch.dtype | None) -> Tensor:
    """a b, in the type of a."""
    if half is None:
        return a @ b
    with full_precision(a.device):
        return (a.to(half) @ b.to(half)).to(a.dtype)
