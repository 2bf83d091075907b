"""A causal low-pass in front of a model: the same Butterworth filter in training, offline and in the program.

y = m + F(x - m)      F from rest, m near the mean of the channel, so that it begins where the channel usually is
H(z) = d + sum_i r_i / (1 - a_i z^-1)      its poles are distinct: a Diagonal op of the program
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import MissingExtraError, ProgramError

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lowpass:
    """cutoff: cycles per sample, where half of the power is left; centre (C,): m, multiples of a power of two."""

    cutoff: float
    order: int
    centre: F64

    def __post_init__(self) -> None:
        if not 0 < self.cutoff < 0.5 or not 1 <= self.order <= 8:
            raise ValueError(
                f"a low-pass of order {self.order} at {self.cutoff:g} of the rate: the order is 1 to 8, and the cutoff "
                "below half of the rate"
            )

    def run(self, x: NDArray[np.floating[Any]]) -> F64:
        """(..., T, C) samples -> filtered, each sequence from rest."""
        signal = _signal()
        sections = signal.butter(self.order, 2 * self.cutoff, output="sos")
        filtered: F64 = self.centre + signal.sosfilt(sections, x.astype(np.float64) - self.centre, axis=-2)
        return filtered

    def modes(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128], float]:
        """(a, c, d) of h <- a h + u;  y = Re(sum c h) + d u: one mode for each pair of conjugate poles."""
        residues, poles, direct = _signal().residuez(*_signal().butter(self.order, 2 * self.cutoff))
        upper = poles.imag > -1e-12
        pairs = poles[upper].imag > 1e-12
        return poles[upper], residues[upper] * np.where(pairs, 2.0, 1.0), float(np.real(direct).sum())

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"cutoff": self.cutoff, "order": self.order, "centre": self.centre.tolist()}

    @staticmethod
    def from_json(data: Any) -> Lowpass:
        """The reverse. Raises ProgramError."""
        try:
            made = Lowpass(float(data["cutoff"]), int(data["order"]), np.array(data["centre"], np.float64))
        except (TypeError, ValueError, KeyError) as error:
            raise ProgramError(f"scaling: its lowpass is damaged ({error})") from error
        if made.centre.ndim != 1 or not np.isfinite(made.centre).all():
            raise ProgramError("scaling: the centre of its lowpass must be finite numbers")
        return made


def centred(mean: F64, std: F64) -> F64:
    """The mean, rounded to a 64th of the power of two below the deviation: exact in every arithmetic."""
    quantum = np.exp2(np.floor(np.log2(std))) / 64
    rounded: F64 = np.round(mean / quantum) * quantum
    return rounded


def _signal() -> Any:
    try:
        from scipy import signal
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    return signal
