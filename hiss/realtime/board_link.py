"""The line to a board: a serial port, tcp://HOST:PORT, or the board's program run here (its standard input and output).

A link is a context manager. read() gives what has come, b"" when nothing did for TICK_S; write() sends all of it.
Both raise DeviceLostError where the other side is gone; opening raises PortError.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from hiss.errors import DeviceLostError, PortError
from hiss.realtime.serial_port import find_port, open_port

TICK_S = 0.05
CHUNK = 65536
CONNECT_S = 5.0


class Link(Protocol):
    """The line to a board."""

    name: str

    def __enter__(self) -> Link: ...

    def __exit__(self, *error: object) -> None: ...

    def read(self) -> bytes:
        """What has come; b"" when nothing did for TICK_S."""
        ...

    def write(self, data: bytes) -> None:
        """Send all of it."""
        ...


class SerialLink:
    """A serial port by path, identity or pattern; a pseudo-terminal is one too."""

    def __init__(self, path: str, baud: int = 115200):
        self.name = path
        self.baud = baud
        self._port: Any = None

    def __enter__(self) -> SerialLink:
        self._port = open_port(find_port(self.name), self.baud)
        self._port.timeout = TICK_S
        return self

    def __exit__(self, *error: object) -> None:
        self._port.close()

    def read(self) -> bytes:
        """What has come."""
        with _lost(self.name):
            data: bytes = self._port.read(max(self._port.in_waiting, 1))
        return data

    def write(self, data: bytes) -> None:
        """Send all of it."""
        with _lost(self.name):
            self._port.write(data)


class TcpLink:
    """A board on the network, or its program on this computer."""

    def __init__(self, host: str, port: int):
        self.name = f"tcp://{host}:{port}"
        self._place = host, port

    def __enter__(self) -> TcpLink:
        try:
            self._socket = socket.create_connection(self._place, CONNECT_S)
        except OSError as error:
            raise PortError(f"{self.name} does not answer ({error}); is the board's program running there?") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(TICK_S)
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def read(self) -> bytes:
        """What has come."""
        with _lost(self.name):
            try:
                data = self._socket.recv(CHUNK)
            except TimeoutError:
                return b""
            if not data:
                raise OSError("closed by the other side")
        return data

    def write(self, data: bytes) -> None:
        """Send all of it."""
        with _lost(self.name):
            self._socket.sendall(data)


class ProcessLink:
    """The board's program (<name>_host), run here on pipes: it ends with us."""

    def __init__(self, program: Path, wrapper: Sequence[str] = ()):
        self.name = program.name
        self._command = [*wrapper, str(program), "-"]

    def __enter__(self) -> ProcessLink:
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
            )  # a session of its own: Ctrl-C is for us, and it ends when its input does
        except OSError as error:
            raise PortError(f"{self.name} does not start: {error.strerror}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdout.fileno(), self._process.stdin
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._out.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def read(self) -> bytes:
        """What has come."""
        if not select.select([self._in], [], [], TICK_S)[0]:
            return b""
        with _lost(self.name):
            data = os.read(self._in, CHUNK)
            if not data:
                raise OSError("it ended")
        return data

    def write(self, data: bytes) -> None:
        """Send all of it."""
        with _lost(self.name):
            self._out.write(data)


def make_link(text: str, baud: int = 115200) -> Link:
    """A link of a text: a port's path, usb:VID:PID[:SERIAL] or a pattern, or tcp:[//]HOST:PORT. Raises ValueError."""
    if not text.startswith("tcp:"):
        return SerialLink(text, baud)
    host, colon, port = text.removeprefix("tcp:").removeprefix("//").rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"--board {text}: expected tcp://HOST:PORT, for example tcp://127.0.0.1:7000")
    return TcpLink(host, int(port))


@contextlib.contextmanager
def _lost(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # SerialException is one
        raise DeviceLostError(f"the board on {name} went away: {error}") from error
