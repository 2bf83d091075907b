"""hiss replay: the live loop, fed from a file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from hiss.cli.board_option import board_options, open_board
from hiss.cli.columns import model_inputs
from hiss.cli.handling import Handling, handling_options
from hiss.cli.stream import (
    EXIT_CODES,
    Positive,
    engine_option,
    errors_reported,
    open_model,
    out_option,
    run_loop,
    usage,
)
from hiss.cli.watching import Watching, watching_options
from hiss.errors import RecordingError
from hiss.recording import Recording, read_recordings


@click.command(epilog=EXIT_CODES)
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--trial", multiple=True, metavar="NAME", help="Which recording of the file.  [default: the test split, or all]"
)
@click.option("--raw", is_flag=True, help="The untouched samples as they came (raw_t, raw_x), not the prepared ones.")
@click.option(
    "--speed", default="max", show_default=True, metavar="max|N", help="N times as fast as recorded; 1 is real time."
)
@click.option("--rate", type=Positive(), metavar="HZ", help="Rate of a CSV file without a time column.")
@click.option("--duration", type=Positive(), metavar="S", help="End S s after sample 1.")
@out_option
@handling_options
@engine_option
@board_options
@watching_options
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON per recording, and no estimates.")
def command(
    model: Path,
    file: Path,
    trial: tuple[str, ...],
    raw: bool,
    speed: str,
    rate: float | None,
    duration: float | None,
    outs: tuple[str, ...],
    handling: Handling,
    engine: str,
    board: str | None,
    board_baud: int,
    as_json: bool,
    watching: Watching,
) -> None:
    """Run the loop of hiss live from a recording (HDF5 or CSV), each one from fresh state, or from a raw log.

    A raw log (FILE.hlog, beside what hiss record and live --record write) gives the estimates that were made live, at
    the same times, bit by bit, commands included, with the --gap and --tare-anyway that were given then.

    Estimates are JSON lines on stdout as in hiss live; t is the recording's own time. Needs numpy only, no torch.

    \b
    Example:
      hiss replay force.hiss eflesh_normal_force.h5 --trial run2 --raw --speed 1
    """
    from hiss.engines import open_stepper
    from hiss.realtime.feeds import Feed, RecordingFeed
    from hiss.realtime.live import Loop
    from hiss.realtime.log_source import is_log
    from hiss.realtime.open_feed import log_feed
    from hiss.realtime.outputs import make_output
    from hiss.realtime.rawlog import LogReader
    from hiss.realtime.sinks import JsonLines

    times = _speed(speed)
    with errors_reported(), contextlib.ExitStack() as stack:
        program = open_model(model)
        if is_log(file):
            if trial or raw or rate:
                raise click.UsageError("--trial, --raw and --rate are of recordings; this is a raw log")
            handling = handling.or_as_told(LogReader(file).header.get("handling"))
            feeds: list[Feed] = [usage(log_feed, file, times, [p.name for p in program.inputs])]
        else:
            chosen = choose(read_recordings(file, rate_hz=rate, raw=raw), trial, str(file))
            feeds = [RecordingFeed(model_inputs(r, program), times) for r in chosen]
        if outs and len(feeds) > 1:
            raise click.UsageError(f"--out holds one recording, but {len(feeds)} are chosen; name one with --trial")
        other = stack.enter_context(open_board(board, board_baud, program))
        for feed in feeds:
            sinks = watching.sinks(program)
            sinks += [usage(make_output, text, program.outputs) for text in outs]
            if not (as_json or watching.view):
                sinks.append(JsonLines(sys.stdout, program.outputs))
            with other.beside(open_stepper(program, engine), sinks, as_json) as stepper:
                run_loop(Loop(feed, stepper, sinks, handling.limits(program, duration)), as_json, watching=watching)
            if watching.quit:
                break


def choose(recordings: list[Recording], names: tuple[str, ...], file: str) -> list[Recording]:
    """The named recordings, else the file's test split, else all. Raises RecordingError for an unknown name."""
    if not names:
        return [r for r in recordings if r.split == "test"] or recordings
    by_name = {r.name: r for r in recordings}
    for name in names:
        if name not in by_name:
            raise RecordingError(f"{file}: no recording {name!r}; there are: {', '.join(by_name)}")
    return [by_name[name] for name in names]


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise click.UsageError(f"--speed {text}: it is max, or a number above 0 (1 = as recorded)")
    return speed
