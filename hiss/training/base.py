"""The linear base: an AR-Net fitted exactly, its window and strength chosen on validation.

It sees scaled channels and gives scaled targets. x: (T, F), of which the first C columns are channels;  y: (T, D).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence as Seq

import numpy as np
import torch
from numpy.typing import NDArray

from hiss.dataset import Batch, Sequence
from hiss.models.arnet import ARNet, ARNetModel
from hiss.ridge import lagged, normal_equations, thinned

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Candidates for lambda, times the number of rows."""


def fit_base(
    spec: ARNet, parts: Seq[Sequence], val: Batch, n_channels: int, rate_hz: float, start: ARNetModel | None = None
) -> tuple[ARNetModel, float, float]:
    """(model, lambda, validation error): the candidate that is best on `val`.

    With `start`, the weights are pulled towards those instead of towards 0, and `start` itself is a candidate.
    """
    known = [None if start is None else _predicted(start, part.x) for part in parts]
    wanted = [part.y if k is None else part.y - k for part, k in zip(parts, known, strict=True)]
    steps = thinned([part.valid for part in parts])
    best: tuple[ARNetModel, float, float] | None = None
    if start is not None:
        best = start, np.inf, mean_square(start, val)
    for ages in spec.candidates(rate_hz) if start is None else [tuple(start.ages)]:
        rows = ((part.x[:, :n_channels], y, s) for part, y, s in zip(parts, wanted, steps, strict=True))
        equations = normal_equations(rows, ages)
        for strength in STRENGTHS:
            model = _model(spec, ages, n_channels, *equations.solve(strength), start)
            error = mean_square(model, val)
            if best is None or error < best[2]:
                best = model, strength, error
    assert best is not None
    return best


def honest_shift(model: ARNetModel, strength: float, parts: Seq[Sequence], folds: int) -> list[NDArray[np.float32]]:
    """Per sequence (T, D): what the base would say had it not seen this part of the data, less what it says.

    A correction that learns from the base's residuals on its own training data would learn them too small.
    """
    if folds == 1 or not np.isfinite(strength):
        return [np.zeros_like(part.y) for part in parts]
    shifts = [np.zeros_like(part.y) for part in parts]
    steps = thinned([part.valid for part in parts])
    for i, part in enumerate(parts):
        edges = np.linspace(0, len(part.x), folds + 1).astype(int)
        for first, last in itertools.pairwise(edges):
            kept = [s if j != i else s[(s < first) | (s >= last)] for j, s in enumerate(steps)]
            if first == last or not sum(map(len, kept)):
                continue
            rows = ((p.x[:, : model.n_channels], p.y, s) for p, s in zip(parts, kept, strict=True))
            weight, bias = normal_equations(rows, model.ages).solve(strength)
            past = lagged(part.x[:, : model.n_channels], model.ages, np.arange(first, last))
            own = _weights(model)
            shifts[i][first:last] = past @ (weight - own[0]).T + (bias - own[1])
    return shifts


def mean_square(model: torch.nn.Module, val: Batch) -> float:
    """Mean squared error over the valid points of all windows and all (scaled) outputs."""
    with torch.no_grad():
        error = model(torch.from_numpy(val.x)).numpy() - val.y
    return float((error[val.valid].astype(np.float64) ** 2).mean())


def _weights(model: ARNetModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        model.linear.weight.detach().double().numpy(),
        model.linear.bias.detach().double().numpy(),
    )


def _model(
    spec: ARNet,
    ages: tuple[int, ...],
    n_channels: int,
    weight: NDArray[np.float64],
    bias: NDArray[np.float64],
    start: ARNetModel | None,
) -> ARNetModel:
    if start is not None:
        own = _weights(start)
        weight, bias = weight + own[0], bias + own[1]
    model = dataclasses.replace(spec, ages=ages).build(n_channels, len(bias))
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(weight))
        model.linear.bias.copy_(torch.from_numpy(bias))
    return model.requires_grad_(False)


def _predicted(model: ARNetModel, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the model says at every sample, (T, D)."""
    weight, bias = _weights(model)
    blocks = np.array_split(np.arange(len(x)), max(1, len(x) // 4096))
    past = (lagged(x[:, : model.n_channels], model.ages, some) for some in blocks)
    return np.concatenate([rows @ weight.T + bias for rows in past]).astype(np.float32)
