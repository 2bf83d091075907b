"""AR-Net -> stages: taps read a Delay, own estimates come back through one, ages of whole chunks take a row a chunk.

z: samples as Input hands them on;  drive: what the lags say, in scaled outputs;  estimate: with the loop, scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hiss.folding import layers
from hiss.folding.expressions import Builder, Expression, stacked, value
from hiss.models import ARNetModel
from hiss.program import Stage
from hiss.program import ops as o

Tap = tuple[int, int]
Scaled = Callable[[Expression], Expression]
"""An expression of samples z, at any time -> of scaled channels."""


def past_values(b: Builder, name: str, source: str, taps: Sequence[Tap]) -> dict[Tap, tuple[str, int]]:
    """(age, channel) -> (value, column): a Delay for each run of channels whose longest age is the same, so that a
    ring is as long as its channels need and no longer."""
    longest: dict[int, int] = {}
    for age, channel in taps:
        longest[channel] = max(age, longest.get(channel, 0))
    made: dict[Tap, tuple[str, int]] = {}
    groups = _runs(longest)
    for i, channels in enumerate(groups):
        some = sorted(tap for tap in set(taps) if tap[1] in channels)
        ages, of = (np.array(v, np.int64) for v in zip(*some, strict=True))
        out = b.add(o.Delay(name if len(groups) == 1 else f"{name}_{i}", source, ages, of, "first"))
        made |= {tap: (out, column) for column, tap in enumerate(some)}
    return made


def _runs(longest: dict[int, int]) -> list[set[int]]:
    """Neighbouring channels with the same longest age, together."""
    groups: list[set[int]] = []
    for channel in sorted(longest):
        before = channel - 1
        if groups and before in groups[-1] and longest[before] == longest[channel]:
            groups[-1].add(channel)
        else:
            groups.append({channel})
    return groups


def _tapped(taps: Sequence[Tap], now: str, past: dict[Tap, tuple[str, int]], widths: dict[str, int]) -> Expression:
    """One row per tap, of the values that hold them."""
    parts = []
    for age, channel in taps:
        name, column = (now, channel) if age == 0 else past[age, channel]
        row = np.zeros((1, widths[name]))
        row[0, column] = 1.0
        parts.append(Expression({name: row}, np.zeros(1)))
    return stacked(parts)


def read_taps(b: Builder, module: ARNetModel, scaled: Scaled, channels: int) -> Expression:
    """linear(taps) of a model whose taps are all kept sample by sample."""
    past = past_values(b, "z_past", "z", [tap for tap in module.taps if tap[0] > 0])
    return _linear(module, module.taps, "z", past, scaled, channels)


def _linear(
    module: ARNetModel,
    taps: Sequence[Tap],
    now: str,
    past: dict[Tap, tuple[str, int]],
    scaled: Scaled,
    channels: int,
) -> Expression:
    """The share of `taps` in module.linear, its bias left out."""
    weight = layers.array(module.linear.weight)
    if not taps:
        return Expression({}, np.zeros(len(weight)))
    widths = {now: channels} | {name: 1 + max(c for n, c in past.values() if n == name) for name, _ in past.values()}
    rows = _tapped(taps, now, past, widths)
    at = [module.taps.index(tap) for tap in taps]
    columns = [channel for _, channel in taps]
    return _scaled_rows(rows, scaled, columns, channels).linear(weight[:, at], np.zeros(len(weight)))


def _scaled_rows(rows: Expression, scaled: Scaled, columns: Sequence[int], channels: int) -> Expression:
    """Each row scaled as the channel that it is of."""
    unit = scaled(Expression({"1": np.eye(channels)}, np.zeros(channels)))
    factor, offset = np.diag(unit.terms["1"])[list(columns)], unit.bias[list(columns)]
    return rows.scaled(factor, offset)


def arnet_stages(b: Builder, module: ARNetModel, scaled: Scaled, channels: int, y: Scaled) -> tuple[Stage, ...]:
    """The whole program of an AR-Net alone. y: scaled outputs -> their units."""
    bias = layers.array(module.linear.bias)
    k = module.period
    far = [t for t in module.taps if module.spec.chunk_rate and t[0] >= k]
    near = [t for t in module.taps if t not in far]
    past = past_values(b, "z_past", "z", [tap for tap in near if tap[0] > 0])
    drive = _plus(_linear(module, near, "z", past, scaled, channels), bias)
    if not far and module.back is None:
        out = _written(b, module, drive, y)
        return (Stage(k, tuple(b.ops), (), (out,)),)
    hands = [b.affine("drive", drive)] if drive.terms else []
    hands += ["z"] if far else []
    above = Builder()
    total = value("drive", len(bias)) if drive.terms else drive
    if far:
        rows = [(age // k, channel) for age, channel in far]
        held = past_values(above, "z_chunks", "z", rows)
        kept = {(age * k, channel): at for (age, channel), at in held.items()}
        total = _sum(total, _linear(module, far, "z", kept, scaled, channels))
    out = _closed(above, module, total, y)
    return Stage(k, tuple(b.ops), (), tuple(hands)), Stage(1, tuple(above.ops), (), (out,))


def _written(b: Builder, module: ARNetModel, drive: Expression, y: Scaled) -> str:
    """Hidden layers, where there are any, and the output in its units."""
    for i, layer in enumerate(module.more):
        width = len(drive.bias)
        hidden = b.add(o.Map(f"hidden_{i}.relu", b.affine(f"hidden_{i}", drive), "relu"))
        drive = layers.linear(layer, value(hidden, width))  # type: ignore[arg-type]
    return b.affine("y", y(drive))


def _closed(b: Builder, module: ARNetModel, drive: Expression, y: Scaled) -> str:
    if module.back is None:
        return _written(b, module, drive, y)
    width, own = len(drive.bias), module.spec.own
    ages, outputs = np.repeat(np.arange(1, own + 1), width), np.tile(np.arange(width), own)
    back = b.add(o.Delay("estimate_past", "estimate", ages, outputs, "zero"))
    loop = value(back, width * own).linear(layers.array(module.back.weight), np.zeros(width))
    estimate = b.affine("estimate", _sum(drive, loop))
    return b.affine("y", y(value(estimate, width)))


def _plus(x: Expression, bias: NDArray[np.float64]) -> Expression:
    return Expression(x.terms, x.bias + bias)


def _sum(x: Expression, other: Expression) -> Expression:
    """Sum of two expressions that share no value."""
    return Expression(x.terms | other.terms, x.bias + other.bias)
