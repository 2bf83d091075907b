"""Folding: a trained model and its Scaling -> a Program. Torch ends here.

C: channels;  z: the samples as Input hands them on;  d: their first differences;  y: outputs in their units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from hiss.dataset import Scaling
from hiss.errors import FoldError
from hiss.filters import Lowpass
from hiss.folding import layers
from hiss.folding.arnet import arnet_stages, read_taps
from hiss.folding.expressions import Builder, Expression, stacked, sums, value
from hiss.folding.inertial import inertial_columns
from hiss.folding.stacks import fold_stack, why_float64
from hiss.models import ARNetModel, EnsembleModel, FlatModel, HierarchicalModel, ResidualModel
from hiss.program import Port, Program, Stage, passes
from hiss.program import ops as o
from hiss.recording import Channel

if TYPE_CHECKING:
    from hiss.training import Run

OFFSET_STEPS = 64
"""Offsets are rounded to 1/64 of the channel's own power of two, so they are exact in every arithmetic."""


@dataclass(frozen=True)
class Front:
    """What every model reads. raw, inputs: the scaled columns as expressions of z and d."""

    builder: Builder
    scaling: Scaling
    raw: Expression  # (C,)
    inputs: Expression  # (F,) raw, then deltas where the model has them
    lag_scale: Callable[[Expression], Expression]


def fold(run: Run | str | Path, *, optimize: bool = True) -> Program:
    """The recurrent program of a trained run (or of the folder that it was saved in).

    optimize: run the passes (they change no output). Raises FoldError where a model has no fixed recurrent form.
    """
    if isinstance(run, str | Path):
        from hiss.training import Run

        run = Run.load(run)
    return fold_model(
        run.module,
        run.scaling,
        channels=run.channels,
        targets=run.targets,
        rate_hz=run.rate_hz,
        provenance=run.provenance,
        optimize=optimize,
    )


def fold_model(
    module: nn.Module,
    scaling: Scaling,
    *,
    channels: tuple[Channel, ...],
    targets: tuple[Channel, ...],
    rate_hz: float,
    provenance: dict[str, Any] | None = None,
    optimize: bool = True,
) -> Program:
    """The same from the parts of a run."""
    front = _front(scaling)
    stages = _model(module, front)
    inputs = tuple(
        Port(c.name, c.unit, lo, hi)
        for c, lo, hi in zip(channels, scaling.lo.tolist(), scaling.hi.tolist(), strict=True)
    )
    outputs = tuple(Port(t.name, t.unit) for t in targets)
    exact = why_float64(getattr(module, "spec", None))
    program = Program(inputs, outputs, rate_hz, stages, provenance or {}, only_float64=exact)
    return passes.optimized(program) if optimize else program


# ---- the front: samples to scaled columns ----------------------------------------------------------------------------


def _front(scaling: Scaling) -> Front:
    b = Builder()
    shift = np.floor(np.log2(scaling.std)).astype(np.int64)
    if scaling.inertial:  # turning is summed up: each axis as fine as the finest of them
        shift[list(scaling.inertial.gyr)] = shift[list(scaling.inertial.gyr)].min()
    quantum = np.exp2(shift) / OFFSET_STEPS
    offset = np.round(scaling.mean / quantum) * quantum if scaling.lowpass is None else scaling.lowpass.centre
    count, unit = scaling.n_channels, np.exp2(shift)
    z = b.add(
        o.Input("z" if scaling.lowpass is None else "samples", offset, shift, scaling.lo, scaling.hi, scaling.tare)
    )
    if scaling.lowpass is not None:
        z = _lowpass(b, scaling.lowpass, z, count)

    def scaled(x: Expression) -> Expression:  # x holds z, or z of another time
        return x.scaled(unit / scaling.std, (offset - scaling.mean) / scaling.std)

    raw = scaled(value(z, count))
    inputs = raw
    if scaling.deltas:
        every = np.arange(count)
        before = b.add(o.Delay("z_before", z, np.ones(count, np.int64), every, "first"))
        delta = value(b.add(o.Add("delta", (z, before), (1, -1))), count)
        inputs = stacked([raw, delta.scaled(unit / scaling.delta_std, -scaling.delta_mean / scaling.delta_std)])
    if scaling.inertial:
        inputs = stacked([inputs, inertial_columns(b, scaling.inertial, z, unit, offset)])
    return Front(b, scaling, raw, inputs, scaled)


def _lowpass(b: Builder, lowpass: Lowpass, samples: str, count: int) -> str:
    """Every channel through the filter; what it makes takes the samples' place."""
    a, c, d = lowpass.modes()
    return b.add(o.Diagonal("z", samples, np.tile(a, (count, 1)), np.tile(c, (count, 1)), np.full(count, d)))


# ---- models ----------------------------------------------------------------------------------------------------------


