"""AR-Net: a linear map of past samples, fitted by exact ridge least squares (arXiv 1911.12436).

C: raw channels (the first C columns of x; deltas are left to the correction);  A: ages in samples, age 0 = now.
The past before the first sample equals the first sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hiss.ridge import log_ages


@dataclass(frozen=True)
class ARNet:
    """A linear map of the samples of some ages, an estimate every `period` samples.

    lags: how many ages; spacing: "log" spreads them over the window, "all" takes each of 0 .. lags - 1; windows_s:
    candidate windows in seconds, one is chosen on validation; ages: fixed ages, then nothing is chosen.
    """

    lags: int = 24
    spacing: str = "log"
    windows_s: tuple[float, ...] = (1.0, 5.0, 20.0)
    period: int = 1
    ages: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.lags < 1:
            raise ValueError(f"lags must be at least 1; got {self.lags}")
        if self.spacing not in ("log", "all"):
            raise ValueError(f"spacing is {self.spacing!r}; known: log, all")
        if self.period < 1:
            raise ValueError(f"period must be at least 1 sample; got {self.period}")
        if self.ages is not None and (not self.ages or min(self.ages) < 0):
            raise ValueError("ages must be whole numbers of samples, 0 or more, at least one")
        if self.ages is None and self.spacing == "log" and not self.windows_s:
            raise ValueError("windows_s is empty; give at least one window in seconds")

    def candidates(self, rate_hz: float) -> list[tuple[int, ...]]:
        """The sets of ages to choose from."""
        if self.ages is not None:
            return [self.ages]
        if self.spacing == "all":
            return [tuple(range(self.lags))]
        return list(dict.fromkeys(log_ages(self.lags, round(w * rate_hz)) for w in self.windows_s))

    def build(self, n_in: int, n_out: int, n_channels: int | None = None) -> ARNetModel:
        """The module over the first n_channels of n_in columns; ages must be settled."""
        if self.ages is None:
            raise ValueError(
                "the ages of this ARNet are not chosen yet; hiss.fit chooses them, or give ages=(0, 1, ...)"
            )
        return ARNetModel(self, n_in if n_channels is None else n_channels, n_out, list(self.ages))


class ARNetModel(nn.Module):
    """linear over [age 0 of all channels, age 1 of all channels, ...]."""

    def __init__(self, spec: ARNet, n_channels: int, n_out: int, ages: list[int]):
        super().__init__()
        self.spec, self.period = spec, spec.period
        self.n_channels, self.ages = n_channels, ages
        self.linear = nn.Linear(n_channels * len(ages), n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T // period, n_out)."""
        steps = torch.arange(self.period - 1, x.shape[1], self.period, device=x.device)
        past = (steps[:, None] - torch.tensor(self.ages, device=x.device)).clamp_(min=0)  # (T/k, A)
        lagged = x[:, past, : self.n_channels]  # (B, T/k, A, C)
        y: Tensor = self.linear(lagged.flatten(2))
        return y

    def output_layer(self) -> nn.Linear:
        """The layer that makes the outputs."""
        return self.linear
