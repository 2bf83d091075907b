"""hiss live: estimates from a sensor on a serial port, as they come."""

from __future__ import annotations

from pathlib import Path

import click

from hiss.cli.board_option import board_options, open_board
from hiss.cli.handling import Handling, commands_option, handling_options, listening
from hiss.cli.several import SAID, several_feed, single
from hiss.cli.stream import (
    EXIT_CODES,
    Positive,
    engine_option,
    errors_reported,
    open_model,
    out_option,
    port_options,
    replug_option,
    rotate_on_hangup,
    run_loop,
    usage,
)
from hiss.cli.watching import Watching, watching_options


@click.command(epilog=EXIT_CODES)
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--source",
    "sources",
    required=True,
    multiple=True,
    metavar="PORT",
    help=SAID,
)
@click.option(
    "--device",
    "devices",
    required=True,
    multiple=True,
    metavar="DEVICE",
    help="anyskin:N, reskin:N, csv, wit, bno-rvc, ximu3, xsens, teleplot or a FILE.toml; one for all, or one each.",
)
@click.option("--duration", type=Positive(), metavar="S", help="End S s after frame 1.")
@out_option
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Frames, events and estimates, as a recording: .h5, .csv or .mcap; the raw log beside it.",
)
@click.option(
    "--keep-log/--no-keep-log", default=True, show_default=True, help="Leave the raw log; hiss replay reads it."
)
@click.option("--overwrite", is_flag=True, help="Let --record replace a file.")
@port_options
@replug_option
@handling_options
@commands_option
@engine_option
@board_options
@watching_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON at the end, and no estimates.")
def command(
    model: Path,
    sources: tuple[str, ...],
    devices: tuple[str, ...],
    baud: int,
    duration: float | None,
    outs: tuple[str, ...],
    record: Path | None,
    keep_log: bool,
    overwrite: bool,
    first_frame: float,
    silence: float,
    replug: float,
    handling: Handling,
    commands: bool,
    engine: str,
    board: str | None,
    board_baud: int,
    as_json: bool,
    watching: Watching,
) -> None:
    """Estimate live from a sensor on a serial port.

    Every estimate is one JSON line on stdout: t (Unix time, s), seq (index of the sample it belongs to, at the model's
    rate, from the first frame), y (name: value), lat_us (from the read of the bytes to the line). Status, events and a
    summary at the end go to stderr.

    \b
    Example:
      hiss live force.hiss --source /dev/ttyACM0 --device anyskin:5 --record today.h5
    """
    from hiss.engines import open_stepper
    from hiss.realtime.feeds import DecodedFeed
    from hiss.realtime.live import Loop
    from hiss.realtime.open_feed import decoded_feed
    from hiss.realtime.outputs import make_output
    from hiss.realtime.recorder import Recorder
    from hiss.realtime.several import SeveralFeed
    from hiss.realtime.sinks import stdout_lines
    from hiss.realtime.sources import make_source

    if commands and watching.view:
        raise click.UsageError("--commands and --view both read the keyboard; in the dashboard t tares and r resets")
    with errors_reported():
        program = open_model(model)
        stepper = open_stepper(program, engine)  # a compiler may take its time: before the port is opened
        if len(sources) > 1:
            feed: DecodedFeed | SeveralFeed = several_feed(sources, devices, baud, patience_s=replug)
        else:
            source, device = single(sources, devices)
            port = usage(make_source, source, baud, replug)
            feed = usage(decoded_feed, port, device, [p.name for p in program.inputs])
        sinks = watching.sinks(program, obeys=True)
        sinks += [usage(make_output, text, program.outputs) for text in outs]
        recorder = usage(Recorder, record, feed, None, overwrite, keep_log, (), program.outputs) if record else None
        if recorder is not None:
            recorder.told = {"handling": handling.told}
            sinks.append(recorder)
        if not (as_json or watching.view):
            sinks.append(stdout_lines(program.outputs, feed.ends))
        limits = handling.limits(program, duration, first_frame, silence)
        with (
            listening(commands) as asked,
            rotate_on_hangup(recorder),
            open_board(board, board_baud, program) as other,
            other.beside(stepper, sinks, as_json) as both,
        ):
            run_loop(Loop(feed, both, sinks, limits, lambda: asked() + watching.asked()), as_json, watching=watching)
