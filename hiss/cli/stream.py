"""What the streaming verbs share: exit codes, signals, and how a stream's end is reported."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from hiss.errors import (
    DeviceLostError,
    FoldError,
    FormatError,
    HissError,
    MismatchError,
    MissingExtraError,
    NetworkError,
    PortError,
    ProgramError,
    RecordingError,
    TrainingError,
)
from hiss.program import Program, load_program
from hiss.realtime.live import Loop

if TYPE_CHECKING:
    from hiss.cli.watching import Watching
    from hiss.realtime.recorder import Recorder

P = ParamSpec("P")
T = TypeVar("T")

EXIT_CODES = """\b
Exit codes:
  0  done: end of the data, --duration, Ctrl-C or SIGTERM (a second one ends at once)
  2  usage, or a model or a file that cannot be read
  3  port missing, busy, or no permission
  4  no valid frame: wrong device, wrong baud rate, or a silent board
  5  the stream does not fit the model (channels, names, units), or a board's estimates differ from those made here
  6  the device went away or fell silent
  7  an output or the recording could not be written
  8  over budget: --max-p99 or --max-drops
"""

CODES: tuple[tuple[type[HissError], int], ...] = (
    (PortError, 3),
    (FormatError, 4),
    (MismatchError, 5),
    (DeviceLostError, 6),
    (ProgramError, 2),
    (RecordingError, 2),
    (MissingExtraError, 2),
    (TrainingError, 2),
    (FoldError, 2),
    (NetworkError, 8),
)


def exit_code(error: HissError) -> int:
    """The exit code of an error; one that is not in the list is an output that failed."""
    return next((code for kind, code in CODES if isinstance(error, kind)), 7)


class Positive(click.ParamType):  # type: ignore[type-arg]
    """A number above 0, and finite."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r}: expected a number above 0", param, ctx)
        return number


STDOUT = ("-", "jsonl")  # where estimates go in any case, unless --json is given


def out_option(command: Callable[P, T]) -> Callable[P, T]:
    """--out: where estimates go beside stdout; `outs`, texts for hiss.realtime.outputs.make_output."""
    said = (
        "Estimates go there too; repeat for several: csv:FILE, jsonl:FILE, udp:HOST:PORT, teleplot:HOST[:PORT], "
        "serial:PORT[@BAUD], lsl:NAME, mcap:FILE, ros2:TOPIC. FILE.csv alone is a CSV file; - is stdout, "
        "where they are anyway."
    )
    beside = _beside_stdout
    return click.option("--out", "outs", multiple=True, metavar="KIND:WHERE", help=said, callback=beside)(command)


def _beside_stdout(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs other than stdout."""
    return tuple(value for value in values if value not in STDOUT)


def engine_option(command: Callable[P, T]) -> Callable[P, T]:
    """--engine: what computes the estimates."""
    from hiss.engines import ENGINES

    said = (
        "What computes: numpy, the exported C, compiled here and kept, or the exported ONNX or TensorFlow Lite. "
        "Integer programs run in integers in the first two, close to them in tflite."
    )
    return click.option("--engine", type=click.Choice(ENGINES), default="numpy", show_default=True, help=said)(command)


def port_options(command: Callable[P, T]) -> Callable[P, T]:
    """The options of every verb that waits for frames: baud, first_frame and silence, both in seconds."""
    baud = click.option(
        "--baud", type=click.IntRange(min=1), default=115200, show_default=True, help="Baud rate; USB boards ignore it."
    )
    first = click.option(
        "--first-frame",
        type=Positive(),
        default=5.0,
        show_default=True,
        metavar="S",
        help="Give up without a valid frame by then.",
    )
    silence = click.option(
        "--silence",
        type=Positive(),
        default=10.0,
        show_default=True,
        metavar="S",
        help="Give up when no frame comes for so long.",
    )
    return baud(first(silence(command)))


def replug_option(command: Callable[P, T]) -> Callable[P, T]:
    """--replug: how long a device that went away is waited for, in seconds; `replug`."""
    said = "Wait so long for a device that went away; 0: end at once."
    seconds = click.FloatRange(min=0)
    return click.option("--replug", type=seconds, default=60.0, show_default=True, metavar="S", help=said)(command)


@contextlib.contextmanager
def errors_reported() -> Iterator[None]:
    """What goes wrong in the world outside ends the program with one line on stderr and its exit code."""
    try:
        yield
    except BrokenPipeError:
        _leave_stdout()  # whoever read has had enough: that is no error
    except HissError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(exit_code(error)) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("torch", "scipy"):  # other absent packages are named where they are imported
            raise
        click.echo(f"error: {MissingExtraError(package, 'train')}", err=True)
        raise SystemExit(2) from None
    except MemoryError as error:
        click.echo(f"error: not enough memory ({error}); cut the recordings into shorter ones", err=True)
        raise SystemExit(2) from None
    except OSError as error:
        _leave_stdout()
        click.echo(f"error: {error.filename or 'an output'}: {error.strerror or error}", err=True)
        raise SystemExit(7) from None


def _leave_stdout() -> None:
    """What could not be written is not tried again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def usage(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of make(...); a bad argument is a mistake in the command line."""
    try:
        return make(*args, **kwargs)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def open_model(path: Path) -> Program:
    """The program of a .hiss file, or of a training run (which needs torch)."""
    if path.is_dir():
        from hiss.folding import fold

        program: Program = fold(path)
        return program
    return load_program(path)


@contextlib.contextmanager
def stop_on_signals(last_act: Callable[[], None] | None = None) -> Iterator[Callable[[], bool]]:
    """Gives stop(): true after SIGINT or SIGTERM. A second signal ends the process at once, behind last_act()."""
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            if last_act is not None:
                last_act()
            os._exit(128 + number)
        caught.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def rotate_on_hangup(recorder: Recorder | None) -> Iterator[None]:
    """SIGHUP begins the recorder's next file. Where there is no recorder or no such signal, nothing changes."""
    number = getattr(signal, "SIGHUP", None)
    if recorder is None or number is None:
        yield
        return
    before = signal.signal(number, lambda *_: recorder.rotate())
    try:
        yield
    finally:
        signal.signal(number, before)


def run_loop(loop: Loop, as_json: bool, advice: str = "", watching: Watching | None = None) -> None:
    """Run until the end, then the summary on stderr, or as JSON on stdout: also after an error.

    Raises SystemExit(8) behind it where a limit of `watching` was passed.
    """
    try:
        with stop_on_signals(watching.restore if watching else None) as stop:
            loop.run(lambda: stop() or (watching is not None and watching.quit))
    finally:
        if as_json:
            click.echo(json.dumps(loop.summary.as_dict()))
        elif loop.summary.counts.frames:
            click.echo(loop.summary.as_text(), err=True)
    if advice:
        click.echo(advice, err=True)
    if watching is not None:
        watching.check(loop.summary)
