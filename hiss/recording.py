"""A recording: one session of samples on a clock, with channel names and units.

t: (n,) s    x: (n, C) what the sensor gave    y: (n, D) what is to be estimated    valid: (n,) False = do not score
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hiss.errors import RecordingError
from hiss.resample import F32, F64, SNAP, check_gaps, grid_stamps, resample_linear
from hiss.spool import kept


@dataclass(frozen=True)
class Channel:
    """One column of a recording: its name and its unit ("" = unknown)."""

    name: str
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Recording:
    """One session. Raises RecordingError when the arrays do not fit together or hold what is not a finite number."""

    name: str
    t: F64  # (n,) s, strictly increasing
    x: F32  # (n, C)
    channels: tuple[Channel, ...]
    y: F32 = field(default_factory=lambda: np.empty((0, 0), np.float32))  # (n, D); D may be 0
    targets: tuple[Channel, ...] = ()
    valid: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))  # (n,); none given = all valid
    rate_hz: float | None = None  # set when sampled regularly: t = t0 + i / rate_hz
    split: str | None = None  # "train" | "val" | "test"
    tared: int = 0  # samples (at rate_hz) whose mean has been taken off already; 0 = raw
    attrs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the way into a frozen dataclass
        set_(self, "t", np.asarray(self.t, np.float64))
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf and is reported below
            set_(self, "x", kept(np.asarray(self.x, np.float32)))
            set_(self, "y", kept(np.asarray(self.y, np.float32)))
        n = len(self.t) if self.t.ndim else 0
        if not self.targets and self.y.size == 0:
            set_(self, "y", np.zeros((n, 0), np.float32))
        set_(self, "valid", np.asarray(self.valid, np.bool_) if np.size(self.valid) else np.ones(n, np.bool_))
        set_(self, "channels", tuple(self.channels))
        set_(self, "targets", tuple(self.targets))
        _check_shapes(self)
        _check_names(self)
        _check_stamps(self)
        _check_finite(self, self.x, self.channels)
        _check_finite(self, self.y, self.targets)

    def __len__(self) -> int:
        return len(self.t)

    @property
    def duration_s(self) -> float:
        """Time from the first stamp to the last, s."""
        return float(self.t[-1] - self.t[0])

    def resampled(self, rate_hz: float, hold_s: float = math.inf) -> Recording:
        """The same session at rate_hz, linear and causal, from its first stamp; x has the bits of a Resampler's.

        A new sample is valid where both samples it was made of are. Across pauses longer than hold_s the sample before
        them is held.
        """
        if self.rate_hz is not None and math.isclose(rate_hz, self.rate_hz, rel_tol=1e-9):
            return self
        _check_gaps(self, rate_hz)
        grid = grid_stamps(self.t[0], self.t[-1], rate_hz)
        columns = np.hstack([self.x, self.y, self.valid[:, None].astype(np.float32)])
        out = resample_linear(self.t, columns, grid, SNAP / rate_hz, hold_s)
        c = self.x.shape[1]
        tared = round(self.tared * rate_hz / self.rate_hz) if self.rate_hz else self.tared
        return dataclasses.replace(
            self, t=grid, x=out[:, :c], y=out[:, c:-1], valid=out[:, -1] > 0.999, rate_hz=float(rate_hz), tared=tared
        )

    def cut(self, start: int, stop: int | None = None) -> Recording:
        """Samples start to stop (exclusive). Tare first: the tare belongs to the recording, not to a piece of it."""
        part = slice(start, stop)
        return dataclasses.replace(self, t=self.t[part], x=self.x[part], y=self.y[part], valid=self.valid[part])

    def tare(self, n: int) -> Recording:
        """With the mean of the first n samples taken off every channel; a recording that is tared already stays."""
        if n == 0 or self.tared:
            return self
        if self.rate_hz is None:
            raise RecordingError(f"{self.name}: tare counts regular samples; resample the recording first")
        if not 0 < n <= len(self):
            raise RecordingError(f"{self.name}: tare over {n} samples, but the recording has {len(self)}")
        rest = self.x[:n].mean(axis=0, dtype=np.float64)
        return dataclasses.replace(self, x=(self.x - rest).astype(np.float32), tared=n)


def make_channels(names: Sequence[str], units: Sequence[str] | str = "") -> tuple[Channel, ...]:
    """Channels of these names, all of one unit or each of its own."""
    each = [units] * len(names) if isinstance(units, str) else units
    return tuple(Channel(name, unit) for name, unit in zip(names, each, strict=True))


def read_recordings(
    *paths: str | os.PathLike[str],
    targets: str | Sequence[str] = (),
    rate_hz: float | None = None,
    raw: bool = False,
    fill: bool = False,
) -> list[Recording]:
    """Recordings of HDF5 and CSV files, in the order of the files and in them. See `hiss.recording_io`."""
    from hiss import recording_io

    return recording_io.read_recordings(*paths, targets=targets, rate_hz=rate_hz, raw=raw, fill=fill)


def write_hdf5(
    path: str | os.PathLike[str],
    recordings: Sequence[Recording],
    *,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
    **file_attrs: str,
) -> None:
    """Write recordings into one HDF5 file, wholly or not at all. See `hiss.recording_hdf5`."""
    from hiss import recording_hdf5

    recording_hdf5.write_hdf5(path, recordings, extra=extra, **file_attrs)


def write_csv(path: str | os.PathLike[str], recording: Recording) -> None:
    """Write one recording as CSV with a header, wholly or not at all. See `hiss.recording_csv`."""
    from hiss import recording_csv

    recording_csv.write_csv(path, recording)


def choose_targets(recording: Recording, targets: str | Sequence[str]) -> Recording:
    """The recording with y = the columns that `targets` names (names or patterns such as vel_*), taken from x or y.

    NAME+K, where no column is called so, is what NAME will be K samples later, NAME-K what it was K samples before;
    NAME itself stays among the channels.
    d0.2(NAME) is its change over the last 0.2 s, v0.2(NAME) the same per second: see `hiss.changes`.
    Order: as the patterns ask, then as in the recording. Raises RecordingError for a name that no column has.
    """
    from hiss.changes import with_changes

    recording, patterns = with_changes(recording, [targets] if isinstance(targets, str) else list(targets))
    recording = with_shifted(recording, patterns)
    columns = [*recording.targets, *recording.channels]
    names = [column.name for column in columns]
    chosen: list[int] = []
    for pattern in patterns:
        found = [i for i, name in enumerate(names) if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise RecordingError(f"{recording.name}: no column named {pattern!r}; {_nearest(pattern, names)}")
        chosen += [i for i in found if i not in chosen]
    both = np.hstack([recording.y, recording.x])
    kept = [i for i in range(len(recording.targets), len(columns)) if i not in chosen]
    if patterns and not kept:
        raise RecordingError(
            f"{recording.name}: {', '.join(patterns)} names every channel; none is left to estimate from"
        )
    return dataclasses.replace(
        recording,
        x=both[:, kept],
        channels=tuple(columns[i] for i in kept),
        y=both[:, chosen],
        targets=tuple(columns[i] for i in chosen),
    )


SHIFTED = re.compile(r"(.+)([+-])(0|[1-9]\d*)$")


def with_shifted(recording: Recording, names: Sequence[str]) -> Recording:
    """The recording with a target for each NAME+K or NAME-K among `names`, of the column NAME. A sample whose other one
    is not recorded, or not valid, is not valid. Raises RecordingError where samples do not count time."""
    known = [c.name for c in (*recording.targets, *recording.channels)]
    found = [(n, m) for n in names if n not in known and (m := SHIFTED.match(n)) and m[1] in known]
    if not found:
        return recording
    if recording.rate_hz is None:
        raise RecordingError(f"{recording.name}: {found[0][0]} counts regular samples; resample the recording first")
    both, columns = np.hstack([recording.y, recording.x]), (*recording.targets, *recording.channels)
    n, valid = len(recording), recording.valid.copy()
    new, ports = [recording.y], list(recording.targets)
    for name, match in found:
        at, other = known.index(match[1]), np.arange(n) + int(match[2] + match[3])
        inside = np.clip(other, 0, n - 1)
        new.append(both[inside, at : at + 1])
        valid &= recording.valid[inside] & (other == inside)
        ports.append(Channel(name, columns[at].unit))
    return dataclasses.replace(recording, y=np.hstack(new), targets=tuple(ports), valid=valid)


def choose_inputs(recording: Recording, patterns: Sequence[str]) -> Recording:
    """The recording with only those channels that `patterns` name (names or such as m*), in its own order.

    No pattern: all of them. Raises RecordingError for one that no channel fits.
    """
    names = [channel.name for channel in recording.channels]
    fits = {p: {n for n in names if n == p or fnmatch.fnmatchcase(n, p)} for p in patterns}
    for pattern, found in fits.items():
        if not found:
            raise RecordingError(f"{recording.name}: no channel named {pattern!r}; {_nearest(pattern, names)}")
    kept = [i for i, name in enumerate(names) if not fits or any(name in found for found in fits.values())]
    return dataclasses.replace(recording, x=recording.x[:, kept], channels=tuple(recording.channels[i] for i in kept))


def check_channels(recording: Recording, expected: Sequence[str]) -> None:
    """Raise RecordingError unless the recording's channels are the expected ones in the expected order."""
    have, want = [c.name for c in recording.channels], list(expected)
    if have == want:
        return
    if len(have) != len(want):
        missing = [name for name in want if name not in have]
        extra = [name for name in have if name not in want]
        what = f"missing: {_few(missing)}" if missing else f"not expected: {_few(extra)}"
        raise RecordingError(f"{recording.name}: {len(have)} channels, but {len(want)} are expected ({what})")
    i = next(i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b)
    hint = "the same channels in another order" if sorted(have) == sorted(want) else "another sensor?"
    raise RecordingError(f"{recording.name}: channel {i} is {have[i]!r}, but {want[i]!r} is expected ({hint})")


