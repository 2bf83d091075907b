"""hiss fake: a sensor board on a pseudo-terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiss.cli.replay import choose
from hiss.cli.stream import Positive, errors_reported, stop_on_signals, usage
from hiss.errors import RecordingError
from hiss.recording import Channel, Recording, read_recordings

if TYPE_CHECKING:
    from hiss.realtime.fake import Track


@click.command()
@click.option("--device", required=True, metavar="DEVICE", help="As in hiss live; also csv:plain, csv:labels.")
@click.option(
    "--rate",
    type=Positive(),
    metavar="HZ",
    help="Samples per second.  [default: 100; of --play: as recorded]",
)
@click.option(
    "--play",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Play a recording's raw samples.",
)
@click.option("--trial", metavar="NAME", help="Which recording of the file.  [default: the first of the test split]")
@click.option("--start", default=0.0, metavar="S", help="Begin S s into the recording.")
@click.option("--duration", type=Positive(), metavar="S", help="Play S s.")
@click.option("--loop", is_flag=True, help="Play the recording again and again.")
@click.option("--wave", "as_wave", is_flag=True, help="Play a waveform (the default without --play).")
@click.option(
    "--channels",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Of a csv or teleplot wave.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Begin when a reader has opened the port.")
@click.option("--once", is_flag=True, help="End when the reader closes the port.")
@click.option(
    "--hold",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Keep the port open and silent at the end.",
)
@click.option("--print-port", is_flag=True, help="Print the port's path and nothing else, for scripts.")
def command(
    device: str,
    rate: float | None,
    play: Path | None,
    trial: str | None,
    start: float,
    duration: float | None,
    loop: bool,
    as_wave: bool,
    channels: int,
    wait: bool,
    once: bool,
    hold: float,
    print_port: bool,
) -> None:
    """Be a sensor board: send real frames on a pseudo-terminal, which any program can open as a serial port.

    The first line of stdout is the port's path. A recording is played at its recorded times, rests included, on an
    absolute schedule; with --rate it is played as if it had been sampled at that rate. Chip temperatures are simulated.

    \b
    Example:
      hiss fake --device anyskin:5 --play eflesh_normal_force.h5 --trial run2
      hiss live force.hiss --source /dev/pts/7 --device anyskin:5     (in another terminal, with the path printed)

    Exit codes: 0 end of the data, Ctrl-C or SIGTERM; 2 usage or a file that cannot be read; 3 no pseudo-terminal.
    """
    from hiss.realtime import fake
    from hiss.realtime.fake_devices import device_channels

    if play and as_wave:
        raise click.UsageError("--play and --wave: one or the other")
    with errors_reported():
        track, names = _track(play, trial, start, duration, loop, rate, usage(device_channels, device, channels))
        encoder = usage(fake.Encoder, device, names)
        with fake.Pty() as pty, stop_on_signals() as stop:
            click.echo(pty.path)
            sys.stdout.flush()
            if not print_port:
                click.echo(f"{device}, {len(names)} channels; {'waits for a reader' if wait else 'runs'}", err=True)
                click.echo(f"read it with: hiss live MODEL --source {pty.path} --device {_read_as(device)}", err=True)
            played = fake.run_fake(pty, track, encoder, fake.Manner(wait, once, hold), stop)
        if not print_port:
            late_ms = played.late_max_s * 1e3
            click.echo(
                f"{played.sent} frames sent, {played.unread} with nobody reading, latest {late_ms:.1f} ms", err=True
            )


def _read_as(device: str) -> str:
    """What a reader calls it: it tells the kinds of csv apart by itself."""
    return "csv" if device.lower().startswith("csv") else device


def _track(
    play: Path | None,
    trial: str | None,
    start: float,
    duration: float | None,
    loop: bool,
    rate: float | None,
    board: tuple[Channel, ...],
) -> tuple[Track, tuple[Channel, ...]]:
    from hiss.realtime import fake

    if play is None:
        return fake.wave(board, rate or 100.0, duration), board
    recording = _part(choose(_raw(play), (trial,) if trial else (), str(play))[0], start, duration)
    return fake.play(recording, rate, loop), recording.channels


def _raw(file: Path) -> list[Recording]:
    """The recordings' raw samples; of a file that keeps none, its prepared samples."""
    try:
        return read_recordings(file, raw=True)
    except RecordingError:
        return read_recordings(file)


def _part(recording: Recording, start: float, duration: float | None) -> Recording:
    t = recording.t - recording.t[0]
    first, end = t.searchsorted([start, start + duration if duration else float("inf")])
    if first >= end:
        raise RecordingError(f"{recording.name}: {recording.duration_s:.1f} s long; nothing from {start:g} s on")
    return recording.cut(int(first), int(end))
