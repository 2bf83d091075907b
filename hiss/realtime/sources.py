"""Where bytes come from. A source is a context manager and iterates (t_mono_ns, bytes), stamped behind the read.

Empty bytes are a tick: nothing came for TICK_S, so that whoever reads can look at signals and time-outs. The iteration
ends at the end of the data; a device that goes away is a DeviceLostError.
"""

from __future__ import annotations

import importlib
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from hiss.errors import DeviceLostError, FormatError, PortError
from hiss.realtime.serial_port import open_port

TICK_S = 0.1
CHUNK = 65536  # bytes at most in one read: all that waits


class Source(Protocol):
    """Where bytes come from."""

    name: str
    torn_start: bool  # whether the first bytes may be the rest of a frame or line
    ends: bool  # whether the data has an end, so that silence is not a fault

    def __enter__(self) -> Source: ...

    def __exit__(self, *error: object) -> None: ...

    def __iter__(self) -> Iterator[tuple[int, bytes]]: ...


class SerialSource:
    """A serial port, read as soon as bytes are there. Opens only the port it is given. Raises PortError."""

    torn_start = True
    ends = False

    def __init__(self, path: str, baud: int = 115200):
        self.name = path
        self.baud = baud
        self._port: Any = None

    def __enter__(self) -> SerialSource:
        self._port = open_port(self.name, self.baud)
        return self

    def __exit__(self, *error: object) -> None:
        self._port.close()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        yield from _descriptor(self._port.fileno()) if os.name == "posix" else self._waiting()
        raise DeviceLostError(f"{self.name} went away: unplugged, or the program behind it ended")

    def _waiting(self) -> Iterator[tuple[int, bytes]]:
        """Where a port has no descriptor to wait on (Windows): a blocking read of one byte, then all that waits."""
        self._port.timeout = TICK_S
        while True:
            try:
                data = self._port.read(max(self._port.in_waiting, 1))
            except OSError:  # SerialException is one
                return
            yield time.monotonic_ns(), data


class FileSource:
    """The raw bytes of a file, a pipe or a socket file, as fast as they can be read."""

    torn_start = False
    ends = True

    def __init__(self, path: str):
        self.name = path
        self._fd = -1

    def __enter__(self) -> FileSource:
        if os.path.isdir(self.name):
            raise PortError(f"{self.name} cannot be read: it is a folder")
        try:
            self._fd = os.open(self.name, os.O_RDONLY)
        except OSError as error:
            raise PortError(f"{self.name} cannot be read: {error.strerror}") from error
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return _descriptor(self._fd)


class CallableSource:
    """A Python function that returns what bytes have come: b"" for a tick, None at the end."""

    torn_start = False
    ends = True

    def __init__(self, read: Callable[[], bytes | None], name: str = "callable"):
        self.name = name
        self._read = read

    def __enter__(self) -> CallableSource:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while (data := self._read()) is not None:
            if not isinstance(data, bytes):
                raise FormatError(f"{self.name} gave a {type(data).__name__}; expected bytes, or None at the end")
            yield time.monotonic_ns(), data


def make_source(text: str, baud: int = 115200) -> Source:
    """A source of a text: a port's path, file:PATH, or py:MODULE:FUNCTION. Raises PortError, ValueError."""
    if text.startswith("file:"):
        return FileSource(text.removeprefix("file:"))
    if text.startswith("py:"):
        return CallableSource(_function(text.removeprefix("py:")), text)
    return SerialSource(text, baud)


def _function(text: str) -> Callable[[], bytes | None]:
    module, _, name = text.partition(":")
    try:
        function: Callable[[], bytes | None] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"py:{text}: {error}; a source is py:MODULE:FUNCTION") from error
    return function


def _descriptor(fd: int) -> Iterator[tuple[int, bytes]]:
    """Chunks of a descriptor until its end; a device that vanished ends too (EIO on Linux, or an empty read)."""
    while True:
        try:
            if not select.select([fd], [], [], TICK_S)[0]:
                yield time.monotonic_ns(), b""
                continue
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            continue
        except OSError:
            return
        if not data:
            return
        yield time.monotonic_ns(), data
