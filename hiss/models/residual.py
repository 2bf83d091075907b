"""Residual: a linear AR-Net as base and a recurrent correction on what it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from hiss.models.arnet import ARNet, ARNetModel
from hiss.models.ensemble import Ensemble
from hiss.models.flat import Flat, FlatModel
from hiss.models.hierarchical import Hierarchical, HierarchicalModel
from hiss.models.stack import StackSpec


@dataclass(frozen=True)
class Residual:
    """base(x) + correction(x); either may be None once it has been dropped.

    rival: a network, or an ensemble, that is trained as well, without the base; validation chooses. None once it has.
    """

    base: ARNet | None = field(default_factory=ARNet)
    correction: Hierarchical | Flat | None = field(default_factory=Hierarchical)
    rival: Hierarchical | Flat | Ensemble | None = None

    def __post_init__(self) -> None:
        if self.base is None and self.correction is None:
            raise ValueError("a Residual needs a base or a correction")
        if self.base and not self.base.plain:
            raise ValueError("the base of a Residual is one linear map: no taps, ranges, hidden, own or chunk_rate")
        if self.base and self.correction and self.base.period != self.correction.period:
            raise ValueError(
                f"base has period {self.base.period}, correction {self.correction.period}; both must be the same"
            )
        if self.rival and self.rival.period != self.period:
            raise ValueError(f"the rival has period {self.rival.period}, the others {self.period}; give the same")

    @property
    def period(self) -> int:
        """Samples per estimate."""
        part = self.base or self.correction
        assert part is not None
        return part.period

    def stacks(self) -> list[StackSpec]:
        """The stacks it is made of."""
        return self.correction.stacks() if self.correction else []

    def build(self, n_in: int, n_out: int, n_channels: int | None = None) -> ResidualModel:
        """The module for n_in input columns, of which the first n_channels are raw channels."""
        base = self.base.build(n_in, n_out, n_channels) if self.base else None
        return ResidualModel(self, base, self.correction.build(n_in, n_out) if self.correction else None)


class ResidualModel(nn.Module):
    """base(x) + correction(x)."""

    def __init__(self, spec: Residual, base: ARNetModel | None, correction: HierarchicalModel | FlatModel | None):
        super().__init__()
        self.spec, self.period = spec, spec.period
        self.base, self.correction = base, correction

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T // period, n_out)."""
        parts = [part(x) for part in (self.base, self.correction) if part is not None]
        total: Tensor = sum(parts[1:], start=parts[0])
        return total
