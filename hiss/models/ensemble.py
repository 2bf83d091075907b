"""Ensemble: the mean of several networks, each trained by itself, as one model and one program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hiss.models.flat import Flat
from hiss.models.hierarchical import Hierarchical
from hiss.models.stack import StackSpec


@dataclass(frozen=True)
class Ensemble:
    """mean_i member_i(x): what networks of different kinds get wrong in different ways cancels in part.

    fit trains one member after the other, each as if it were alone, from seeds of their own.
    """

    members: tuple[Hierarchical | Flat, ...] = ()

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ValueError(f"an Ensemble needs two members at least; got {len(self.members)}")
        if len({member.period for member in self.members}) > 1:
            raise ValueError(
                f"the members have periods {', '.join(str(m.period) for m in self.members)}; give them the same"
            )

    @property
    def period(self) -> int:
        """Samples per estimate."""
        return self.members[0].period

    def stacks(self) -> list[StackSpec]:
        """The stacks it is made of."""
        return [stack for member in self.members for stack in member.stacks()]

    def build(self, n_in: int, n_out: int) -> EnsembleModel:
        """The module for n_in input columns and n_out outputs."""
        return EnsembleModel(self, [member.build(n_in, n_out) for member in self.members])


def heads(network: Any) -> list[nn.Linear]:
    """The layers that make the outputs of a network: one, or one of each member."""
    return [part.output_layer() for part in getattr(network, "members", [network])]


class EnsembleModel(nn.Module):
    """The mean of its members."""

    def __init__(self, spec: Ensemble, members: list[nn.Module]):
        super().__init__()
        self.spec, self.period = spec, spec.period
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T // period, n_out)."""
        return torch.stack([member(x) for member in self.members]).mean(0)