def split(recordings: Sequence[Recording], test: float = 0.2) -> tuple[list[Recording], list[Recording]]:
    """(training with validation, test) recordings: by their own `split`, else the last `test` of them, at least one.

    One recording alone is cut in time, with a warning. Raises RecordingError when nothing is left to train on.
    """
    if not recordings:
        raise RecordingError("no recordings to split")
    if any(r.split == "test" for r in recordings):
        train = [r for r in recordings if r.split != "test"]
        if not train:
            raise RecordingError("every recording is marked as test: none is left to train on")
        return train, [r for r in recordings if r.split == "test"]
    if len(recordings) == 1:
        return _split_in_time(recordings[0], test)
    count = min(max(1, round(len(recordings) * test)), len(recordings) - 1)
    return list(recordings[:-count]), list(recordings[-count:])


def align(streams: dict[str, tuple[F64, F32, Sequence[str], Sequence[str]]], rate_hz: float) -> Recording:
    """One recording out of several streams {name: (t (n,) s, x (n, C), channel names, units)} on one clock.

    From the latest first stamp to the earliest last stamp, linear and causal, all on one grid. Where two streams use
    the same channel name, both get the stream's name in front. Raises RecordingError when the streams do not overlap.
    """
    if not streams:
        raise ValueError("no streams to align")
    parts = {name: Recording(name, t, x, make_channels(n, u)) for name, (t, x, n, u) in streams.items()}
    for part in parts.values():
        _check_gaps(part, rate_hz)
    start = max(part.t[0] for part in parts.values())
    end = min(part.t[-1] for part in parts.values())
    if not start <= end:
        late, early = max(parts.values(), key=lambda p: p.t[0]), min(parts.values(), key=lambda p: p.t[-1])
        raise RecordingError(
            f"streams do not overlap: {late.name} starts at {start:g} s, {early.name} ended at {end:g} s; one clock?"
        )
    grid = grid_stamps(start, end, rate_hz)
    x = np.hstack([resample_linear(part.t, part.x, grid, SNAP / rate_hz) for part in parts.values()])
    names = [c.name for part in parts.values() for c in part.channels]
    channels = [
        Channel(f"{part.name}_{c.name}" if names.count(c.name) > 1 else c.name, c.unit)
        for part in parts.values()
        for c in part.channels
    ]
    return Recording("+".join(parts), grid, x, tuple(channels), rate_hz=float(rate_hz))


