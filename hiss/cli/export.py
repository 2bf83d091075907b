"""hiss export: a program as C sources for firmware, compiled and tested here when there is a compiler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hiss.program import Program


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--to", type=click.Choice(["c"]), default="c", show_default=True, help="What to write.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder.")
@click.option("--name", default="model", show_default=True, help="Begins every public C name: NAME_step, NAME_t, ...")
@click.option("--check/--no-check", default=None, help="Compile and self-test here.  [default: if there is a compiler]")
@click.option("--emulate", "cores", multiple=True, metavar="CORE", help="Also on an emulated m0, m3, m4f, m7 or m33.")
@click.option("--json", "as_json", is_flag=True, help="Print files, sizes and the check as JSON.")
def command(
    model: Path, to: str, out: Path, name: str, check: bool | None, cores: tuple[str, ...], as_json: bool
) -> None:
    """Write MODEL (a .hiss file, or a run) as C99 with a fixed runtime: no malloc, no libm, several instances.

    The sources are compiled with this computer's compiler and run through their self-test; 0 mismatches is right.

    \b
    Example:
      hiss export force.hiss --to c -o firmware --name fingertip_force --emulate m4f

    Exit codes: 0 done, 2 usage or a file that cannot be read, 7 not written, no compiler with --check, or mismatches.
    """
    from hiss.cli.stream import open_model, usage
    from hiss.engines.emulator import CORES
    from hiss.firmware_export import export_c

    if unknown := [core for core in cores if core not in CORES]:
        raise click.UsageError(f"--emulate {unknown[0]}: there are {', '.join(CORES)}")
    program = open_model(model)
    made = usage(export_c, program, out, name)
    facts: dict[str, Any] = {
        "files": [str(path) for path in made.files],
        "table_bytes": made.table_bytes,
        "ram_bytes": made.ram_bytes,
        "scratch_bytes": made.scratch_bytes,
        "mismatches": _host_check(made, check),
        "emulated": {core: _emulated(program, out, name, core) for core in cores},
    }
    click.echo(json.dumps(facts, indent=2) if as_json else _report(facts))
    if facts["mismatches"] or any(found["mismatches"] for found in facts["emulated"].values()):
        raise SystemExit(7)


def _host_check(made: Any, check: bool | None) -> int | None:
    """Mismatches of the self-test on this computer; None where it was not asked for or there is no compiler."""
    from hiss.engines.c_engine import run_selftest
    from hiss.engines.host_compiler import find_compiler
    from hiss.errors import ExportError

    if check is False:
        return None
    try:
        find_compiler()
    except ExportError as error:
        if check:
            raise
        click.echo(f"not checked: {error}", err=True)
        return None
    return run_selftest(made)


def _emulated(program: Program, folder: Path, name: str, core: str) -> dict[str, Any]:
    from hiss.engines.emulator import measure

    return measure(program, folder, name, core)


def _report(facts: dict[str, Any]) -> str:
    lines = [*facts["files"]]
    lines.append(
        f"{facts['table_bytes']:,} bytes of tables in flash; {facts['ram_bytes']:,} bytes of RAM an instance "
        f"({facts['scratch_bytes']:,} of them scratch)"
    )
    if facts["mismatches"] is not None:
        lines.append(f"self-test here: {facts['mismatches']} mismatches")
    for core, found in facts["emulated"].items():
        lines.append(
            f"self-test on {core}: {found['mismatches']} mismatches; {found['average']:,.0f} instructions per step on "
            f"average, {found['worst']:,} at worst (-O2); {found['code_bytes']:,} bytes of code (-Os)"
        )
    return "\n".join(lines)
