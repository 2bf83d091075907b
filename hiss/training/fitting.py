"""fit: recordings -> Run.

A Residual is fitted in two parts: its linear base exactly, then its correction by gradient descent on what the base
leaves; the correction is dropped where it does not help on validation. Where it has a rival, a network without a base,
that is trained as well, and validation chooses.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hiss.dataset import hold_out, prepare
from hiss.errors import TrainingError
from hiss.gaps import Gaps
from hiss.models.arnet import ARNet, ARNetModel
from hiss.models.ensemble import Ensemble
from hiss.models.residual import Residual, ResidualModel
from hiss.recording import Channel, Recording
from hiss.training.alone import trained_alone
from hiss.training.base import fit_base, mean_of_squares
from hiss.training.data import Data, data_of
from hiss.training.descent import Say, Sitting, Watch, descended, finished, imitator, made_learner
from hiss.training.filtering import filtered, front_of
from hiss.training.grids import Grids
from hiss.training.group import joined, own_device, rank_of_environment
from hiss.training.labels import some_labels
from hiss.training.lags import fitted_lags
from hiss.training.loop import Progress
from hiss.training.options import TrainOptions
from hiss.training.pretraining import network_of
from hiss.training.rival import WITHOUT_BASE, better, parted, say_rival, trained_rival
from hiss.training.run import Run
from hiss.training.sessions import prepared, rate_of, sessions_of, steps


def fit(
    model: Any,
    train: Seq[Recording],
    target: str | Seq[str],
    *,
    val: Seq[Recording] | None = None,
    inputs: Seq[str] = (),
    rate_hz: float | None = None,
    tare: int | None = None,
    options: TrainOptions | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
    resume: bool = False,
    start: Run | None = None,
    grids: Grids | None = None,
    about: dict[str, Any] | None = None,
    forecast: int = 0,
    watch: Watch | None = None,
    gaps: Gaps | None = None,
    pretrained: Run | None = None,
) -> Run:
    """Train `model` (a spec: Residual, Hierarchical, Flat, Ensemble or ARNet) to estimate `target` and give the Run.

    train: recordings to learn from; val: to validate on, else those marked "val", else the end of each recording.
    inputs: names or patterns of the channels to estimate from, none = all that are not targets.
    rate_hz: sample rate to train at, None = that of the recordings; tare: samples at the start of each recording whose
    mean is taken off, None = as they are. out: directory for checkpoints, needed to resume. start: a Run to fine-tune;
    its model and scaling are kept, `model` is then ignored. grids: bits of the rows of weights by the name of the
    parameter: `start` then learns to say with weights of so many bits what it says now (its base stays as it is).
    about: plain data to keep in run.json. forecast: how far ahead targets NAME+K look, kept in the provenance.
    watch: called before the first update and after each validation of a network; what it raises ends the training.
    gaps: what is made of pauses, None = as `start`, or interpolated across; live and evaluation then do the same.
    pretrained: a Run of `pretrain` whose network, all but its head, and whose scales of inputs are taken.

    Raises TrainingError, RecordingError, HissError; KeyboardInterrupt after the last checkpoint was kept.
    """
    if grids and start is None:
        raise ValueError("grids are for fine-tuning: give the run to start from (start)")
    if grids and isinstance(getattr(start.module, "correction", start.module), ARNetModel | None):  # type: ignore[union-attr]
        raise TrainingError("the run is linear in its samples: its weights are int16 always, there is nothing to tune")
    options = options or TrainOptions()
    say: Say = Progress(progress and rank_of_environment() == 0).say
    inputs = list(inputs if start is None else start.provenance.get("inputs", ()))
    gaps = (gaps or Gaps()) if start is None else Gaps.trained(start.provenance)
    if pretrained is not None and start is not None:
        raise ValueError("a run is fine-tuned, or trained on from a pretrained one: give start or pretrained")
    train, which = some_labels(train, options.labels)
    if which:
        say(which)
    if pretrained is not None:
        network_of(model)
    other = start or pretrained
    rate_hz = rate_of(train, rate_hz, other)
    tare = other.scaling.tare if other else tare
    least = max(2, (model if start is None else start.spec).period)
    learned, held = (sessions_of(rs, target, inputs, rate_hz, tare, gaps, least) for rs in (train, val or ()))
    recordings = prepared(learned, target, rate_hz, tare, start)
    held = prepare(held, target, rate_hz, recordings[0].tared) if held else held
    front = front_of(recordings, options, other.scaling if other else None)
    recordings, held = filtered(recordings, front), filtered(held, front)
    fit_on, held_out = hold_out(recordings, held, options.val_fraction)
    period = (model if start is None else start.spec).period
    data = data_of(fit_on, held_out, period, options, start, pretrained, front)
    if data.turns:
        say(data.turns.said)
    spec = model if start is None else start.spec
    more: dict[str, Any] = {"inputs": inputs, "steps": steps(train, recordings[0])} | _bits_of(grids)
    skipped: tuple[tuple[int, int], ...] = getattr(spec, "skip", ())
    more |= {"forecast": forecast} if forecast else {"denoise": skipped[0][0]} if skipped else {}
    more |= {"gap": str(gaps)} if gaps != Gaps() else {}
    more |= {"pretrained": pretrained.provenance} if pretrained else {}
    more |= {"target_std": data.target_std} if data.target_std else {}
    run = Run(
        spec=spec,
        module=nn.Module(),
        scaling=data.scaling,
        rate_hz=data.rate_hz,
        period=spec.period,
        channels=recordings[0].channels,
        targets=recordings[0].targets,
        provenance=_provenance(recordings, held, options, seed, start) | more,
        about=about or {},
    )
    where = _device(own_device(device))
    with torch.random.fork_rng(), joined(where) as group:
        torch.manual_seed(seed)
        sitting = Sitting(seed, where, group, Path(out) if out else None, progress and group.first, resume, say)
        return _fitted(run, data, options, sitting, start, grids, pretrained, watch)


def _fitted(
    run: Run,
    data: Data,
    options: TrainOptions,
    sitting: Sitting,
    start: Run | None,
    grids: Grids | None,
    pretrained: Run | None,
    watch: Watch | None,
) -> Run:
    say, writes = sitting.say, sitting.writes
    kept = start.module if start else None
    rival, run.spec = parted(run.spec, fresh=kept is None and pretrained is None)
    base, strength = _base(run, data, options, kept, say) if not grids else (getattr(kept, "base", None), np.inf)
    spec = run.spec
    if isinstance(spec, ARNet) and spec.hidden:
        base, options = None, dataclasses.replace(options, whiten=0.0)  # its first layer reads lags, not columns
    elif isinstance(spec, ARNet) or (isinstance(spec, Residual) and spec.correction is None):
        return finished(run, base, None, writes)
    if rival is not None and base is None:
        return trained_rival(run, rival, data, options, sitting, watch)
    ready = options.settled(base is not None)
    if isinstance(spec, Ensemble) and kept is None:
        return trained_alone(run, spec, data, ready, sitting, watch)
    if grids:
        learner = imitator(data, base, ready, sitting.device, kept, grids)
    else:
        learner = made_learner(run, data, base, ready, sitting.device, kept, pretrained)
    if rival is not None and sitting.progress:
        say_rival(run, rival, data, options, sitting)
    best: nn.Module | None = descended(run, data, base, strength, learner, sitting, watch)
    if base is None:
        return finished(run, None, best, writes)
    alone = mean_of_squares(base, data.checks)
    both = mean_of_squares(ResidualModel(run.spec, base, best), data.checks)  # type: ignore[arg-type]
    if both > alone * (1 - options.min_gain) ** 2 and not grids:
        say(f"the correction is dropped: with it the validation error is {both**0.5:.4f}, without {alone**0.5:.4f}")
        run.spec, best, both = Residual(base=base.spec, correction=None), None, alone
    based = finished(run, base, best, writes)
    if rival is None:
        return based
    say("without the base, to compare:")
    other = trained_rival(run, rival, data, options, sitting.aside(WITHOUT_BASE), watch)
    return better(based, both, other, data, options, sitting)


def _base(
    run: Run, data: Data, options: TrainOptions, kept: nn.Module | None, say: Say
) -> tuple[ARNetModel | None, float]:
    """The linear base, fitted, and its strength; None where the spec has none, or where it explains too little."""
    spec = run.spec
    linear = spec if isinstance(spec, ARNet) else getattr(spec, "base", None)
    if linear is None:
        return None, np.inf
    before = kept if isinstance(kept, ARNetModel) else getattr(kept, "base", None)
    if isinstance(linear, ARNet) and not linear.plain:
        return _lags(run, linear, data, before, say), np.inf
    base, strength, error = fit_base(
        linear,
        data.parts,
        data.val,
        data.scaling.n_channels,
        data.rate_hz,
        before,
        data.scaling.more_columns if _vector(run.targets) else (),
        options.folds,
        data.drift(options) if isinstance(spec, Residual) else None,  # an AR-Net alone is the plain ridge
    )
    say(
        f"linear base: {len(base.ages)} ages up to {max(base.ages) / data.rate_hz:g} s, strength {strength:g}, "
        f"validation error {error**0.5:.4f} of the target's deviation"
    )
    if not isinstance(spec, Residual):
        return base, strength
    variance = float((data.val.y[data.val.valid].astype(np.float64) ** 2).mean())
    least = options.least_inertial if base.spec.columns else options.least_base
    if kept is None and spec.correction is not None and error > (1 - least) * variance:
        say(f"the base is dropped: it leaves {error / variance:.0%} of the validation variance")
        run.spec = dataclasses.replace(spec, base=None)
        return None, np.inf
    run.spec = dataclasses.replace(spec, base=base.spec)
    return base, strength


def _vector(targets: Seq[Channel]) -> bool:
    """True where the targets are x, y and z of vectors: of vectors, a linear map makes vectors, and no speeds."""
    return {target.name[-2:] for target in targets} == {"_x", "_y", "_z"}


def _lags(run: Run, spec: ARNet, data: Data, before: ARNetModel | None, say: Say) -> ARNetModel:
    """An AR-Net alone whose lags are chosen. A hidden layer reads the lags that the linear fit keeps."""
    if before is not None and not spec.hidden:
        raise TrainingError("an AR-Net of chosen lags is fitted exactly: train it anew on all the recordings")
    if before is None and spec.taps is None and spec.spacing != "all":
        raise TrainingError("an AR-Net with ranges, own, hidden or chunk_rate chooses among all lags: spacing='all'")
    if before is not None:
        return before
    try:
        model, found = fitted_lags(spec, data.parts, data.val, data.scaling, data.rate_hz, say)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    run.provenance |= found
    run.spec = dataclasses.replace(spec, taps=tuple(model.taps))
    return model


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); try cpu") from error
    return device


def _provenance(
    train: Seq[Recording], val: Seq[Recording], options: TrainOptions, seed: int, start: Run | None
) -> dict[str, Any]:
    from hiss import __version__

    return {
        "hiss": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "seed": seed,
        "options": options.to_json(),
        "train": [_of(r) for r in train],
        "val": [_of(r) for r in val],
        "from": None if start is None else start.provenance,
    }


def _bits_of(grids: Grids | None) -> dict[str, Any]:
    """Which weights learned on a grid, and of how many bits."""
    return {"quantize_aware": {name: sorted(set(bits)) for name, bits in grids.items()}} if grids else {}


def _of(recording: Recording) -> dict[str, Any]:
    """Name, size and fingerprint of a recording as it was trained on."""
    digest = hashlib.sha256()
    for array in (recording.x, recording.y, recording.valid):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {"name": recording.name, "samples": len(recording), "sha256": digest.hexdigest()}
