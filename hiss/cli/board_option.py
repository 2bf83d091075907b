"""--board: a board that runs the exported model, beside hiss live and replay."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from hiss.errors import HissError, MismatchError
from hiss.program import Program

if TYPE_CHECKING:
    from hiss.engines import AnyStepper
    from hiss.engines.board_host import Contract
    from hiss.realtime.board import BoardReport
    from hiss.realtime.board_link import Link
    from hiss.realtime.framing import Event
    from hiss.realtime.sinks import Sink

P = ParamSpec("P")
T = TypeVar("T")

HERE = "here"


def board_options(command: Callable[P, T]) -> Callable[P, T]:
    """--board and --board-baud."""
    said = (
        "A board with this model (hiss export --board): a port's path, tcp://HOST:PORT, or `here`: its program, "
        "compiled and run on this computer. It gets every sample, and its estimates are compared with those made here."
    )
    baud = click.option(
        "--board-baud", type=click.IntRange(min=1), default=115200, show_default=True, help="Of the board's port."
    )
    return click.option("--board", metavar="SOURCE", help=said)(baud(command))


@dataclass
class OpenBoard:
    """An open line to a board; link None: no board was asked for."""

    link: Link | None
    contract: Contract | None

    @contextlib.contextmanager
    def beside(self, stepper: AnyStepper, sinks: Sequence[Sink], as_json: bool = False) -> Iterator[AnyStepper]:
        """The stepper with the board beside it; afterwards the report, on stderr or as a line of JSON on stdout.

        Raises MismatchError where they differed.
        """
        from hiss.realtime.board import BoardStepper

        if self.link is None or self.contract is None:
            yield stepper
            return

        def say(event: Event) -> None:
            for sink in sinks:
                sink.event(event)

        both = BoardStepper(stepper, self.contract, self.link, say)
        try:
            yield both
            both.say = lambda event: None  # the sinks are closed by now; the error below says it
        except BaseException:
            with contextlib.suppress(HissError):
                both.settle()
            _say(both.report, as_json)
            raise
        _say(both.settle(), as_json)
        if not both.report.agrees:
            raise MismatchError(f"the board does not compute what this computer does; first at {both.report.first}")


@contextlib.contextmanager
def open_board(text: str | None, baud: int, program: Program) -> Iterator[OpenBoard]:
    """The board of --board, or none. Raises PortError, ExportError, click.UsageError."""
    from hiss.cli.stream import usage
    from hiss.realtime.board_link import ProcessLink, make_link

    if text is None:
        yield OpenBoard(None, None)
        return
    from hiss.engines.board_host import build_host, contract_of

    contract = contract_of(program)
    with contextlib.ExitStack() as stack:
        if text == HERE:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hiss-board-"))
            link: Link = ProcessLink(build_host(program, Path(folder)))
        else:
            link = usage(make_link, text, baud)
        yield OpenBoard(stack.enter_context(link), contract)


def _say(report: BoardReport, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_dict()))
    else:
        click.echo(report.as_text(), err=True)
