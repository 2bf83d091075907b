"""The `hiss` command: a group whose verbs are loaded when they are called, so `hiss ports` loads no torch."""

from __future__ import annotations

import importlib
import sys

import click

import hiss

VERBS = {
    "train": "train a model on recordings",
    "evaluate": "score a run on its test recordings",
    "compare": "models x data sets x seeds, under one protocol",
    "search": "the model of least error that fits a chip",
    "predict": "estimates of a recording, as CSV",
    "fold": "a trained run as a recurrent program (.hiss)",
    "quantize": "a program in integers that cannot overflow",
    "pretrain": "a network that knows the sensor, from recordings without labels",
    "inspect": "equations and bill of a program",
    "export": "a program as C sources",
    "live": "estimates from a sensor on a serial port",
    "replay": "the same from a recording",
    "record": "a sensor on a serial port into a recording",
    "fake": "a sensor on a pseudo-terminal",
    "bench-live": "what the live loop costs on this computer",
    "ports": "serial ports of this machine",
    "datasets": "download, convert or simulate data sets",
}


class Verbs(click.Group):
    """Finds a verb in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order in which one works."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb of this name."""
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"hiss.cli.{name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with a line each, without loading them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(hiss.__version__, prog_name="hiss")
def command() -> None:
    """Sensor prediction with recurrent state space models, from a logged recording to firmware.

    \b
    Example:
      hiss train skin.h5 --target force --rate 20 -o runs/skin
      hiss fold runs/skin -o force.hiss
      hiss live force.hiss --source /dev/ttyACM0 --device anyskin:5
      hiss export force.hiss --to c -o firmware --name fingertip_force

    Exit codes: 0 done, 1 a bug in hiss, 2 usage or a file that cannot be read, 3 port, 4 no valid frame,
    5 stream does not fit the model, 6 device lost, 7 an output could not be written, 8 a download failed, or an
    export or a stream is over budget, 130 interrupted.
    """


def run() -> None:
    """Entry point: errors of the outside world are one line on stderr and an exit code, never a traceback."""
    from hiss.cli.stream import errors_reported

    try:
        with errors_reported():
            command.main(standalone_mode=False)
            sys.stdout.flush()  # here, where a full disk or a closed pipe is still reported
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
