"""One fold function per torch layer: module -> ops. Nothing else in hiss knows both.

b: the builder of the stage;  name: prefix of the values made;  x: what the layer reads.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from hiss.folding.expressions import Array, Builder, Expression, value
from hiss.models import S4DKernel, S4Kernel, SSMBlock, SSMStack
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
    made = S4DKernel.__new__(S4DKernel)
    nn.Module.__init__(made)
    made.__dict__.update({k: v for k, v in kernel.__dict__.items() if not k.startswith("_")})
    for key, parameter in kernel.named_parameters():
        made.register_parameter(key, nn.Parameter(parameter.detach().double()))
    return made


def s4_kernel(b: Builder, name: str, kernel: S4Kernel, x: str, chunk: int | None) -> str:
    """Within chunks exactly a filter. Else per channel x_k = A_bar x_{k-1} + B_bar u_k with A_bar as it is, dense: in a
    diagonal or low-rank form its digits would be lost. On the real and the imaginary parts of the stored half,

        A = [[Re a, -Im a], [Im a, Re a]] - 2 p p^T,  B = [Re b, Im b],  C = 2 [Re c, -Im c],  p = [Re p, Im p]
    """
    exact = copy.deepcopy(kernel).double()
    if chunk is not None:
        return b.add(o.Fir(name, x, array(exact.taps(chunk)), 0 * array(kernel.d), restart=True))
    dt, a, drive, read, p = (t.detach().cpu().numpy() for t in exact.system())
    width, states = a.shape[0], 2 * a.shape[1]
    sums: dict[str, Array] = {x: np.diag(array(kernel.d))}
    for h in range(width):
        low_rank = np.concatenate([p[h].real, p[h].imag])
        matrix = np.block([[np.diag(a[h].real), -np.diag(a[h].imag)], [np.diag(a[h].imag), np.diag(a[h].real)]])
        half = dt[h] / 2 * (matrix - 2 * np.outer(low_rank, low_rank))
        entering = np.zeros((states, width))
        entering[:, h] = dt[h] * np.concatenate([drive[h].real, drive[h].imag])
        one = np.eye(states)
        a_bar, b_bar = (np.linalg.solve(one - half, right) for right in (one + half, entering))
        age = np.ones(states, np.int64)
        before = b.add(o.Delay(f"{name}.{h}.before", f"{name}.{h}", age, np.arange(states)))
        state = b.add(o.Affine(f"{name}.{h}", (before, x), (a_bar, b_bar), np.zeros(states)))
        sums[state] = np.zeros((width, states))
        sums[state][h] = 2 * np.concatenate([read[h].real, -read[h].imag])
    return b.add(o.Affine(name, tuple(sums), tuple(sums.values()), np.zeros(width)))


def ssm_block(b: Builder, name: str, block: SSMBlock, x: str, chunk: int | None) -> str:
    """x + GLU(W gelu(SSM(norm(x))) + b)."""
    width = block.mix.in_features
    normed = layer_norm(b, f"{name}.norm", block.norm, x)
    kernel = block.ssm
    if isinstance(kernel, S4Kernel):
        y = s4_kernel(b, f"{name}.ssm", kernel, normed, chunk)
    else:
        assert isinstance(kernel, S4DKernel)
        y = s4d_kernel(b, f"{name}.ssm", kernel, normed, chunk is not None)
    y = b.add(o.Map(f"{name}.gelu", y, "gelu"))
    weight, bias = array(block.mix.weight), array(block.mix.bias)
    read = value(y, width)
    mixed = b.affine(f"{name}.mix", read.linear(weight[:width], bias[:width]))
    gate = b.affine(f"{name}.gate", read.linear(weight[width:], bias[width:]))
    open_ = b.add(o.Map(f"{name}.open", gate, "sigmoid"))
    gated = b.add(o.Mul(f"{name}.glu", (mixed, open_)))
    return b.add(o.Add(f"{name}.out", (x, gated), (1, 1)))


def ssm_blocks(b: Builder, name: str, stack: SSMStack, h: str, chunk: int | None) -> str:
    """All blocks."""
    for i, block in enumerate(stack.layers):
        assert isinstance(block, SSMBlock)
        h = ssm_block(b, f"{name}.{i}", block, h, chunk)
    return h
