"""hiss record: keep what a sensor sends."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hiss.cli.several import SAID, record_several, several_feed, single
from hiss.cli.stream import EXIT_CODES, Positive, errors_reported, port_options, run_loop, usage


@click.command(epilog=EXIT_CODES)
@click.option(
    "--source",
    "sources",
    required=True,
    multiple=True,
    metavar="PORT",
    help=f"A port's path, file:PATH, or py:MODULE:FUNCTION. {SAID}",
)
@click.option(
    "--device",
    "devices",
    required=True,
    multiple=True,
    metavar="DEVICE",
    help="anyskin:N, reskin:N, csv, wit, bno-rvc, ximu3, xsens, teleplot or a FILE.toml; one for all, or one each.",
)
@click.option(
    "--target", "targets", multiple=True, metavar="NAME", help="Of several sources: this source or channel is a target."
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="H5", help="The file."
)
@click.option("--name", metavar="NAME", help="Name of the recording in the file.  [default: the file's name]")
@click.option("--duration", type=Positive(), metavar="S", help="End S s after frame 1.")
@click.option("--temperature", is_flag=True, help="Keep the chips' temperatures too (m0_t ...).")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@port_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    sources: tuple[str, ...],
    devices: tuple[str, ...],
    targets: tuple[str, ...],
    out: Path,
    name: str | None,
    baud: int,
    duration: float | None,
    temperature: bool,
    overwrite: bool,
    first_frame: float,
    silence: float,
    as_json: bool,
) -> None:
    """Record a sensor on a serial port, with the time of every sample, until Ctrl-C.

    However it ends, what came is written: by --duration, Ctrl-C, SIGTERM, or an unplugged board.

    \b
    Example:
      hiss record --source /dev/ttyACM0 --device anyskin:5 -o presses.h5 --duration 60
      hiss record --source skin=/dev/ttyACM0 --device anyskin:5 --source gauge=/dev/ttyUSB0 --device csv \\
        --target gauge -o presses.h5

    Several sources are recorded on one clock, their arrivals here, at the frames of the first; the values of the others
    are linear between their samples.
    """
    from hiss.realtime.devices import make_decoder
    from hiss.realtime.feeds import DecodedFeed
    from hiss.realtime.live import Limits, Loop
    from hiss.realtime.recorder import Recorder
    from hiss.realtime.sinks import EventLines
    from hiss.realtime.sources import make_source

    limits = Limits(duration, first_frame, silence)
    if len(sources) > 1:
        with errors_reported():
            feed = several_feed(sources, devices, baud, temperature=temperature)
            record_several(feed, targets, out, name or out.stem, overwrite, limits, as_json)
        return
    source, device = single(sources, devices, targets)
    with errors_reported():
        port = usage(make_source, source, baud)
        decoder = usage(make_decoder, device, temperature=temperature, torn_start=port.torn_start)
        recorder = Recorder(out, name or out.stem, overwrite, device=device, source=source)
        loop = Loop(
            DecodedFeed(port, decoder),
            sinks=[EventLines(sys.stderr), recorder],
            limits=limits,
        )
        try:
            run_loop(loop, as_json)
        finally:
            if len(recorder) and out.exists():
                left_out = f", {recorder.left_out} left out (not finite)" if recorder.left_out else ""
                click.echo(f"{out}: {len(recorder)} frames of {len(recorder.channels)} channels{left_out}", err=True)
