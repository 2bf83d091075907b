"""HiSS: a low level on samples, a high level on what it hands over at the end of each chunk (arXiv 2402.10211).

k: period;  d: d_model of the high level.   x (B, T, n_in) -> low, last steps of chunks (B, T/k, d) -> high -> head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from hiss.models.blocks import S4D, joint_filters
from hiss.models.stack import StackSpec, linear_rows


@dataclass(frozen=True)
class Hierarchical:
    """low reads samples; its last step of every chunk of `period` samples feeds high.

    restart: low begins every chunk from zero state, as in the paper; else it carries its state on.
    """

    low: StackSpec = field(default_factory=S4D)
    high: StackSpec = field(default_factory=S4D)
    period: int = 10
    restart: bool = True

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be at least 1 sample; got {self.period}")

    def stacks(self) -> list[StackSpec]:
        """The stacks it is made of."""
        return [self.low, self.high]

    def build(self, n_in: int, n_out: int) -> HierarchicalModel:
        """The module for n_in input columns and n_out outputs."""
        return HierarchicalModel(self, n_in, n_out)


class HierarchicalModel(nn.Module):
    """low, high, head."""

    def __init__(self, spec: Hierarchical, n_in: int, n_out: int):
        super().__init__()
        self.spec = spec
        self.period = spec.period
        self.low = spec.low.build(n_in, spec.high.d_model)
        self.high = spec.high.build(None, None)
        self.head = nn.Linear(spec.high.d_model, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T // period, n_out), from zero state."""
        batch, steps, n_in = x.shape
        k = self.period
        x = x[:, : steps // k * k]
        of_low, of_high = joint_filters((self.low, k if self.spec.restart else x.shape[1]), (self.high, steps // k))
        if self.spec.restart:
            chunks = x.reshape(-1, k, n_in).permute(2, 1, 0)  # (n_in, k, B T/k)
            handed = self.low.chunk_ends(chunks, **of_low).reshape(-1, batch, steps // k)  # (d, B, T/k)
        else:
            handed = self.low.rows(x.permute(2, 0, 1), slice(k - 1, None, k), **of_low)
        return linear_rows(self.head, self.high.rows(handed, **of_high)).permute(1, 2, 0)

    def input_layer(self) -> nn.Linear:
        """The layer that reads the input columns."""
        assert self.low.embed is not None
        return self.low.embed

    def output_layer(self) -> nn.Linear:
        """The layer that makes the outputs."""
        return self.head
