"""hiss compare: models x data sets x seeds, under one protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiss.cli.stream import errors_reported, usage
from hiss.errors import MissingExtraError
from hiss.files import check_folder, write_text

if TYPE_CHECKING:
    from hiss.compare import Cell
    from hiss.compare.cells import Found


@click.command()
@click.argument("plan", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder. [PLAN without .toml]")
@click.option("--only", multiple=True, metavar="NAME", help="These models or data sets alone; repeat for several.")
@click.option("--data", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Of data files.")
@click.option("--quick", is_flag=True, help="The first seed, and the models that PLAN calls quick.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Cells at once, a thread each.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, auto.")
@click.option("--integers/--no-integers", default=True, help="With or without int8 programs and their bill.")
@click.option("--table", "only_table", is_flag=True, help="Train nothing: the tables of the cells that are done.")
@click.option("--json", "as_json", is_flag=True, help="Print the tables as JSON.")
def command(
    plan: Path,
    out: Path | None,
    folder: Path | None,
    only: tuple[str, ...],
    quick: bool,
    jobs: int,
    device: str,
    integers: bool,
    only_table: bool,
    as_json: bool,
) -> None:
    """Train and score every model of PLAN on every data set of it, with every seed.

    \b
    Example:
      hiss compare benchmarks/families.toml --data recordings -o comparison
      hiss compare mine.toml --quick --only eflesh_shear --jobs 2

    A cell that is done is not done again, and training that was interrupted goes on. Scored are test recordings, in
    float32 of the folded program and in int8; validation alone chooses. OUT holds table.md and table.json after each
    cell, and comparison.png at the end.
    Exit codes: 0 done, 2 usage, a file that cannot be read, or training that cannot go on, 7 not written,
    130 interrupted: what was done is kept.
    """
    from hiss.compare import cells, read_plan

    with errors_reported():
        planned = usage(read_plan, plan, folder)
        out = out or plan.with_suffix("")
        check_folder(out)
        wanted = _chosen(list(cells(planned, out)), only)
        if quick:
            wanted = [cell for cell in wanted if cell.seed == planned.seeds[0] and planned.is_quick(cell.entry)]
        todo = [] if only_table else [cell for cell in wanted if cell.found is None]
        click.echo(f"{len(wanted)} cells, {len(todo)} to do", err=True)
        for n, found in enumerate(_done(todo, jobs, device, integers), 1):
            click.echo(f"[{n}/{len(todo)}] {_said(found)}", err=True)
            _write(wanted, out)
        text, data = _write(wanted, out)
        _plot(wanted, out)
        click.echo(json.dumps(data) if as_json else text)


def _chosen(found: list[Cell], only: tuple[str, ...]) -> list[Cell]:
    """The cells of these models and data sets; of both kinds where both are named."""
    models, data = {c.entry.name for c in found}, {c.data.name for c in found}
    if unknown := [name for name in only if name not in models | data]:
        raise click.UsageError(f"--only {unknown[0]}: there are {', '.join(sorted(models))}; {', '.join(sorted(data))}")
    models, data = set(only) & models or models, set(only) & data or data
    return [cell for cell in found if cell.entry.name in models and cell.data.name in data]


def _done(todo: list[Cell], jobs: int, device: str, integers: bool) -> Iterator[Found]:
    """What each cell found, as they come to an end."""
    from hiss.compare import run_cell
    from hiss.training.memory import keep_freed_memory

    if jobs == 1:
        keep_freed_memory()
        for cell in todo:
            click.echo(f"{cell.data.name}, {cell.entry.name}, seed {cell.seed} ...", err=True)
            yield run_cell(cell, True, device, integers)
        return
    import functools

    from hiss.training.worker import as_done

    yield from as_done(functools.partial(run_cell, progress=False, device=device, integers=integers), todo, jobs)


def _said(found: Found) -> str:
    integers = f", int8 {found['int8']['nmse']:.5g}" if "int8" in found else ""
    who = f"{found['data']}, {found['model']}, seed {found['seed']}"
    return f"{who}: NMSE {found['nmse']:.5g}{integers} in {found['cell_s']:.0f} s"


def _write(wanted: list[Cell], out: Path) -> tuple[str, object]:
    from hiss.compare import tables, to_json

    found = [f for f in (cell.found for cell in wanted) if f is not None]
    if not found:
        raise click.UsageError("no cell is done yet; leave --table away")
    stamp = time.strftime("%Y-%m-%d")
    text, data = tables(found), to_json(found)
    write_text(out / "table.md", f"{text}\n{len(found)} of {len(wanted)} cells, {stamp}\n")
    write_text(out / "table.json", json.dumps(data, indent=1) + "\n")
    return text, data


def _plot(wanted: list[Cell], out: Path) -> None:
    from hiss.compare.report import rows
    from hiss.plotting import plot_comparison

    found = [f for f in (cell.found for cell in wanted) if f is not None]
    bars = [(row.data, row.model, row.values("nmse")) for row in rows(found)]
    try:
        plot_comparison(out / "comparison.png", bars)
    except MissingExtraError as error:
        click.echo(f"no plot: {error}", err=True)
        return
    click.echo(f"plot: {out / 'comparison.png'}", err=True)
