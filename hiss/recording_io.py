"""Reading recordings: which format a file has is seen from its first bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hiss.errors import RecordingError
from hiss.recording import Recording, choose_targets
from hiss.recording_csv import read_csv
from hiss.recording_hdf5 import HDF5_SIGNATURE, read_hdf5

HDF5_SUFFIXES = (".h5", ".hdf5", ".he5")


def read_recordings(
    *paths: str | os.PathLike[str],
    targets: str | Sequence[str] = (),
    rate_hz: float | None = None,
    raw: bool = False,
    fill: bool = False,
) -> list[Recording]:
    """Recordings of HDF5 and CSV files, in the order of the files and in them.

    targets: names or patterns (vel_*) of the columns to be estimated; () leaves the file's own choice (CSV: none).
    rate_hz: of a CSV file without a time column.
    fill: of a CSV file, hold the value before a cell that is empty or NaN; such a row, and a gap, is not valid.
    raw: the samples as they came (HDF5 raw_t and raw_x: irregular stamps, not tared) instead of the prepared ones.
    Raises RecordingError naming the file, and the trial, line, channel or sample where it is about one.
    """
    recordings: list[Recording] = []
    for path in map(Path, paths):
        try:
            found = read_hdf5(path, raw=raw) if _is_hdf5(path) else [read_csv(path, rate_hz=rate_hz, fill=fill)]
            recordings += [choose_targets(r, targets) if targets else r for r in found]
        except RecordingError as error:
            raise RecordingError(f"{path.name}: {error}") from error
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    return recordings


def _is_hdf5(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(8)
    if not start:
        raise RecordingError("the file is empty")
    if start == HDF5_SIGNATURE:
        return True
    if path.suffix.lower() in HDF5_SUFFIXES:
        raise RecordingError("not an HDF5 file (its first bytes are others); was it cut short or renamed?")
    return False