def _model(module: nn.Module, front: Front) -> tuple[Stage, ...]:
    base: ARNetModel | None = None
    if isinstance(module, ResidualModel):
        base, inner = module.base, module.correction
        if inner is None:
            base, module = None, module.base  # type: ignore[assignment]
        else:
            module = inner
    if isinstance(module, ARNetModel) and module.beside is not None:  # what fit_base made: one linear map
        y = _base(front, module)
        return (_one_stage(front, module.period, Expression(y.terms, y.bias + front.scaling.y_mean)),)
    if isinstance(module, ARNetModel):
        scaled, count = front.lag_scale, front.scaling.n_channels
        return arnet_stages(front.builder, module, scaled, count, lambda y: _denormalized(front, y))
    if isinstance(module, FlatModel):
        y = fold_stack(front.builder, "net", module.net, front.inputs, None)
        return (_one_stage(front, module.period, _denormalized(front, y), base),)
    if isinstance(module, HierarchicalModel):
        return _hierarchical(front, module, base)
    if isinstance(module, EnsembleModel):
        return _ensemble(front, module)
    raise FoldError(
        f"{type(module).__name__} cannot be folded: it has no fixed recurrent update equations that hiss knows. "
        "Foldable: ARNet, Flat, Hierarchical, Residual and Ensemble of them"
    )


def _one_stage(front: Front, period: int, y: Expression, base: ARNetModel | None = None) -> Stage:
    b = front.builder
    out = b.affine("y" if base is None else "correction", y)
    if base is not None:
        out = b.add(o.Add("y", (out, b.affine("base", _base(front, base))), (1, 1)))
    return Stage(period, tuple(b.ops), (), (out,))


def _hierarchical(front: Front, module: HierarchicalModel, base: ARNetModel | None) -> tuple[Stage, ...]:
    high = Builder()
    hands: list[str] = []
    top = _levels(front, high, module, "", hands)
    out = high.affine("y" if base is None else "correction", _denormalized(front, top))
    if base is not None:
        hands.append(front.builder.affine("base", _base(front, base)))
        out = high.add(o.Add("y", (out, hands[1]), (1, 1)))
    return _two_stages(front, module.period, hands, high, out)


def _ensemble(front: Front, module: EnsembleModel) -> tuple[Stage, ...]:
    """All members in the same stages: what reads samples, and, of those with a high level, what reads chunks."""
    flat, high, tops = [], Builder(), []
    hands: list[str] = []
    members: Any = module.members
    for i, member in enumerate(members):
        if isinstance(member, FlatModel):
            flat.append(fold_stack(front.builder, f"net{i}", member.net, front.inputs, None))
        else:
            tops.append(_levels(front, high, member, str(i), hands))
    share = 1 / len(module.members)
    if not tops:
        return (_one_stage(front, module.period, _denormalized(front, sums(flat, [share] * len(flat)))),)
    if flat:
        hands.append(front.builder.affine("flat", sums(flat, [1.0] * len(flat))))
        tops.append(value(hands[-1], len(front.scaling.y_mean)))
    out = high.affine("y", _denormalized(front, sums(tops, [share] * len(tops))))
    return _two_stages(front, module.period, hands, high, out)


def _levels(front: Front, high: Builder, module: HierarchicalModel, mark: str, hands: list[str]) -> Expression:
    """Both levels of a network, and its scaled estimate. hands: its low level's output is added."""
    chunk = module.period if module.spec.restart else None
    low = fold_stack(front.builder, f"low{mark}", module.low, front.inputs, chunk)
    hands.append(front.builder.affine(f"low{mark}.out", low))
    top = fold_stack(high, f"high{mark}", module.high, value(hands[-1], module.high.d_model), None)
    return layers.linear(module.head, top)


def _two_stages(front: Front, period: int, hands: list[str], high: Builder, out: str) -> tuple[Stage, ...]:
    return (
        Stage(period, tuple(front.builder.ops), (), tuple(hands)),
        Stage(1, tuple(high.ops), (), (out,)),
    )


def _base(front: Front, module: ARNetModel) -> Expression:
    """The base in the units of the outputs; the mean is already in the correction."""
    drive = read_taps(front.builder, module, front.lag_scale, front.scaling.n_channels)
    bias = layers.array(module.linear.bias)
    if module.beside is not None:
        weight = np.zeros((len(bias), front.scaling.n_inputs))
        weight[:, list(module.spec.columns)] = layers.array(module.beside.weight)
        both = stacked([drive, front.inputs.linear(weight, np.zeros_like(bias))])
        drive = both.linear(np.tile(np.eye(len(bias)), 2), np.zeros_like(bias))
    return Expression(drive.terms, drive.bias + bias).scaled(front.scaling.y_std, np.zeros_like(front.scaling.y_std))


def _denormalized(front: Front, y: Expression) -> Expression:
    return y.scaled(front.scaling.y_std, front.scaling.y_mean)
