"""hiss datasets: list, download and convert, or simulate the data sets that hiss knows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from hiss import catalog
from hiss.cli.stream import Positive
from hiss.download import fetch
from hiss.errors import HissError
from hiss.folder_data import Made, convert_folder
from hiss.recording import write_hdf5


@click.group(name="datasets")
def command() -> None:
    """List, download, convert or simulate data sets.

    \b
    Example:
      hiss datasets list
      hiss datasets get eflesh -o data/eflesh
      hiss datasets make simulated_skin -o skin.h5 --seed 1 --minutes 10
      hiss datasets make broad downloads/broad -o broad.h5

    Exit codes: 0 done, 2 usage or a data set that is not known, 7 not written, 8 the download failed.
    """


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """Say which data sets there are.

    \b
    Example:
      hiss datasets list --json

    Exit codes: 0 done, 2 usage.
    """
    known = catalog.datasets()
    if as_json:
        keys = ("name", "title", "licence", "source", "simulated", "size", "expects", "preset")
        click.echo(json.dumps([{key: getattr(dataset, key) for key in keys} for dataset in known], indent=2))
        return
    for dataset in known:
        how = "simulated" if dataset.simulated else f"{dataset.size / 1e6:.1f} MB" if dataset.size else "a folder"
        click.echo(f"{dataset.name:16} {how:>10}  {dataset.title}\n{'':28}{dataset.licence}; {dataset.source}")
        if dataset.preset:
            click.echo(f"{'':28}hiss train --preset {dataset.name} FOLDER")


def _named(name: str) -> catalog.Dataset:
    try:
        return catalog.find(name)
    except HissError as error:
        raise click.UsageError(str(error)) from error


@command.command()
@click.argument("name")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: data/NAME]")
@click.option("--base-url", metavar="URL", help="A mirror of the publisher's files.", hidden=True)
def get(name: str, out: Path | None, base_url: str | None) -> None:
    """Download a data set from its publisher, check it and convert it. Prints the recordings' paths.

    An interrupted download goes on where it stopped.

    \b
    Example:
      hiss datasets get eflesh -o data/eflesh

    Exit codes: 0 done, 2 usage, an unknown data set or a file that cannot be read, 7 not written,
    8 the download failed.
    """
    dataset = _named(name)
    if dataset.simulated:
        raise click.UsageError(f"{name} is simulated, there is nothing to download: hiss datasets make {name} -o FILE")
    if dataset.expects:
        raise click.UsageError(f"{name} is to be downloaded by hand: {dataset.expects}; then hiss datasets make {name}")
    out = out or Path("data") / name
    base = (base_url or dataset.base_url).rstrip("/")
    label = f"{name}, {len(dataset.files)} files"
    with click.progressbar(length=dataset.size, label=label, file=sys.stderr) as bar:
        for file in dataset.files:
            path = out / "raw" / file.path
            fetch(f"{base}/{file.path}", path, size=file.size, sha256=file.sha256, on_bytes=bar.update)
    for path in catalog.load_script(dataset).convert(out / "raw", out):
        click.echo(path)


@command.command()
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="File.  [default: NAME.h5]")
@click.option("--seed", type=click.IntRange(min=0), help="Of a simulation: same seed, same recordings.  [default: 0]")
@click.option("--minutes", type=Positive(), metavar="MINUTES", help="Of a simulation, in all.  [default: 20]")
def make(name: str, folder: Path | None, out: Path | None, seed: int | None, minutes: float | None) -> None:
    """Convert FOLDER, as its publisher gives it, or compute a simulated data set. Prints the file's path.

    \b
    Example:
      hiss datasets make broad downloads/broad -o broad.h5
      hiss datasets make simulated_skin -o skin.h5 --seed 1 --minutes 10

    Trials that are missing or left out are said. Exit codes: 0 done, 2 usage, an unknown data set or a folder that is
    not what it should be, 7 not written.
    """
    dataset = _named(name)
    out = out or Path(f"{name}.h5")
    if dataset.files:
        raise click.UsageError(f"{name} is downloaded and converted at once: hiss datasets get {name}")
    if dataset.simulated and folder:
        raise click.UsageError(f"{name} is computed; it takes no folder")
    if dataset.expects:
        if folder is None or seed is not None or minutes is not None:
            raise click.UsageError(f"{name} takes a folder, and nothing else but -o: {dataset.expects}")
        convert(dataset, folder).write(out, dataset)
    else:
        recordings, extra = catalog.load_script(dataset).simulate(seed or 0, minutes or 20.0)
        write_hdf5(out, recordings, extra=extra, dataset=dataset.name, licence=dataset.licence, notes=dataset.title)
    click.echo(out)


def convert(dataset: catalog.Dataset, folder: Path) -> Made:
    """The trials of a folder, with a progress bar on stderr and a line for what is missing. Raises RecordingError."""
    with click.progressbar(length=1, label=f"{dataset.name}: {folder}", file=sys.stderr) as bar:

        def started(count: int) -> None:
            bar.length = count

        made = convert_folder(dataset, folder, started, lambda: bar.update(1))
    for line in made.said():
        click.echo(f"{dataset.name}: {line}", err=True)
    return made