def _split_in_time(recording: Recording, test: float) -> tuple[list[Recording], list[Recording]]:
    n = len(recording)
    at = n - max(1, round(n * test))
    if at < 1:
        raise RecordingError(f"{recording.name}: {n} sample{'s' if n > 1 else ''}: too few to hold some out")
    warnings.warn(
        f"{recording.name} is the only recording, so its last {test:.0%} in time is held out; "
        "a second session would say more about how the model generalises",
        stacklevel=3,
    )
    return [recording.cut(0, at)], [recording.cut(at)]


def _check_shapes(r: Recording) -> None:
    n = len(r.t) if r.t.ndim == 1 else 0
    if n == 0:
        raise RecordingError(f"{r.name}: no samples (t has shape {r.t.shape})")
    for what, array, columns in (("x", r.x, r.channels), ("y", r.y, r.targets)):
        if array.shape != (n, len(columns)):
            raise RecordingError(
                f"{r.name}: {what} has shape {array.shape}, but {n} stamps and {len(columns)} names are given"
            )
    if r.valid.shape != (n,):
        raise RecordingError(f"{r.name}: valid has shape {r.valid.shape}, but there are {n} stamps")
    if r.split not in (None, "train", "val", "test"):
        raise RecordingError(f"{r.name}: split is {r.split!r}; it is 'train', 'val', 'test' or None")


