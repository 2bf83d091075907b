"""The reading of a linear AR-Net run: its weights in the units of the data with their errors, and what it leaves."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import torch

from hiss.arnet import reading
from hiss.dataset import prepare, sequences
from hiss.gaps import Gaps
from hiss.models.arnet import ARNetModel
from hiss.recording import Recording
from hiss.ridge import F64
from hiss.training.run import Run
from hiss.training.sessions import sessions_of


def read_run(run: Run, recordings: Seq[Recording], output: int = 0) -> tuple[str, dict[str, Any]] | None:
    """(text, panels to plot) of one output on the recordings that it was fitted on; None where it is not linear in
    its lags. Standard errors are those of least squares on these rows: what is left is taken for noise."""
    model = run.module
    if not isinstance(model, ARNetModel) or model.more or model.back is not None:
        return None
    names, scale = [t.name for t in run.targets], run.scaling
    inputs, gaps = run.provenance.get("inputs", ()), Gaps.trained(run.provenance)
    at_rate = sessions_of(recordings, names, inputs, run.rate_hz, scale.tare, gaps, run.period)
    parts = sequences(prepare(at_rate, names, run.rate_hz, scale.tare), scale)
    ends = slice(run.period - 1, None, run.period)
    rows = [model.lagged(torch.from_numpy(p.x[None]))[0].double().numpy()[p.valid[ends][: len(p.x)]] for p in parts]
    y = np.concatenate([p.y[ends][p.valid[ends]] for p in parts])[:, output].astype(np.float64)
    x = np.concatenate(rows)
    weight = model.linear.weight[output].double().numpy()
    left = y - x @ weight - float(model.linear.bias[output])
    error = _errors(x, left)
    unit = np.array([scale.y_std[output] / scale.std[channel] for _, channel in model.taps])
    channels = [c.name for c in run.channels]
    full, errors = (np.zeros((max(a for a, _ in model.taps) + 1) * len(channels)) for _ in range(2))
    for (age, channel), w, e in zip(model.taps, weight * unit, error * unit, strict=True):
        full[age * len(channels) + channel], errors[age * len(channels) + channel] = w, e
    lags = reading.selected_lags(full, errors, channels)
    loop = full if len(channels) == 1 and names[output] == f"{channels[0]}+1" and run.period == 1 else None
    said = f"{names[output]}: {len(lags)} weights\n" + reading.text(lags, left, run.rate_hz, loop)
    return said, reading.panels(lags, left, run.rate_hz, loop)


def _errors(x: F64, left: F64) -> F64:
    """(P,) standard errors of least squares; of columns that tell the same, the shortest solution's."""
    centred = x - x.mean(0)
    noise = float(left @ left) / max(1, len(left) - x.shape[1] - 1)
    made: F64 = np.sqrt(noise * np.diag(np.linalg.pinv(centred.T @ centred, hermitian=True)).clip(min=0))
    return made
