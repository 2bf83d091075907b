"""The one file that knows pyserial: opening the port that was named, and listing ports without opening any.

Opening a port raises DTR, which resets many boards; so no port is ever opened to see what is on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import Any

from hiss.errors import MissingExtraError, PortError


@dataclass(frozen=True)
class Port:
    """A serial port as the system describes it."""

    path: str
    vid_pid: str  # "239a:80cb"; "" when it is not a USB device
    serial_number: str
    description: str


def list_ports() -> list[Port]:
    """The serial ports of this machine; none is opened."""
    _serial()
    from serial.tools import list_ports as tools

    return [
        Port(
            port.device,
            f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None else "",
            port.serial_number or "",
            port.description if port.description != "n/a" else "",
        )
        for port in sorted(tools.comports())
        if port.vid is not None or port.hwid != "n/a" or not port.device.startswith("/dev/ttyS")
    ]


def open_port(path: str, baud: int) -> Any:
    """The opened pyserial port: alone, raw, DTR up, low latency where the driver can. Raises PortError."""
    serial = _serial()
    try:
        port = serial.Serial(path, baud, timeout=0, exclusive=True if os.name == "posix" else None)
    except (serial.SerialException, OSError, ValueError) as error:
        raise PortError(_reason(path, error)) from error
    with contextlib.suppress(OSError, ValueError, AttributeError, NotImplementedError):
        port.set_low_latency_mode(True)  # FTDI chips hold bytes for 16 ms otherwise
    return port


def _reason(path: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT or (number is None and not os.path.exists(path)):
        ports = [port.path for port in list_ports()]
        found = f"there are: {', '.join(ports)}" if ports else "no serial port is there at all"
        return f"{path} does not exist; {found}. Is the board plugged in? See: hiss ports"
    if os.path.isfile(path):
        return f"{path} is a file, not a serial port; to take it for what a board sent: --source file:{path}"
    if number in (errno.EACCES, errno.EPERM):
        return f"{path}: no permission; on Linux: sudo usermod -aG dialout $USER, then log in again"
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in str(error):
        return f"{path} is in use by another program; two readers would each get a part of the bytes"
    return f"{path} cannot be opened as a serial port: {error}"


def _serial() -> Any:
    try:
        import serial
    except ImportError as error:
        raise MissingExtraError("pyserial", "all") from error
    return serial
