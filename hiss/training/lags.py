"""An AR-Net that is more than a ridge: its lags chosen by cross-validation, its own estimates read back, hidden layers.

x: (T, F) scaled columns, the first C are channels;  y: (T, D) scaled targets.
A closed loop is fitted by repeated exact fits: first on the true past of the target, then on its own past estimates
(pseudo-linear regression, the output error method), the best of them in free run on validation is taken. A loop that
would not settle is damped: the weight of the i-th estimate back is multiplied by r^i, which scales every pole by r.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hiss.arnet.choose import choose
from hiss.arnet.descent import Descent, descend
from hiss.arnet.equations import Rows
from hiss.dataset import Batch, Scaling, Sequence
from hiss.models.arnet import ARNet, ARNetModel, Tap
from hiss.ridge import F64, summed
from hiss.training.base import STRENGTHS, fit_base, mean_square

LARGEST_POLE = 0.995
"""Of a closed loop."""
SHARES = (0.25, 0.5, 0.75, 1.0, 1.0)
"""How much of the past is its own estimates, fit after fit: scheduled sampling by exact solutions."""


def fitted_lags(
    spec: ARNet, parts: Seq[Sequence], val: Batch, scaling: Scaling, rate_hz: float, say: Callable[[str], None]
) -> tuple[ARNetModel, dict[str, Any]]:
    """(the linear model of an AR-Net that chooses its lags, what its provenance says of its errors)."""
    model = fit_lags(spec, parts, val, scaling.n_channels, say)
    model = _or_spread(model, spec, parts, val, rate_hz, say)
    if spec.noise:  # errors beside samples that the estimate holds itself would tell nothing
        return denoised(model, (spec.noise / scaling.y_std) ** 2, val), {"ridge": model.ridge}
    found = {"interval": intervals(model, val, scaling.y_std), "spread": spreads(model, val, scaling.y_std)}
    return model, {**found, "ridge": model.ridge}


def _or_spread(
    model: ARNetModel, spec: ARNet, parts: Seq[Sequence], val: Batch, rate_hz: float, say: Callable[[str], None]
) -> ARNetModel:
    """With fit "auto" and nothing else asked for: ages spread over a long window instead, where validation prefers
    them. Neighbouring lags of many channels tell the same, and their number leaves no room for old ones."""
    asked = spec.own or spec.chunk_rate or spec.ranges or spec.skip
    if spec.fit != "auto" or asked or max(spec.windows_s) * rate_hz < 2 * spec.period:
        return model
    wide = ARNet(period=spec.period, windows_s=spec.windows_s)
    other, strength, error = fit_base(wide, parts, val, model.n_channels, rate_hz)
    other.ridge, own = strength, mean_square(model, val)
    window = f"{len(other.ages)} ages spread over {max(other.ages) / rate_hz:g} s, strength {strength:g}"
    taken = "taken" if error < own else "not taken"
    say(f"AR-Net (auto): {window}: validation error {error**0.5:.4g}, of the lags {own**0.5:.4g}; {taken}")
    return other if error < own else model


def fit_lags(spec: ARNet, parts: Seq[Sequence], val: Batch, n_channels: int, say: Callable[[str], None]) -> ARNetModel:
    """The linear model of an ARNet with spacing "all": taps chosen, and a closed loop where `own` asks for one."""
    rows = [_rows(part, n_channels, spec) for part in parts]
    if spec.fit == "sgd":
        return _descended(spec, rows, n_channels, say)
    method = "auto" if spec.fit == "ridge" else spec.fit
    choice = choose(rows, spec.lags, method, allowed=_allowed(spec, n_channels))
    say(f"AR-Net ({method}): {choice.why}")
    taps = _taps(choice.fit.kept, n_channels, spec)
    model = dataclasses.replace(spec, taps=taps, hidden=()).build(n_channels, len(choice.fit.bias))
    if not spec.own and not spec.chunk_rate:
        _set(model, choice.fit.weight[:, choice.fit.kept], choice.fit.bias)
        model.ridge = choice.fit.ridge
        return model.requires_grad_(False)
    return _by_rows(model, parts, val)


def _descended(spec: ARNet, rows: Seq[Rows], n_channels: int, say: Callable[[str], None]) -> ARNetModel:
    """All lags, by gradients; how they are followed depends on torch's generator, which hiss.fit seeds."""
    seed = int(torch.randint(2**31, ()))
    found = descend(rows, spec.lags, Descent(sparsity=spec.sparsity), seed)
    say(f"AR-Net (sgd): {spec.lags} lags, step size {found.lr:.2g} by a range test, loss {found.losses[-1]:.4g}")
    every = tuple((age, channel) for age in range(spec.lags) for channel in range(n_channels))
    model = dataclasses.replace(spec, taps=every, hidden=()).build(n_channels, len(found.bias))
    _set(model, found.weight, found.bias)
    return model.requires_grad_(False)


def denoised(model: ARNetModel, noise: F64, val: Batch) -> ARNetModel:
    """The model with the one sample that it skips, which counts by what the others leave open of it: 1 - noise / left.

    noise (D,): its variance;  left: that of sample less estimate on `val`, of the estimate's error and of the noise
    together. All scaled.
    """
    share = torch.from_numpy(np.clip(1 - noise / mean_square(model, val), 0.0, 1.0)).float()[:, None]
    made = dataclasses.replace(model.spec, taps=(*model.taps, *model.spec.skip)).build(model.n_channels, len(share))
    with torch.no_grad():
        made.linear.weight.copy_(torch.cat([model.linear.weight * (1 - share), share], 1))
        made.linear.bias.copy_(model.linear.bias * (1 - share[:, 0]))
    return made.requires_grad_(False)


LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Shares of outcomes that an interval is made for."""


def spreads(model: ARNetModel, val: Batch, y_std: F64) -> list[float]:
    """Root mean squared error of each output on validation data, in its unit."""
    with torch.no_grad():
        errors = (model(torch.from_numpy(val.x)).numpy() - val.y)[val.valid] * y_std
    found: list[float] = np.sqrt((errors.astype(np.float64) ** 2).mean(0)).tolist()
    return found


def intervals(model: ARNetModel, val: Batch, y_std: F64) -> dict[str, list[float]]:
    """Level -> half width per output, in its unit: that share of the errors on validation data is smaller.

    No normal distribution is assumed, and the finite number of errors is allowed for (split conformal).
    """
    with torch.no_grad():
        errors = np.abs(model(torch.from_numpy(val.x)).numpy() - val.y)[val.valid] * y_std
    n = len(errors)
    return {f"{p:g}": np.quantile(errors, min(1.0, p * (n + 1) / n), axis=0).tolist() for p in LEVELS}


def _rows(part: Sequence, n_channels: int, spec: ARNet) -> Rows:
    """All valid steps but the first ones, which have no past of their own (at most an eighth of the steps)."""
    steps = np.arange(len(part.x))
    return part.x[:, :n_channels], part.y, part.valid & (steps >= min(spec.lags - 1, len(steps) // 8))


def _allowed(spec: ARNet, n_channels: int) -> NDArray[np.bool_] | None:
    if not spec.ranges and not spec.skip:
        return None
    if spec.ranges and len(spec.ranges) != n_channels:
        raise ValueError(f"{len(spec.ranges)} ranges of ages for {n_channels} channels; give one each")
    return np.array([[spec.allowed(age, c) for c in range(n_channels)] for age in range(spec.lags)]).ravel()


def _taps(kept: NDArray[np.bool_], n_channels: int, spec: ARNet) -> tuple[Tap, ...]:
    """(age, channel) of the columns kept, ages in whole chunks where the past is kept so."""
    pairs = [divmod(int(column), n_channels) for column in np.flatnonzero(kept)]
    k = spec.period
    if spec.chunk_rate:
        pairs = [(round(age / k) * k if age >= k else age, channel) for age, channel in pairs]
    return tuple(dict.fromkeys(pairs))


def _set(model: ARNetModel, weight: F64, bias: F64) -> None:
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(weight))
        model.linear.bias.copy_(torch.from_numpy(bias))


# ---- by rows: what equations of consecutive lags do not hold -------------------------------------------------------


def _by_rows(model: ARNetModel, parts: Seq[Sequence], val: Batch) -> ARNetModel:
    """Ridge over the taps at chunk ends, and over the past estimates of a closed loop; the best on validation."""
    model.requires_grad_(False)
    lagged = [model.lagged(torch.from_numpy(part.x[None]))[0].double().numpy() for part in parts]
    ends = slice(model.period - 1, None, model.period)
    wanted, valid = [part.y[ends].astype(np.float64) for part in parts], [part.valid[ends] for part in parts]
    best: tuple[float, float, dict[str, torch.Tensor]] | None = None
    for strength in STRENGTHS:
        past = wanted
        for share in (0.0, *(SHARES if model.back is not None else ())):
            if share:
                own = [model(torch.from_numpy(part.x[None]))[0].double().numpy() for part in parts]
                past = [share * o + (1 - share) * y for o, y in zip(own, wanted, strict=True)]
            _solve(model, lagged, past, wanted, valid, strength)
            error = mean_square(model, val)
            if np.isfinite(error) and (best is None or error < best[0]):
                best = error, strength, {k: v.clone() for k, v in model.state_dict().items()}
    if best is None:
        raise ValueError("the closed loop gives no finite estimate; take fewer own lags")
    model.ridge = best[1]
    model.load_state_dict(best[2])
    return model


@torch.no_grad()
def _solve(
    model: ARNetModel,
    lagged: Seq[F64],
    past: Seq[F64],
    wanted: Seq[F64],
    valid: Seq[NDArray[np.bool_]],
    strength: float,
) -> None:
    """The exact weights for this past, damped until the loop settles."""
    own = model.spec.own
    blocks = [
        (np.hstack([x, *shifted(p, own)])[ok], y[ok]) for x, p, y, ok in zip(lagged, past, wanted, valid, strict=True)
    ]
    weight, bias = summed(blocks).solve(strength)
    taps = lagged[0].shape[1]
    _set(model, weight[:, :taps], bias)
    if model.back is not None:
        model.back.weight.copy_(torch.from_numpy(settled(weight[:, taps:], own)))


def shifted(y: F64, own: int) -> list[F64]:
    """y as it was 1 .. own estimates before, 0 before the first."""
    return [np.concatenate([np.zeros_like(y[:age]), y[: len(y) - min(age, len(y))]]) for age in range(1, own + 1)]


def loop_poles(back: F64, own: int) -> NDArray[np.complex128]:
    """Poles of y_j = back [y_{j-1} .. y_{j-own}]; back: (D, own D)."""
    width = len(back)
    companion = np.zeros((own * width, own * width))
    companion[:width] = back
    for i, j in itertools.pairwise(range(own)):
        companion[j * width : (j + 1) * width, i * width : (i + 1) * width] = np.eye(width)
    return np.asarray(np.linalg.eigvals(companion), np.complex128)


def settled(back: F64, own: int) -> F64:
    """The weights with every pole at most LARGEST_POLE from 0."""
    largest = float(np.abs(loop_poles(back, own)).max())
    if largest <= LARGEST_POLE:
        return back
    powers = (LARGEST_POLE / largest) ** np.arange(1, own + 1)
    return back * np.repeat(powers, len(back))
