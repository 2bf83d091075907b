"""Recordings out of a folder as its publisher gives it: what the scripts of such data sets have in common.

A script has `trials(folder) -> (list[Trial], list[str])`, what is there and the names of what is missing, and
`read(trial) -> (Recording, extra data sets)`, which raises LeftOut for a trial that is not to be used. Where the split
counts what is left, it has `parts(n) -> ["train", "test", ...]` as well.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hiss.catalog import Dataset, load_script
from hiss.errors import RecordingError
from hiss.recording import Recording, write_hdf5

Extra = dict[str, Any]


class LeftOut(Exception):
    """A trial is not to be used; the message says why, alike for all of one reason."""


@dataclass(frozen=True)
class Trial:
    """One session of a folder: its name, its files, its part of the split, and what else its script knows of it."""

    name: str
    files: tuple[Path, ...]
    split: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class Made:
    """Recordings with their further data sets; missing: names; left_out: reason -> how many."""

    recordings: list[Recording]
    extra: dict[str, Extra]
    missing: list[str]
    left_out: Counter[str]

    def write(self, path: Path, dataset: Dataset) -> None:
        """One HDF5 file. Raises HissError."""
        about = {"dataset": dataset.name, "licence": dataset.licence, "source": dataset.source}
        notes = {"notes": dataset.notes or dataset.title}
        write_hdf5(path, self.recordings, extra=self.extra, **about, **notes)

    def said(self) -> list[str]:
        """What the user should know of it, in lines."""
        lines = [f"left out: {count} trials ({why})" for why, count in self.left_out.items()]
        if self.missing:
            shown = ", ".join(self.missing[:5]) + (
                f" and {len(self.missing) - 5} more" if len(self.missing) > 5 else ""
            )
            lines.append(f"missing in the folder: {shown}")
        return lines


def convert_folder(
    dataset: Dataset,
    folder: Path,
    started: Callable[[int], None] = lambda n: None,
    done: Callable[[], None] = lambda: None,
) -> Made:
    """Read every trial of `folder`; started is told how many there are, done is called after each.

    Raises RecordingError where the folder holds none, naming what was looked for, or where a file is damaged.
    """
    script = load_script(dataset)
    trials, missing = script.trials(folder)
    if not trials:
        raise RecordingError(f"{folder}: no trial of {dataset.name} in it; expected is {dataset.expects}")
    started(len(trials))
    made = Made([], {}, missing, Counter())
    for trial in trials:
        try:
            recording, extra = script.read(trial)
            made.recordings.append(recording)
            made.extra[recording.name] = extra
        except LeftOut as reason:
            made.left_out[str(reason)] += 1
        done()
    if not made.recordings:
        raise RecordingError(f"{folder}: all {len(trials)} trials are left out: {'; '.join(made.said())}")
    if hasattr(script, "parts"):
        parts = script.parts(len(made.recordings))
        made.recordings[:] = [dataclasses.replace(r, split=p) for r, p in zip(made.recordings, parts, strict=True)]
    return made
