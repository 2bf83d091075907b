"""hiss export --to onnx or tflite: step models, run over the golden vectors before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from hiss.engines.step_export import StepExport

OPTIONS = {"model", "to", "out", "name", "weights", "check", "as_json"}
"""Those of hiss export that step models have; the others are about C."""


def refuse_others(context: click.Context, target: str) -> None:
    """Raises UsageError for an option that only C has."""
    given = context.get_parameter_source
    for parameter in context.command.params:
        name = str(parameter.name)
        if name not in OPTIONS and given(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} is about C; --to {target} does not have it")


def export_model(
    model: Path, target: str, out: Path, name: str, weights: str, check: bool | None, as_json: bool
) -> None:
    """Make the files, check them, write them and check.json. Raises HissError, also where the check fails."""
    from hiss.cli.stream import open_model, usage
    from hiss.engines.step_export import export_steps

    made = usage(export_steps, open_model(model), out, target, name, weights=weights, check=check)
    if made.check is None and check is None:
        click.echo(f"not checked: {made.unchecked}", err=True)
    click.echo(json.dumps(_facts(made), indent=2) if as_json else _report(made))


def _facts(made: StepExport) -> dict[str, Any]:
    return {
        "target": made.model.target,
        "program": made.model.program.digest,
        "files": {str(path): size for path, size in made.files.items()},
        "notes": list(made.model.notes),
        "check": None if made.check is None else made.check.to_json(),
    }


def _report(made: StepExport) -> str:
    lines = [f"{path} ({size:,} bytes)" for path, size in made.files.items()]
    lines += ["", *made.model.notes] if made.model.notes else []
    return "\n".join(lines if made.check is None else [*lines, "", made.check.text()])
