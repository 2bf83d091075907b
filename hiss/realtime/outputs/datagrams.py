"""Estimates as UDP datagrams: a JSON object each, or Teleplot lines. Nobody is waited for, nobody need listen."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from typing import Any

from hiss.errors import HissError
from hiss.program import Port
from hiss.realtime.sinks import Estimate, JsonText, Sink

TELEPLOT_PORT = 47269


class Datagrams(Sink):
    """One datagram per estimate; one that the system does not take at once is dropped and counted."""

    def __init__(self, host: str, port: int, kind: str):
        self.name = f"{kind}:{host}:{port}"
        self._address = (host, port)
        self._to: tuple[Any, ...] = ()

    def __enter__(self) -> Datagrams:
        host, port = self._address
        try:
            family, kind, protocol, _, self._to = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
        except OSError as error:
            raise HissError(f"{self.name}: {error.strerror or error}; is the host's name right?") from error
        self._socket.setblocking(False)
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def text(self, estimate: Estimate) -> str:
        """What a datagram says."""
        raise NotImplementedError

    def estimate(self, estimate: Estimate) -> None:
        """Send it, or count it."""
        try:
            self._socket.sendto(self.text(estimate).encode(), self._to)
        except OSError:  # a full buffer, no route, a cable pulled: an estimate of now is worth nothing later
            self.unsent += 1


class UdpOut(Datagrams):
    """A JSON object per datagram, as JsonText writes it."""

    def __init__(self, host: str, port: int, outputs: Sequence[Port]):
        super().__init__(host, port, "udp")
        self._text = JsonText(outputs)

    def text(self, estimate: Estimate) -> str:
        """The line of JSON."""
        return self._text(estimate)


class TeleplotOut(Datagrams):
    """A Teleplot line per output: name:t_ms:value§unit|g, t in ms on the estimate's clock. Not finite: left out."""

    def __init__(self, host: str, port: int, outputs: Sequence[Port]):
        super().__init__(host, port, "teleplot")
        self._ends = [(_plain(p.name), f"§{_plain(p.unit)}|g" if p.unit else "|g") for p in outputs]

    def text(self, estimate: Estimate) -> str:
        """The lines."""
        t_ms = f"{estimate.t * 1e3:.3f}"
        rows = zip(self._ends, estimate.y.tolist(), strict=True)
        return "".join(f"{name}:{t_ms}:{y:.9g}{end}\n" for (name, end), y in rows if math.isfinite(y))


def address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """HOST:PORT, [IPv6]:PORT, or HOST where there is a default port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, port = text, "" if default_port is None else str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: expected HOST:PORT, for example 192.168.1.20:{default_port or 9870}")
    return host, int(port)


def _plain(name: str) -> str:
    """A name without the characters that mean something to Teleplot."""
    return "".join("_" if c in ":|§;\n" else c for c in name)
