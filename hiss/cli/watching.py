"""How a stream is watched while it runs: --stats, --stats-json, --max-p99, --max-drops, and --view."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hiss.realtime.stats import Budget, Stats

if TYPE_CHECKING:
    from hiss.program import Program
    from hiss.realtime.sinks import Sink
    from hiss.realtime.summary import Summary
    from hiss.realtime.view import View

T = TypeVar("T")

EVERY_S = 10.0  # of --stats-json without --stats


@dataclass
class Watching:
    """What the options ask for."""

    stats_s: float | None = None
    stats_json: Path | None = None
    budget: Budget = field(default_factory=Budget)
    view: bool = False
    _view: View | None = None

    def __post_init__(self) -> None:
        from hiss.realtime.terminal import why_no_screen

        if not self.view:
            return
        if why := why_no_screen():
            raise click.UsageError(f"--view: {why}; without it, estimates are lines on stdout")
        if self.stats_s is not None:
            raise click.UsageError("--view shows the numbers; --stats-json FILE keeps them")

    @property
    def quit(self) -> bool:
        """Whether the user has had enough (q)."""
        return self._view is not None and self._view.quit

    def restore(self) -> None:
        """The terminal as it was, at once."""
        if self._view is not None:
            self._view.screen.restore()

    def asked(self) -> list[str]:
        """Commands typed into the dashboard."""
        return [] if self._view is None else self._view.asked()

    def sinks(self, program: Program, obeys: bool = False) -> list[Sink]:
        """The sinks that it takes beside those of estimates. obeys: keys in the dashboard are commands."""
        from hiss.realtime.sinks import EventLines

        made: list[Sink] = [self._show(program, obeys) if self.view else EventLines(sys.stderr)]
        if self.stats_s is not None or self.stats_json is not None:
            text = None if self.stats_s is None else sys.stderr
            made.append(Stats(self.stats_s or EVERY_S, text, self.stats_json))
        return made

    def _show(self, program: Program, obeys: bool) -> View:
        from hiss.realtime.view import View

        self._view = View(program, obeys=obeys)
        return self._view

    def check(self, summary: Summary) -> None:
        """Raise SystemExit(8), each reason said on stderr, where a limit was passed."""
        if broken := self.budget.broken(summary):
            for reason in broken:
                click.echo(f"over budget: {reason}", err=True)
            raise SystemExit(8)


def watching_options(command: Callable[..., T]) -> Callable[..., T]:
    """--view, --stats, --stats-json, --max-p99, --max-drops: the command takes them as one argument, `watching`."""

    @functools.wraps(command)
    def run(
        *args: Any,
        stats: float | None,
        stats_json: Path | None,
        max_p99: float | None,
        max_drops: int | None,
        view: bool,
        **kwargs: Any,
    ) -> T:
        watching = Watching(stats, stats_json, Budget(max_p99, max_drops), view)
        return command(*args, watching=watching, **kwargs)

    for option in reversed(_options()):
        run = option(run)
    return run


def _options() -> list[Callable[[Callable[..., T]], Callable[..., T]]]:
    from hiss.cli.stream import Positive

    path = click.Path(path_type=Path, dir_okay=False)
    return [
        click.option(
            "--view",
            is_flag=True,
            help="A dashboard in the terminal, in place of lines; q ends, live: t tares, r resets.",
        ),
        click.option("--stats", type=Positive(), metavar="S", help="The numbers as a line on stderr every S s."),
        click.option(
            "--stats-json", type=path, metavar="FILE", help="The same, a JSON line each, added to FILE (every 10 s)."
        ),
        click.option("--max-p99", type=Positive(), metavar="US", help="Exit code 8 where service time p99 is above."),
        click.option(
            "--max-drops", type=click.IntRange(min=0), metavar="N", help="Exit code 8 where more was lost on the way."
        ),
    ]
