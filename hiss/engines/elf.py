"""Just enough of 32-bit little-endian ELF to load an image, find its symbols and count Thumb instructions."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from hiss.errors import ExportError

_LOAD, _SYMTAB, _PAGE = 1, 2, 0x1000


@dataclass(frozen=True)
class Elf:
    """segments: (address, bytes) to load;  symbols: addresses;  sizes: of symbols;  sections: bytes by name."""

    segments: tuple[tuple[int, bytes], ...]
    symbols: dict[str, int]
    sizes: dict[str, int]
    sections: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> Elf:
        """Parse an image. Raises ExportError when it is not a 32-bit little-endian ELF."""
        data = path.read_bytes()
        if data[:6] != b"\x7fELF\x01\x01":
            raise ExportError(f"{path.name}: not a 32-bit little-endian ELF image")
        names, sizes, sections = _read_sections(data)
        # Bit 0 of a function's address only says "Thumb"
        symbols = {name: value & ~1 for name, value in names.items()}
        return cls(_read_segments(data), symbols, sizes, sections)

    def span(self) -> tuple[int, int]:
        """First and one past the last page that the segments cover."""
        low = min(address for address, _ in self.segments)
        high = max(address + len(data) for address, data in self.segments)
        return low & ~(_PAGE - 1), (high + _PAGE - 1) & ~(_PAGE - 1)


def thumb_instructions(code: bytes) -> int:
    """Number of Thumb instructions in a straight run of code: two bytes each, or four where the first word says so."""
    at = count = 0
    while at < len(code):
        (half,) = struct.unpack_from("<H", code, at)
        at += 4 if half >> 11 in (0b11101, 0b11110, 0b11111) else 2
        count += 1
    return count


def _read_segments(data: bytes) -> tuple[tuple[int, bytes], ...]:
    (table,) = struct.unpack_from("<I", data, 28)
    entry, count = struct.unpack_from("<HH", data, 42)
    segments = []
    for index in range(count):
        kind, offset, address, _, in_file, in_memory = struct.unpack_from("<6I", data, table + index * entry)
        if kind == _LOAD and in_memory:
            segments.append((address, data[offset : offset + in_file].ljust(in_memory, b"\0")))
    return tuple(segments)


def _read_sections(data: bytes) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    (table,) = struct.unpack_from("<I", data, 32)
    entry, count, names_index = struct.unpack_from("<HHH", data, 46)
    headers = [struct.unpack_from("<10I", data, table + index * entry) for index in range(count)]
    names_at = headers[names_index][4]
    sections = {_text(data, names_at + header[0]): header[5] for header in headers}
    symbols: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for header in headers:
        if header[1] != _SYMTAB:
            continue
        strings = headers[header[6]][4]
        for at in range(header[4], header[4] + header[5], 16):
            name, value, size = struct.unpack_from("<3I", data, at)
            symbols[_text(data, strings + name)] = value
            sizes[_text(data, strings + name)] = size
    return symbols, sizes, sections


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("ascii", "replace")
