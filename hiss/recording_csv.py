"""CSV recordings: one row per sample, with or without a header, separated by comma, semicolon or tab.

Header cells are names with the unit behind them: `acc_x (m/s^2)` or `acc_x [m/s^2]`. A column named time, t or
timestamp holds the stamps, in s unless its name says otherwise (time_ms, Timestamp (us), micros); numbers too large for
seconds since 1970 are taken as ms, us or ns. Without a header the first column holds the stamps unless a rate is given.
A column `valid` holds 0 where a sample should not be scored. Stamps may be dates, also in a column named ds, date or
datetime (ISO: 2017-05-01 00:05:00): seconds count from the first; whole months, quarters or years count as regular.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from hiss.errors import RecordingError
from hiss.files import atomic_path
from hiss.recording import Channel, Recording
from hiss.recording_dates import dates_as_seconds, empty_as_nan, hold
from hiss.resample import F64, SNAP

TIME = re.compile(r"(?:(?:time|t|timestamp|time_stamp|stamp)(?:[_ ]?(s|sec|ms|us|µs|ns))?|(millis|micros|seconds))$")
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "millis": 1e-3, "us": 1e-6, "µs": 1e-6, "micros": 1e-6}
SECONDS |= {"ns": 1e-9}
WITH_UNIT = re.compile(r"(.*?)\s*[(\[](.*)[)\]]$")


def read_csv(path: str | os.PathLike[str], *, rate_hz: float | None = None, fill: bool = False) -> Recording:
    """One recording, named as the file. rate_hz: of a file without stamps; unused where there are stamps.

    fill: hold the value before a cell that is empty or NaN (the one after, at the start); such rows are not valid.

    rate_hz of the recording is set when the stamps are regular. Raises RecordingError naming the line and the column.
    """
    text = _text(Path(path))
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if first is None:
        raise RecordingError("the file is empty")
    separator = max(",;\t", key=lines[first].count)
    cells = [cell.strip() for cell in next(csv.reader([lines[first]], delimiter=separator))]
    header = cells if any(not _is_number(cell) for cell in cells) else None
    columns = [_column(cell) for cell in header] if header else [Channel(f"x{i}") for i in range(len(cells))]
    start = first + (header is not None)
    if header:
        lines, columns = dates_as_seconds(lines, start, separator, columns)
    if fill:
        lines = empty_as_nan(lines, start, separator)
    table = _table(lines, start, separator, columns)
    held, whole = hold(table) if fill else (table, np.ones(len(table), np.bool_))
    made = _recording(Path(path).stem, columns, held, header is not None, rate_hz)
    return dataclasses.replace(made, valid=made.valid & whole)


def write_csv(path: str | os.PathLike[str], recording: Recording) -> None:
    """Write stamps, channels and targets with a header; every number is read back equal.

    Which columns are targets is not in the file: name them when reading. Raises HissError when it cannot be written.
    """
    columns = [Channel("time", "s"), *recording.channels, *recording.targets]
    header = [f"{c.name} ({c.unit})" if c.unit else c.name for c in columns]
    valid = [] if recording.valid.all() else [recording.valid.astype(np.uint8)[:, None]]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(header + ["valid"] * len(valid))
        for at in range(0, len(recording), 4096):
            part = slice(at, at + 4096)
            blocks = [recording.t[part, None], recording.x[part], recording.y[part], *(v[part] for v in valid)]
            rows = np.hstack(
                [np.asarray(block).astype(str) for block in blocks]
            )  # the shortest text that gives the same number
            file.writelines(",".join(row) + "\n" for row in rows)


def _recording(name: str, columns: list[Channel], table: F64, header: bool, rate_hz: float | None) -> Recording:
    at = next((i for i, c in enumerate(columns) if header and TIME.match(c.name.lower())), None)
    if at is None and rate_hz is None and header:
        raise RecordingError(
            f"no column named time, t or timestamp (there are: {', '.join(c.name for c in columns[:8])}); "
            "name it so, or give the rate in Hz"
        )
    if at is None and rate_hz is None:
        at = 0
    rate = rate_hz
    if at is None:
        t = np.arange(len(table)) / (rate_hz or 1.0)
    else:
        t = table[:, at] * _unit_s(columns[at], table[:, at])
        rate = _regular_rate(t)
        if not header and (len(t) > 1 and not (np.diff(t) > 0).all()):
            raise RecordingError(
                "no header, and the first column does not increase as stamps would; give the rate in Hz"
            )
    valid_at = next((i for i, c in enumerate(columns) if c.name == "valid"), None)
    x_at = [i for i in range(len(columns)) if i not in (at, valid_at)]
    valid = np.ones(len(t), np.bool_) if valid_at is None else table[:, valid_at] > 0.5
    x = table[:, x_at]
    return Recording(name, t, x.astype(np.float32), tuple(columns[i] for i in x_at), valid=valid, rate_hz=rate)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise RecordingError(f"neither HDF5 nor text (byte {error.start} is not UTF-8)") from error


def _column(cell: str) -> Channel:
    found = WITH_UNIT.match(cell)
    return Channel(found[1], found[2].strip()) if found and found[1] else Channel(cell)


def _table(lines: list[str], start: int, separator: str, columns: list[Channel]) -> F64:
    body = io.StringIO("\n".join(lines[start:]))
    if not any(line.strip() and not line.startswith("#") for line in lines[start:]):
        raise RecordingError("a header, but no rows under it")
    try:
        table: F64 = np.loadtxt(body, delimiter=separator, ndmin=2, quotechar='"', dtype=np.float64)
    except ValueError as error:
        raise _what_is_wrong(lines, start, separator, columns) from error
    if table.shape[1] != len(columns):
        raise _what_is_wrong(lines, start, separator, columns)
    return table


def _what_is_wrong(lines: list[str], start: int, separator: str, columns: list[Channel]) -> RecordingError:
    last = max(i for i, line in enumerate(lines) if line.strip())
    for i, line in enumerate(lines[start:], start):
        if not line.strip() or line.startswith("#"):
            continue
        cells = next(csv.reader([line], delimiter=separator))
        if len(cells) != len(columns):
            hint = "; it is the last one: was the file cut short?" if i == last else ""
            return RecordingError(f"line {i + 1} has {len(cells)} cells, but {len(columns)} are expected{hint}")
        for cell, column in zip(cells, columns, strict=True):
            if not _is_number(cell):
                return RecordingError(f"line {i + 1}, column {column.name}: {cell.strip()!r} is not a number")
    return RecordingError("the rows are not numbers")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python allows inside numbers


def _unit_s(column: Channel, stamps: F64) -> float:
    found = TIME.match(column.name.lower())
    named = column.unit or (found and (found[1] or found[2])) or ""
    if named:
        if named not in SECONDS:
            raise RecordingError(f"column {column.name}: unknown unit of time {named!r}; known: {', '.join(SECONDS)}")
        return SECONDS[named]
    # seconds since 1970 stay below 1e11 for three thousand years
    return next((unit for above, unit in ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3)) if stamps[0] > above), 1.0)


def _regular_rate(t: F64) -> float | None:
    """The rate at which the stamps are regular, rounded where a round one fits; None when they are not."""
    if len(t) < 3 or not np.isfinite(t).all() or t[-1] <= t[0]:
        return None
    rate = (len(t) - 1) / (t[-1] - t[0])
    for candidate in (float(f"{rate:.4g}"), float(f"{rate:.7g}"), float(rate)):
        off: Any = np.abs(t - t[0] - np.arange(len(t)) / candidate).max() * candidate
        if off <= 0.9 * SNAP:
            return candidate
    return None
