"""The parts of an SSM block that work on every sample, with gradients of their own: few passes over few new arrays.

H: channels;  n: columns (samples of all sequences), k steps of a chunk, m chunks;  p: share that dropout leaves out.
Composed of torch's operations they would say the same (tests/test_fused.py) in more time: a variance along the first
axis, a Bernoulli mask and each large array that is new cost more than the arithmetic.
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

BF16_ONE = 0x3F80
"""The bits of 1.0."""


def normalised(x: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) along the first axis of x (H, ...)."""
    if torch.compiler.is_compiling():
        return _composed_norm(x, eps)
    return cast(Tensor, _Normalised.apply(x, eps))  # type: ignore[no-untyped-call]


def normed_chunks(x: Tensor, eps: float, mixing: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """mixing normalised(x) + shift per channel, and the steps of x that it stands for, the last ones.

    x (H, k, m), mixing (H, r, k), shift (H, r) -> twice (H, r, m)
    """
    if torch.compiler.is_compiling():
        return torch.baddbmm(shift[..., None], mixing, _composed_norm(x, eps)), x[:, -shift.shape[1] :]
    return cast(tuple[Tensor, Tensor], _NormedChunks.apply(x, eps, mixing, shift))  # type: ignore[no-untyped-call]


@_disable_dynamo  # compilers make nothing of complex numbers
def convolved(u: Tensor, taps: Tensor, shift: Tensor) -> Tensor:
    """Causal convolution, by FFT, plus shift: u (H, B, T), taps and shift (H, T) -> (H, B, T)."""
    return cast(Tensor, _Convolved.apply(u, taps, shift))  # type: ignore[no-untyped-call]


def gated(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, p: float) -> Tensor:
    """x + drop(GLU(weight drop(GELU(y)) + bias)): x, y (H, n), weight (2 H, H), bias (2 H,); p = 0 drops nothing."""
    if torch.compiler.is_compiling():  # the compiler fuses what it sees
        pre = weight @ F.dropout(F.gelu(y), p) + bias[:, None]
        return x + F.dropout(F.glu(pre, 0), p)
    return cast(Tensor, _Gated.apply(x, y, weight, bias, p))  # type: ignore[no-untyped-call]


def _composed_norm(x: Tensor, eps: float) -> Tensor:
    off = x - x.mean(0, keepdim=True)
    return off * torch.rsqrt(off.square().mean(0, keepdim=True) + eps)


def _standardised(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """z and 1 / deviation (1, n) of x (H, n): two passes, as accurate as the running form and far faster."""
    ones = _mean_row(x)
    with full_precision(x.device):
        z = x - ones @ x
        scale = torch.rsqrt(ones @ (z * z) + eps)
    return z.mul_(scale), scale


def _through_standardised(grad: Tensor, z: Tensor, scale: Tensor) -> Tensor:
    """Gradient of x out of that of z, which is overwritten."""
    ones = _mean_row(z)
    with full_precision(z.device):
        product = ones @ (grad * z)
        grad.sub_(ones @ grad)
    return grad.addcmul_(z, product, value=-1).mul_(scale)


def _mean_row(x: Tensor) -> Tensor:
    return x.new_full((1, x.shape[0]), 1 / x.shape[0])


class _Normalised(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        z, scale = _standardised(x.reshape(x.shape[0], -1), eps)
        ctx.save_for_backward(z, scale)
        return z.view(x.shape)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        z, scale = ctx.saved_tensors
        own = grad.reshape(z.shape)
        d_x = _through_standardised(own if own.data_ptr() != grad.data_ptr() else own.clone(), z, scale)
        return d_x.view(grad.shape), None


class _NormedChunks(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, mixing: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        z, scale = _standardised(x.reshape(x.shape[0], -1), eps)
        ctx.save_for_backward(z, scale, mixing)
        ctx.shape = x.shape
        with full_precision(x.device):
            y = torch.bmm(mixing, z.view(x.shape)).add_(shift[..., None])
        return y, x[:, -shift.shape[1] :].contiguous()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor, beside: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        z, scale, mixing = ctx.saved_tensors
        d_mixing = torch.bmm(grad, z.view(ctx.shape).transpose(1, 2))
        d_z = mixing.transpose(1, 2) * grad if mixing.shape[1] == 1 else torch.bmm(mixing.transpose(1, 2), grad)
        d_x = _through_standardised(d_z.view(z.shape), z, scale).view(ctx.shape)
        d_x[:, -mixing.shape[1] :] += beside
        return d_x, None, d_mixing, grad.sum(-1)


class _Convolved(Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, taps: Tensor, shift: Tensor) -> Tensor:
        steps = u.shape[-1]
        n = fast_length(2 * steps - 1)
        u_f, taps_f = torch.fft.rfft(u, n), torch.fft.rfft(taps, n)[:, None]
        ctx.save_for_backward(u, taps_f)  # the spectrum of u is cheaper to make again than to keep
        ctx.n = n
        return torch.fft.irfft(u_f.mul_(taps_f), n)[..., :steps] + shift[:, None]

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, taps_f = ctx.saved_tensors
        n, steps = ctx.n, u.shape[-1]
        grad_f, u_f = torch.fft.rfft(grad, n), torch.fft.rfft(u, n)
        d_taps = torch.fft.irfft(u_f.conj().mul(grad_f).sum(1), n)[:, :steps]
        return torch.fft.irfft(grad_f * taps_f.conj(), n)[..., :steps], d_taps, grad.sum(1)


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, p: float) -> Tensor:
        rows, keep = len(y), 1 - p
        a = F.gelu(y)
        first, second = _masks(a, p) if p else (None, None)
        if first is not None:
            a.mul_(first)
        half = _autocast_type(a)
        pre = _product(weight / keep, a, half).add_(bias[:, None])  # 1 / keep: what is kept counts more
        value, gate = pre[:rows], pre[rows:]
        torch.sigmoid(gate, out=gate)
        out = value * gate
        if second is not None:
            out.mul_(second)
        ctx.save_for_backward(y, a, pre, weight, first, second)
        ctx.keep, ctx.half = keep, half
        return torch.add(x, out, alpha=1 / keep, out=out)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        y, a, pre, weight, first, second = ctx.saved_tensors
        rows, keep, half = len(y), ctx.keep, ctx.half
        value, gate = pre[:rows], pre[rows:]
        d_pre = torch.empty_like(pre)  # without the two factors 1 / keep
        d_value, d_gate = d_pre[:rows], d_pre[rows:]
        torch.mul(grad, gate, out=d_value)
        if second is not None:
            d_value.mul_(second)
        torch.mul(d_value, value, out=d_gate)
        d_gate.addcmul_(d_gate, gate, value=-1)  # gate' = gate (1 - gate)
        d_weight = _product(d_pre, a.t(), half).mul_(keep**-2)
        d_a = _product((weight * keep**-2).t(), d_pre, half)
        if first is not None:
            d_a.mul_(first)
        d_y = torch.ops.aten.gelu_backward(d_a, y)
        return grad, d_y, d_weight, d_pre.sum(1).mul_(1 / keep), None


def _masks(like: Tensor, p: float) -> tuple[Tensor, ...]:
    """Two of zeros with probability p (to 2^-16), else ones, bfloat16: what arrays of this shape are multiplied by."""
    if like.device.type != "cpu":
        return torch.empty((2, *like.shape), dtype=torch.bfloat16, device=like.device).bernoulli_(1 - p).unbind()
    count = 2 * like.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)  # 64 bits for four elements
    limit = round(p * 2**16) - 2**15
    ones = words.view(torch.int16).clamp_(limit - 1, limit).sub_(limit - 1).mul_(BF16_ONE)
    return ones.view(torch.bfloat16)[:count].view(2, *like.shape).unbind()


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


def fast_length(n: int) -> int:
    """The smallest 2^a 3^b 5^c, b and c at most 1, that is at least n."""
    return min(m << max(0, (-(-n // m) - 1).bit_length()) for m in (1, 3, 5, 15))
