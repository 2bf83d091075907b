"""What happens where samples are missing: the grid is interpolated across, the last sample held, or a new start made.

Live, replay and training take the same policy, so that a model sees live what it was trained on.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiss.errors import RecordingError
from hiss.recording import Recording

GAP_SAMPLES = 10  # a pause of more periods of the model's rate is a gap
POLICIES = ("interpolate", "hold", "reset")


@dataclass(frozen=True)
class Gaps:
    """policy: interpolate (linear across), hold (the last sample is repeated) or reset (the model starts again behind
    it, and keeps its tare);  after_s: how long a gap is at least, None = GAP_SAMPLES periods of the model's rate.
    """

    policy: str = "interpolate"
    after_s: float | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES or (self.after_s is not None and not 0 < self.after_s < math.inf):
            raise ValueError(f"gaps {self}: expected {', '.join(POLICIES)}, the last two with :SECONDS above 0")
        if self.policy == "interpolate" and self.after_s is not None:
            raise ValueError(f"gaps {self}: interpolation has no limit; :SECONDS goes with hold and reset")

    def __str__(self) -> str:
        return self.policy if self.after_s is None else f"{self.policy}:{self.after_s:g}"

    @staticmethod
    def parse(text: str) -> Gaps:
        """The policy of a text, POLICY or POLICY:SECONDS. Raises ValueError."""
        policy, colon, seconds = text.partition(":")
        try:
            return Gaps(policy, float(seconds) if colon else None)
        except ValueError as error:
            raise ValueError(
                f"{text!r} is no policy for gaps: interpolate, hold[:SECONDS] or reset[:SECONDS]"
            ) from error

    @staticmethod
    def trained(provenance: Mapping[str, Any]) -> Gaps:
        """The policy that a run or program was trained with. Raises ValueError."""
        return Gaps.parse(str(provenance.get("gap", POLICIES[0])))

    def longest_s(self, rate_hz: float) -> float:
        """A longer pause is a gap."""
        return GAP_SAMPLES / rate_hz if self.after_s is None else self.after_s

    def hold_s(self, rate_hz: float) -> float:
        """Across a longer pause the last sample is held; inf: never."""
        return self.longest_s(rate_hz) if self.policy == "hold" else math.inf

    def reset_s(self, rate_hz: float) -> float:
        """Behind a longer pause the model starts again; inf: never."""
        return self.longest_s(rate_hz) if self.policy == "reset" else math.inf


def regular(recording: Recording, rate_hz: float, gaps: Gaps = Gaps()) -> list[Recording]:
    """The recording at rate_hz, as live makes it: one, or with reset one for each piece between gaps."""
    limit_s = gaps.reset_s(rate_hz)
    ends = [0, *(np.flatnonzero(np.diff(recording.t) > limit_s) + 1).tolist(), len(recording)]
    pieces = [recording.cut(a, b) for a, b in itertools.pairwise(ends)] if len(ends) > 2 else [recording]
    return [piece.resampled(rate_hz, gaps.hold_s(rate_hz)) for piece in pieces]


def tared(pieces: Sequence[Recording], n: int) -> list[Recording]:
    """The pieces of one session with the mean of its first n samples taken off, as live does: a new start keeps the
    tare. Pieces that are tared already stay. Raises RecordingError for a session of fewer samples."""
    if n == 0 or pieces[0].tared or len(pieces) == 1:
        return [piece.tare(n) for piece in pieces]
    x = np.concatenate([piece.x for piece in pieces])
    if len(x) < n:
        raise RecordingError(f"{pieces[0].name}: tare over {n} samples, but the recording has {len(x)}")
    rest = x[:n].mean(axis=0, dtype=np.float64)
    return [dataclasses.replace(p, x=(p.x - rest).astype(np.float32), tared=n) for p in pieces]


def behind(pieces: Sequence[Recording], n: int) -> list[Recording]:
    """The pieces of one session without its first n samples."""
    kept = []
    for piece in pieces:
        if len(piece) > n:
            kept.append(piece.cut(n))
        n = max(0, n - len(piece))
    return kept
