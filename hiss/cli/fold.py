"""hiss fold: a trained run becomes a recurrent program."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="File.  [default: RUN/model.hiss]")
@click.option("--no-passes", is_flag=True, help="Leave the program as folded: same outputs, more products.")
@click.option("--json", "as_json", is_flag=True, help="Print path, digest and cost as JSON.")
def command(run: Path, out: Path | None, no_passes: bool, as_json: bool) -> None:
    """Fold the trained model in RUN into fixed update equations, a .hiss file.

    \b
    Example:
      hiss fold runs/skin -o force.hiss

    Exit codes: 0 done, 2 usage, not a run, or a model without update equations, 7 the file could not be written.
    """
    from hiss.folding import fold
    from hiss.program.cost import cost

    program = fold(run, optimize=not no_passes)
    out = out or run / "model.hiss"
    program.save(out)
    bill = cost(program)
    if as_json:
        facts = {"path": str(out), "digest": program.digest, "macs": bill.macs, "worst_macs": bill.worst_macs}
        click.echo(json.dumps(facts))
        return
    click.echo(f"{out}: {bill.macs:,.0f} products per sample on average, {bill.worst_macs:,} at worst")
