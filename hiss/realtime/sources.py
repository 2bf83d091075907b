"""Where bytes come from. A source is a context manager and iterates (t_mono_ns, bytes), stamped behind the read.

Empty bytes are a tick: nothing came for TICK_S, so that whoever reads can look at signals and time-outs. In place of
bytes an event may come: the port went away (UNPLUGGED), or came back (REPLUGGED). The iteration ends at the end of the
data; a device that goes away for good is a DeviceLostError.
"""

from __future__ import annotations

import importlib
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from hiss.errors import DeviceLostError, FormatError, PortError
from hiss.realtime.framing import Event
from hiss.realtime.serial_port import find_again, find_port, open_port, usb_identity

UNPLUGGED, REPLUGGED = "unplugged", "replugged"
TICK_S = 0.1
CHUNK = 65536  # bytes at most in one read: all that waits


class Source(Protocol):
    """Where bytes come from."""

    name: str
    torn_start: bool  # whether the first bytes may be the rest of a frame or line
    ends: bool  # whether the data has an end, so that silence is not a fault

    def __enter__(self) -> Source: ...

    def __exit__(self, *error: object) -> None: ...

    def __iter__(self) -> Iterator[tuple[int, bytes | Event]]: ...


class Returning(Source, Protocol):
    """A source whose device can go away and come back."""

    @property
    def may_return(self) -> bool:
        """Whether the same device can be known again."""
        ...

    def reopen(self) -> None:
        """Open the same device again. Raises PortError while it is not there."""
        ...


class SerialSource:
    """A serial port, read as soon as bytes are there. Opens only the port it is given. Raises PortError.

    text: a path; usb:VID:PID[:SERIAL] in hex; or a pattern such as /dev/ttyACM*, which must fit one port.
    """

    torn_start = True
    ends = False

    def __init__(self, text: str, baud: int = 115200):
        self.name = text
        self.baud = baud
        self.path = text
        self._who = ""  # vid:pid:serial number of a USB device
        self._port: Any = None

    def __enter__(self) -> SerialSource:
        self.path = find_port(self.name)
        self._who = usb_identity(self.path)
        self._port = open_port(self.path, self.baud)
        return self

    def __exit__(self, *error: object) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def fileno(self) -> int:
        """What to wait on beside other sources; -1 where there is nothing."""
        return int(self._port.fileno()) if os.name == "posix" and self._port is not None else -1

    @property
    def may_return(self) -> bool:
        """Whether the same device can be known again: a pseudo-terminal's number may be another program's by then."""
        return not self.path.startswith("/dev/pts/")

    def reopen(self) -> None:
        """Open the same device again, wherever it is now. Raises PortError while it is not there."""
        self.__exit__()
        self.path = find_again(self.name, self.path, self._who)
        self._port = open_port(self.path, self.baud)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        yield from descriptor_chunks(self._port.fileno()) if os.name == "posix" else self._waiting()
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
        return descriptor_chunks(self._fd)


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


def make_source(text: str, baud: int = 115200, patience_s: float = 0.0) -> Source:
    """A source of a text. Raises PortError, RecordingError, ValueError.

    a port's path, usb:VID:PID[:SERIAL], or a pattern of paths
    tcp:HOST:PORT, udp:[HOST:]PORT            a connection; datagrams that arrive here
    file:PATH, file:LOG?speed=N               raw bytes; a raw log at N times the recorded speed (else at once)
    fake:DEVICE[?rate=HZ&drop=PART]           a board that is not there
    py:MODULE:FUNCTION                        a Python function

    patience_s: so long a port or connection that went away is waited for.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _MAKERS:
        return _MAKERS[scheme](rest.removeprefix("//"), patience_s)
    return _patient(SerialSource(text, baud), patience_s)


def _file(rest: str, patience_s: float) -> Source:
    from hiss.realtime.log_source import LogSource, is_log

    path, _, speed = rest.partition("?speed=")
    if is_log(path):
        return LogSource(path, parse_speed(speed or "max"))
    if speed:
        raise ValueError(f"file:{rest}: raw bytes have no times; only a raw log (hiss record) has a speed")
    return FileSource(path)


def _tcp(rest: str, patience_s: float) -> Source:
    from hiss.realtime.net_sources import TcpSource

    return _patient(TcpSource(rest), patience_s)


def _udp(rest: str, patience_s: float) -> Source:
    from hiss.realtime.net_sources import UdpSource

    return UdpSource(rest)


def _fake(rest: str, patience_s: float) -> Source:
    from hiss.realtime.fake_source import FakeSource

    return FakeSource(rest)


def _python(rest: str, patience_s: float) -> Source:
    return CallableSource(_function(rest), f"py:{rest}")


def _patient(source: Returning, patience_s: float) -> Source:
    from hiss.realtime.replug import PatientSource

    return PatientSource(source, patience_s) if patience_s > 0 else source


_MAKERS: dict[str, Callable[[str, float], Source]] = {
    "file": _file,
    "tcp": _tcp,
    "udp": _udp,
    "fake": _fake,
    "py": _python,
}


def parse_speed(text: str) -> float | None:
    """max (None), or a number above 0. Raises ValueError."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ValueError(f"speed {text}: it is max, or a number above 0 (1 = as recorded)")
    return speed


def _function(text: str) -> Callable[[], bytes | None]:
    module, _, name = text.partition(":")
    try:
        function: Callable[[], bytes | None] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"py:{text}: {error}; a source is py:MODULE:FUNCTION") from error
    return function


def descriptor_chunks(fd: int) -> Iterator[tuple[int, bytes]]:
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
