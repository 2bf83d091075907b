"""The reading of a linear AR-Net run: its weights in the units of the data with their errors, and what it leaves."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hiss.arnet import reading
from hiss.dataset import Sequence, prepare, sequences
from hiss.gaps import Gaps
from hiss.models.arnet import ARNetModel
from hiss.recording import Recording
from hiss.ridge import F64
from hiss.training.lags import shifted
from hiss.training.run import Run
from hiss.training.sessions import sessions_of


def read_run(run: Run, recordings: Seq[Recording], output: int = 0) -> tuple[str, dict[str, Any]] | None:
    """(text, panels to plot) of one output on the recordings that it was fitted on; None where it is not linear in
    its lags. Standard errors are those of least squares on these rows: what is left is taken for noise."""
    model = run.module
    if not isinstance(model, ARNetModel) or model.more:
        return None
    found, names = _rows(run, model, _parts(run, recordings), output), [c.name for c in run.channels]
    error, unit = _errors(found.x, found.left, float(run.provenance.get("ridge", 0))), _units(run, model, output)
    weight = _weights(model, output) * unit
    taps = [*model.taps, *((age * run.period, len(names) + o) for age, o in _own(model))]
    lags = reading.selected_lags(taps, weight, error * unit, [*names, *(f"{t.name} (own)" for t in run.targets)])
    loop, loop_hz = _loop(run, model, weight)
    gains = _gains(run, model, weight) if loop is None else {}
    said = f"{run.targets[output].name}: {len(lags)} weights\n" + reading.text(
        lags, found.left, run.rate_hz, loop, loop_hz
    )
    return said, reading.panels(lags, found.left, loop, loop_hz) | ({"gains": gains} if gains else {})


@dataclass(frozen=True, eq=False)
class _Rows:
    """x (n, P): what the weights multiply;  left (n,): what they leave. Scaled."""

    x: F64
    left: F64


def _parts(run: Run, recordings: Seq[Recording]) -> list[Sequence]:
    names, tare = [t.name for t in run.targets], run.scaling.tare
    inputs, gaps = run.provenance.get("inputs", ()), Gaps.trained(run.provenance)
    at_rate = sessions_of(recordings, names, inputs, run.rate_hz, tare, gaps, run.period)
    return sequences(prepare(at_rate, names, run.rate_hz, tare), run.scaling)


@torch.no_grad()
def _rows(run: Run, model: ARNetModel, parts: Seq[Sequence], output: int) -> _Rows:
    ends, x, left = slice(run.period - 1, None, run.period), [], []
    for part in parts:
        columns = torch.from_numpy(part.x[None])
        estimate = model(columns)[0].double().numpy()
        ok = part.valid[ends]
        x.append(np.hstack([model.lagged(columns)[0].double().numpy(), *shifted(estimate, model.spec.own)])[ok])
        left.append((part.y[ends] - estimate)[ok, output])
    return _Rows(np.concatenate(x), np.concatenate(left).astype(np.float64))


def _own(model: ARNetModel) -> list[tuple[int, int]]:
    """(estimates back, output) of the weights of a closed loop."""
    width = model.linear.out_features
    return [(age, o) for age in range(1, model.spec.own + 1) for o in range(width)]


def _weights(model: ARNetModel, output: int) -> F64:
    """(P,) of the taps, then of its own estimates, scaled."""
    own = [] if model.back is None else [model.back.weight[output].detach().double().numpy()]
    return np.concatenate([model.linear.weight[output].detach().double().numpy(), *own])


def _units(run: Run, model: ARNetModel, output: int) -> F64:
    scale = run.scaling
    per = [scale.std[channel] for _, channel in model.taps] + [scale.y_std[o] for _, o in _own(model)]
    return scale.y_std[output] / np.array(per, np.float64)


def _loop(run: Run, model: ARNetModel, weight: F64) -> tuple[F64 | None, float]:
    """(weights of a series on its own past, its rate in Hz), where the run is one: a forecast of the next sample of its
    only channel, or one output that reads its own estimates."""
    if model.back is not None:
        return (weight[len(model.taps) :], run.rate_hz / run.period) if len(run.targets) == 1 else (None, run.rate_hz)
    if len(run.channels) > 1 or run.targets[0].name != f"{run.channels[0].name}+1" or run.period > 1:
        return None, run.rate_hz
    full = np.zeros(max(age for age, _ in model.taps) + 1)
    full[[age for age, _ in model.taps]] = weight
    return full, run.rate_hz


def _gains(run: Run, model: ARNetModel, weight: F64) -> dict[str, tuple[F64, F64]]:
    """Channel -> (Hz, gain in units of the target a unit of it): the four that move the estimate most."""
    made, moves = {}, {}
    for i, channel in enumerate(run.channels):
        taps = [(age, w) for (age, c), w in zip(model.taps, weight, strict=False) if c == i]
        if taps:
            made[channel.name] = reading.taps_response([a for a, _ in taps], [w for _, w in taps], run.rate_hz)
            moves[channel.name] = float(np.hypot.reduce([w for _, w in taps]) * run.scaling.std[i])
    return {name: made[name] for name in sorted(made, key=lambda n: -moves[n])[:4]}


def _errors(x: F64, left: F64, ridge: float) -> F64:
    """(P,) standard errors of least squares with this strength per row; of columns that tell the same, the shortest
    solution's. G = x'x:  noise (G + ridge n)^-1 G (G + ridge n)^-1."""
    centred, n = x - x.mean(0), len(x)
    gram = centred.T @ centred
    inverse = np.linalg.pinv(gram + ridge * n * np.eye(x.shape[1]), hermitian=True)
    noise = float(left @ left) / max(1, n - x.shape[1] - 1)
    made: F64 = np.sqrt(noise * np.einsum("ij,jk,ki->i", inverse, gram, inverse, optimize=True).clip(min=0))
    return made
