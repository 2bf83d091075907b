"""Bytes from a network: a TCP connection (a serial server, a bridge, a board's Wi-Fi), or UDP datagrams sent here."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

from hiss.errors import DeviceLostError, PortError
from hiss.realtime.framing import Event
from hiss.realtime.sources import CHUNK, TICK_S

CONNECT_S = 5.0


class TcpSource:
    """A connection to HOST:PORT. Raises PortError when there is none."""

    torn_start = True
    ends = False
    may_return = True

    def __init__(self, address: str):
        self.name = f"tcp:{address}"
        self._address = parse_address(address, self.name)
        self._socket: socket.socket | None = None

    def __enter__(self) -> TcpSource:
        self.reopen()
        return self

    def __exit__(self, *error: object) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def reopen(self) -> None:
        """Connect, again."""
        self.__exit__()
        try:
            self._socket = socket.create_connection(self._address, CONNECT_S)
        except OSError as error:
            raise PortError(f"{self.name}: no connection ({error.strerror or error}); is the board on?") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for what is sent to the board

    def fileno(self) -> int:
        """What to wait on beside other sources; -1 while it is closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        assert self._socket is not None
        for stamp_ns, ready in _ready(self._socket):
            try:
                data = self._socket.recv(CHUNK) if ready else b""
            except OSError:
                break
            if ready and not data:
                break
            yield (time.monotonic_ns() if ready else stamp_ns), data
        raise DeviceLostError(f"{self.name} went away: the connection was closed")


class UdpSource:
    """Datagrams sent to [HOST:]PORT of this machine (HOST: which of its addresses; default all).

    The first sender is listened to; datagrams of others are not read, and the first of them is an event.
    """

    torn_start = False
    ends = False

    def __init__(self, address: str):
        self.name = f"udp:{address}"
        self._address = parse_address(address if ":" in address else f"0.0.0.0:{address}", self.name)
        self._socket: socket.socket | None = None

    def __enter__(self) -> UdpSource:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(self._address)
        except OSError as error:
            self._socket.close()
            raise PortError(f"{self.name} cannot be listened to: {error.strerror or error}") from error
        return self

    def __exit__(self, *error: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def fileno(self) -> int:
        """What to wait on beside other sources; -1 while it is closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def __iter__(self) -> Iterator[tuple[int, bytes | Event]]:
        assert self._socket is not None
        sender, told = None, False
        for stamp_ns, ready in _ready(self._socket):
            if not ready:
                yield stamp_ns, b""
                continue
            data, other = self._socket.recvfrom(CHUNK)
            sender = sender or other
            if other == sender:
                yield time.monotonic_ns(), data
            elif not told:
                told = True
                text = f"datagrams of {other[0]}:{other[1]} are not read; {sender[0]}:{sender[1]} was the first"
                yield stamp_ns, Event("other-sender", text)


def parse_address(text: str, name: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{name}: expected HOST:PORT, with a port from 1 to 65535")
    return host.strip("[]"), int(port)


def _ready(sock: socket.socket) -> Iterator[tuple[int, bool]]:
    """For ever: (stamp, whether something waits), at the latest after TICK_S."""
    while True:
        ready = bool(select.select([sock], [], [], TICK_S)[0])
        yield time.monotonic_ns(), ready
