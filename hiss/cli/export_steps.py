"""hiss export --to onnx or tflite: step models, run over the golden vectors before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from hiss.engines.step_check import Check
    from hiss.firmware_export.step_model import StepModel

OPTIONS = {"model", "to", "out", "name", "weights", "check", "as_json"}
"""Those of hiss export that step models have; the others are about C."""


def refuse_others(context: click.Context, target: str) -> None:
    """Raises UsageError for an option that only C has."""
    given = context.get_parameter_source
    for parameter in context.command.params:
        name = str(parameter.name)
        if name not in OPTIONS and given(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} is about C; --to {target} does not have it")


def export_steps(
    model: Path, target: str, out: Path, name: str, weights: str, check: bool | None, as_json: bool
) -> None:
    """Make the files, check them, write them and check.json. Raises HissError; SystemExit(7) where the check fails."""
    from hiss.cli.stream import open_model, usage
    from hiss.files import write_together
    from hiss.firmware_export.step_model import step_model

    made = usage(step_model, open_model(model), target, name, weights)
    found = _checked(made, check)
    if found is not None and found.wrong:
        click.echo(f"{found.text()}\nerror: {', '.join(found.wrong)} differs, so nothing was written", err=True)
        raise SystemExit(7)
    files = dict(made.all_files)
    if found is not None:
        files["check.json"] = (json.dumps(found.to_json(), indent=2) + "\n").encode()
    write_together({out / file: data for file, data in files.items()})
    paths = {out / file: len(data) for file, data in files.items()}
    click.echo(json.dumps(_facts(made, paths, found), indent=2) if as_json else _report(made, paths, found))


def _checked(made: StepModel, check: bool | None) -> Check | None:
    from hiss.engines.step_check import check as run_check
    from hiss.errors import MissingExtraError

    if check is False:
        return None
    try:
        return run_check(made)
    except MissingExtraError as error:
        if check:
            raise
        click.echo(f"not checked: {error}", err=True)
        return None


def _facts(made: StepModel, paths: dict[Path, int], found: Check | None) -> dict[str, Any]:
    return {
        "target": made.target,
        "program": made.program.digest,
        "files": {str(path): size for path, size in paths.items()},
        "notes": list(made.notes),
        "check": None if found is None else found.to_json(),
    }


def _report(made: StepModel, paths: dict[Path, int], found: Check | None) -> str:
    lines = [f"{path} ({size:,} bytes)" for path, size in paths.items()]
    lines += ["", *made.notes] if made.notes else []
    return "\n".join([*lines, "", found.text()] if found is not None else lines)
