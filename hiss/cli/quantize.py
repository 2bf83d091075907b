"""hiss quantize: a program with integer formats, each overflow excluded."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiss.cli.columns import model_inputs
from hiss.cli.settings import weight_choice
from hiss.cli.stream import Positive, open_model, usage

if TYPE_CHECKING:
    from hiss.program import Program
    from hiss.recording import Recording


class Share(click.ParamType):  # type: ignore[type-arg]
    """1% or 0.01."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a number."""
        text = str(value).strip()
        try:
            number = float(text.removesuffix("%")) * (0.01 if text.endswith("%") else 1.0)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r}: expected a share above 0, such as 1% or 0.01", param, ctx)
        return number


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
@click.option(
    "--weights",
    multiple=True,
    metavar="[VALUES=]int8|int16",
    help="Of layers; of single values by name or pattern, the last one that fits counts. [int8]",
)
@click.option("--auto", "budget", type=Share(), metavar="BUDGET", help="Raise weights to int16 until it is kept.")
@click.option("--states", type=click.Choice(["int32", "int16"]), default="int32", show_default=True, help="Of layers.")
@click.option("--rate", "rate_hz", type=Positive(), metavar="HZ", help="Rate of a CSV without time.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    model: Path,
    calibrate: tuple[Path, ...],
    out: Path,
    weights: tuple[str, ...],
    budget: float | None,
    states: str,
    rate_hz: float | None,
    as_json: bool,
) -> None:
    """Give MODEL (a .hiss file or a run) number formats: an integer program that cannot overflow, and why.

    \b
    Example:
      hiss quantize force.hiss --calibrate skin.h5 -o force.int.hiss
      hiss quantize force.hiss --calibrate skin.h5 -o force.int.hiss --weights int8 --weights 'high.*=int16'
      hiss quantize force.hiss --calibrate skin.h5 -o force.int.hiss --auto 0.5%

    Values are int16, their formats follow from the calibration recordings; the formats of states and sums are proven
    for any input. --states int16 takes effect where a state's dead zone stays below 0.1 % of its range. Weights of
    samples, now or past, are int16 always: they cancel. The budget of --auto is the growth of the RMSE where the
    calibration recordings hold the outputs, else the rms error beside the output's own variation; when it cannot be
    kept, nothing is written. JSON: the report, and per output the error against float32.
    Exit codes: 0 done, 2 usage, a file that cannot be read, or a budget that cannot be kept, 5 other channels than
    the model takes, 7 not written.
    """
    from hiss.quantization import quantize
    from hiss.quantization.calibration import prepared
    from hiss.quantization.measure import windows
    from hiss.quantization.weights import weight_bits

    program = open_model(model)
    chosen = usage(weight_choice, weights)
    usage(weight_bits, program, chosen)  # a pattern that fits nothing is a mistake in the command line
    recordings = _recordings(program, calibrate, rate_hz)
    made, report = quantize(program, recordings, weights=chosen, states=states, budget=budget, progress=_Progress())
    compared = windows(program, [prepared(program, r) for r in recordings])
    rms, most = compared.off(compared.estimates(made))
    made.save(out)
    errors = {
        port.name: {"unit": port.unit, "rms": float(a), "max": float(b)}
        for port, a, b in zip(program.outputs, rms, most, strict=True)
    }
    if as_json:
        click.echo(json.dumps({"path": str(out), "digest": made.digest, "outputs": errors, **report.to_json()}))
        return
    click.echo(report.text())
    for name, row in errors.items():
        click.echo(
            f"{name}: off by {row['rms']:.3g} {row['unit']} rms, {row['max']:.3g} at most (calibration recordings)"
        )
    click.echo(f"{out}: integer program, {made.digest[:12]}")


def _recordings(program: Program, files: tuple[Path, ...], rate_hz: float | None) -> list[Recording]:
    """What may be looked at: never a test recording. Targets are kept where the files hold all outputs."""
    from hiss.recording import choose_targets, read_recordings

    read = [r for r in read_recordings(*files, rate_hz=rate_hz) if r.split != "test"]
    if not read:
        raise click.UsageError(
            f"{', '.join(map(str, files))}: all recordings are test recordings; calibrate needs others"
        )
    outputs = [port.name for port in program.outputs]
    held = [{c.name for c in (*r.targets, *r.channels)} for r in read]
    if all(names.issuperset(outputs) for names in held):
        read = [choose_targets(r, outputs) for r in read]
    return [model_inputs(r, program) for r in read]


class _Progress:
    """A bar on stderr for each thing that is done."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` times."""
        if done == 0:
            self.bar = click.progressbar(length=total, label=what, file=sys.stderr)
            self.bar.__enter__()
        self.bar.update(done - self.bar.pos)
        if done == total:
            self.bar.__exit__(None, None, None)
