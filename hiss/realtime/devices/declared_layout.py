"""A device as a TOML file says it: how frames are cut out of the bytes, and which fields they hold. See declared.py."""

from __future__ import annotations

import difflib
import functools
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hiss.errors import RecordingError
from hiss.realtime.checksums import CHECKSUMS, crc16_ccitt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TYPES = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u24": "3s", "i24": "3s", "u32": "I", "i32": "i"}
TYPES |= {"u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
FRAMINGS = ("sync", "fixed", "cobs", "slip")
ENDS: dict[str, str] = {"little": "<", "big": ">"}
ROLES = ("channel", "sequence", "clock", "constant", "length", "skip")
TICKS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
WHOLE = frozenset(name for name in TYPES if name[0] in "ui")


@dataclass(frozen=True)
class Field:
    """Part of a frame. `names`: one number each; other roles than channel have one number, or `bytes` that are skipped.

    A channel's value is raw * scale + offset. A length field says the frame's size less `adds`.
    """

    type: str = "u8"
    name: str = ""
    names: tuple[str, ...] = ()
    role: str = "channel"
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    value: int = 0  # of a constant
    adds: int = 0  # of a length
    bytes: int = 0  # of a skip

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names) or ((self.name,) if self.name else ()))
        _one_of("role", self.role, ROLES)
        _one_of("type", self.type, tuple(TYPES))
        if self.role == "channel" and not self.names:
            raise ValueError(f"a field of type {self.type} without a name; give name, names, or another role")
        if self.role in ("sequence", "clock", "constant", "length") and self.type not in WHOLE:
            raise ValueError(f"a {self.role} of type {self.type}; it is a whole number")
        if self.role == "clock" and self.unit not in TICKS:
            raise ValueError(f"a clock in {self.unit!r}; its unit is one of {', '.join(TICKS)}")
        if self.role == "skip" and self.bytes < 1:
            raise ValueError("a field to skip says how many bytes")

    @property
    def format(self) -> str:
        """The field for struct."""
        return f"{self.bytes}x" if self.role == "skip" else TYPES[self.type] * max(1, len(self.names))

    @property
    def bits(self) -> int:
        """Of one number."""
        return int(self.type[1:])


@dataclass(frozen=True)
class Checksum:
    """At the end of a frame (before a tail), over the bytes from `first` on (the sync word counts)."""

    type: str
    first: int | None = None  # None: behind the sync word
    start: int = 0xFFFF  # of crc16-ccitt
    endian: str | None = None  # None: the frame's

    def __post_init__(self) -> None:
        _one_of("checksum", self.type, tuple(CHECKSUMS))

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return CHECKSUMS[self.type][1]

    @property
    def of(self) -> Callable[[bytes], int]:
        """The checksum of some bytes."""
        if self.type == "crc16-ccitt":
            return functools.partial(crc16_ccitt, start=self.start)
        return CHECKSUMS[self.type][0]


@dataclass(frozen=True)
class Layout:
    """A frame: sync word | fields | checksum | tail. cobs and slip frames have neither sync word nor tail."""

    framing: str = "sync"
    fields: tuple[Field, ...] = ()
    sync: bytes = b""
    tail: bytes = b""
    endian: str = "little"
    checksum: Checksum | None = None
    name: str = ""
    order: str = field(init=False, default="<")

    def __post_init__(self) -> None:
        _one_of("framing", self.framing, FRAMINGS)
        _one_of("endian", self.endian, tuple(ENDS))
        object.__setattr__(self, "order", ENDS[self.endian])
        stuffed = self.framing in ("cobs", "slip")
        if stuffed and (self.sync or self.tail):
            raise ValueError(f"{self.framing} frames have a delimiter, so neither sync nor tail")
        if self.framing == "sync" and not self.sync:
            raise ValueError('framing "sync" needs a sync word, such as sync = "AA 55"')
        if self.framing == "fixed" and not (self.tail or self.checksum or self.sync):
            raise ValueError("nothing marks a frame: it needs a sync word, a tail or a checksum")
        for role in ("sequence", "clock", "length"):
            if sum(f.role == role for f in self.fields) > 1:
                raise ValueError(f"more than one field is the {role}")
        if not self.channel_fields:
            raise ValueError("no field is a channel")
        names = [name for f in self.channel_fields for name in f.names]
        if doubled := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"two channels are named {doubled}")

    @functools.cached_property
    def channel_fields(self) -> tuple[Field, ...]:
        """The fields that make a sample."""
        return tuple(f for f in self.fields if f.role == "channel")

    @functools.cached_property
    def body(self) -> struct.Struct:
        """All fields."""
        return struct.Struct(self.order + "".join(f.format for f in self.fields))

    @functools.cached_property
    def size(self) -> int:
        """Bytes of a frame, from sync word to tail."""
        return len(self.sync) + self.body.size + (self.checksum.size if self.checksum else 0) + len(self.tail)


def read_layout(path: str | os.PathLike[str]) -> Layout:
    """The layout of a TOML file. Raises RecordingError when it cannot be read, ValueError when it makes no sense."""
    try:
        table = toml_table(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecordingError(f"{path}: not a device file: {error}") from error
    try:
        return layout_from(table)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def toml_table(text: str) -> dict[str, Any]:
    """A TOML text. Raises ValueError."""
    return dict(tomllib.loads(text))


def layout_from(table: dict[str, Any]) -> Layout:
    """The layout that a device file's table says. Raises ValueError."""
    table = dict(table)
    fields = tuple(_made(Field, dict(f), "field") for f in table.pop("fields", ()))
    checksum = table.pop("checksum", None)
    if isinstance(checksum, str):
        checksum = {"type": checksum}
    for word in ("sync", "tail"):
        if word in table:
            table[word] = bytes.fromhex(table[word])
    return _made(
        Layout, table | {"fields": fields, "checksum": checksum and _made(Checksum, checksum, "checksum")}, "device"
    )


def _made(kind: Any, table: dict[str, Any], what: str) -> Any:
    known = [name for name, f in kind.__dataclass_fields__.items() if f.init]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"is {near[0]} meant?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"a {what} has no {key!r}; {meant}")
    return kind(**table)


def _one_of(what: str, text: str, known: tuple[str, ...]) -> None:
    if text not in known:
        raise ValueError(f"{what} {text!r}; it is one of {', '.join(known)}")
