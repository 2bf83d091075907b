"""The raw log: what came, byte for byte, with the stamp of every read; append-only, so that a crash takes no past.

    {"hiss_log": 1, "device": ..., "mono_ns": ..., "wall_ns": ..., ...}   one line of JSON: how to decode what follows
    [u64 stamp, monotonic ns][u8 kind][u8 source][u32 length][payload] ...           little-endian, stamps never go back

BYTES       what one read of a source gave
CONTROL     an Event that changed the state: a port that came back, a tare on command; it is replayed
ESTIMATE    f64 t, i64 seq, i64 latency_ns, f64 x n: what the model said
NOTE        any other event, for people; one from before the first read has the stamp 0

Each record is one write() and is in the system's hands when it returns: a process that is killed loses at most the read
it was busy with. It is on the disk (fsync) SYNC_S later at most: so much a power cut can take. A record that a crash
tore apart is the last one; readers stop before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
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
HEAD = struct.Struct("<QBBI")
ESTIMATE_HEAD = struct.Struct("<dqq")
LONGEST_HEADER = 1 << 20
LONGEST = 1 << 26  # bytes of a record; a longer one is no record
SYNC_S = 1.0


class LogWriter:
    """Appends records to a new file. Raises HissError when the system refuses; what was written before stays whole.

    overwrite: <path> may exist; it is replaced by `settle`, and until then the log is a hidden file beside it.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False, **header: Any):
        self.path = Path(path)
        self.at = self.path.with_name(f".{self.path.name}.{os.getpid()}") if overwrite else self.path
        now = {"mono_ns": time.monotonic_ns(), "wall_ns": time.time_ns()}
        self.header = {"hiss_log": VERSION, **now, **header}
        self.last_ns = 0  # stamp of the last record
        self._fd = -1
        self._end = 0
        self._closing = threading.Event()
        self._syncing = threading.Thread(target=self._sync, daemon=True)

    def __enter__(self) -> LogWriter:
        try:
            self._fd = os.open(self.at, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise HissError(f"{self.path} cannot be written: {error.strerror or error}") from error
        try:
            self._write(json.dumps(self.header).encode() + b"\n")
        except BaseException:
            os.close(self._fd)
            self.at.unlink()
            raise
        self._syncing.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._syncing.join()
        os.close(self._fd)

    def settle(self) -> None:
        """There is something in it that is worth more than the file it replaces, which now goes."""
        if self.at != self.path:
            os.replace(self.at, self.path)
            self.at = self.path

    def put(self, stamp_ns: int, kind: int, payload: bytes, source: int = 0) -> None:
        """Append one record. Raises ValueError for a stamp before the last one, or a source that is none."""
        if stamp_ns < self.last_ns or not 0 <= source < 256:
            raise ValueError(f"a record of source {source} at {stamp_ns} ns, behind one at {self.last_ns} ns")
        self._write(HEAD.pack(stamp_ns, kind, source, len(payload)) + payload)
        self.last_ns = stamp_ns

    def event(self, stamp_ns: int, event: Event, kind: int = NOTE, source: int = 0) -> None:
        """Append an event."""
        self.put(stamp_ns, kind, json.dumps([event.kind, event.text]).encode(), source)

    def estimate(self, stamp_ns: int, e: Estimate) -> None:
        """Append an estimate."""
        y = np.asarray(e.y, "<f8").tobytes()  # float32 fits without loss
        self.put(stamp_ns, ESTIMATE, ESTIMATE_HEAD.pack(e.t, e.seq, e.latency_ns) + y)

    def _sync(self) -> None:
        """A thread of its own: a slow disk must not hold up the reads. It touches the descriptor only."""
        while not self._closing.wait(SYNC_S):
            with contextlib.suppress(OSError):  # a pipe cannot; a disk that fails says so at the next write
                os.fsync(self._fd)

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
    source: int = 0

    @property
    def event(self) -> Event:
        """Of a CONTROL or a NOTE. Raises RecordingError."""
        try:
            kind, text = json.loads(self.payload)
        except (ValueError, TypeError, RecursionError) as error:
            raise RecordingError(f"a raw log is damaged: a record at {self.stamp_ns} ns is no event") from error
        return Event(str(kind), str(text))

    @property
    def estimate(self) -> Estimate:
        """Of an ESTIMATE; y in float64. Raises RecordingError."""
        if len(self.payload) < ESTIMATE_HEAD.size or len(self.payload) % 8:
            raise RecordingError(f"a raw log is damaged: a record at {self.stamp_ns} ns is no estimate")
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

    @property
    def sources(self) -> list[dict[str, Any]]:
        """What the header says of each source."""
        return list(self.header.get("sources") or [self.header])

    def source(self, number: int) -> dict[str, Any]:
        """What the header says of one source. Raises RecordingError."""
        if not 0 <= number < len(self.sources):
            raise RecordingError(f"{self.path}: a raw log of {len(self.sources)} sources has no source {number}")
        return self.sources[number]

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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordingError(f"{path} is no raw log of hiss: its first line is not the header of one") from error
    if version != VERSION:
        raise RecordingError(f"{path}: a raw log of version {version!r}; this hiss reads version {VERSION}: update it")
    missing = [key for key in ("device", "mono_ns", "wall_ns") if key not in header]
    if missing:
        raise RecordingError(f"{path}: the header of the raw log says nothing of {', '.join(missing)}")
    sources = header.get("sources", [])
    if not isinstance(sources, list) or not all(isinstance(about, dict) for about in sources):
        raise RecordingError(f"{path}: the sources in the header of the raw log are no list of what is said of each")
    if not all(type(header[key]) is int for key in ("mono_ns", "wall_ns")):
        raise RecordingError(f"{path}: the clocks in the header of the raw log are no whole numbers of ns")
    return dict(header)


def _record(head: bytes, file: Any, last_ns: int) -> Record | None:
    """The next record; None where the log ends or is torn."""
    if len(head) < HEAD.size:
        return None
    stamp_ns, kind, source, length = HEAD.unpack(head)
    if kind > NOTE or length > LONGEST or stamp_ns < last_ns:
        return None
    payload = file.read(length)
    return Record(stamp_ns, kind, payload, source) if len(payload) == length else None
