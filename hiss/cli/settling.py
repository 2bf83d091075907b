"""What of a training's settings follows from the recordings, or from the run that is trained on."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiss.changes import change_names
from hiss.cli.levels import LEVELS
from hiss.cli.settings import TARED, Settings

if TYPE_CHECKING:
    from hiss.recording import Recording
    from hiss.training import Run


def settled(settings: Settings, train: list[Recording], source: Run | None) -> Settings:
    """With what follows from the data, or from the run that is fine-tuned."""
    if source is not None:
        targets = settings.target or tuple(t.name for t in source.targets)
        settings = dataclasses.replace(settings, target=targets, rate=source.rate_hz, period=source.period)
        gap = str(source.provenance.get("gap", settings.gap))
        settings = dataclasses.replace(settings, tare=str(source.scaling.tare), gap=gap)
    rate = settings.rate or next((r.rate_hz for r in train if r.rate_hz), None)
    if rate is None:
        raise click.UsageError("the recordings have irregular stamps; give the rate to train at, such as --rate 50")
    settings = dataclasses.replace(settings, lags=_lags(settings, train), period=settings.period or _period(settings))
    tared = any(r.tared for r in train) or settings.tare not in ("auto", "0")
    settings = dataclasses.replace(settings, **_following(settings, tared, source))
    name = settings.target[0] if len(settings.target) == 1 else "run"
    if settings.of_series:
        name = re.split(r"[+-]\d+$", settings.target[0])[0]
    out = settings.out or str(Path("runs") / "".join(c if c.isalnum() or c in "-_." else "_" for c in name))
    period = settings.period or max(1, round(rate / 10))
    if settings.change:
        targets = change_names(settings.change, settings.target, period / rate)
        settings = dataclasses.replace(settings, target=targets, change="")
    return dataclasses.replace(settings, rate=rate, period=period, out=out)


def _following(settings: Settings, tared: bool, source: Run | None) -> dict[str, Any]:
    """Skins, which are tared, are close to linear; what moves is not, and Mamba's steps follow it (docs/recipe.md).

    Where a skin is not, a network without the base may be better: its rival.
    """
    from hiss.training.options import RIVAL

    based = tared and settings.base
    high = settings.high or LEVELS["low" if based else "high"]
    rival = settings.rival or (settings.high or LEVELS["high"] if based and not settings.flat else "none")
    if settings.pretrained:  # whose net it is
        high, rival = settings.high, "none"
    plain: dict[str, Any] = {} if based else RIVAL
    if source is not None:  # which is trained on as it is
        rival, plain = "none", {} if getattr(source.module, "base", None) else {"retare": 0.0}
    return {"high": high, "rival": rival, "options": {**(plain | TARED if tared else {}), **settings.options}}


def _period(settings: Settings) -> int | None:
    """Of a series an estimate is made at every sample."""
    return 1 if settings.of_series else None


def channels_of(settings: Settings, train: list[Recording]) -> list[str]:
    """The channels that the model will read, where an AR-Net is told of single ones."""
    from hiss.recording import choose_inputs, choose_targets

    if not settings.range and settings.denoise is None:
        return []
    at_rate = train[0].resampled(settings.rate) if settings.rate else train[0]
    return [c.name for c in choose_inputs(choose_targets(at_rate, settings.target), settings.inputs).channels]


def _lags(settings: Settings, train: list[Recording]) -> int | None:
    """Of an AR-Net: 400, as many as 600 columns hold, and at most a quarter of the samples."""
    if settings.model != "arnet" or settings.lags:
        return settings.lags
    channels = max(1, len(train[0].channels) - (0 if settings.of_series else len(settings.target)))
    return max(1, min(400, 600 // channels, max(map(len, train)) // 4))


def series_of(settings: Settings) -> tuple[Settings, list[Recording]]:
    """(settings whose targets are TARGET+1 .. TARGET+N, or TARGET-K, the recordings on one grid, what is missing held
    and not valid). Raises RecordingError."""
    from hiss.recording import read_recordings
    from hiss.recording_dates import on_grid, usual_rate

    recordings = read_recordings(*settings.files, rate_hz=settings.rate, fill=True)
    rate = settings.rate or next((r.rate_hz for r in recordings if r.rate_hz), None) or usual_rate(recordings[0].t)
    if rate is None:
        raise click.UsageError("the series has irregular stamps; give its rate, such as --rate 1")
    recordings = [on_grid(r, rate) for r in recordings]
    missing = sum(int((~r.valid).sum()) for r in recordings)
    if missing:
        click.echo(f"{missing} samples are missing or not valid: held, and not learned from", err=True)
    names = [c.name for c in (*recordings[0].targets, *recordings[0].channels)]
    targets = settings.target or (tuple(names) if len(names) == 1 else ())
    if not targets:
        raise click.UsageError(f"which column? Give --target; there are: {', '.join(names)}")
    if settings.denoise is not None:
        targets = tuple(f"{t}-{settings.denoise}" if t in names else t for t in targets)
    elif not any("+" in t for t in targets):
        targets = tuple(f"{t}+{k}" for t in targets for k in range(1, settings.forecast + 1))
    return dataclasses.replace(settings, target=targets, rate=rate), recordings
