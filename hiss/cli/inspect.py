"""hiss inspect: what a program computes, and what that costs."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiss.cli.reading import read_again
from hiss.cli.stream import Positive, errors_reported
from hiss.errors import ExportError
from hiss.program import Program
from hiss.program.cost import Cost, cost
from hiss.program.pace import instructions

if TYPE_CHECKING:
    from hiss.firmware_export.bill import Bill


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--equations/--no-equations", default=True, help="Print the update equations.")
@click.option(
    "--emulate", "cores", multiple=True, metavar="CORE", help="Measure on m0, m3, m4f, m7, m33, m55, rv32imc, ..."
)
@click.option("--compiler", type=click.Choice(["zig", "gcc"]), default="zig", show_default=True, help="For --emulate.")
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Recordings for the error.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Of an AR-Net run: a PNG of its lags.")
@click.option("--rate", "rate_hz", type=Positive(), metavar="HZ", help="Rate of a CSV without time.")
@click.option("--json", "as_json", is_flag=True, help="Print the bill as JSON.")
def command(
    model: Path,
    equations: bool,
    cores: tuple[str, ...],
    compiler: str,
    data: Path | None,
    plot: Path | None,
    rate_hz: float | None,
    as_json: bool,
) -> None:
    """Print the update equations of a program and its bill, op by op, and as C.

    \b
    Example:
      hiss inspect force.hiss
      hiss inspect force.int.hiss --emulate m4f --emulate m0 --data skin.h5
      hiss inspect runs/series --plot lags.png

    --plot: weights of lags with intervals, autocorrelation of what is left with its Ljung-Box test, and of a series
    or a closed loop its answer to a pulse, its gain and its poles, on the files of the run; the text goes to stderr.

    The error beside floating point is measured on the recordings of --data, else on noise of usual size.
    Exit codes: 0 done, 2 usage or a file that cannot be read, 5 other channels than the model takes, 7 no C possible
    for --emulate.
    """
    from hiss.cli.bill import check_cores
    from hiss.cli.stream import open_model

    check_cores(cores)
    program = open_model(model)
    if plot is not None:
        if not model.is_dir():
            raise click.UsageError("--plot reads the data that a run was fitted on: give the run, not its program")
        with errors_reported():
            read_again(model, plot)
    spent, (bill, refused) = cost(program), _bill_of_c(program, cores, compiler, data, rate_hz)
    if as_json:
        made = None if bill is None else bill.to_json()
        click.echo(json.dumps({**_facts(program, spent), "c": made, "c_refused": refused}, indent=2))
        return
    if equations:
        click.echo(program.equations() + "\n")
    click.echo(_table(spent))
    click.echo(_summary(program, spent))
    click.echo(f"\nas C: {refused if bill is None else bill.text().removeprefix('model: ')}")


def _bill_of_c(
    program: Program, cores: tuple[str, ...], compiler: str, data: Path | None, rate_hz: float | None
) -> tuple[Bill | None, str | None]:
    """The bill of the exported program, or why C cannot hold it (an error where it was to be measured)."""
    from hiss.cli.bill import measured_bill
    from hiss.firmware_export import export_c
    from hiss.firmware_export.c import Model

    try:
        held = Model(program, "model")
    except ExportError as error:
        if cores:
            raise
        return None, str(error)
    with tempfile.TemporaryDirectory() as folder:
        if cores:
            export_c(program, folder, "model")
        return measured_bill(held, Path(folder), cores, compiler, data, rate_hz), None


def _facts(program: Program, bill: Cost) -> dict[str, Any]:
    from hiss.firmware_export.bill import settling_s

    return {
        "digest": program.digest,
        "rate_hz": program.rate_hz,
        "period": program.period,
        "tare": program.tare,
        "inputs": [{"name": p.name, "unit": p.unit, "lo": p.lo, "hi": p.hi} for p in program.inputs],
        "outputs": [{"name": p.name, "unit": p.unit} for p in program.outputs],
        "macs": bill.macs,
        "worst_macs": bill.worst_macs,
        "latency": program.latency,
        "instructions": [round(n) for n in instructions(program)],
        "table_bytes_f32": 4 * bill.constants,
        "state_bytes_f32": 4 * bill.states,
        "ops": [dataclasses.asdict(op) for op in bill.ops],
        "settling_s": settling_s(program),
        "provenance": program.provenance,
    }


def _table(bill: Cost) -> str:
    head = (
        f"{'value':<16} {'op':<10} {'stage':>5} {'when':<6} {'MAC/sample':>11} {'worst':>8} {'tables':>8} {'states':>7}"
    )
    rows = [
        f"{op.out:<16} {op.kind:<10} {op.stage:>5} {op.when:<6} {op.macs:>11,.1f} {op.worst:>8,} "
        f"{4 * op.constants:>7,}B {4 * op.states:>6,}B"
        for op in bill.ops
    ]
    return "\n".join([head, *rows])


def _summary(program: Program, bill: Cost) -> str:
    lines = [
        f"{bill.macs:,.1f} products per sample on average, {bill.worst_macs:,} on the worst sample; beside them "
        f"{bill.elements('Norm'):,.0f} norm and {bill.elements('Map'):,.0f} function elements per sample",
        f"{4 * bill.constants:,} bytes of tables and {4 * bill.states:,} bytes of state in float32",
        f"an estimate every {program.period} samples ({program.period / program.rate_hz:g} s), look-ahead 0"
        + _later(program),
    ]
    return "\n".join([*lines, _pace(program)])


def _later(program: Program) -> str:
    if not program.latency:
        return ""
    return f", {program.latency} samples ({program.latency / program.rate_hz:g} s) after the one that it belongs to"


def _pace(program: Program) -> str:
    """Estimated instructions of each sample of a chunk, a line of at most ten."""
    taken = instructions(program)
    worst = max(taken) / (sum(taken) / len(taken))
    rows = [" ".join(f"{n:>8,.0f}" for n in taken[i : i + 10]) for i in range(0, len(taken), 10)]
    head = (
        f"estimated instructions of each of {len(taken)} samples (Cortex-M4F); the worst is {worst:.2f} x the average:"
    )
    return "\n".join([head, *rows])
