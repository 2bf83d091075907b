"""Mamba blocks -> ops: the short convolution is a Fir, the recurrence a Selective whose D, B and C are values."""

from __future__ import annotations

import numpy as np

from hiss.folding.expressions import Array, Builder, value
from hiss.folding.layers import array, layer_norm, linear
from hiss.models import MambaBlock, MambaStack
from hiss.program import ops as o


def mamba_blocks(b: Builder, name: str, stack: MambaStack, h: str, chunk: int | None) -> str:
    """All blocks and the last norm."""
    for i, block in enumerate(stack.layers):
        assert isinstance(block, MambaBlock)
        h = mamba_block(b, f"{name}.{i}", block, h, chunk)
    return layer_norm(b, f"{name}.norm", stack.norm, h)


def mamba_block(b: Builder, name: str, block: MambaBlock, x: str, chunk: int | None) -> str:
    """x + W_out (selective(silu(conv(v))) silu(z)),   (v, z) = W_in norm(x)."""
    inner, restart = len(block.d), chunk is not None
    normed = layer_norm(b, f"{name}.norm", block.norm, x)
    w_in, w_x = array(block.w_in.weight), array(block.w_x.weight)
    v = _mapped(b, f"{name}.v", w_in[:inner], normed)
    conv = b.add(o.Fir(f"{name}.conv", v, array(block.conv.weight), array(block.conv.bias), restart))
    u = b.add(o.Map(f"{name}.u", conv, "silu"))
    s, drive, read = (
        _mapped(b, f"{name}.{part}", w, u)
        for part, w in zip("sbc", np.split(w_x, np.cumsum(block.sizes)[:-1]), strict=True)
    )
    step = b.affine(f"{name}.step", linear(block.w_delta, value(s, block.sizes[0])))
    delta = b.add(o.Map(f"{name}.delta", step, "softplus"))
    a, d = -np.exp(array(block.log_a)), array(block.d)
    y = b.add(o.Selective(f"{name}.ssm", u, delta, drive, read, a, d, restart))
    open_ = b.add(o.Map(f"{name}.open", _mapped(b, f"{name}.gate", w_in[inner:], normed), "silu"))
    gated = b.add(o.Mul(f"{name}.gated", (y, open_)))
    mixed = _mapped(b, f"{name}.mix", array(block.w_out.weight), gated)
    return b.add(o.Add(f"{name}.out", (x, mixed), (1, 1)))


def _mapped(b: Builder, name: str, weight: Array, x: str) -> str:
    """W x, written down."""
    return b.affine(name, value(x, weight.shape[1]).linear(weight, np.zeros(len(weight))))
