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
from hiss.recording import write_hdf5


@click.group(name="datasets")
def command() -> None:
    """List, download or simulate data sets.

    \b
    Example:
      hiss datasets list
      hiss datasets get eflesh -o data/eflesh
      hiss datasets make simulated_skin -o skin.h5 --seed 1 --minutes 10

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
        keys = ("name", "title", "licence", "source", "simulated", "size")
        click.echo(json.dumps([{key: getattr(dataset, key) for key in keys} for dataset in known], indent=2))
        return
    for dataset in known:
        how = "simulated" if dataset.simulated else f"{dataset.size / 1e6:.1f} MB"
        click.echo(f"{dataset.name:16} {how:>10}  {dataset.title}\n{'':28}{dataset.licence}; {dataset.source}")


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
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="File.  [default: NAME.h5]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same recordings.")
@click.option("--minutes", type=Positive(), default=20.0, metavar="MINUTES", show_default=True, help="In all.")
def make(name: str, out: Path | None, seed: int, minutes: float) -> None:
    """Compute a simulated data set. Prints the file's path.

    \b
    Example:
      hiss datasets make simulated_skin -o skin.h5 --seed 1 --minutes 10

    Exit codes: 0 done, 2 usage or an unknown data set, 7 not written.
    """
    dataset = _named(name)
    if not dataset.simulated:
        raise click.UsageError(f"{name} is not simulated: hiss datasets get {name}")
    out = out or Path(f"{name}.h5")
    recordings, extra = catalog.load_script(dataset).simulate(seed, minutes)
    write_hdf5(out, recordings, extra=extra, dataset=dataset.name, licence=dataset.licence, notes=dataset.title)
    click.echo(out)
