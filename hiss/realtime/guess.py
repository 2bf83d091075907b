"""When bytes come that are no frames: what they may be instead, in words, from the first few hundred of them."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable

PRINTABLE = frozenset(string.printable.encode() + "§µ°".encode())


def explain(head: bytes) -> str:
    """The first bytes in hex, and a guess at what sends them."""
    if not head:
        return "no bytes came at all: is the board powered, is it the right port, does it wait for a command?"
    shown = head[:32].hex(" ")
    return f"{len(head)} first bytes, in hex: {shown}{' ...' if len(head) > 32 else ''}; {guess(head)}"


def guess(head: bytes) -> str:
    """What sends these bytes, as far as they tell."""
    if sum(byte in PRINTABLE for byte in head) > 0.95 * len(head) and b"\n" in head:
        line = head.split(b"\n")[1 if head.count(b"\n") > 1 else 0].strip()
        shown = ascii(line[:40].decode("latin-1"))
        return f"these are lines of text ({shown}): try --device {_text_device(line)}"
    if chips := _burst_chips(head):
        return f"this looks like a board of {chips} magnetometers: try --device anyskin:{chips}"
    for device, size_of, name in SENSORS:
        if _follow_each_other(head, size_of):
            return f"this looks like {name}: try --device {device}"
    if b"\r\n" not in head and len(head) > 200:
        return "no frame end (0d 0a) in them: another baud rate (--baud), or another device"
    return "another device, another number of chips, or another baud rate (--baud)?"


def _text_device(line: bytes) -> str:
    """The device that prints such lines."""
    if line.startswith(b">"):
        return "teleplot"
    if re.fullmatch(rb"[A-Z],\d+(,[-+.\dA-Za-z ]+)+", line):
        return "ximu3"
    numbers = re.findall(rb"-?\d+\.\d\d", line)
    if len(numbers) % 4 == 0 and b"\t".join(numbers) == line and len(numbers) > 4:
        return f"reskin-text:{len(numbers) // 4}, or csv"
    if len(numbers) % 4 == 0 and line.count(b"\t") == 3 * len(numbers) // 4 and len(numbers) > 4:
        return f"anyskin-text:{len(numbers) // 4}"
    return "csv"


def _wit(head: bytes) -> int:
    return 11 if head[0] == 0x55 and 0x50 <= head[1] <= 0x5F else 0


def _wit_ble(head: bytes) -> int:
    return 20 if head[:2] == b"\x55\x61" else 0


def _bno(head: bytes) -> int:
    return 19 if head[:2] == b"\xaa\xaa" else 0


def _xsens(head: bytes) -> int:
    return head[3] + 5 if head[:2] == b"\xfa\xff" and head[3] < 0xFF else 0


def _ximu(head: bytes) -> int:
    end = head.find(b"\n")
    return end + 1 if head[0] >= 0x80 and chr(head[0] & 0x7F).isupper() and 9 <= end < 100 else 0


SENSORS: tuple[tuple[str, Callable[[bytes], int], str], ...] = (
    ("wit", _wit, "a WitMotion sensor"),
    ("wit:ble", _wit_ble, "a WitMotion sensor, frames 55 61"),
    ("bno-rvc", _bno, "a BNO08x in RVC mode"),
    ("xsens", _xsens, "an Xsens MTi"),
    ("ximu3", _ximu, "an x-IMU3"),
)
ENOUGH = 3  # frames right behind each other are no chance


def _follow_each_other(head: bytes, size_of: Callable[[bytes], int]) -> bool:
    """Whether frames of such sizes lie right behind each other somewhere."""
    for start in range(min(len(head), 260)):
        at, n = start, 0
        while len(head) - at >= 4 and (size := size_of(head[at : at + 128])):
            at, n = at + size, n + 1
        if n >= ENOUGH:
            return True
    return False


def _burst_chips(head: bytes) -> int:
    """N when the tail 0D 0A comes every 16 N + 2 bytes, else 0."""
    ends = [i for i in range(len(head) - 1) if head[i : i + 2] == b"\r\n"]
    steps = [b - a for a, b in itertools.pairwise(ends)]
    if len(steps) >= 2 and len(set(steps)) == 1 and steps[0] % 16 == 2:
        return steps[0] // 16
    return 0
