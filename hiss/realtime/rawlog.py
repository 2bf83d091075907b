"""The raw log: what came, byte for byte, with the stamp of every read; append-only, so that a crash takes no past.

    {"hiss_log": 1, "device": ..., "mono_ns": ..., "wall_ns": ..., ...}   one line of JSON: how to decode what follows
    [u64 stamp, monotonic ns][u8 kind][u32 length][payload] ...            little-endian

BYTES       what one read gave
CONTROL     an Event that changed the state: a port that came back, a tare on command; it is replayed
ESTIMATE    f64 t, i64 seq, i64 latency_ns, f64 x n: what the model said
NOTE        any other event, for people

Each record is one write() and is in the system's hands when it returns: a process that is killed loses at most the read
it was busy with. A record that a crash tore apart is the last one; readers stop before it.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiss.errors import HissError, RecordingError
from hiss.realtime.framing import Event
from hiss.realtime.sinks import Estimate

VERSION = 1
SUFFIX = ".hlog"
BYTES, CONTROL, ESTIMATE, NOTE = range(4)
HEAD = struct.Struct("<QBI")
ESTIMATE_HEAD = struct.Struct("<dqq")
LONGEST_HEADER = 1 << 20
LONGEST = 1 << 26  # bytes of a record; a longer one is no record


class LogWriter:
    """Appends records to a new file. Raises HissError when the system refuses; what was written before stays whole."""

    def __init__(self, path: str | os.PathLike[str], **header: Any):
        self.path = Path(path)
        now = {"mono_ns": time.monotonic_ns(), "wall_ns": time.time_ns()}
        self.header = {"hiss_log": VERSION, **now, **header}
        self._fd = -1
        self._end = 0

    def __enter__(self) -> LogWriter:
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise HissError(f"{self.path} cannot be written: {error.strerror or error}") from error
        self._write(json.dumps(self.header).encode() + b"\n")
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)

    def put(self, stamp_ns: int, kind: int, payload: bytes) -> None:
        """Append one record."""
        self._write(HEAD.pack(stamp_ns, kind, len(payload)) + payload)

    def event(self, stamp_ns: int, event: Event, kind: int = NOTE) -> None:
        """Append an event."""
        self.put(stamp_ns, kind, json.dumps([event.kind, event.text]).encode())

    def estimate(self, stamp_ns: int, e: Estimate) -> None:
        """Append an estimate."""
        y = np.asarray(e.y, "<f8").tobytes()  # float32 fits without loss
        self.put(stamp_ns, ESTIMATE, ESTIMATE_HEAD.pack(e.t, e.seq, e.latency_ns) + y)

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
            while written < len(data):  # a disk that is nearly full takes a part
                written += os.write(self._fd, data[written:])
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            raise HissError(
                f"{self.path} cannot be written: {error.strerror or error}; "
                f"it holds whole what came until now ({self._end} bytes)"
            ) from error
        self._end += len(data)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a log."""

    stamp_ns: int
    kind: int
    payload: bytes

    @property
    def event(self) -> Event:
        """Of a CONTROL or a NOTE."""
        kind, text = json.loads(self.payload)
        return Event(kind, text)

    @property
    def estimate(self) -> Estimate:
        """Of an ESTIMATE; y in float64."""
        t, seq, latency_ns = ESTIMATE_HEAD.unpack_from(self.payload)
        return Estimate(t, seq, np.frombuffer(self.payload, "<f8", offset=ESTIMATE_HEAD.size), latency_ns)


class LogReader:
    """The header of a log and, by iterating, its whole records; `torn`: bytes behind them, known after the iteration.

    Raises RecordingError for a file that is no log, or of a later version.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.torn = 0
        with open(self.path, "rb") as file:
            self.header = _header(self.path, file.readline(LONGEST_HEADER))
            self._start = file.tell()

    @property
    def wall_ns(self) -> int:
        """The wall clock's lead over the monotonic one when the log was begun."""
        return int(self.header["wall_ns"]) - int(self.header["mono_ns"])

    def __iter__(self) -> Iterator[Record]:
        last_ns, end = 0, self._start
        with open(self.path, "rb") as file:
            file.seek(self._start)
            while (record := _record(file.read(HEAD.size), file, last_ns)) is not None:
                yield record
                last_ns, end = record.stamp_ns, file.tell()
            self.torn = os.fstat(file.fileno()).st_size - end


def is_log(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a raw log does."""
    try:
        with open(path, "rb") as file:
            return file.read(12) == b'{"hiss_log":'
    except OSError:
        return False


def _header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
        version = header["hiss_log"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{path} is no raw log of hiss: its first line is not the header of one") from error
    if version != VERSION:
        raise RecordingError(f"{path}: a raw log of version {version!r}; this hiss reads version {VERSION}: update it")
    missing = [key for key in ("device", "mono_ns", "wall_ns") if key not in header]
    if missing:
        raise RecordingError(f"{path}: the header of the raw log says nothing of {', '.join(missing)}")
    return dict(header)


def _record(head: bytes, file: Any, last_ns: int) -> Record | None:
    """The next record; None where the log ends or is torn."""
    if len(head) < HEAD.size:
        return None
    stamp_ns, kind, length = HEAD.unpack(head)
    if kind > NOTE or length > LONGEST or stamp_ns < last_ns:
        return None
    payload = file.read(length)
    return Record(stamp_ns, kind, payload) if len(payload) == length else None
