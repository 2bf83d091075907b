"""hiss record: keep what a sensor sends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from hiss.cli.several import SAID, several_feed, single
from hiss.cli.stream import (
    EXIT_CODES,
    Positive,
    errors_reported,
    port_options,
    replug_option,
    rotate_on_hangup,
    run_loop,
    usage,
)
from hiss.errors import HissError
from hiss.realtime.feeds import DecodedFeed
from hiss.realtime.live import Limits, Loop
from hiss.realtime.open_feed import decoded_feed
from hiss.realtime.recorder import Recorder
from hiss.realtime.several import SeveralFeed
from hiss.realtime.sinks import EventLines
from hiss.realtime.sources import make_source


@click.command(epilog=EXIT_CODES)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PORT",
    help=SAID,
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="DEVICE",
    help="anyskin:N, reskin:N, csv, wit, bno-rvc, ximu3, xsens, teleplot or a FILE.toml; one for all, or one each.",
)
@click.option(
    "--target", "targets", multiple=True, metavar="NAME", help="Of several sources: this source or channel is a target."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The recording; its suffix is .h5, .csv or .mcap (or none: HDF5).",
)
@click.option(
    "--repair",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="LOG",
    help="Make the recording of a raw log (FILE.hlog) instead, as after a crash.  [default of -o: LOG with .h5]",
)
@click.option(
    "--keep-log/--no-keep-log",
    default=True,
    show_default=True,
    help="Leave the raw log beside the recording: hiss replay and --repair need it.",
)
@click.option("--name", metavar="NAME", help="Name of the recording in the file.  [default: the file's name]")
@click.option("--duration", type=Positive(), metavar="S", help="End S s after frame 1.")
@click.option("--temperature", is_flag=True, help="Keep the chips' temperatures too (m0_t ...).")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@port_options
@replug_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    sources: tuple[str, ...],
    devices: tuple[str, ...],
    targets: tuple[str, ...],
    out: Path | None,
    repair: Path | None,
    keep_log: bool,
    name: str | None,
    baud: int,
    duration: float | None,
    temperature: bool,
    overwrite: bool,
    first_frame: float,
    silence: float,
    replug: float,
    as_json: bool,
) -> None:
    """Record a sensor on a serial port, with the time of every sample, until Ctrl-C.

    However it ends, what came is written: by --duration, Ctrl-C, SIGTERM, or an unplugged board. All bytes go as they
    come into a raw log beside the recording (FILE.hlog), which is made of it at the end. A process that is killed loses
    nothing that it had read, a power cut at most the last second: hiss record --repair FILE.hlog. SIGHUP begins
    the next file (FILE.1.h5, FILE.2.h5 ...) without losing a frame between.

    \b
    Example:
      hiss record --source /dev/ttyACM0 --device anyskin:5 -o presses.h5 --duration 60
      hiss record --source skin=/dev/ttyACM0 --device anyskin:5 --source gauge=/dev/ttyUSB0 --device csv \\
        --target gauge -o presses.h5
      hiss record --repair presses.hlog -o presses.csv

    Several sources are recorded on one clock, their arrivals here, at the frames of the first; the values of the others
    are linear between their samples.
    """
    if repair:
        if sources or devices or targets:
            raise click.UsageError("--repair takes all from the log: no --source, --device or --target")
        with errors_reported():
            _repair(repair, out or repair.with_suffix(".h5"), overwrite, as_json)
        return
    for option, given in (("--source", sources), ("--device", devices), ("-o", out)):
        if not given:
            raise click.UsageError(f"Missing option '{option}'.")
    assert out is not None
    limits = Limits(duration, first_frame, silence)
    with errors_reported():
        feed = _feed(sources, devices, targets, baud, temperature, replug)
        recorder = usage(Recorder, out, feed, name, overwrite, keep_log, targets)
        loop = Loop(feed, sinks=[EventLines(sys.stderr), recorder], limits=limits)
        try:
            with rotate_on_hangup(recorder):
                run_loop(loop, as_json)
        finally:
            _say(recorder, feed)


def _feed(
    sources: tuple[str, ...],
    devices: tuple[str, ...],
    targets: tuple[str, ...],
    baud: int,
    temperature: bool,
    replug: float,
) -> DecodedFeed | SeveralFeed:
    if len(sources) > 1:
        return several_feed(sources, devices, baud, temperature=temperature, patience_s=replug)
    source, device = single(sources, devices, targets)
    return usage(decoded_feed, usage(make_source, source, baud, replug), device, (), temperature)


def _say(recorder: Recorder, feed: DecodedFeed | SeveralFeed) -> None:
    """What has been written."""
    if not recorder.made:
        return
    said = f"{', '.join(map(str, recorder.made))}: {len(recorder)} frames of {len(recorder.channels)} channels"
    if isinstance(feed, SeveralFeed):
        said += f", aligned at {feed.names[0]}'s; {feed.early} left out before all had begun"
    if recorder.left_out:
        said += f", {recorder.left_out} left out (not finite)"
    if recorder.target_names:
        said += f"; targets: {', '.join(recorder.target_names)}"
    click.echo(said, err=True)


def _repair(log: Path, out: Path, overwrite: bool, as_json: bool) -> None:
    from hiss.realtime.log_recording import convert

    if out.exists() and not overwrite:
        raise HissError(f"{out} exists already; choose another name, or allow it with --overwrite")
    made = usage(convert, log, out)
    r = made.recording
    if as_json:
        click.echo(json.dumps({"frames": len(r), "left_out": made.left_out, "torn_bytes": made.torn}))
    left_out = f", {made.left_out} left out (not finite)" if made.left_out else ""
    torn = f"; {made.torn} bytes at the end of the log are torn and left out" if made.torn else ""
    click.echo(f"{out}: {len(r)} frames of {len(r.channels) + len(r.targets)} channels{left_out}{torn}", err=True)
