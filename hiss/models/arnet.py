"""AR-Net: a map of past samples, and of its own past estimates where asked (arXiv 1911.12436).

C: raw channels (the first C columns of x; deltas are left to the correction);  A: ages in samples, age 0 = now.
tap: an (age, channel) pair that the map reads.   The past before the first sample equals the first sample.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hiss.ridge import log_ages

Tap = tuple[int, int]
FITS = ("ridge", "auto", "exact", "sparse", "sgd")


@dataclass(frozen=True)
class ARNet:
    """A map of the samples of some ages, an estimate every `period` samples; linear unless `hidden`.

    lags: how many ages; spacing: "log" spreads them over the window, "all" takes each of 0 .. lags - 1; windows_s:
    candidate windows in seconds, one is chosen on validation; ages: fixed ages, then nothing is chosen.
    fit: "ridge" over these ages; with spacing "all" also "exact", "sparse" or "auto", which cross-validate the order,
    and "sgd", the paper's: gradients over all lags, of which it expects a share `sparsity` to count.
    ranges: (first, last) age of each channel, none = all alike; taps: what is read, settled by the fit.
    skip: taps that are not read, such as the sample that is to be denoised; noise: deviation of that one's noise in its
    unit, where known: it then counts by what the others leave open.
    hidden: widths of ReLU layers. own: how many of its own past estimates are read too (closed loop).
    chunk_rate: ages from `period` on are rounded to whole chunks, so that the past is kept a row a chunk.
    columns: input columns beside the channels that are read as they are now, settled by the fit.
    """

    lags: int = 24
    spacing: str = "log"
    windows_s: tuple[float, ...] = (0.2, 1.0, 5.0, 20.0)
    period: int = 1
    ages: tuple[int, ...] | None = None
    fit: str = "ridge"
    ranges: tuple[tuple[int, int], ...] = ()
    taps: tuple[tuple[int, int], ...] | None = None
    hidden: tuple[int, ...] = ()
    own: int = 0
    chunk_rate: bool = False
    sparsity: float = 1.0
    skip: tuple[tuple[int, int], ...] = ()
    noise: float = 0.0
    columns: tuple[int, ...] = ()

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
        self._check_more()

    def _check_more(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit is {self.fit!r}; known: {', '.join(FITS)}")
        if self.fit != "ridge" and (self.spacing != "all" or self.ages is not None):
            raise ValueError(f"fit {self.fit} chooses among all lags: it goes with spacing 'all' and no ages")
        if not 0 < self.sparsity <= 1:
            raise ValueError(f"sparsity is the share of lags that count, above 0 and at most 1; got {self.sparsity}")
        if self.fit == "sgd" and (self.ranges or self.skip or self.own or self.chunk_rate):
            raise ValueError(
                "gradients (sgd) fit all lags of all channels: no ranges, skip, own or chunk_rate with them"
            )
        if self.noise < 0 or (self.noise and (len(self.skip) != 1 or self.hidden or self.own)):
            raise ValueError("noise is 0 or more, and of the one sample that a linear model skips")
        if self.own < 0 or any(width < 1 for width in self.hidden):
            raise ValueError("own must be 0 or more, widths of hidden layers at least 1")
        if self.hidden and self.own:
            raise ValueError("a closed loop (own) is linear; take it without hidden layers")
        if any(len(r) != 2 or not 0 <= r[0] <= r[1] for r in self.ranges):
            raise ValueError("ranges are (first, last) ages of each channel, 0 or more, first at most last")
        if self.taps is not None and (not self.taps or any(len(t) != 2 or min(t) < 0 for t in self.taps)):
            raise ValueError("taps are (age, channel) pairs, 0 or more, at least one")

    @property
    def plain(self) -> bool:
        """True where it is one linear map of ages that all channels share: what a Residual's base is."""
        return (
            not (self.taps or self.ranges or self.skip or self.hidden or self.own or self.chunk_rate)
            and self.fit == "ridge"
        )

    def candidates(self, rate_hz: float) -> list[tuple[int, ...]]:
        """The sets of ages to choose from."""
        if self.ages is not None:
            return [self.ages]
        if self.spacing == "all":
            return [tuple(range(self.lags))]
        return list(dict.fromkeys(log_ages(self.lags, round(w * rate_hz)) for w in self.windows_s))

    def allowed(self, age: int, channel: int) -> bool:
        """True where the ranges of the channels hold this age, and it is not to be skipped."""
        if (age, channel) in self.skip:
            return False
        return not self.ranges or self.ranges[channel][0] <= age <= self.ranges[channel][1]

    def build(self, n_in: int, n_out: int, n_channels: int | None = None) -> ARNetModel:
        """The module over the first n_channels of n_in columns; ages or taps must be settled."""
        channels = n_in if n_channels is None else n_channels
        if self.taps is None and self.ages is None:
            raise ValueError(
                "the ages of this ARNet are not chosen yet; hiss.fit chooses them, or give ages=(0, 1, ...)"
            )
        if self.taps and max(c for _, c in self.taps) >= channels:
            raise ValueError(f"a tap reads channel {max(c for _, c in self.taps)}, but there are {channels}")
        if self.ranges and len(self.ranges) != channels:
            raise ValueError(f"{len(self.ranges)} ranges of ages for {channels} channels; give one each")
        return ARNetModel(self, channels, n_out)


