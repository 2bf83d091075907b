"""How a model is taken across gaps, how its tare is begun, and commands while it runs: SIGUSR1, and lines on stdin."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from hiss.program import Program
    from hiss.realtime.live import Limits

T = TypeVar("T")

POLICY = "interpolate|hold[:S]|reset[:S]"
ASK_S = 0.05  # between two looks at stdin


@dataclass(frozen=True)
class Handling:
    """What the options ask for."""

    gap: str | None
    tare_anyway: bool | None

    @property
    def told(self) -> dict[str, Any]:
        """What was asked for, to be kept with a log."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def or_as_told(self, told: object) -> Handling:
        """With what a log was recorded with, where nothing else is asked for."""
        told = told if isinstance(told, dict) else {}
        gap, anyway = told.get("gap"), told.get("tare_anyway")
        return Handling(
            gap if self.gap is None and isinstance(gap, str) else self.gap,
            anyway if self.tare_anyway is None and isinstance(anyway, bool) else self.tare_anyway,
        )

    def limits(
        self, program: Program, duration_s: float | None, first_frame_s: float = 5.0, silence_s: float = 10.0
    ) -> Limits:
        """The loop's limits; gaps as in the program's training, unless asked otherwise. Raises click.UsageError."""
        from hiss.cli.stream import usage
        from hiss.gaps import Gaps
        from hiss.realtime.live import Limits

        gaps = Gaps.trained(program.provenance) if self.gap is None else usage(Gaps.parse, self.gap)
        return Limits(duration_s, first_frame_s, silence_s, gaps, tare_anyway=bool(self.tare_anyway))


def handling_options(command: Callable[..., T]) -> Callable[..., T]:
    """--gap, --tare-anyway: the command takes them as one argument, `handling`."""

    @functools.wraps(command)
    def run(*args: Any, gap: str | None, tare_anyway: bool | None, **kwargs: Any) -> T:
        return command(*args, handling=Handling(gap, tare_anyway), **kwargs)

    said = (
        "Where samples are missing: interpolate, repeat the last one, or start the model anew with its tare kept. "
        "S: of longer pauses only (10 samples of the model).  [default: as trained]"
    )
    anyway = "Take the tare as it is, or wait, 30 s at most, until the sensor does not move.  [default: at rest]"
    gap = click.option("--gap", metavar=POLICY, help=said)
    return gap(click.option("--tare-anyway/--tare-at-rest", default=None, help=anyway)(run))


def commands_option(command: Callable[..., T]) -> Callable[..., T]:
    """--commands: whether lines on stdin are commands."""
    said = "Lines on stdin are commands: tare, reset. (SIGUSR1 is tare, too.)"
    return click.option("--commands", is_flag=True, help=said)(command)


@contextlib.contextmanager
def listening(lines: bool) -> Iterator[Callable[[], list[str]]]:
    """Gives asked(), the commands since its last call: "tare" for each SIGUSR1, and with `lines` those of stdin."""
    signals: deque[str] = deque()
    number = getattr(signal, "SIGUSR1", None)
    before = None if number is None else signal.signal(number, lambda *_: signals.append("tare"))
    if lines and os.name != "posix":
        raise click.UsageError("--commands needs Linux or macOS: here stdin cannot be looked at without waiting")
    read = _stdin_lines() if lines else list

    def asked() -> list[str]:
        found = [signals.popleft() for _ in range(len(signals))]
        return found + read()

    try:
        yield asked
    finally:
        if number is not None:
            signal.signal(number, before)


def _stdin_lines() -> Callable[[], list[str]]:
    """The whole lines that wait on stdin; it is never waited for."""
    fd, rest, ended, last_s = sys.stdin.fileno(), b"", False, 0.0

    def read() -> list[str]:
        nonlocal rest, ended, last_s
        if ended or (now_s := time.monotonic()) - last_s < ASK_S:
            return []
        last_s = now_s
        if not select.select([fd], [], [], 0)[0]:
            return []
        data = os.read(fd, 4096)
        ended = not data
        *lines, rest = (rest + data).split(b"\n")
        return [text for line in lines if (text := line.decode(errors="replace").strip())]

    return read
