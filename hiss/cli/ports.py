"""hiss ports: which serial ports there are."""

from __future__ import annotations

import dataclasses
import json

import click

from hiss.cli.stream import errors_reported


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the serial ports of this machine, with USB identity. None is opened (that would reset many boards).

    \b
    Example:
      hiss ports --json

    Exit codes: 0 done (also when there are none), 2 usage.
    """
    from hiss.realtime.serial_port import list_ports

    with errors_reported():
        ports = list_ports()
        if as_json:
            click.echo(json.dumps([dataclasses.asdict(port) for port in ports], indent=2))
            return
        for port in ports:
            click.echo(f"{port.path:20} {port.vid_pid:10} {port.serial_number:20} {port.description}".rstrip())
        if not ports:
            click.echo("no serial port found; is the board plugged in? Without one: hiss fake --wave", err=True)