class ARNetModel(nn.Module):
    """linear over [age 0 of all channels, age 1 of all channels, ...], or over its taps in their order."""

    def __init__(self, spec: ARNet, n_channels: int, n_out: int):
        super().__init__()
        self.spec, self.period, self.n_channels = spec, spec.period, n_channels
        self.ridge = 0.0  # strength per row that it was fitted with, for the errors of its weights
        self.ages = sorted({a for a, _ in spec.taps}) if spec.taps else list(spec.ages or ())
        every = [(age, channel) for age in self.ages for channel in range(n_channels) if spec.allowed(age, channel)]
        self.taps: list[Tap] = [(a, c) for a, c in spec.taps] if spec.taps else every
        widths = (*spec.hidden, n_out)
        self.linear = nn.Linear(len(self.taps), widths[0])
        self.more = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.beside = nn.Linear(len(spec.columns), widths[0], bias=False) if spec.columns else None
        self.back = nn.Linear(spec.own * n_out, n_out, bias=False) if spec.own else None

    def lagged(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T // period, taps) of the samples that the taps name."""
        ages, channels, floor = (torch.tensor(v, device=x.device) for v in self._places())
        steps = torch.arange(self.period - 1, x.shape[1], self.period, device=x.device)
        past = torch.maximum(steps[:, None] - ages, floor)  # (T/k, taps)
        if len(self.taps) == len(self.ages) * self.n_channels and not self.spec.chunk_rate and not self.spec.taps:
            return x[:, past[:, :: self.n_channels], : self.n_channels].flatten(2)  # whole rows: a faster gather
        return x[:, past, channels]

    def _places(self) -> tuple[list[int], list[int], list[int]]:
        """Age, channel and earliest sample of each tap."""
        ages, channels = [a for a, _ in self.taps], [c for _, c in self.taps]
        k = self.period
        # of a past that is kept a row a chunk, the first row is the end of the first chunk
        return ages, channels, [k - 1 if self.spec.chunk_rate and a >= k else 0 for a in ages]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T // period, n_out)."""
        y: Tensor = self.linear(self.lagged(x))
        if self.beside is not None:
            y = y + self.beside(x[:, self.period - 1 :: self.period, list(self.spec.columns)])
        for layer in self.more:
            y = layer(torch.relu(y))
        return y if self.back is None else self._closed(y)

    def _closed(self, drive: Tensor) -> Tensor:
        """y_j = drive_j + back [y_{j-1}, y_{j-2}, ...], 0 before the first."""
        assert self.back is not None
        past = [torch.zeros_like(drive[:, 0])] * self.spec.own
        made = []
        for now in drive.unbind(1):
            y = now + self.back(torch.cat(past, -1))
            past = [y, *past[:-1]]
            made.append(y)
        return torch.stack(made, 1)

    def input_layer(self) -> nn.Linear:
        """The layer that reads the lagged samples."""
        return self.linear

    def output_layer(self) -> nn.Linear:
        """The layer that makes the outputs."""
        last: nn.Linear = self.more[-1] if len(self.more) else self.linear  # type: ignore[assignment]
        return last
