"""Targets that say how another column changed: d0.2(px) over the last 0.2 s, v0.2(px) the same per second.

    d(t) = p(t) - p(t - s)      v(t) = d(t) / s      p before the first sample: the first sample, and not valid

With s the time between two estimates, estimates of d add up to the position since the first one.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Sequence

import numpy as np

from hiss.errors import RecordingError
from hiss.recording import Channel, Recording

CHANGE = re.compile(r"([dv])(\d+(?:\.\d+)?)\((.+)\)$")
KINDS = {"displacement": "d", "velocity": "v"}


def change_of(name: str) -> tuple[str, float, str] | None:
    """(d or v, seconds, column or pattern) of a name; None for any other name."""
    match = CHANGE.match(name)
    return (match[1], float(match[2]), match[3]) if match and float(match[2]) > 0 else None


def change_names(kind: str, patterns: Sequence[str], seconds: float) -> tuple[str, ...]:
    """The names of these columns' "displacement" or "velocity" over `seconds`. Raises ValueError for another kind."""
    if kind not in KINDS:
        raise ValueError(f"change is {kind!r}; known: {', '.join(KINDS)}")
    return tuple(p if change_of(p) else f"{KINDS[kind]}{seconds:g}({p})" for p in patterns)


def with_changes(recording: Recording, names: Sequence[str]) -> tuple[Recording, list[str]]:
    """(the recording with a target for each change among `names`, the names with their patterns spelled out).

    The columns themselves are no channels any more: from them the change would follow. Raises RecordingError for a
    column that is not there.
    """
    columns = [*recording.targets, *recording.channels]
    known = [c.name for c in columns]
    new, used, spelled = [], set[int](), []
    for name in names:
        change = None if any(k == name or fnmatch.fnmatchcase(k, name) for k in known) else change_of(name)
        if change is None:
            spelled.append(name)
            continue
        kind, seconds, pattern = change
        found = [i for i, k in enumerate(known) if k == pattern or fnmatch.fnmatchcase(k, pattern)]
        if not found:
            raise RecordingError(
                f"{recording.name}: {name}: no column named {pattern!r}; there are: {', '.join(known)}"
            )
        used |= set(found)
        made = [(kind, seconds, i) for i in found]
        new += [m for m in made if m not in new]
        spelled += [f"{kind}{seconds:g}({known[i]})" for i in found]
    if not new:
        return recording, list(names)
    return _with(recording, columns, new, used), spelled


def _with(recording: Recording, columns: list[Channel], new: list[tuple[str, float, int]], used: set[int]) -> Recording:
    both = np.hstack([recording.y, recording.x]).astype(np.float64)
    y, ports, valid = [recording.y], list(recording.targets), recording.valid.copy()
    for kind, seconds, i in new:
        before = recording.t - seconds
        moved = both[:, i] - np.interp(before, recording.t, both[:, i])
        y.append((moved / seconds if kind == "v" else moved).astype(np.float32)[:, None])
        unit = columns[i].unit
        ports.append(Channel(f"{kind}{seconds:g}({columns[i].name})", f"{unit}/s" if kind == "v" else unit))
        known = np.interp(before, recording.t, recording.valid.astype(float)) > 0.999
        valid &= known & (before >= recording.t[0] - 1e-6 * seconds)
    kept = [i for i in range(len(recording.channels)) if i + len(recording.targets) not in used]
    channels = tuple(recording.channels[i] for i in kept)
    return dataclasses.replace(
        recording, x=recording.x[:, kept], channels=channels, y=np.hstack(y), targets=tuple(ports), valid=valid
    )
