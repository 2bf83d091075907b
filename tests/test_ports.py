"""Which port is opened: the one that was named, the same device when it is back, and no other."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from streaming import LAUNCH, ROOT, small_program, wait_for_line

from hiss.errors import PortError
from hiss.realtime import serial_port
from hiss.realtime.serial_port import Port, find_again, find_port, open_port, usb_identity

A = Port("/dev/ttyACM0", "239a:80cb", "A1", "skin")
B = Port("/dev/ttyACM1", "239a:80cb", "B2", "skin")
OTHER = Port("/dev/ttyUSB0", "0403:6001", "", "gauge")


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> list[Port]:
    """The ports that are there; to be changed."""
    ports = [A, OTHER]
    monkeypatch.setattr(serial_port, "list_ports", lambda: list(ports))
    monkeypatch.setattr(serial_port.os.path, "realpath", lambda path: path)
    return ports


@pytest.mark.parametrize("text", ["usb:239a:80cb", "usb:239A:80CB", "usb:239a:80cb:A1"])
def test_a_usb_device_is_found_by_its_identity(plugged: list[Port], text: str) -> None:
    assert find_port(text) == A.path
    assert usb_identity(A.path) == "239a:80cb:A1"
    assert usb_identity("/dev/ttyS0") == ""


def test_of_two_alike_none_is_chosen(plugged: list[Port]) -> None:
    plugged.append(B)
    with pytest.raises(PortError, match="fits 2 ports: /dev/ttyACM0, /dev/ttyACM1; name one"):
        find_port("usb:239a:80cb")
    assert find_port("usb:239a:80cb:B2") == B.path
    with pytest.raises(PortError, match="usb:1:2 is not there; there are: /dev/ttyACM0, /dev/ttyUSB0"):
        find_port("usb:1:2")


@pytest.mark.parametrize("text", ["usb:", "usb:239a", "usb:x:y"])
def test_what_is_no_identity_is_refused(plugged: list[Port], text: str) -> None:
    with pytest.raises(ValueError, match="expected usb:VID:PID"):
        find_port(text)


def test_a_pattern_fits_one_port(tmp_path: Path) -> None:
    (tmp_path / "ttyACM0").touch()
    pattern = str(tmp_path / "ttyACM*")
    assert find_port(pattern) == str(tmp_path / "ttyACM0")
    (tmp_path / "ttyACM1").touch()
    with pytest.raises(PortError, match="fits 2 ports"):
        find_port(pattern)
    with pytest.raises(PortError, match="is not there"):
        find_port(str(tmp_path / "ttyUSB*"))


def test_a_device_that_is_back_is_found_where_it_is_now(plugged: list[Port]) -> None:
    plugged[0] = Port("/dev/ttyACM7", A.vid_pid, A.serial_number, "")
    assert find_again(A.path, A.path, "239a:80cb:A1") == "/dev/ttyACM7"
    plugged[0] = B  # another one of the kind, in the same place even
    plugged.append(Port(A.path, "239a:80cb", "C3", ""))
    with pytest.raises(PortError, match="the USB device 239a:80cb:A1 is not there"):
        find_again(A.path, A.path, "239a:80cb:A1")


def test_of_boards_without_serial_number_the_one_in_the_same_place_is_taken(plugged: list[Port]) -> None:
    plugged[:] = [Port(f"/dev/ttyUSB{i}", "0403:6001", "", "") for i in range(2)]
    assert find_again("/dev/ttyUSB1", "/dev/ttyUSB1", "0403:6001:") == "/dev/ttyUSB1"
    plugged.pop()
    assert find_again("/dev/ttyUSB1", "/dev/ttyUSB1", "0403:6001:") == "/dev/ttyUSB0"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, r"no permission; on Linux: sudo usermod -aG dialout \$USER, then log in again"),
        (errno.EBUSY, "in use by another program; two readers would each get a part of the bytes"),
        (errno.EIO, "cannot be opened as a serial port"),
    ],
)
def test_a_port_that_cannot_be_opened_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, said: str
) -> None:
    serial = pytest.importorskip("serial")

    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(number, f"could not open port: {os.strerror(number)}")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(PortError, match=said):
        open_port("/dev/null", 115200)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    """A source that hangs: the first Ctrl-C waits for it, the second does not."""
    (tmp_path / "stuck.py").write_text("import time\ndef read():\n    time.sleep(60)\n    return b''\n")
    small_program().save(tmp_path / "m.hiss")
    words = ["live", tmp_path / "m.hiss", "--source", "py:stuck:read", "--device", "csv"]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
    )
    try:
        while "tare: " not in wait_for_line(process.stderr):
            pass
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
    finally:
        process.kill()
        process.communicate()
