"""hiss quantize: a program with integer formats, each overflow excluded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hiss.cli.columns import model_inputs
from hiss.cli.stream import Positive, open_model

COMPARED_S = 60.0
COMPARED = 16
"""Windows (of so many seconds) on which the integer program is compared with the floating point one, at most."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--calibrate",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Recordings (HDF5 or CSV) that show the values as they will be; their test recordings are left out.",
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@click.option("--weights", type=click.Choice(["int8", "int16"]), default="int8", show_default=True, help="Of layers.")
@click.option("--states", type=click.Choice(["int32", "int16"]), default="int32", show_default=True, help="Of layers.")
@click.option("--rate", "rate_hz", type=Positive(), metavar="HZ", help="Rate of a CSV without time.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    model: Path,
    calibrate: tuple[Path, ...],
    out: Path,
    weights: str,
    states: str,
    rate_hz: float | None,
    as_json: bool,
) -> None:
    """Give MODEL (a .hiss file or a run) number formats: an integer program that cannot overflow, and why.

    \b
    Example:
      hiss quantize force.hiss --calibrate skin.h5 -o force.int.hiss --weights int16

    Values are int16, their formats follow from the calibration recordings; the formats of states and sums are proven
    for any input. --states int16 takes effect where a state's dead zone stays below 0.1 % of its range. Weights of
    samples, now or past, are int16 always: they cancel. JSON: the report, and per output the error against float32.
    Exit codes: 0 done, 2 usage or a file that cannot be read, 5 other channels than the model takes, 7 not written.
    """
    from hiss.quantization import quantize
    from hiss.recording import read_recordings

    program = open_model(model)
    recordings = [r for r in read_recordings(*calibrate, rate_hz=rate_hz) if r.split != "test"]
    if not recordings:
        raise click.UsageError(
            f"{', '.join(map(str, calibrate))}: all recordings are test recordings; calibrate needs others"
        )
    recordings = [model_inputs(r, program) for r in recordings]
    made, report = quantize(program, recordings, weights=weights, states=states)
    made.save(out)
    errors = _errors(program, made, recordings)
    if as_json:
        click.echo(json.dumps({"path": str(out), "digest": made.digest, "outputs": errors, **report.to_json()}))
        return
    click.echo(report.text())
    for name, row in errors.items():
        click.echo(
            f"{name}: off by {row['rms']:.3g} {row['unit']} rms, {row['max']:.3g} at most (calibration recordings)"
        )
    click.echo(f"{out}: integer program, {made.digest[:12]}")


def _errors(program: Any, made: Any, recordings: list[Any]) -> dict[str, dict[str, Any]]:
    """Integer minus floating point per output, over windows spread evenly over the recordings."""
    import numpy as np

    from hiss import scoring
    from hiss.program import integer
    from hiss.quantization import prepared

    ready = [prepared(program, r) for r in recordings]
    shortest = min(len(x) for x in ready)
    count = min(shortest, max(round(COMPARED_S * program.rate_hz), program.period)) // program.period * program.period
    each = max(1, COMPARED // len(ready))
    starts = [(x, int(i)) for x in ready for i in np.linspace(0, len(x) - count, each)]
    windows = np.stack([x[i : i + count] for x, i in starts[:COMPARED]])
    off = integer.predict(made, windows, tared=True) - scoring.estimator(program)(windows)
    off = off.reshape(-1, off.shape[-1])
    return {
        port.name: {"unit": port.unit, "rms": float(np.sqrt((e**2).mean())), "max": float(np.abs(e).max())}
        for port, e in zip(program.outputs, off.T, strict=True)
    }