def _check_names(r: Recording) -> None:
    names = [c.name for c in (*r.channels, *r.targets)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise RecordingError(f"{r.name}: two columns are named {twice[0]!r}")


def _check_stamps(r: Recording) -> None:
    if not np.isfinite(r.t).all():
        raise RecordingError(f"{r.name}: the stamp of sample {int(np.argmin(np.isfinite(r.t)))} is not a finite number")
    back = np.flatnonzero(np.diff(r.t) <= 0)
    if len(back):
        i = int(back[0]) + 1
        what = "repeats" if r.t[i] == r.t[i - 1] else "goes back behind"
        raise RecordingError(
            f"{r.name}: the stamp of sample {i} ({r.t[i]:.9g} s) {what} the one before ({r.t[i - 1]:.9g} s), "
            f"{len(back)} such in all; stamps must increase: sort the rows, remove the repeated ones"
        )
    if r.rate_hz is not None:
        place = r.t[0] + np.arange(len(r)) / r.rate_hz
        off = np.abs(r.t - place) * r.rate_hz
        if not (r.rate_hz > 0 and off.max() <= SNAP):  # so that resampling to this rate would change nothing
            raise RecordingError(f"{r.name}: the stamps are not regular at {r.rate_hz:g} Hz; leave rate_hz None")


def _check_gaps(r: Recording, rate_hz: float) -> None:
    try:
        check_gaps(r.t, rate_hz)
    except RecordingError as error:
        raise RecordingError(f"{r.name}: {error}") from error


def _check_finite(r: Recording, array: F32, columns: tuple[Channel, ...]) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise RecordingError(
            f"{r.name}: {columns[column].name} is {array[row, column]} at sample {row} (t = {r.t[row]:.9g} s), "
            f"{int(bad.sum())} such values in all; remove these rows or fill them"
        )


def _nearest(name: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {_few(names)}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none"
