"""Weights on the grid that integers will put them on: what quantization-aware training shows the network.

A row of weights has the step of a power of two that its largest weight allows, as quantization chooses it:
    s_i = 2^-floor(log2(limit / max_j |g_i W_ij|)) / g_i       limit = 2^(bits - 1) - 1
    W_ij -> s_i floor(W_ij / s_i + 1/2)                        gradients pass as if nothing were rounded
g: what a row is multiplied by before it is quantized (the deviation of an output's target), else 1.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hiss.errors import TrainingError
from hiss.models.ensemble import heads

Grids = Mapping[str, Seq[int]]
"""Parameter -> bits of each row. The taps of a kernel count as its parameter `taps`."""
TAPS = "taps"


class OnGrid(nn.Module):
    """Rounds every row of a matrix to its grid."""

    limit: Tensor
    gain: Tensor

    def __init__(self, bits: Seq[int], gain: Tensor | None = None):
        super().__init__()
        limit = torch.tensor([2.0 ** (b - 1) - 1 for b in bits])[:, None]
        self.register_buffer("limit", limit, persistent=False)
        self.register_buffer("gain", torch.ones_like(limit) if gain is None else gain[:, None], persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """(rows, n) -> (rows, n)."""
        with torch.no_grad():
            size = (weight * self.gain).abs().amax(1, keepdim=True).clamp(min=1e-30)
            step = torch.exp2(-torch.floor(torch.log2(self.limit / size))) / self.gain
            off = step * torch.floor(weight / step + 0.5) - weight
        return weight + off


def attach(network: Any, grids: Grids, output_gain: np.ndarray[Any, Any]) -> None:
    """Show `network` its weights on these grids from now on. Raises TrainingError for names that it does not have."""
    known, last = dict(network.named_modules()), heads(network)
    for name, bits in grids.items():
        owner, _, leaf = name.rpartition(".")
        module = known.get(owner)
        matrix = getattr(module, leaf, None)
        if module is None or matrix is None:
            raise TrainingError(f"the run has no weights named {name!r}; make the grids of its own program")
        if leaf == TAPS:
            module.rounding = OnGrid(bits)
        else:
            gain = torch.from_numpy(output_gain).float() if module in last else None
            parametrize.register_parametrization(module, leaf, OnGrid(bits, gain))


@torch.no_grad()
def settled(network: nn.Module, plain: nn.Module) -> nn.Module:
    """A copy of `plain`, which is `network` without grids, with the weights where the grids put them."""
    # parametrize.remove_parametrizations would take them from all copies of the network: these share a class
    made, shown = copy.deepcopy(plain), dict(network.named_modules())
    for name, module in made.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            parameter.copy_(getattr(shown[name], leaf))
    return made
