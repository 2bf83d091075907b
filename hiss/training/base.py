"""The linear base: an AR-Net fitted exactly, its window and strength chosen on validation.

It sees scaled channels, and the columns of hiss.inertial as they are now, and gives scaled targets. Where the channels
are tared, an offset that another tare would leave is to change what it says as little as may be: the least squares are
those of all windows shown so, in closed form.

x: (T, F), of which the first C columns are channels;  y: (T, D);  drift: (C, C), mean products of such offsets.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hiss.dataset import Batch, Sequence
from hiss.models.arnet import ARNet, ARNetModel
from hiss.ridge import BLOCK, F64, NormalEquations, Sums, lagged, thinned

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Candidates for lambda, times the number of rows."""
MOST_KEPT = 4096
"""Samples of all channels that a base keeps: 8 KiB as int16."""


@dataclass(frozen=True)
class Rows:
    """What the base reads: all channels at some ages, and columns as they are now."""

    n_channels: int
    ages: tuple[int, ...]
    columns: tuple[int, ...]

    def of(self, x: NDArray[np.float32], steps: NDArray[np.int64]) -> F64:
        """x (T, F) at `steps` -> (len(steps), C A + columns)."""
        past = lagged(x[:, : self.n_channels], self.ages, steps)
        return np.hstack((past, x[steps][:, list(self.columns)])) if self.columns else past

    def sums(self, x: NDArray[np.float32], y: NDArray[np.float32], steps: NDArray[np.int64]) -> Sums | None:
        """Of the rows at `steps`; None where there is no step."""
        total = None
        for start in range(0, len(steps), BLOCK):
            some = steps[start : start + BLOCK]
            new = Sums.of(self.of(x, some), y[some].astype(np.float64))
            total = new if total is None else total + new
        return total

    def steadied(self, equations: NormalEquations, drift: F64 | None) -> NormalEquations:
        """Of rows that also have offsets of the channels, the same at all ages, independent of all else."""
        if drift is None:
            return equations
        lags, xx = self.n_channels * len(self.ages), equations.xx.copy()
        xx[:lags, :lags] += equations.n * np.tile(drift, (len(self.ages), len(self.ages)))
        return dataclasses.replace(equations, xx=xx)


def fit_base(
    spec: ARNet,
    parts: Seq[Sequence],
    val: Batch,
    n_channels: int,
    rate_hz: float,
    start: ARNetModel | None = None,
    columns: tuple[int, ...] = (),
    folds: int = 1,
    drift: F64 | None = None,
) -> tuple[ARNetModel, float, float]:
    """(model, lambda, validation error): the candidate that is best on `val` and on parts of the data left out.

    columns: those beside the channels that it may read. folds: in how many parts a sequence is left out, 1 = not at
    all. With `start`, the weights are pulled towards those instead of towards 0, and `start` itself is a candidate.
    """
    if start is not None:
        return _pulled(spec, parts, val, start, drift)
    best: tuple[ARNetModel, float, float] | None = None
    least = np.inf
    for ages in _candidates(spec, rate_hz, n_channels):
        cut = Cut(Rows(n_channels, ages, columns), parts, folds, drift)
        equations = cut.equations()
        models = [(_model(spec, cut.rows, *equations.solve(strength), None), strength) for strength in STRENGTHS]
        error, at = min((mean_square(model, val), i) for i, (model, _) in enumerate(models))
        # what it says of training data that it has not seen counts as well: validation may be a few recordings
        honest = error + (cut.error(models[at][1]) if folds > 1 else 0.0)
        if honest < least or best is None:
            least, best = honest, (*models[at], error)
    assert best is not None
    return best


def _pulled(
    spec: ARNet, parts: Seq[Sequence], val: Batch, start: ARNetModel, drift: F64 | None
) -> tuple[ARNetModel, float, float]:
    """The weights of `start` and more, as much as helps; drift counts for what is added, `start` is taken as it is."""
    left = [Sequence(part.x, part.y - _predicted(start, part.x), part.valid) for part in parts]
    cut = Cut(_rows(start), left, 1, drift)
    equations = cut.equations()
    models = [(_model(spec, cut.rows, *equations.solve(strength), start), strength) for strength in STRENGTHS]
    every = [(start, np.inf), *models]
    error, at = min((mean_square(model, val), i) for i, (model, _) in enumerate(every))
    return (*every[at], error)


def _candidates(spec: ARNet, rate_hz: float, n_channels: int) -> list[tuple[int, ...]]:
    """Those whose past fits a small chip, and the present sample alone."""
    known = spec.candidates(rate_hz)
    if spec.ages is not None or spec.spacing == "all":
        return known
    return [(0,), *(ages for ages in known if n_channels * max(ages) <= MOST_KEPT and ages != (0,))]


