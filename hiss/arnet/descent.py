"""AR-Net by stochastic gradients, as its paper fits it (arXiv 1911.12436), with a step size found by a range test.

theta: weights of standardised lags, p of them an output;  s: expected share of them that is not 0.
    loss = MSE + lambda R(theta),   lambda = c (1/s - 1),   c = sqrt(smallest MSE) / 100
    R = (1/p) sum_i [ 2 / (1 + exp(-c1 |theta_i|^(1/c2))) - 1 ]
The smallest MSE is not known: half the MSE of what the range test reached stands for it. lambda grows over the epochs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiss.arnet.equations import Rows
from hiss.errors import TrainingError
from hiss.ridge import F64

WATCHED = 4096
"""Rows of the range test."""


@dataclass(frozen=True)
class Descent:
    """How gradients are followed. lr: largest step size, None = by the range test; sparsity: s, 1 = no regulariser."""

    epochs: int = 10
    batch: int = 128
    lr: float | None = None
    sparsity: float = 1.0
    c1: float = 3.0
    c2: float = 3.0
    ramp: float = 1.0  # share of the epochs over which lambda grows to its full size

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(f"epochs and batch must be at least 1; got {self.epochs} and {self.batch}")
        if not 0 < self.sparsity <= 1:
            raise ValueError(f"sparsity is the share of lags that count, above 0 and at most 1; got {self.sparsity}")
        if self.lr is not None and not self.lr > 0:
            raise ValueError(f"lr must be more than 0; got {self.lr}")
        if min(self.c1, self.c2) <= 0 or not 0 < self.ramp <= 1:
            raise ValueError("c1 and c2 must be more than 0, ramp above 0 and at most 1")


@dataclass(frozen=True, eq=False)
class Descended:
    """weight (D, P) as hiss.arnet.exact orders them, bias (D,), the step size, and the mean loss of each epoch."""

    weight: F64
    bias: F64
    lr: float
    losses: tuple[float, ...]


def descend(parts: Sequence[Rows], lags: int, options: Descent | None = None, seed: int = 0) -> Descended:
    """Weights after all epochs. Raises TrainingError when the loss is not finite, ValueError when there is no row."""
    options = options or Descent()
    data = _Windows(parts, lags)
    generator = torch.Generator().manual_seed(seed)
    lr, reached = range_test(data, options, generator)
    lr = options.lr or lr
    strength = math.sqrt(reached / 2) / 100 * (1 / options.sparsity - 1)
    theta = _Theta(data)
    losses = _epochs(theta, data, options, lr, strength, generator)
    weight, bias = data.plain(theta.weight.detach(), theta.bias.detach())
    return Descended(weight, bias, lr, tuple(losses))


def range_test(data: _Windows, options: Descent, generator: torch.Generator, steps: int = 100) -> tuple[float, float]:
    """(step size, smallest loss) of a run whose step size grows from 1e-4 to 1, watched on rows that stay the same.

    Where the loss is lowest it is about to rise; a quarter of that size is the largest that is safe. A batch's own loss
    would be too noisy to tell: of a series that is hardly predictable, all are alike.
    """
    theta, best, at = _Theta(data), math.inf, 1e-4
    optimiser = torch.optim.Adam(theta.parameters(), lr=at)
    watched = data.batch(torch.randint(data.count, (min(data.count, WATCHED),), generator=generator))
    for step in range(steps):
        lr = 10.0 ** (-4 + 4 * step / (steps - 1))
        optimiser.param_groups[0]["lr"] = lr
        _descend(optimiser, theta.loss(*data.batch(torch.randint(data.count, (options.batch,), generator=generator))))
        with torch.no_grad():
            value = float(theta.loss(*watched))
        if not value <= 2 * min(best, 1.0):
            break
        if value < best:
            best, at = value, lr
    return at / 4, best


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


class _Theta(torch.nn.Module):
    """Weights and bias over standardised lags."""

    def __init__(self, data: _Windows):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(data.outputs, data.width))
        self.bias = torch.nn.Parameter(torch.zeros(data.outputs))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss(torch.nn.functional.linear(x, self.weight, self.bias), y)

    def penalty(self, options: Descent) -> Tensor:
        """R; 1e-3 keeps the slope of the root finite at 0, else weights that should rest there jump about."""
        root = (self.weight.abs() + 1e-3) ** (1 / options.c2)
        return (2 / (1 + torch.exp(-options.c1 * root)) - 1).mean()


def _epochs(
    theta: _Theta, data: _Windows, options: Descent, lr: float, strength: float, generator: torch.Generator
) -> list[float]:
    """The mean loss of each epoch; a tenth of all steps warm up, then a cosine to a twentieth.

    What theta is at the end is its mean over the second half: the noise of the batches averages out.
    """
    mean = [p.detach().clone() for p in theta.parameters()]
    optimiser = torch.optim.Adam(theta.parameters(), lr=lr)
    each = -(-data.count // options.batch)
    total, step, means = each * options.epochs, 0, []
    for _ in range(options.epochs):
        summed = 0.0
        for rows in torch.split(torch.randperm(data.count, generator=generator), options.batch):
            part = step / total
            warm = min(1.0, part / 0.1)
            optimiser.param_groups[0]["lr"] = lr * warm * (0.525 + 0.475 * math.cos(math.pi * part))
            loss = theta.loss(*data.batch(rows))
            if strength:
                loss = loss + strength * min(1.0, part / options.ramp) * theta.penalty(options)
            _descend(optimiser, loss)
            summed += float(loss.detach())
            step += 1
            for held, now in zip(mean, theta.parameters(), strict=True):
                held.lerp_(now.detach(), 1 / max(1, step - total // 2))
        means.append(summed / each)
        if not math.isfinite(means[-1]):
            raise TrainingError(f"the loss became {means[-1]} in epoch {len(means)}: lower lr (now {lr:g})")
    with torch.no_grad():
        for now, held in zip(theta.parameters(), mean, strict=True):
            now.copy_(held)
    return means


class _Windows:
    """Rows of lags as views of the standardised samples: nothing is copied before a batch is drawn."""

    def __init__(self, parts: Sequence[Rows], lags: int):
        if lags < 1:
            raise ValueError(f"lags must be at least 1; got {lags}")
        x = np.concatenate([np.concatenate([np.repeat(x[:1], lags - 1, axis=0), x]) for x, _, _ in parts])
        starts = np.cumsum([0, *(len(x) + lags - 1 for x, _, _ in parts[:-1])])
        rows = [np.flatnonzero(m) for _, _, m in parts]
        self.count = sum(map(len, rows))
        if not self.count:
            raise ValueError("no valid sample to fit an AR-Net on")
        y = np.concatenate([np.asarray(y, np.float64)[r] for (_, y, _), r in zip(parts, rows, strict=True)])
        self.lags, self.channels, self.outputs = lags, x.shape[1], y.shape[1]
        self.width = lags * self.channels
        self.mean, self.std = x.mean(0), np.maximum(x.std(0), 1e-12)
        self.y_mean, self.y_std = y.mean(0), np.maximum(y.std(0), 1e-12)
        scaled = torch.from_numpy(((x - self.mean) / self.std).astype(np.float32))
        self._view = scaled.as_strided((len(x) - lags + 1, self.width), (self.channels, 1))
        self._at = torch.from_numpy(np.concatenate([r + s for r, s in zip(rows, starts, strict=True)]))
        self._y = torch.from_numpy(((y - self.y_mean) / self.y_std).astype(np.float32))

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._view[self._at[rows]], self._y[rows]

    def plain(self, weight: Tensor, bias: Tensor) -> tuple[F64, NDArray[np.float64]]:
        """In the units of x and y, age 0 first (a view stands oldest first)."""
        order = weight.double().numpy().reshape(self.outputs, self.lags, self.channels)[:, ::-1]
        w: F64 = (order * self.y_std[:, None, None] / self.std).reshape(self.outputs, -1)
        return w, bias.double().numpy() * self.y_std + self.y_mean - w @ np.tile(self.mean, self.lags)
