"""hiss inspect: what a program computes, and what that costs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from hiss.program import Program
from hiss.program import ops as o
from hiss.program.cost import Cost, cost, settling_steps


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--equations/--no-equations", default=True, help="Print the update equations.")
@click.option("--json", "as_json", is_flag=True, help="Print the bill as JSON.")
def command(model: Path, equations: bool, as_json: bool) -> None:
    """Print the update equations of a program and its bill, op by op.

    \b
    Example:
      hiss inspect force.hiss

    Exit codes: 0 done, 2 usage or a file that cannot be read.
    """
    from hiss.cli.stream import open_model

    program = open_model(model)
    bill = cost(program)
    if as_json:
        click.echo(json.dumps(_facts(program, bill), indent=2))
        return
    if equations:
        click.echo(program.equations() + "\n")
    click.echo(_table(bill))
    click.echo(_summary(program, bill))


def _facts(program: Program, bill: Cost) -> dict[str, Any]:
    return {
        "digest": program.digest,
        "rate_hz": program.rate_hz,
        "period": program.period,
        "tare": program.tare,
        "inputs": [{"name": p.name, "unit": p.unit, "lo": p.lo, "hi": p.hi} for p in program.inputs],
        "outputs": [{"name": p.name, "unit": p.unit} for p in program.outputs],
        "macs": bill.macs,
        "worst_macs": bill.worst_macs,
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
    settling = settling_s(program)
    lines = [
        f"{bill.macs:,.1f} products per sample on average, {bill.worst_macs:,} on the worst sample; beside them "
        f"{bill.elements('Norm'):,.0f} norm and {bill.elements('Map'):,.0f} function elements per sample",
        f"{4 * bill.constants:,} bytes of tables and {4 * bill.states:,} bytes of state in float32",
        f"an estimate every {program.period} samples ({program.period / program.rate_hz:g} s), look-ahead 0",
    ]
    if settling is not None:
        lines.append(f"the slowest mode that is carried on settles to 1 % in {settling:.3g} s")
    return "\n".join(lines)


def settling_s(program: Program) -> float | None:
    """Seconds until the slowest mode that no restart cuts off has decayed to 1 %; None without such a mode."""
    found, steps_s = [], 1.0 / program.rate_hz
    for stage in program.stages:
        found += [steps_s * settling_steps(op) for op in stage.ops if isinstance(op, o.Diagonal) and not op.restart]
        steps_s *= stage.period
    return max(found, default=None)
