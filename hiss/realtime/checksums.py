"""The checksums that sensors put behind their frames: bytes -> number.

sum8, sum16: the sum of all bytes   xor8: all of them by exclusive or   crc16-ccitt: polynomial 0x1021, most significant
bit first, start 0xFFFF unless told   crc32: of Ethernet and zip
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Callable

CRC16_START = 0xFFFF
ADLER_EXACT = 256  # bytes whose sum stays below Adler-32's modulus


def sum8(data: bytes) -> int:
    """The low byte of the sum."""
    return sum16(data) & 0xFF


def sum16(data: bytes) -> int:
    """The low two bytes of the sum; of a short frame as the lower half of Adler-32 from 0, which is quicker."""
    return zlib.adler32(data, 0) & 0xFFFF if len(data) <= ADLER_EXACT else sum(data) & 0xFFFF


def xor8(data: bytes) -> int:
    """All bytes by exclusive or."""
    whole, n = int.from_bytes(data, "little"), len(data)
    while n > 1:  # fold the number in two until one byte is left
        half = (n + 1) // 2
        whole = (whole >> 8 * half) ^ (whole & ((1 << 8 * half) - 1))
        n = half
    return whole


def crc16_ccitt(data: bytes, start: int = CRC16_START) -> int:
    """CRC-16 with polynomial 0x1021; start 0xFFFF is known as CCITT-FALSE, 0 as XMODEM."""
    return binascii.crc_hqx(data, start)


def crc32(data: bytes) -> int:
    """CRC-32 as in zlib."""
    return zlib.crc32(data)


CHECKSUMS: dict[str, tuple[Callable[[bytes], int], int]] = {  # name: (function, bytes)
    "sum8": (sum8, 1),
    "sum16": (sum16, 2),
    "xor8": (xor8, 1),
    "crc16-ccitt": (crc16_ccitt, 2),
    "crc32": (crc32, 4),
}
