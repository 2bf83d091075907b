"""Whether a sensor was at rest while its tare was measured: a tare under load would be wrong for the whole session.

The means of the window's quarters are compared, so that noise counts little. A channel has moved where they differ by
more than LIMIT of its declared range (4 spans of the training data beyond both ends, so that is 9 % of what training
saw) and by more than NOISE times what its own noise explains; the noise is told by the median step between samples,
which a slow movement does not change. On the eFlesh recordings, a second at rest is taken for movement in 0.4 % of the
windows, and 98 % of those with a change of force are seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hiss.program import Port, Program
from hiss.realtime.framing import Event

REFUSED = "tare-refused"
LIMIT = 0.01  # of the declared range
NOISE = 6.0  # standard deviations of the difference of two means
STEP_OF_NOISE = 0.954  # median |difference of two samples| of white noise, in standard deviations


class StillWatch:
    """Looks at the last n samples, those of a tare. Inputs without a declared range may move as they like."""

    def __init__(self, inputs: Sequence[Port], n: int):
        self._inputs = tuple(inputs)
        self._allowed = np.array([LIMIT * (port.hi - port.lo) for port in inputs])
        self._rows: deque[npt.NDArray[np.float32]] = deque(maxlen=max(n, 1))

    def put(self, x: npt.NDArray[np.float32]) -> None:
        """One sample (C,) of the tare."""
        self._rows.append(x)

    def mean(self) -> npt.NDArray[np.float64]:
        """What a tare over them takes off, (C,)."""
        mean: npt.NDArray[np.float64] = np.mean(self._rows, axis=0, dtype=np.float64)
        return mean

    def moved(self) -> str:
        """What moved too much, in words; "" when all was still."""
        x = np.array(self._rows, np.float64)
        if len(x) < 2:
            return ""
        quarters = np.array([part.mean(0) for part in np.array_split(x, min(4, len(x)))])
        change = quarters.max(0) - quarters.min(0)
        noise = np.median(np.abs(np.diff(x, axis=0)), axis=0) / STEP_OF_NOISE
        explained = NOISE * noise * np.sqrt(2 * len(quarters) / len(x))
        by = np.where(change > np.maximum(self._allowed, explained), change / self._allowed, 0.0)
        worst = int(by.argmax())
        if by[worst] == 0:
            return ""
        port = self._inputs[worst]
        return (
            f"{port.name} moved by {change[worst]:.3g} {port.unit}".rstrip() + f" (at most {self._allowed[worst]:.3g})"
        )


class Tare:
    """A tare as it goes on: taken when the sensor was at rest, else measured again, for patience_s at most."""

    def __init__(self, program: Program, patience_s: float):
        self._still = StillWatch(program.inputs, program.tare)
        self._patience_s = patience_s
        self._from_s: float | None = None
        self.mean: npt.NDArray[np.float64] | None = None if program.tare else np.zeros(len(program.inputs))

    def begin(self) -> None:
        """It is asked for."""
        self._from_s = self.mean = None

    def put(self, x: npt.NDArray[np.float32], now_s: float) -> None:
        """One of its samples (C,), at the stream's time."""
        self._still.put(x)
        self._from_s = now_s if self._from_s is None else self._from_s

    def end(self, now_s: float) -> Event:
        """It has its samples: "tare" where it is taken, "tare-refused" where it is to be measured again."""
        moved = self._still.moved()
        if moved and self._from_s is not None and now_s - self._from_s < self._patience_s:
            return Event(REFUSED, f"{moved} during the tare; it begins again: keep the sensor untouched")
        self._from_s, self.mean = None, self._still.mean()
        but = f", but {moved} meanwhile: estimates may be off" if moved else ""
        return Event("tare", f"done: the mean at rest is taken off from here on{but}")
