"""The measured part of a bill, for export and inspect: emulated cores, error beside floating point on a recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from hiss.cli.columns import model_inputs
from hiss.errors import RecordingError
from hiss.firmware_export.bill import (
    Bill,
    OutputError,
    bill_of,
    errors_between,
    floating,
    usual_errors,
    usual_text,
)
from hiss.firmware_export.c import Model
from hiss.program import Program


def check_cores(cores: Sequence[str]) -> None:
    """Raise UsageError for a core that is not emulated."""
    from hiss.engines.cores import CORES

    emulated = [core for core in CORES if core != "host"]
    if unknown := [core for core in cores if core not in emulated]:
        raise click.UsageError(f"--emulate {unknown[0]}: there are {', '.join(emulated)}")


def measured_bill(
    model: Model,
    folder: Path,
    cores: Sequence[str],
    compiler: str = "zig",
    data: Path | None = None,
    rate_hz: float | None = None,
) -> Bill:
    """The bill of a model whose plain sources lie in `folder`. Raises HissError."""
    from hiss.engines.core_bill import core_bill

    program = model.program
    errors, on = (usual_errors(program), usual_text(program)) if data is None else _data_errors(program, data, rate_hz)
    measured = []
    for core in dict.fromkeys(cores):
        click.echo(f"measuring {model.name} on an emulated {core} ...", err=True)
        measured.append(core_bill(program, folder, model.name, core, compiler))
    return bill_of(model, errors, on, measured)


def _data_errors(program: Program, data: Path, rate_hz: float | None) -> tuple[tuple[OutputError, ...], str]:
    """Errors on windows spread over the recordings of a file, and what was measured in words."""
    from hiss.quantization.calibration import prepared
    from hiss.quantization.measure import windows
    from hiss.recording import read_recordings

    exact = floating(program)
    recordings = [prepared(exact, model_inputs(r, program)) for r in read_recordings(data, rate_hz=rate_hz)]
    longest = max((len(r) for r in recordings), default=0)
    if longest < program.period:
        raise RecordingError(f"{data}: {longest} samples after the tare; an estimate takes {program.period}")
    shown = windows(exact, recordings)
    said = f"{len(shown.x)} windows of {shown.x.shape[1] / program.rate_hz:g} s of {data.name}"
    if program.formats is not None:
        return errors_between(program, shown.estimates(program.plain), shown.exact), said
    return errors_between(program, shown.exact, _double(exact, shown.x)), said


def _double(program: Program, x: Any) -> Any:
    """Estimates (W, n, D) of tared samples in float64."""
    from hiss.scoring import estimator

    return estimator(program, np.float64)(x.astype(np.float64))
