"""hiss predict: estimates of recordings, written as CSV."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import click

from hiss.cli.columns import model_inputs
from hiss.cli.stream import Positive, open_model
from hiss.engines import open_stepper
from hiss.files import atomic_path
from hiss.gaps import Gaps, regular
from hiss.program import Program
from hiss.recording import SHIFTED, Recording, read_recordings
from hiss.recording_dates import of_series, on_grid


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="CSV file.  [default: stdout]")
@click.option("--trial", help="Only this recording of the file.")
@click.option("--rate", "rate_hz", type=Positive(), metavar="HZ", help="Rate of a CSV without time.")
@click.option("--score", is_flag=True, help="Also how far samples are from their forecast, in its usual errors.")
@click.option("--interval", type=click.Choice(["0.5", "0.8", "0.9", "0.95"]), help="Also LOW and HIGH of an AR-Net.")
def command(
    model: Path,
    file: Path,
    out: Path | None,
    trial: str | None,
    rate_hz: float | None,
    score: bool,
    interval: str | None,
) -> None:
    """Estimates of the recordings in FILE (HDF5 or CSV) with MODEL (a .hiss file or a run), whole, from fresh state.

    \b
    Example:
      hiss predict force.hiss today.h5 -o estimates.csv
      hiss predict runs/series today.csv --score

    --interval 0.9: beside each estimate the bounds between which nine of ten outcomes lay on validation data.
    --score: the sample that came less what was forecast for it, in units of the root mean squared error on validation
    data; empty where there is no forecast yet, or no sample. Far from 0 is an anomaly.
    Samples that are missing are held and counted on stderr.
    The columns are recording, t (s, of the sample that an estimate belongs to) and one per output, with its unit.

    Exit codes: 0 done, 2 usage or a file that cannot be read, 5 other channels than the model takes, 7 not written.
    """
    program = open_model(model)
    half, series = _half_widths(program.provenance, interval), of_series(program.provenance)
    scored = _scored(program) if score else {}
    recordings = read_recordings(file, rate_hz=rate_hz, fill=series)
    if trial is not None:
        names = [r.name for r in recordings]
        recordings = [r for r in recordings if r.name == trial]
        if not recordings:
            raise click.UsageError(f"{file} has no recording {trial!r}; it has: {', '.join(names)}")
    rows: list[list[str]] = []
    for recording in recordings:
        whole = model_inputs(on_grid(recording, program.rate_hz) if series else recording, program)
        if series and not whole.valid.all():
            missing = int((~whole.valid).sum())
            click.echo(f"{recording.name}: {missing} samples are missing or not valid: held", err=True)
        pieces = regular(whole, program.rate_hz, Gaps.trained(program.provenance))
        ends, y = estimates(program, pieces)
        if not len(y):
            n = program.tare + program.period + program.latency
            samples = sum(map(len, pieces))
            click.echo(f"{recording.name}: {samples} samples; the first estimate takes {n}", err=True)
        cells = _scores(scored, pieces, ends, y)
        rows += [
            [recording.name, f"{t:.6f}", *_cells(estimate, half), *more]
            for t, estimate, more in zip(ends, y, cells, strict=True)
        ]
    columns = [f"{p.name}{{}} ({p.unit})" if p.unit else f"{p.name}{{}}" for p in program.outputs]
    ends_of = ("", " low", " high") if half else ("",)
    header = ["recording", "t (s)", *(c.format(end) for c in columns for end in ends_of)]
    _write(out, [[*header, *(f"{program.outputs[i].name} score" for i in scored)], *rows])


def _scored(program: Program) -> dict[int, tuple[str, int, float]]:
    """Output -> (channel, samples ahead, usual error) of each one-channel forecast. Raises UsageError without any."""
    spread = program.provenance.get("spread", [])
    found = {}
    for i, (port, error) in enumerate(zip(program.outputs, spread, strict=False)):
        match = SHIFTED.match(port.name)
        if match and match[2] == "+" and program.period == 1 and error > 0:
            found[i] = (match[1], int(match[3]), float(error))
    if not found:
        raise click.UsageError(
            "nothing to score: it takes a forecast of each sample, hiss train --model arnet --forecast"
        )
    return found


def _scores(scored: dict[int, tuple[str, int, float]], pieces: list[Recording], ends: Any, y: Any) -> list[list[str]]:
    """A row per estimate: of each forecast how far the sample at its own step is from what was said of it before."""
    rows: list[list[str]] = [[] for _ in y]
    if not scored:
        return rows
    names, steps = [c.name for c in pieces[0].channels], dict[float, tuple[Any, bool]]()
    for piece in pieces:
        steps |= {float(t): (x, bool(ok)) for t, x, ok in zip(piece.t, piece.x, piece.valid, strict=True)}
    period_s = 1 / (pieces[0].rate_hz or 1.0)
    for i, (channel, ahead, error) in scored.items():
        for j, row in enumerate(rows):
            x, ok = steps[float(ends[j])]
            told = j >= ahead and abs(ends[j] - ends[j - ahead] - ahead * period_s) < period_s / 2
            row.append(f"{(x[names.index(channel)] - y[j - ahead][i]) / error:.4g}" if told and ok else "")
    return rows


def estimates(program: Program, pieces: list[Recording]) -> tuple[Any, Any]:
    """(times (n,) of the samples that estimates belong to, estimates (n, D)) of a session; behind a gap where training
    began anew, so does the model, with the session's tare."""
    if len(pieces) == 1:
        whole = program.predict(pieces[0].x)
        return pieces[0].t[program.tare + program.period - 1 :: program.period][: len(whole)], whole
    stepper = open_stepper(program)
    times, made = [], []
    for piece in pieces:
        stepper.reset()
        for i, x in enumerate(piece.x):
            if (y := stepper.step(x)) is not None:
                times.append(float(piece.t[i - program.latency]))
                made.append(y)
    return times, made


def _half_widths(provenance: dict[str, Any], level: str | None) -> list[float]:
    """Of each output at this level; none without a level. Raises UsageError where the model knows none."""
    if level is None:
        return []
    known = provenance.get("interval")
    if known is None:
        raise click.UsageError("the model has no intervals: they come with hiss train --model arnet")
    return [float(width) for width in known[level]]


def _cells(estimate: Any, half: list[float]) -> list[str]:
    """The numbers of a row, with their bounds."""
    if not half:
        return [f"{v:.9g}" for v in estimate]
    return [f"{v + side * w:.9g}" for v, w in zip(estimate, half, strict=True) for side in (0, -1, 1)]


def _write(out: Path | None, rows: list[list[str]]) -> None:
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
        return
    with atomic_path(out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    click.echo(f"{out}: {len(rows) - 1} estimates", err=True)
