"""One fold function per torch layer: module -> ops. Nothing else in hiss knows both.

b: the builder of the stage;  name: prefix of the values made;  x: what the layer reads.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hiss.folding.expressions import Array, Builder, Expression, value
from hiss.models import S4DBlock, S4DKernel, S4DStack
from hiss.program import ops as o


def array(tensor: Tensor) -> Array:
    """A parameter in float64."""
    return tensor.detach().cpu().double().numpy().copy()


def linear(layer: nn.Linear, x: Expression) -> Expression:
    """W x + b, not yet written down."""
    return x.linear(array(layer.weight), array(layer.bias))


def layer_norm(b: Builder, name: str, layer: nn.LayerNorm, x: str) -> str:
    """gain (x - mean) / sqrt(var + eps) + bias."""
    return b.add(o.Norm(name, x, "layer", array(layer.weight), array(layer.bias), layer.eps))


def s4d_kernel(b: Builder, name: str, kernel: S4DKernel, x: str, restart: bool) -> str:
    """h <- A_bar h + u; y = Re(C* h) + D u with C* = 2 C B_bar: u enters h directly, since only C B is ever seen."""
    doubled = kernel if next(kernel.parameters()).dtype == torch.float64 else _double(kernel)
    a_bar, c_star = (t.detach().cpu().numpy().astype(np.complex128) for t in doubled.discrete())
    return b.add(o.Diagonal(name, x, a_bar, c_star, array(kernel.d), restart))


def _double(kernel: S4DKernel) -> S4DKernel:
    """A float64 copy: poles and their powers are worth the digits."""
    copy = S4DKernel.__new__(S4DKernel)
    nn.Module.__init__(copy)
    copy.__dict__.update({k: v for k, v in kernel.__dict__.items() if not k.startswith("_")})
    for key, parameter in kernel.named_parameters():
        copy.register_parameter(key, nn.Parameter(parameter.detach().double()))
    return copy


def s4d_block(b: Builder, name: str, block: S4DBlock, x: str, restart: bool) -> str:
    """x + GLU(W gelu(S4D(norm(x))) + b)."""
    width = block.mix.in_features
    normed = layer_norm(b, f"{name}.norm", block.norm, x)
    y = s4d_kernel(b, f"{name}.ssm", block.ssm, normed, restart)
    y = b.add(o.Map(f"{name}.gelu", y, "gelu"))
    weight, bias = array(block.mix.weight), array(block.mix.bias)
    read = value(y, width)
    mixed = b.affine(f"{name}.mix", read.linear(weight[:width], bias[:width]))
    gate = b.affine(f"{name}.gate", read.linear(weight[width:], bias[width:]))
    open_ = b.add(o.Map(f"{name}.open", gate, "sigmoid"))
    gated = b.add(o.Mul(f"{name}.glu", (mixed, open_)))
    return b.add(o.Add(f"{name}.out", (x, gated), (1, 1)))


def s4d_blocks(b: Builder, name: str, stack: S4DStack, h: str, restart: bool) -> str:
    """All blocks."""
    for i, block in enumerate(stack.layers):
        assert isinstance(block, S4DBlock)
        h = s4d_block(b, f"{name}.{i}", block, h, restart)
    return h
