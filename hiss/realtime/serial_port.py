"""The one file that knows pyserial: opening the port that was named, and listing ports without opening any.

Opening a port raises DTR, which resets many boards; so no port is ever opened to see what is on it.
"""

from __future__ import annotations

import contextlib
import errno
import glob
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


def find_port(text: str) -> str:
    """The path of the one port that a text names: a path, usb:VID:PID[:SERIAL], or a pattern. None is opened.

    Raises PortError when no port or more than one fits, ValueError for a usb: text that is none.
    """
    if text.startswith("usb:"):
        return _only(text, [port.path for port in list_ports() if _is_usb(port, text)])
    if glob.has_magic(text):
        return _only(text, sorted(glob.glob(text)))
    return text


def usb_identity(path: str) -> str:
    """vid:pid:serial number of the USB device at a path; "" where there is none."""
    real = os.path.realpath(path)
    return next((_identity(port) for port in list_ports() if port.vid_pid and port.path in (path, real)), "")


def find_again(text: str, path: str, identity: str) -> str:
    """Where the device is that was at `path`: the USB device of the same identity, else what `text` names now.

    Raises PortError while it is not there.
    """
    if not identity:
        return find_port(text)
    there = [port.path for port in list_ports() if port.vid_pid and _identity(port) == identity]
    if path in there or os.path.realpath(path) in there:
        return path  # of two boards without a serial number, the one that was in the same place
    return _only(f"the USB device {identity.rstrip(':')}", there)


def _identity(port: Port) -> str:
    return f"{port.vid_pid}:{port.serial_number}"


def _is_usb(port: Port, text: str) -> bool:
    parts = text.removeprefix("usb:").split(":", 2)
    try:
        wanted = f"{int(parts[0], 16):04x}:{int(parts[1], 16):04x}"
    except (ValueError, IndexError):
        raise ValueError(f"{text}: expected usb:VID:PID or usb:VID:PID:SERIAL, in hex, as hiss ports shows") from None
    return port.vid_pid == wanted and (len(parts) < 3 or port.serial_number == parts[2])


def _only(what: str, paths: list[str]) -> str:
    if len(paths) == 1:
        return paths[0]
    if paths:
        raise PortError(f"{what} fits {len(paths)} ports: {', '.join(paths)}; name one of them")
    raise PortError(f"{what} is not there; {_found()}. Is the board plugged in? See: hiss ports")


def _found() -> str:
    ports = [port.path for port in list_ports()]
    return f"there are: {', '.join(ports)}" if ports else "no serial port is there at all"


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
        return f"{path} does not exist; {_found()}. Is the board plugged in? See: hiss ports"
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
