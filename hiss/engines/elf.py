"""Just enough of 32-bit little-endian ELF to load an image, find its symbols and count instructions."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hiss.errors import ExportError

ARM, AVR, RISCV = 40, 83, 243
_LOAD, _SYMTAB, _NOBITS, _OBJECT, _FUNCTION, _PAGE = 1, 2, 8, 1, 2, 0x1000
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4


@dataclass(frozen=True)
class Elf:
    """segments: (address, bytes) to load;  symbols: addresses;  sizes: of symbols;  sections: bytes by name.

    machine: ARM, AVR or RISCV;  code, tables, data: bytes of flash that hold instructions, constants, and what is
    copied into RAM at the start. Neither vectors nor what calls the model (emu_..., main) are counted.
    """

    machine: int
    segments: tuple[tuple[int, bytes], ...]
    symbols: dict[str, int]
    sizes: dict[str, int]
    sections: dict[str, int]
    code: int
    tables: int
    data: int

    @classmethod
    def read(cls, path: Path) -> Elf:
        """Parse an image. Raises ExportError when it is not a 32-bit little-endian ELF."""
        data = path.read_bytes()
        if data[:6] != b"\x7fELF\x01\x01":
            raise ExportError(f"{path.name}: not a 32-bit little-endian ELF image")
        (machine,) = struct.unpack_from("<H", data, 18)
        headers = _read_headers(data)
        entries = _read_symbols(data, headers, machine)
        symbols = {entry.name: entry.value for entry in entries}
        sizes = {entry.name: entry.size for entry in entries}
        sections = {header.name: header.size for header in headers}
        code, tables, initial = _flash(headers)
        if machine == AVR:
            code, tables = _avr_flash(code, entries)
        return cls(machine, _read_segments(data), symbols, sizes, sections, code, tables, initial)

    def span(self) -> tuple[int, int]:
        """First and one past the last page that the segments cover."""
        low = min(address for address, _ in self.segments)
        high = max(address + len(data) for address, data in self.segments)
        return low & ~(_PAGE - 1), (high + _PAGE - 1) & ~(_PAGE - 1)


@dataclass(frozen=True)
class _Header:
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True)
class _Symbol:
    name: str
    value: int
    size: int
    kind: int


def thumb_instructions(code: bytes) -> int:
    """Number of Thumb instructions in a straight run of code: two bytes each, or four where the first word says so."""
    return _count(code, lambda half: half >> 11 in (0b11101, 0b11110, 0b11111))


def riscv_instructions(code: bytes) -> int:
    """Number of RISC-V instructions in a straight run of code: two bytes each where compressed, else four."""
    return _count(code, lambda half: half & 3 == 3)


def _count(code: bytes, is_long: Callable[[int], bool]) -> int:
    at = count = 0
    while at < len(code):
        (half,) = struct.unpack_from("<H", code, at)
        at += 4 if is_long(half) else 2
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


def _read_headers(data: bytes) -> list[_Header]:
    (table,) = struct.unpack_from("<I", data, 32)
    entry, count, names_index = struct.unpack_from("<HHH", data, 46)
    rows = [struct.unpack_from("<10I", data, table + index * entry) for index in range(count)]
    names_at = rows[names_index][4]
    return [_Header(_text(data, names_at + row[0]), row[1], row[2], row[4], row[5], row[6]) for row in rows]


def _read_symbols(data: bytes, headers: list[_Header], machine: int) -> list[_Symbol]:
    entries = []
    for header in headers:
        if header.kind != _SYMTAB:
            continue
        strings = headers[header.link].offset
        for at in range(header.offset, header.offset + header.size, 16):
            name, value, size, info = struct.unpack_from("<3IB", data, at)
            thumb = machine == ARM and info & 15 == _FUNCTION  # bit 0 only says "Thumb"
            entries.append(_Symbol(_text(data, strings + name), value & ~1 if thumb else value, size, info & 15))
    return entries


def _flash(headers: list[_Header]) -> tuple[int, int, int]:
    """Bytes of code, tables and initialized data."""
    code = tables = data = 0
    for header in headers:
        if not header.flags & _ALLOC or header.kind == _NOBITS or header.name in (".vectors", ".glue"):
            continue
        if header.flags & _EXECUTE:
            code += header.size
        elif header.flags & _WRITE:
            data += header.size
        else:
            tables += header.size
    return code, tables, data


def _avr_flash(text: int, entries: list[_Symbol]) -> tuple[int, int]:
    """Code and tables of an AVR, where both, the vectors too, lie in one section at address 0."""
    tables = sum(entry.size for entry in entries if entry.kind == _OBJECT and 0 < entry.value < text)
    vectors = next((entry.value for entry in entries if entry.name == "__trampolines_start"), 0)
    glue = sum(entry.size for entry in entries if entry.name in ("emu_wait", "emu_keep", "main"))
    return text - tables - vectors - glue, tables


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("ascii", "replace")
