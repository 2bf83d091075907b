"""Teleplot lines: a `>` line a variable, and the variables of one sample behind each other.

    >pressure:101.3                      name:value
    >pressure:1627551892437:101.3§kPa    name:ms:value, and a unit
    >pressure:1:101.3;2:101.4|np         several points, and flags

Which variables make a sample is learned from the first two rounds; a new stamp, or a name that comes again, begins the
next sample. Lines without `>` are the board's log, and text variables (flag t) are no numbers: both are passed over.
"""

from __future__ import annotations

import re

import numpy as np

from hiss.realtime.bursts import Bursts
from hiss.realtime.devices.framed import FramedDecoder
from hiss.realtime.framing import Event, Frame
from hiss.realtime.stuffing import DelimitedFramer
from hiss.recording import Channel

LINE = re.compile(r">(?P<name>[^:|§;]+):(?P<points>[^|§]*)(?:§(?P<unit>[^|]*))?(?:\|(?P<flags>.*))?")
MS = 1e-3
LONGEST_LINE = 65536
Points = list[tuple[float | None, float]]  # (stamp in ms, value)


class TeleplotDecoder(FramedDecoder):
    """Bytes of Teleplot lines -> samples of all variables, at the board's own stamps where it sends them."""

    def __init__(self, torn_start: bool = True):
        super().__init__(DelimitedFramer(b"\n", self._check, LONGEST_LINE))
        self._torn = torn_start
        self._bursts: Bursts[str, Points] = Bursts()
        self._units: dict[str, str] = {}
        self._stamp: float | None = None

    def _check(self, line: bytes) -> bytes | Event:
        torn, self._torn = self._torn, False
        return Event("malformed", "the first line may have lost its beginning") if torn else line

    def read(self, frame: bytes) -> tuple[Frame | Event, ...]:
        """The samples that a line completes."""
        line = frame.decode("utf-8", "replace").strip()
        if not line.startswith(">"):
            return ()
        match = LINE.fullmatch(line)
        if match and "t" in re.split(r"[,\s]+", match["flags"] or ""):
            return ()
        points = _points(match["points"]) if match else []
        if match is None or not points:
            return self.refused(len(frame) + 1, f"line not read: {line[:40]!a}")
        name, stamp = match["name"].strip(), points[0][0]
        self._units.setdefault(name, match["unit"] or "")
        begins = stamp is not None and stamp != self._stamp
        self._stamp = stamp
        broken = self._bursts.broken
        sample = self._bursts.put(name, points, begins)
        lost = self.refused(0, "a variable of a sample is missing") if self._bursts.broken > broken else ()
        return lost if sample is None else (*lost, *self._frames(sample))

    def _frames(self, sample: dict[str, Points]) -> tuple[Frame | Event, ...]:
        if not self.channels:
            self.channels = tuple(Channel(name, self._units[name]) for name in sample)
        rows = list(sample.values())
        if len({len(points) for points in rows}) > 1:
            return self.refused(0, "the variables of a sample have different numbers of points")
        self.counts.frames += len(rows[0])
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and the loop says so
            x = np.array([[value for _, value in points] for points in rows], np.float64).T.astype(np.float32)
        stamps = [None if stamp is None else stamp * MS for stamp, _ in rows[0]]
        return tuple(Frame(values, t) for values, t in zip(x, stamps, strict=True))


def _points(text: str) -> Points:
    """The points of a line; [] when one is no number. x:y:ms of an xy plot is none."""
    found: Points = []
    try:
        for point in filter(None, text.split(";")):
            *stamp, value = point.split(":")
            if len(stamp) > 1 or "_" in point:
                return []
            found.append((float(stamp[0]) if stamp else None, float(value)))
    except ValueError:
        return []
    return found
