"""What series have that sensors have not: dates as stamps, months of different lengths, empty cells.

lines: of a CSV file, the rows from `start` on;  columns: its header.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.recording import Channel, Recording
from hiss.resample import F64, SNAP

DATES = ("ds", "date", "datetime", "time", "t", "timestamp", "time_stamp", "stamp")
LONGEST_STEP = {28: 31, 90: 92, 365: 366}
"""Days of the shortest and the longest month, quarter and year."""


def dates_as_seconds(
    lines: list[str], start: int, separator: str, columns: list[Channel]
) -> tuple[list[str], list[Channel]]:
    """The lines with dates as seconds from the first one, in a column then named time; as they are without dates."""
    at = next((i for i, c in enumerate(columns) if c.name.lower() in DATES), None)
    rows = [i for i in range(start, len(lines)) if lines[i].strip() and not lines[i].startswith("#")]
    if at is None or not rows:
        return lines, columns
    cells = {i: next(csv.reader([lines[i]], delimiter=separator)) for i in rows}
    stamps = _dates([row[at] if at < len(row) else "" for row in cells.values()])
    if stamps is None:
        return lines, columns
    seconds = _regular_months((stamps - stamps[0]) / np.timedelta64(1, "s"))
    made = list(lines)
    for (i, row), s in zip(cells.items(), seconds, strict=True):
        made[i] = separator.join([*row[:at], repr(float(s)), *row[at + 1 :]])
    return made, [*columns[:at], Channel("time", "s"), *columns[at + 1 :]]


def _dates(cells: Sequence[str]) -> NDArray[np.datetime64] | None:
    """ISO dates, or None where the first cell is none; a later cell that is none stays for the reader to name."""
    if cells[0].replace(".", "", 1).replace("-", "", 1).strip().isdecimal():
        return None
    try:
        return np.array([cell.strip() for cell in cells], "datetime64[ns]")
    except ValueError:
        return None


def _regular_months(seconds: F64) -> F64:
    """Stamps evenly apart where every step is a month, a quarter or a year; else as they are."""
    days = np.diff(seconds) / 86400
    for least, most in LONGEST_STEP.items():
        if len(days) and days.min() >= least and days.max() <= most and days.min() < days.max():
            step = round(float(days.mean()) * 86400)
            return np.arange(len(seconds)) * float(step)
    return seconds


def empty_as_nan(lines: list[str], start: int, separator: str) -> list[str]:
    """The lines with nan in cells that hold nothing."""
    made = lines[:start]
    for line in lines[start:]:
        cells = line.split(separator)
        blank = line.strip() and not line.startswith("#") and any(not cell.strip() for cell in cells)
        made.append(separator.join(cell if cell.strip() else "nan" for cell in cells) if blank else line)
    return made


def hold(table: F64) -> tuple[F64, NDArray[np.bool_]]:
    """(table (n, C) with the value before in place of what is not finite, which rows (n,) were whole)."""
    good = np.isfinite(table)
    at = np.where(good, np.arange(len(table))[:, None], -1)
    last = np.maximum.accumulate(at, axis=0)
    first = np.where(good.any(0), good.argmax(0), 0)
    filled: F64 = np.take_along_axis(table, np.where(last < 0, first, last), axis=0)
    return filled, good.all(1)


def of_series(provenance: Mapping[str, Any]) -> bool:
    """True for a model of a series, whose targets are other samples of its inputs: they count rows of a grid."""
    return "forecast" in provenance or "denoise" in provenance


def usual_rate(t: F64) -> float | None:
    """Samples a second of stamps (n,) that are regular but for samples that are missing: all steps are whole multiples
    of the usual one. None where they are not."""
    if len(t) < 3:
        return None
    steps = np.diff(t)
    usual = float(np.median(steps))
    whole = np.round(steps / usual)
    regular = (whole >= 1) & (np.abs(steps / usual - whole) <= SNAP)
    return 1 / usual if regular.all() else None


def on_grid(recording: Recording, rate_hz: float) -> Recording:
    """The recording at rate_hz; what lies within a gap of more than one and a half periods is not valid."""
    made = recording.resampled(rate_hz)
    if made is recording:
        return made
    after = np.clip(np.searchsorted(recording.t, made.t - SNAP / rate_hz), 1, len(recording) - 1)
    apart = recording.t[after] - recording.t[after - 1]
    on_sample = np.abs(recording.t[after] - made.t) <= SNAP / rate_hz
    return dataclasses.replace(made, valid=made.valid & ((apart <= 1.5 / rate_hz) | on_sample))
