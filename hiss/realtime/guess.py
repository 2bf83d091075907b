"""When bytes come that are no frames: what they may be instead, in words, from the first few hundred of them."""

from __future__ import annotations

import itertools
import string

PRINTABLE = frozenset(string.printable.encode())


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
        return f"these are lines of text ({line[:40].decode('latin-1')!a}): try --device csv"
    if chips := _burst_chips(head):
        return f"this looks like a board of {chips} magnetometers: try --device anyskin:{chips}"
    for sync, size, name in (
        (b"\x55", 11, "WitMotion"),
        (b"\xaa\xaa", 19, "BNO08x RVC"),
        (b"\xfa\xff", 0, "Xsens MTi"),
    ):
        if _repeats(head, sync, size):
            return f"this looks like a {name} sensor, which is not decoded yet"
    if b"\r\n" not in head and len(head) > 200:
        return "no frame end (0d 0a) in them: another baud rate (--baud), or another device"
    return "another device, another number of chips, or another baud rate (--baud)?"


def _burst_chips(head: bytes) -> int:
    """N when the tail 0D 0A comes every 16 N + 2 bytes, else 0."""
    ends = [i for i in range(len(head) - 1) if head[i : i + 2] == b"\r\n"]
    steps = [b - a for a, b in itertools.pairwise(ends)]
    if len(steps) >= 2 and len(set(steps)) == 1 and steps[0] % 16 == 2:
        return steps[0] // 16
    return 0


def _repeats(head: bytes, sync: bytes, size: int) -> bool:
    at = head.find(sync)
    if at < 0 or len(head) < 60:
        return False
    if not size:
        return head.count(sync) > 2
    return all(head[i : i + len(sync)] == sync for i in range(at, len(head) - len(sync), size))
