"""hiss predict: estimates of recordings, written as CSV."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click

from hiss.cli.columns import model_inputs
from hiss.cli.stream import Positive, open_model
from hiss.files import atomic_path
from hiss.recording import read_recordings


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="CSV file.  [default: stdout]")
@click.option("--trial", help="Only this recording of the file.")
@click.option("--rate", "rate_hz", type=Positive(), metavar="HZ", help="Rate of a CSV without time.")
def command(model: Path, file: Path, out: Path | None, trial: str | None, rate_hz: float | None) -> None:
    """Estimates of the recordings in FILE (HDF5 or CSV) with MODEL (a .hiss file or a run), whole, from fresh state.

    \b
    Example:
      hiss predict force.hiss today.h5 -o estimates.csv

    The columns are recording, t (s, of the sample that an estimate belongs to) and one per output, with its unit.
    Exit codes: 0 done, 2 usage or a file that cannot be read, 5 other channels than the model takes, 7 not written.
    """
    program = open_model(model)
    recordings = read_recordings(file, rate_hz=rate_hz)
    if trial is not None:
        names = [r.name for r in recordings]
        recordings = [r for r in recordings if r.name == trial]
        if not recordings:
            raise click.UsageError(f"{file} has no recording {trial!r}; it has: {', '.join(names)}")
    rows: list[list[str]] = []
    for recording in recordings:
        at_rate = model_inputs(recording, program).resampled(program.rate_hz)
        y = program.predict(at_rate.x)
        if not len(y):
            n = program.tare + program.period + program.latency
            click.echo(f"{recording.name}: {len(at_rate)} samples; the first estimate takes {n}", err=True)
        ends = at_rate.t[program.tare + program.period - 1 :: program.period][: len(y)]
        rows += [
            [recording.name, f"{t:.6f}", *(f"{v:.9g}" for v in estimate)] for t, estimate in zip(ends, y, strict=True)
        ]
    header = ["recording", "t (s)", *(f"{p.name} ({p.unit})" if p.unit else p.name for p in program.outputs)]
    _write(out, [header, *rows])


def _write(out: Path | None, rows: list[list[str]]) -> None:
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
        return
    with atomic_path(out) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    click.echo(f"{out}: {len(rows) - 1} estimates", err=True)
