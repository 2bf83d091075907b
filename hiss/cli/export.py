"""hiss export: programs as C sources or a package for firmware, tested and measured before anything is written.

Step models for edge runtimes (--to onnx, tflite) are made in export_steps.py.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiss.cli.stream import Positive
from hiss.errors import HissError

if TYPE_CHECKING:
    from hiss.firmware_export.bill import Bill
    from hiss.firmware_export.budget import Budget
    from hiss.firmware_export.c import Model
    from hiss.firmware_export.packages import Package

TARGETS = ("c", "onnx", "tflite")
WEIGHTS = ("float32", "int8")
PACKAGES = ("plain", "cmake", "arduino", "platformio", "zephyr")
OVER_BUDGET = 8


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--to", type=click.Choice(TARGETS), default="c", show_default=True, help="What to write.")
@click.option(
    "--weights", type=click.Choice(["float32", "int8"]), default="float32", show_default=True, help="Not of C."
)
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder.")
@click.option("--name", default="model", show_default=True, help="Begins every public C name: NAME_step, NAME_t, ...")
@click.option("--with", "others", multiple=True, metavar="NAME=MODEL", help="Another model beside it, one runtime.")
@click.option("--package", "kind", type=click.Choice(PACKAGES), default="plain", show_default=True, help="Around it.")
@click.option("--package-version", default="1.0.0", show_default=True, metavar="X.Y.Z", help="Of the package.")
@click.option("--author", default="hiss", show_default=True, help="Of the package: Name, or Name <mail>.")
@click.option("--url", default="", help="Of the package.")
@click.option("--spread", is_flag=True, help="Even work per sample: once-per-chunk work runs in the next chunk.")
@click.option("--board", is_flag=True, help="With what answers hiss live --board, and a program of it for a computer.")
@click.option("--check/--no-check", default=None, help="Compile and self-test here.  [default: if there is a compiler]")
@click.option(
    "--emulate", "cores", multiple=True, metavar="CORE", help="Also on m0, m3, m4f, m7, m33, m55, rv32imc, atmega328p."
)
@click.option("--compiler", type=click.Choice(["zig", "gcc"]), default="zig", show_default=True, help="For --emulate.")
@click.option("--budget", "budget_text", metavar="ITEMS", help="Limits, as flash=32k,ram=4k,insn=20k,stack=1k.")
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Recordings for the bill.")
@click.option("--rate", "rate_hz", type=Positive(), metavar="HZ", help="Rate of a CSV without time.")
@click.option("--json", "as_json", is_flag=True, help="Print files, sizes, the check and the bill as JSON.")
@click.pass_context
def command(
    context: click.Context,
    model: Path,
    to: str,
    weights: str,
    out: Path,
    name: str,
    others: tuple[str, ...],
    kind: str,
    package_version: str,
    author: str,
    url: str,
    spread: bool,
    board: bool,
    check: bool | None,
    cores: tuple[str, ...],
    compiler: str,
    budget_text: str | None,
    data: Path | None,
    rate_hz: float | None,
    as_json: bool,
) -> None:
    """Write MODEL (a .hiss file, or a run) as C99 with a fixed runtime: no malloc, no libm, several instances.
    Or, with --to onnx or tflite, as step models: states are inputs and outputs, a manifest (NAME.json) says which.

    The sources are compiled with this computer's compiler and run through their self-test; 0 mismatches is right.
    bill.json beside them says what they take: measured on cores with --emulate, beside floating point on --data.
    Step models run over the same vectors in their runtime; check.json holds the difference that was measured.

    \b
    Example:
      hiss export force.hiss --to c -o firmware --name fingertip_force --emulate m4f
      hiss export force.hiss --name force --with grip=grip.hiss --package arduino -o libraries/force
      hiss export force.int.hiss -o firmware --budget flash=32k,ram=4k,insn=20k
      hiss export force.hiss --to onnx -o edge --weights int8
      hiss export force.int.hiss --to tflite -o edge

    --budget: k is 1024 bytes or 1000 instructions. flash (code and tables), stack and insn (the worst sample; cycles
    on atmega328p) are those of the first --emulate, m4f by default; several models are added up. Over budget, nothing
    is written.

    Exit codes: 0 done, 2 usage or a file that cannot be read, 7 not written, no compiler with --check, or mismatches,
    8 over budget.
    """
    _check_place(out)
    if to != "c":
        from hiss.cli.export_steps import export_model, refuse_others

        refuse_others(context, to)
        return export_model(model, to, out, name, weights, check, as_json)
    if weights != "float32":
        raise click.UsageError("--weights is about step models; weights of C are chosen by: hiss quantize --weights")
    from hiss.cli.bill import check_cores, measured_bill
    from hiss.cli.stream import usage
    from hiss.firmware_export.budget import parse_budget
    from hiss.firmware_export.packages import About, export_package, make_package, package_texts

    budget = None if budget_text is None else usage(parse_budget, budget_text)
    cores = cores or (("m4f",) if budget is not None and budget.needs_core else ())
    check_cores(cores)
    about = usage(About, package_version, author, url)
    package = usage(make_package, _models(model, name, others, spread), about, board=board)
    usage(package_texts, package, kind)  # refused before anything that takes long
    with tempfile.TemporaryDirectory() as folder:
        mismatches = _host_check(package, Path(folder), check)
        bills = [measured_bill(m, Path(folder), cores, compiler, data, rate_hz) for m in package.models]
    if budget is not None:
        _keep_to(budget, bills, package, cores[0] if cores else None)
    wrong = bool(mismatches) or any(core.mismatches for bill in bills for core in bill.cores)
    paths = () if wrong else export_package(package, kind, out, {"bill.json": _bill_json(bills)})
    facts = _facts(kind, paths, bills, mismatches)
    click.echo(json.dumps(facts, indent=2) if as_json else _report(facts, bills))
    if wrong:
        click.echo("error: the self-test does not match, so nothing was written (--no-check writes it)", err=True)
        raise SystemExit(7)


def _models(path: Path, name: str, others: tuple[str, ...], spread: bool) -> list[Model]:
    """The models in the order in which they are named; spread: with even work per sample, a chunk later."""
    from hiss.cli.stream import open_model, usage
    from hiss.firmware_export.c import Model
    from hiss.firmware_export.packages.package import check_names
    from hiss.program import passes

    named = [(name, path), *(_named(other) for other in others)]
    usage(check_names, [n for n, _ in named])
    programs = {n: passes.spread(open_model(p)) if spread else open_model(p) for n, p in named}
    return [usage(Model, program, n) for n, program in programs.items()]


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not path or not Path(path).exists():
        raise click.UsageError(f"--with {text}: expected NAME=MODEL, with a .hiss file or a run that exists")
    return name, Path(path)


def _check_place(out: Path) -> None:
    """A folder that cannot be made is said before the measurements."""
    there = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise HissError(f"{out}: nothing can be written there ({there} is closed, or no folder)")


def _host_check(package: Package, folder: Path, check: bool | None) -> int | None:
    """Mismatches of the self-tests on this computer, from plain sources in `folder`; None where it was not checked."""
    from hiss.engines.c_engine import run_selftest
    from hiss.engines.host_compiler import find_compiler
    from hiss.errors import ExportError
    from hiss.firmware_export.packages import export_package

    export_package(package, "plain", folder)
    if check is False:
        return None
    try:
        find_compiler()
    except ExportError as error:
        if check:
            raise
        click.echo(f"not checked: {error}", err=True)
        return None
    return sum(run_selftest(package.exported(model, folder)) for model in package.models)


def _keep_to(budget: Budget, bills: list[Bill], package: Package, core: str | None) -> None:
    """End with OVER_BUDGET where the bills are over."""
    from hiss.firmware_export.budget import complaint, found_in

    over = budget.over(found_in(bills, core))
    if over:
        counted = next((c.unit for bill in bills for c in bill.cores if c.core == core), "instructions")
        said = complaint(budget, over, [model.program for model in package.models], core, counted)
        click.echo(f"error: over budget, nothing was written\n{said}", err=True)
        raise SystemExit(OVER_BUDGET)


def _bill_json(bills: list[Bill]) -> str:
    return json.dumps({"models": [bill.to_json() for bill in bills]}, indent=2) + "\n"


def _facts(kind: str, paths: tuple[Path, ...], bills: list[Bill], mismatches: int | None) -> dict[str, Any]:
    """What --json prints; the sizes and cores beside the bill are the first model's."""
    first = bills[0]
    keys = ("mismatches", "average", "worst", "code_bytes")
    return {
        "package": kind,
        "files": [str(path) for path in paths],
        "table_bytes": first.table_bytes,
        "ram_bytes": first.ram_bytes,
        "scratch_bytes": first.scratch_bytes,
        "mismatches": mismatches,
        "emulated": {core.core: {key: getattr(core, key) for key in keys} for core in first.cores},
        "bill": [bill.to_json() for bill in bills],
    }


def _report(facts: dict[str, Any], bills: list[Bill]) -> str:
    lines = [*facts["files"]]
    lines += [text for bill in bills for text in ("", bill.text())]
    if facts["mismatches"] is not None:
        lines += ["", f"self-test here: {facts['mismatches']} mismatches"]
    return "\n".join(lines)
