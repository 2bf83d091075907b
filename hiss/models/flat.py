"""A flat sequence model: one stack over every sample, read at the last sample of each period."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from hiss.models.blocks import S4D
from hiss.models.stack import StackSpec


@dataclass(frozen=True)
class Flat:
    """One stack, an estimate every `period` samples."""

    net: StackSpec = field(default_factory=S4D)
    period: int = 1

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be at least 1 sample; got {self.period}")

    def stacks(self) -> list[StackSpec]:
        """The stacks it is made of."""
        return [self.net]

    def build(self, n_in: int, n_out: int) -> FlatModel:
        """The module for n_in input columns and n_out outputs."""
        return FlatModel(self, n_in, n_out)


class FlatModel(nn.Module):
    """net(x)[:, k-1::k]."""

    def __init__(self, spec: Flat, n_in: int, n_out: int):
        super().__init__()
        self.spec = spec
        self.period = spec.period
        self.net = spec.net.build(n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T // period, n_out); the last block mixes only the steps that are read."""
        k = self.period
        steps = x.shape[1] // k * k
        return self.net.rows(x[:, :steps].permute(2, 0, 1), slice(k - 1, None, k)).permute(1, 2, 0)

    def input_layer(self) -> nn.Linear:
        """The layer that reads the input columns."""
        assert self.net.embed is not None
        return self.net.embed

    def output_layer(self) -> nn.Linear:
        """The layer that makes the outputs."""
        assert self.net.decode is not None
        return self.net.decode
