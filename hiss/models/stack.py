"""What every family of sequence models has in common, so that each serves flat, as low and as high level.

A family is a frozen spec (StackSpec) that builds a module (Stack): embed, blocks, decode. Channels come first:
(n, B, T) for whole sequences, (n, k, m) for m chunks of k steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StackSpec:
    """The choices of a family. d_model: channels of the blocks;  n_layers: how many there are."""

    d_model: int = 32
    n_layers: int = 2

    def build(self, n_in: int | None = None, n_out: int | None = None) -> Stack:
        """The module; None leaves the embed or the decode away."""
        raise TypeError(f"{type(self).__name__} builds no module")

    @property
    def least_weights(self) -> int:
        """Weights that the blocks have at least: what a file must hold before a module of this size is made."""
        raise TypeError(f"{type(self).__name__} does not say how large it is")

    def check_sizes(self, **most: int) -> None:
        """Raise ValueError for a size that is not in 1 .. most; d_model and n_layers are among them."""
        for name, limit in {"d_model": 8192, "n_layers": 256, **most}.items():
            if not 1 <= getattr(self, name) <= limit:
                raise ValueError(f"{name} must be in 1 .. {limit}; got {getattr(self, name)}")

    def check_steps(self) -> None:
        """Raise ValueError where dropout, dt_min or dt_max is no share or no range."""
        own: Mapping[str, Any] = vars(self)
        if not 0 <= own.get("dropout", 0) < 1:
            raise ValueError(f"dropout must be in 0 .. 1; got {own['dropout']}")
        if "dt_min" in own and not 0 < own["dt_min"] <= own["dt_max"]:
            raise ValueError(
                f"dt_min and dt_max must be positive and in order; got {own['dt_min']} and {own['dt_max']}"
            )


class Stack(nn.Module):
    """embed, what the family puts between, decode."""

    layers: nn.ModuleList

    def __init__(self, spec: StackSpec, n_in: int | None, n_out: int | None):
        super().__init__()
        self.spec = spec
        self.embed = None if n_in is None else nn.Linear(n_in, spec.d_model)
        self.assemble(spec)
        self.decode = None if n_out is None else nn.Linear(spec.d_model, n_out)

    @property
    def d_model(self) -> int:
        """Channels of the blocks."""
        return self.spec.d_model

    def assemble(self, spec: Any) -> None:
        """Register the modules between embed and decode."""
        raise TypeError(f"{type(self).__name__} has no blocks")

    def between(self, h: Tensor, read: slice) -> Tensor:
        """(d_model, B, T) -> (d_model, B, R): the steps `read` of what the blocks make of h, from zero state."""
        raise TypeError(f"{type(self).__name__} has no blocks")

    def ends(self, h: Tensor) -> Tensor:
        """(d_model, k, n) -> (d_model, n): the last step of each chunk; by default chunks are short sequences."""
        return self.between(h.transpose(1, 2), slice(-1, None))[..., 0]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T, n_out), from zero state."""
        return self.rows(x.permute(2, 0, 1)).permute(1, 2, 0)

    def rows(self, x: Tensor, read: slice = slice(None), **known: Any) -> Tensor:
        """The same channel-first: (n_in, B, T) -> (n_out, B, T), or only the steps `read`; known: for `between`."""
        h = x if self.embed is None else linear_rows(self.embed, x)
        h = self.between(h, read, **known)
        return h if self.decode is None else linear_rows(self.decode, h)

    def chunk_ends(self, x: Tensor, **known: Any) -> Tensor:
        """n chunks of k steps, (n_in, k, n) -> (n_out, n): the last step of each, every chunk from zero state."""
        h = x if self.embed is None else linear_rows(self.embed, x)
        h = self.ends(h, **known)
        return h if self.decode is None else linear_rows(self.decode, h)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """What runs in it is left alone by torch.autocast; costs next to nothing where there is none."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def linear_rows(layer: nn.Linear, x: Tensor) -> Tensor:
    """W x + b along the first axis: x (n_in, ...) -> (n_out, ...), contiguous."""
    strides, axes = x.stride(), range(1, x.dim())
    order = sorted(axes, key=lambda axis: -strides[axis])
    columns = x.permute(*order, 0)
    if columns.is_contiguous():  # read as they lie: to turn the outputs costs less than to turn the inputs
        flat = columns.view(-1, len(x)).t()
    else:
        order, flat = list(axes), x.reshape(len(x), -1)
    made = torch.addmm(layer.bias[:, None], layer.weight, flat).to(x.dtype)  # autocast rounds products, not sums
    made = made.view(-1, *(x.shape[axis] for axis in order))
    return made.permute(0, *(1 + order.index(axis) for axis in axes)).contiguous()
