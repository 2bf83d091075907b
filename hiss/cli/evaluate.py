"""hiss evaluate: how good a run is on recordings that it has not seen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiss.changes import change_of
from hiss.cli.stream import errors_reported, usage
from hiss.errors import MismatchError, MissingExtraError, RecordingError

if TYPE_CHECKING:
    from hiss.program import Program
    from hiss.recording import Recording
    from hiss.scoring import Estimator, Scored
    from hiss.training import Run

SHOWN_S = 120.0
"""Seconds that the plot shows at most."""


class WindowsType(click.ParamType):  # type: ignore[type-arg]
    """32x60s: how many windows of how many seconds."""

    name = "COUNTxSECONDSs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, float]:
        """(count, seconds)."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d*)x(\d+(?:\.\d+)?)s?", str(value))
        if not match or float(match[2]) <= 0:
            self.fail(f"{value!r}: expected a count and seconds, such as 32x60s", param, ctx)
        return int(match[1]), float(match[2])


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--data", multiple=True, type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Other files."
)
@click.option(
    "--program",
    "made",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Score this program made of RUN, such as that of hiss quantize. [RUN, folded]",
)
@click.option("--windows", type=WindowsType(), help="Score windows at random offsets, such as 32x60s.")
@click.option("--seed", type=click.IntRange(min=0), default=1234, show_default=True, help="Of the windows' offsets.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
def command(
    run: Path,
    data: tuple[Path, ...],
    made: Path | None,
    windows: tuple[int, float] | None,
    seed: int,
    as_json: bool,
) -> None:
    """Score RUN on the test recordings of the files that it was trained on, or on those of --data FILE.

    \b
    Example:
      hiss evaluate runs/skin
      hiss evaluate runs/skin --windows 32x60s --seed 1234 --json
      hiss evaluate runs/skin --program force.int.hiss

    The folded program is scored in float32, as it is deployed, or an integer program in its integers: whole
    recordings from fresh state, or windows. Files of --data without test recordings are scored wholly. A plot per
    output goes into RUN.
    JSON: {"outputs": {NAME: {"rmse", "r2", "mae", "unit"}}, "nmse", "mse", "distance" (mean norm of the error over
    outputs; both where all have one unit), "lookahead_s", "split", "arithmetic", "data", "seed"};
    nmse = mean over outputs of MSE / variance of the training target; where targets are changes, such as d0.2(px), also
    "position_error": how far their sum is off.

    Exit codes: 0 done, 2 usage, a file that cannot be read or is gone, 5 other channels, 7 not written.
    """
    with errors_reported():
        _evaluate(run, data, made, windows, seed, as_json)


def _evaluate(
    path: Path,
    data: tuple[Path, ...],
    made: Path | None,
    windows: tuple[int, float] | None,
    seed: int,
    as_json: bool,
) -> None:
    from hiss import scoring
    from hiss.folding import fold
    from hiss.training import Run

    run = Run.load(path)
    program = _made_of(run, made) if made else fold(run)
    recordings, split, files = _recordings(run, data)
    ready = scoring.ready(program, recordings)
    estimate, arithmetic = _arithmetic(program)
    if windows:
        count, seconds = windows
        samples = round(seconds * run.rate_hz) // run.period * run.period
        if "gap" in run.provenance:  # pieces between gaps may be short
            ready = [r for r in ready if len(r) // run.period * run.period >= samples] or ready
        pieces = usage(scoring.draw, ready, count, samples, seed, run.period)
        scored = scoring.score_windows(estimate, pieces, run.period)
    else:
        scored = scoring.score_whole(estimate, ready, run.period)
    result = _result(run, scored, split)
    result |= {"arithmetic": arithmetic, "data": [str(f) for f in files], "seed": seed if windows else None}
    if windows:
        result["windows"] = f"{windows[0]}x{windows[1]:g}s"
    _plots(path, run, scored)
    click.echo(json.dumps(result) if as_json else _table(result))


def _made_of(run: Run, path: Path) -> Program:
    """The program of a file. Raises MismatchError when it was not made of this run."""
    from hiss.program import load_program

    program = load_program(path)
    if json.dumps(program.provenance, sort_keys=True) != json.dumps(run.provenance, sort_keys=True):
        raise MismatchError(f"{path}: was not made of this run; give the run that it was folded from")
    return program


def _arithmetic(program: Program) -> tuple[Estimator, str]:
    """How a program is deployed, and its name."""
    from hiss import scoring

    return scoring.estimator(program), program.dtype.__name__ if program.formats is None else "integer"


def _recordings(run: Run, data: tuple[Path, ...]) -> tuple[list[Recording], str, list[Path]]:
    """(recordings to score, name of the split, files)."""
    from hiss.recording import read_recordings
    from hiss.recording_dates import of_series, on_grid

    fill = of_series(run.provenance)
    targets = [] if fill else [t.name for t in run.targets]  # those of a series count resampled rows
    if data:
        recordings = read_recordings(*data, targets=targets, rate_hz=run.rate_hz, fill=fill)
        recordings = [on_grid(r, run.rate_hz) for r in recordings] if fill else recordings
        marked = [r for r in recordings if r.split == "test"]
        return marked or recordings, "test" if marked else "all", list(data)
    files = {str(f["path"]): str(f["sha256"]) for f in run.about.get("files", [])}
    if not files:
        raise RecordingError("the run does not say which files it was trained on; give some with --data FILE")
    return recordings_of(run, files)[1], "test", [Path(f) for f in files]


def recordings_of(run: Run, files: dict[str, str]) -> tuple[list[Recording], list[Recording]]:
    """(train, test) of the files {path: sha256} that a run was trained on. Raises TrainingError where they changed."""
    from hiss.cli.train import check_files
    from hiss.recording import read_recordings, split
    from hiss.recording_dates import of_series, on_grid

    check_files(files, "give the data with --data FILE")
    series = of_series(run.provenance)
    targets = [] if series else [t.name for t in run.targets]  # those of a series count resampled rows
    recordings = read_recordings(*files, targets=targets, rate_hz=run.rate_hz, fill=series)
    return split([on_grid(r, run.rate_hz) for r in recordings] if series else recordings)


def _result(run: Run, scored: Scored, split: str) -> dict[str, Any]:
    outputs = {
        target.name: {"rmse": float(error), "r2": float(share), "mae": float(off), "unit": target.unit}
        for target, error, share, off in zip(run.targets, scored.rmse(), scored.r2(), scored.mae(), strict=True)
    }
    return {
        "outputs": outputs,
        "nmse": scored.nmse(run.target_std),
        **_motion(run, scored),
        "lookahead_s": run.lookahead_s,
        "split": split,
    }


def _motion(run: Run, scored: Scored) -> dict[str, Any]:
    """Errors of all outputs together, where they share a unit: MSE, mean distance, and where they are changes since
    the estimate before, how far their sum is off."""
    if len({target.unit for target in run.targets}) > 1:
        return {}  # a norm of metres and radians says nothing
    both = {"mse": float((scored.rmse() ** 2).mean()), "distance": scored.distance()}
    changes = [change_of(target.name) for target in run.targets]
    step_s = run.period / run.rate_hz
    if not all(c is not None and abs(c[1] - step_s) < 1e-6 * step_s for c in changes):
        return both
    per_s = all(c is not None and c[0] == "v" for c in changes)
    unit = run.targets[0].unit.removesuffix("/s") if per_s else run.targets[0].unit
    return both | {"position_error": {"mean": scored.position_error() * (step_s if per_s else 1.0), "unit": unit}}


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'output':16} {'RMSE':>10} {'unit':8} {'R2':>8}"]
    for name, row in result["outputs"].items():
        lines.append(f"{name:16} {row['rmse']:10.4g} {row['unit']:8} {row['r2']:8.4f}")
    how = f"look-ahead {result['lookahead_s']:g} s, split {result['split']}, {result['arithmetic']}"
    lines.append(f"nmse {result['nmse']:.5f}, {how}")
    if "position_error" in result:
        off = result["position_error"]
        lines.append(
            f"position, summed since the start of each recording: off by {off['mean']:.4g} {off['unit']} on average"
        )
    return "\n".join(lines)


def _plots(path: Path, run: Run, scored: Scored) -> None:
    """A PNG per output; without matplotlib a line says so."""
    from hiss.plotting import plot_estimates

    shown = scored.t <= SHOWN_S
    for i, (target, error) in enumerate(zip(run.targets, scored.rmse(), strict=True)):
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in target.name)
        try:
            plot_estimates(
                path / f"{safe}.png",
                scored.t[shown],
                scored.y[shown, i],
                scored.estimate[shown, i],
                scored.valid[shown],
                name=target.name,
                unit=target.unit,
                title=f"{target.name}: RMSE {error:.3g} {target.unit} over all that was scored",
            )
        except MissingExtraError as error_:
            click.echo(f"no plot: {error_}", err=True)
            return
        click.echo(f"plot: {path / f'{safe}.png'}", err=True)
