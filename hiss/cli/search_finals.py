"""The finals of hiss search, as people see them: which there are, how long they take, and how each ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import click

from hiss.cli.search import SHORT
from hiss.search import Space, Study, Task
from hiss.search.alone import largest_that_fit
from hiss.search.finals import Final, Played, finals, finals_alone, least, play
from hiss.search.study import Row
from hiss.search.trial import fits
from hiss.training import TrainOptions

STEPS_TARED = 1200
"""Of finals on tared recordings, never stopped early: a small correction of a base of lags learns longer."""
STEPS_ALONE = 19200
ALONE = 1
"""Updates of finals without a base on tared recordings, and how many candidates of theirs there are."""
STEPS_HEAT = 1200
HEATS = 12
"""Updates that choose these candidates, and among how many."""


def play_finals(
    task: Task, space: Space, study: Study, out: Path, key: str, finalists: int, count: int, jobs: int
) -> list[Played]:
    """Train the best of a study in full, from `count` seeds each; what was done before in `out` is not done again.

    key: of the search. Raises HissError.
    """
    seeds, rows = range(task.seed, task.seed + count), study.rows()
    todo = finals(study.done_rows(), finalists, seeds, out, key, _full(task))
    if _alone_too(task, space):
        todo += _alone(task, space, todo[0].candidate.period, rows, seeds, out, key, jobs)
    _say(f"{len(todo)} finals, trained in full", todo, rows, task, jobs)
    return _played(todo, task, jobs)


def _full(task: Task) -> TrainOptions:
    """Options of finals; steps that were set (--set) stay."""
    options = task.options
    if options.steps != SHORT["steps"]:
        return options
    return _to_the_end(options, STEPS_TARED, task) if _tared(task) else dataclasses.replace(options, steps=None)


def _to_the_end(options: TrainOptions, steps: int, task: Task) -> TrainOptions:
    """Never stopped early, unless a patience was set for the search."""
    return dataclasses.replace(options, steps=steps, patience=task.options.patience or steps // options.epoch_steps)


def _tared(task: Task) -> bool:
    return bool(task.tare) or any(r.tared for r in task.train)


def _alone_too(task: Task, space: Space) -> bool:
    """Not where the base or the steps were set."""
    return task.options.steps == SHORT["steps"] and _tared(task) and 0.0 in space.window_s


def _alone(
    task: Task,
    space: Space,
    period: int,
    rows: Sequence[Row],
    seeds: Sequence[int],
    out: Path,
    key: str,
    jobs: int,
) -> list[Final]:
    """Finals of networks without a base: as the rivals of `hiss train`, and longer, as small ones learn slowly.

    Of the largest that fit, those are taken that are best after a short training on the same terms.
    """
    click.echo("the largest networks without a base that fit: a minute or two to find", err=True)
    short, full = (_to_the_end(task.options.of_rival(), steps, task) for steps in (STEPS_HEAT, STEPS_ALONE))
    final = dataclasses.replace(task, options=full)  # whose program is what is to fit: whitening costs instructions
    found = largest_that_fit(space, period, HEATS, lambda candidate: fits(final, candidate))
    heats = finals_alone(found, seeds[:1], out / "heats", key, short)
    _say(f"{len(heats)} of them, trained shortly", heats, rows, task, jobs)
    return finals_alone(least(_played(heats, task, jobs), ALONE), seeds, out, key, full)


def _say(what: str, todo: Sequence[Final], rows: Sequence[Row], task: Task, jobs: int) -> None:
    """How long they take at most, with the updates of their trials; others as those do on average."""
    took: dict[int | None, float] = {row.number: row.update_s for row in rows if row.update_s}
    usual = fmean(took.values()) if took else 0.0
    seconds = sum(took.get(f.trial, usual) * f.options.settled(bool(f.candidate.window_s)).n_steps for f in todo)
    click.echo(f"{what}: about {max(0.1, seconds / jobs / 60):.1f} minutes at most", err=True)


def _played(todo: Sequence[Final], task: Task, jobs: int) -> list[Played]:
    """Trained and scored; a line for each that ends."""
    played = []
    for each in play(todo, task, jobs):
        click.echo(each.text(), err=True)
        played.append(each)
    return played
