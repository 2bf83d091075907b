"""How much worse an integer program is than the floating point one: measured on windows of calibration recordings.

W: windows;  T: samples of a window;  n: estimates of it;  D: outputs.
Where the recordings hold the outputs as targets, the growth of the RMSE counts; else the error beside the float
output's own variation.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.program import Program, integer_sequence, interpreter, sequence
from hiss.recording import Recording

Floats = NDArray[np.float64]

LENGTH_S = 60.0
COUNT = 16
"""Windows (of so many seconds) that are compared, at most."""
TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Windows:
    """x: (W, T, C) tared samples;  exact: (W, n, D) in float32 as deployed;  y, valid: targets where they are known."""

    x: NDArray[Any]
    exact: Floats
    y: Floats | None
    valid: NDArray[np.bool_]

    @property
    def what(self) -> str:
        """What `growth` measures, in words."""
        if self.y is None:
            return "difference to floating point beside the output's own variation (rms)"
        return "growth of the RMSE against the targets"

    def estimates(self, made: Program) -> Floats:
        """(W, n, D) of an integer program."""
        return integer_sequence.predict(made, self.x)

    def growth(self, estimates: Floats) -> float:
        """The share by which the error grew, of the output where it grew most; see `what`."""
        if self.y is None:
            spread = np.sqrt(_mean((self.exact - self.exact.mean((0, 1))) ** 2))
            return float((np.sqrt(self._square(estimates)) / (spread + TINY)).max())
        before, after = (np.sqrt(_mean((e - self.y)[self.valid] ** 2)) for e in (self.exact, estimates))
        return float((after / (before + TINY)).max() - 1)

    def noise(self, estimates: Floats) -> float:
        """Mean over outputs of the mean square difference to floating point, beside the output's variance."""
        return float((self._square(estimates) / (self.exact.var((0, 1)) + TINY)).mean())

    def off(self, estimates: Floats) -> tuple[Floats, Floats]:
        """(D,) rms and largest difference to floating point, in the units of the outputs."""
        return np.sqrt(self._square(estimates)), np.abs(estimates - self.exact).max((0, 1))

    def _square(self, estimates: Floats) -> Floats:
        return _mean((estimates - self.exact) ** 2)


def windows(program: Program, recordings: Seq[Recording]) -> Windows:
    """Windows spread evenly over recordings that are prepared for a floating point program; too short ones drop out."""
    period = program.period
    most = max(round(LENGTH_S * program.rate_hz), period)
    count = min(most, max(map(len, recordings))) // period * period
    longer = [r for r in recordings if len(r) >= count]
    each = -(-COUNT // len(longer))
    starts = [(r, int(i)) for r in longer for i in np.linspace(0, len(r) - count, each)]
    chosen = [starts[int(i)] for i in np.linspace(0, len(starts) - 1, min(COUNT, len(starts)))]
    pieces = [r.cut(i, i + count) for r, i in chosen]
    x = np.stack([r.x for r in pieces])
    cast = interpreter.cast(program.plain, np.float32)
    state = interpreter.init_state(cast, x.shape[:1])
    state["tare.left"] = np.array(0)
    exact = sequence.run(cast, state, x)[0].astype(np.float64)
    names = [port.name for port in program.outputs]
    y, valid = _targets(pieces, names, slice(period - 1, None, period))
    return Windows(x, exact, y, valid)


def _targets(pieces: Seq[Recording], names: Seq[str], ends: slice) -> tuple[Floats | None, NDArray[np.bool_]]:
    """Targets at chunk ends where all of `names` were recorded and a sample is valid, else None."""
    known = [target.name for target in pieces[0].targets]
    valid = np.stack([r.valid[ends] for r in pieces])
    if not set(names) <= set(known) or not valid.any():
        return None, valid
    columns = [known.index(name) for name in names]
    return np.stack([r.y[ends][:, columns] for r in pieces]).astype(np.float64), valid


def _mean(square: Floats) -> Floats:
    """(D,) over all else."""
    return np.asarray(square.reshape(-1, square.shape[-1]).mean(0))
