"""--from-pretrained: what a training takes over from a run of hiss pretrain."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiss.cli.settings import Settings

if TYPE_CHECKING:
    from hiss.training import Run

NET = ("low", "high", "flat", "d_state", "init", "discretization", "dropout")


def load_pretrained(path: str) -> Run:
    """The run. Raises ProgramError, click.UsageError where it is a run of another kind."""
    from hiss.training import Run

    run = Run.load(Path(path))
    if "pretrained" not in run.provenance or not run.targets[0].name.endswith("+1"):
        raise click.UsageError(f"{path} is no run of hiss pretrain; fine-tune it with --from")
    return run


def taken_over(settings: Settings, run: Run) -> Settings:
    """With the rate, the period and the inputs of the pretrained run. Raises click.UsageError for others."""
    defaults = {f.name: f.default for f in dataclasses.fields(Settings)}
    other = [key for key in NET if getattr(settings, key) != defaults[key]]
    other += ["model"] if settings.model != "hiss" else []
    other += ["rate"] if settings.rate not in (None, run.rate_hz) else []
    other += ["period"] if settings.period not in (None, run.period) else []
    if other:
        raise click.UsageError(f"{', '.join(other)}: of a pretrained run it stays as it is ({run.spec})")
    inputs = settings.inputs or tuple(c.name for c in run.channels)
    return dataclasses.replace(settings, rate=run.rate_hz, period=run.period, inputs=inputs)


def spec_on(settings: Settings, run: Run) -> Any:
    """The pretrained net, beside a linear base where one is asked for."""
    from hiss.models import ARNet, Residual

    return Residual(ARNet(period=run.period), run.spec) if settings.base else run.spec