def honest_shift(
    model: ARNetModel, strength: float, parts: Seq[Sequence], folds: int, drift: F64 | None = None
) -> list[NDArray[np.float32]]:
    """Per sequence (T, D): what the base would say had it not seen this part of the data, less what it says.

    A correction that learns from the base's residuals on its own training data would learn them too small.
    """
    if folds == 1 or not np.isfinite(strength):
        return [np.zeros_like(part.y) for part in parts]
    unseen = Cut(_rows(model), parts, folds, drift).unseen(strength)
    return [u - _predicted(model, part.x) for u, part in zip(unseen, parts, strict=True)]


class Cut:
    """Sequences cut in `folds` parts each, and the sums of each part: what is left without one is soon known."""

    def __init__(self, rows: Rows, parts: Seq[Sequence], folds: int, drift: F64 | None = None):
        self.rows, self.parts, self.drift = rows, parts, drift
        edges = [np.linspace(0, len(part.x), folds + 1).astype(int) for part in parts]
        steps = thinned([part.valid for part in parts])
        self.pieces = {
            (i, first, last): rows.sums(parts[i].x, parts[i].y, s[(s >= first) & (s < last)])
            for i, s in enumerate(steps)
            for first, last in itertools.pairwise(edges[i])
        }
        self.total = _total(self.pieces.values())

    def equations(self, without: Sums | None = None) -> NormalEquations:
        """Of all parts, or of all but one; of that one where there is no other."""
        rest = self.total if without is None or without.n == self.total.n else self.total - without
        return self.rows.steadied(rest.equations(), self.drift)

    def unseen(self, strength: float) -> list[NDArray[np.float32]]:
        """Per sequence (T, D): what a base says of each part that was fitted on all the others."""
        said = [np.zeros_like(part.y) for part in self.parts]
        for (i, first, last), own in self.pieces.items():
            weight, bias = self.equations(own).solve(strength)
            said[i][first:last] = self.rows.of(self.parts[i].x, np.arange(first, last)) @ weight.T + bias
        return said

    def error(self, strength: float) -> float:
        """Mean square of what `unseen` says, over all valid samples and outputs."""
        said = self.unseen(strength)
        errors = [(u - part.y)[part.valid] for u, part in zip(said, self.parts, strict=True)]
        return float((np.concatenate(errors).astype(np.float64) ** 2).mean())


def _total(sums: Iterable[Sums | None]) -> Sums:
    known = [s for s in sums if s is not None]
    if not known:
        raise ValueError("no valid sample to fit a ridge on")
    return functools.reduce(operator.add, known)


def _rows(model: ARNetModel) -> Rows:
    return Rows(model.n_channels, tuple(model.ages), model.spec.columns)


def mean_square(model: torch.nn.Module, val: Batch) -> float:
    """Mean squared error over the valid points of all windows and all (scaled) outputs."""
    with torch.no_grad():
        error = model(torch.from_numpy(val.shown)).numpy() - val.y
    return float((error[val.valid].astype(np.float64) ** 2).mean())


def mean_of_squares(model: torch.nn.Module, checks: Seq[Batch]) -> float:
    """The mean over several batches of windows, each counted alike."""
    return sum(mean_square(model, batch) for batch in checks) / len(checks)


def _weights(model: ARNetModel) -> tuple[F64, F64]:
    parts = [layer.weight.detach().double().numpy() for layer in (model.linear, model.beside) if layer is not None]
    return np.hstack(parts), model.linear.bias.detach().double().numpy()


def _model(spec: ARNet, rows: Rows, weight: F64, bias: F64, start: ARNetModel | None) -> ARNetModel:
    if start is not None:
        own = _weights(start)
        weight, bias = weight + own[0], bias + own[1]
    ready = dataclasses.replace(spec, ages=rows.ages, columns=rows.columns)
    model = ready.build(rows.n_channels, len(bias))
    lags = model.linear.in_features
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(weight[:, :lags]))
        model.linear.bias.copy_(torch.from_numpy(bias))
        if model.beside is not None:
            model.beside.weight.copy_(torch.from_numpy(weight[:, lags:]))
    return model.requires_grad_(False)


def _predicted(model: ARNetModel, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the model says at every sample, (T, D)."""
    weight, bias = _weights(model)
    blocks = np.array_split(np.arange(len(x)), max(1, len(x) // BLOCK))
    return np.concatenate([_rows(model).of(x, some) @ weight.T + bias for some in blocks]).astype(np.float32)
