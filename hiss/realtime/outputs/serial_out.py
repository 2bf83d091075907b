"""Estimates to another board: a line of comma-separated numbers each, on a serial port that was named."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hiss.errors import HissError
from hiss.realtime.drain import Drain
from hiss.realtime.serial_port import open_port
from hiss.realtime.sinks import Estimate, Sink

WAITING = 10  # lines: a board that controls something wants the newest


class SerialOut(Sink):
    """Every estimate as "0.125,-3.5\\n" in the order of the outputs; a value that is not finite is "nan"."""

    def __init__(self, path: str, baud: int = 115200):
        self.name = f"serial:{path}"
        self._path, self._baud = path, baud
        self._drain: Drain | None = None

    @property
    def unsent(self) -> int:  # type: ignore[override]
        """Lines dropped."""
        return 0 if self._drain is None else self._drain.dropped

    def __enter__(self) -> SerialOut:
        self._port = open_port(self._path, self._baud)
        self._drain = Drain(_writer(self._port), WAITING)
        return self

    def __exit__(self, *error: object) -> None:
        if self._drain is not None:  # an empty one is false
            self._drain.close()
        self._port.close()

    def estimate(self, estimate: Estimate) -> None:
        """Queue the line, and send what the port takes."""
        line = ",".join(f"{y:.9g}" for y in estimate.y.tolist())
        self._sent(lambda drain: drain.put(f"{line}\n".encode("ascii")))

    def tick(self, now_ns: int) -> None:
        """Send what the port takes."""
        self._sent(Drain.push)

    def _sent(self, act: Callable[[Drain], None]) -> None:
        if self._drain is None:
            return
        try:
            act(self._drain)
        except OSError as error:
            raise HissError(f"{self.name} went away ({error.strerror or error}); was it unplugged?") from error


def port_and_baud(text: str) -> tuple[str, int]:
    """PORT or PORT@BAUD. Raises ValueError."""
    path, at, baud = text.rpartition("@")
    if not at:
        return text, 115200
    if not path or not baud.isdecimal() or int(baud) == 0:
        raise ValueError(
            f"serial:{text}: expected serial:PORT or serial:PORT@BAUD, for example serial:/dev/ttyUSB1@9600"
        )
    return path, int(baud)


def _writer(port: Any) -> Callable[[bytes], int]:
    """What the port takes at once; where it has no descriptor (Windows), it is waited for at most 0.1 s."""
    if os.name != "posix":
        port.write_timeout = 0.1
        return lambda data: int(port.write(data) or 0)
    fd = port.fileno()
    os.set_blocking(fd, False)

    def write(data: bytes) -> int:
        try:
            return os.write(fd, data)
        except BlockingIOError:
            return 0

    return write
