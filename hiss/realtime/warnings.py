"""Warnings while a stream runs: samples outside the trained range, channels that are stuck or dead, a wrong gain.

Frames are collected, and looked at behind the chunk that fills the block: estimates are not held up. Each kind of
warning is given when it begins, once a channel, and again after the channel was well in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hiss.program import Program
from hiss.quantum import SAME, steps_of
from hiss.realtime.framing import F32, Event

BLOCKS = (16, 256)  # frames that are looked at together, about a second of them: seldom, since a look takes 50 us
STUCK = 512  # frames with the same value
GAIN_FRAMES = 1024  # of which the steps are told
OUTSIDE, STUCK_KIND, DEAD, GAIN = "outside", "stuck", "dead", "gain"


class Warnings:
    """Watches the model's inputs, frame by frame, as the sensor gave them. What is taken off by the tare is told to it.

    A channel is stuck when its value was the same, bit for bit, in STUCK frames while half of the others moved, and
    dead when that value is 0, or it is not a number in STUCK frames. The gain is wrong where the step between values is
    not the one of the training data (Program.provenance["steps"]; a program without them is not asked).
    """

    def __init__(self, program: Program):
        self._inputs = program.inputs
        n = len(self._inputs)
        self._lo, self._hi = (np.array([getattr(p, end) for p in self._inputs]) for end in ("lo", "hi"))
        # what the tare takes off, (C,); None while it is being measured: nothing is outside then
        self.rest: npt.NDArray[np.float64] | None = None if program.tare else np.zeros(n)
        self._block = max(BLOCKS[0], min(BLOCKS[1], round(program.rate_hz)))
        self._rows = np.zeros((self._block + 1, n), np.float32)  # the first is the last one of the block before
        self._n = 0  # frames in the block
        self._begun = False
        self._same = np.zeros(n, np.int64)  # frames without a change
        self._not_finite = np.zeros(n, np.int64)
        self._said: dict[str, npt.NDArray[np.bool_]] = {}
        steps = program.provenance.get("steps")
        self._trained = np.array(steps, np.float64) if _are_steps(steps, n) else None
        self._for_gain: list[F32] = []

    def restarted(self) -> None:
        """The device began again, maybe with other settings."""
        self._begun, self._n = False, 0
        self._same[:] = 0
        self._for_gain.clear()
        self._said.pop(GAIN, None)

    def put(self, x: F32) -> None:
        """A finite frame, (C,)."""
        self._n += 1
        self._rows[self._n] = x

    @property
    def full(self) -> bool:
        """Whether it is time to look."""
        return self._n >= self._block

    def not_finite(self, x: F32) -> list[Event]:
        """A frame that was dropped."""
        self._not_finite = np.where(np.isfinite(x), 0, self._not_finite + 1)
        said = f"was not a number in {STUCK} frames, and such frames give no estimate: is it connected?"
        return self._new(DEAD + "-nan", self._not_finite >= STUCK, DEAD, lambda i: said)

    def look(self) -> list[Event]:
        """What is to be said of the frames since the last look."""
        n, self._n = self._n, 0
        if n == 0:
            return []
        rows = self._rows[: n + 1]
        if not self._begun:
            self._begun, rows[0] = True, rows[1]
        events = self._outside(rows[1:]) + self._stuck(rows)
        if self._trained is not None:
            events += self._gain(rows[1:], self._trained)
        rows[0] = rows[n]
        return events

    def _outside(self, rows: F32) -> list[Event]:
        if self.rest is None:
            return []
        low, high = rows.min(0) - self.rest, rows.max(0) - self.rest
        far = np.where(high > self._hi, high, low)
        return self._new(OUTSIDE, (low < self._lo) | (high > self._hi), OUTSIDE, lambda i: self._range_text(i, far[i]))

    def _range_text(self, i: int, value: float) -> str:
        port = self._inputs[i]
        tared = " after the tare" if self.rest is not None and self.rest.any() else ""
        return f"is {value:.4g} {port.unit}{tared}; the model knows {port.lo:.4g} .. {port.hi:.4g}, and clips there"

    def _stuck(self, rows: F32) -> list[Event]:
        changed = rows[1:] != rows[:-1]
        moved = changed.any(0)
        behind = np.argmax(changed[::-1], axis=0)  # frames since the last change
        self._same = np.where(moved, behind, self._same + len(changed))
        still = self._same >= STUCK
        moving = int((self._same < STUCK // 2).sum())
        # a lone channel, or a sensor that rests, has no witness that something should have changed
        still &= moving * 2 >= len(still) - int(still.sum()) and moving > 0
        zero = rows[-1] == 0
        return self._new(DEAD, still & zero, DEAD, lambda i: f"is 0 since {self._same[i]} frames: is it connected?") + (
            self._new(
                STUCK_KIND, still & ~zero, STUCK_KIND, lambda i: f"is {rows[-1, i]:g} since {self._same[i]} frames"
            )
        )

    def _gain(self, rows: F32, trained: npt.NDArray[np.float64]) -> list[Event]:
        if GAIN in self._said:
            return []
        self._for_gain.append(rows.copy())
        if sum(map(len, self._for_gain)) < GAIN_FRAMES:
            return []
        x = np.concatenate(self._for_gain)
        self._for_gain.clear()
        steps = steps_of(x)
        known = (steps > 0) & (trained > 0)
        factor = np.where(known, steps / np.where(trained > 0, trained, 1.0), 1.0)
        return self._new(GAIN, np.abs(factor - 1) > SAME, GAIN, lambda i: self._gain_text(i, steps[i], factor[i]))

    def _gain_text(self, i: int, step: float, factor: float) -> str:
        unit = self._inputs[i].unit
        return (
            f"counts in steps of {step:.4g} {unit}, {factor:.4g} times those of the training data: "
            "another gain, range or resolution"
        )

    def _new(self, what: str, now: npt.NDArray[np.bool_], kind: str, text: Callable[[int], str]) -> list[Event]:
        """Events of the channels of which this was not so before; many at once are one event."""
        before = self._said.get(what, np.zeros(len(now), np.bool_))
        self._said[what] = now
        new = np.flatnonzero(now & ~before)
        if not len(new):
            return []
        first = int(new[0])
        more = (
            f" (and {len(new) - 1} more: {', '.join(self._inputs[i].name for i in new[1:5])})" if len(new) > 1 else ""
        )
        return [Event(kind, f"{self._inputs[first].name} {text(first)}{more}")]


def _are_steps(steps: object, n: int) -> bool:
    if not isinstance(steps, Sequence) or len(steps) != n:
        return False
    return all(isinstance(step, int | float) and step >= 0 for step in steps)
