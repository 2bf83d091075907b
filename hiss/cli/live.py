"""hiss live: estimates from a sensor on a serial port, as they come."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hiss.cli.board_option import board_options, open_board
from hiss.cli.stream import (
    EXIT_CODES,
    Positive,
    engine_option,
    errors_reported,
    open_model,
    port_options,
    run_loop,
    usage,
)


@click.command(epilog=EXIT_CODES)
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--source", required=True, metavar="PORT", help="A port's path, file:PATH, or py:MODULE:FUNCTION.")
@click.option("--device", required=True, metavar="DEVICE", help="anyskin:N, reskin:N (N chips), or csv.")
@click.option("--duration", type=Positive(), metavar="S", help="End S s after frame 1.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="CSV", help="Estimates, as CSV.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), metavar="H5", help="Frames, as a recording.")
@click.option("--overwrite", is_flag=True, help="Let --record replace a file.")
@port_options
@engine_option
@board_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON at the end, and no estimates.")
def command(
    model: Path,
    source: str,
    device: str,
    baud: int,
    duration: float | None,
    out: Path | None,
    record: Path | None,
    overwrite: bool,
    first_frame: float,
    silence: float,
    engine: str,
    board: str | None,
    board_baud: int,
    as_json: bool,
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
    from hiss.realtime.devices import make_decoder
    from hiss.realtime.feeds import DecodedFeed
    from hiss.realtime.live import Limits, Loop
    from hiss.realtime.recorder import Recorder
    from hiss.realtime.sinks import CsvOut, EventLines, JsonLines, Sink
    from hiss.realtime.sources import make_source

    with errors_reported():
        program = open_model(model)
        stepper = open_stepper(program, engine)  # a compiler may take its time: before the port is opened
        port = usage(make_source, source, baud)
        decoder = usage(make_decoder, device, [p.name for p in program.inputs], torn_start=port.torn_start)
        sinks: list[Sink] = [EventLines(sys.stderr)]
        if out:
            sinks.append(CsvOut(out, program.outputs))
        if record:
            sinks.append(Recorder(record, record.stem, overwrite, device=device, source=source))
        if not as_json:
            sinks.append(JsonLines(sys.stdout, program.outputs))
        limits = Limits(duration, first_frame, silence)
        with open_board(board, board_baud, program) as other, other.beside(stepper, sinks) as both:
            run_loop(Loop(DecodedFeed(port, decoder), both, sinks, limits), as_json)
