"""A named preset of `hiss train`: the settings of a data set's manifest, and its folder converted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hiss import catalog
from hiss.cli.datasets import convert
from hiss.cli.stream import usage
from hiss.errors import HissError


def preset_of(name: str, files: tuple[Path, ...], out: Path | None) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """(settings of the preset, its recordings): a folder is converted into OUT/NAME.h5, files are taken as they are.

    Raises click.UsageError for another name or what is not one folder, RecordingError, HissError.
    """
    try:
        dataset = catalog.find(name)
    except HissError as error:
        raise click.UsageError(str(error)) from error
    if not dataset.preset:
        known = ", ".join(d.name for d in usage(catalog.datasets) if d.preset)
        raise click.UsageError(f"{name} has no preset; there are: {known}")
    folders = [f for f in files if f.is_dir()]
    if len(files) == 1 and folders:
        out = Path(out or Path("runs") / name)
        made = out / f"{name}.h5"
        convert(dataset, files[0]).write(made, dataset)
        return {**dataset.preset, "out": str(out)}, (made,)
    if folders or not files:
        raise click.UsageError(f"--preset {name} takes one folder: {dataset.expects}; or files of hiss datasets make")
    return dict(dataset.preset), files
