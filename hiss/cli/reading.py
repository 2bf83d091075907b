"""The reading of an AR-Net run, as text and as a plot: what hiss train leaves beside a run, and hiss inspect --plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiss.errors import MissingExtraError, RecordingError, TrainingError
from hiss.files import write_bytes

if TYPE_CHECKING:
    from hiss.recording import Recording
    from hiss.training import Run


def show_reading(run: Run, train: list[Recording], plot: Path, text: Path | None = None) -> bool:
    """Of the run's first output on the recordings that it was fitted on: the text shown on stderr and written, the plot
    made. False for a run that is not linear in its lags, which has none."""
    from hiss.plotting import plot_reading
    from hiss.training.read_run import read_run

    found = read_run(run, train)
    if found is None:
        return False
    said, panels = found
    click.echo(said, err=True)
    if text is not None:
        write_bytes(text, f"{said}\n".encode())
    try:
        plot_reading(plot, panels, run.targets[0].name)
    except MissingExtraError as error:
        click.echo(f"no plot: {error}", err=True)
    return True


def read_again(path: Path, plot: Path) -> None:
    """The reading of the run in a folder, from the files that it was trained on. Raises HissError."""
    from hiss.cli.evaluate import recordings_of
    from hiss.training import Run

    run = Run.load(path)
    files = {str(f["path"]): str(f["sha256"]) for f in run.about.get("files", [])}
    if not files:
        raise RecordingError(f"{path}: the run does not say which files it was trained on; train it with hiss train")
    if not show_reading(run, recordings_of(run, files)[0], plot):
        raise TrainingError(f"{path}: no AR-Net that is linear in its lags, so it has no weights of lags to plot")
    click.echo(f"plot: {plot}", err=True)
