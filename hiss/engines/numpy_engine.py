"""The numpy stepper: one sample in, an estimate out when a period is complete."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hiss.program import Program, interpreter


class Stepper:
    """Runs a program sample by sample in floating point (float32 unless `dtype` says otherwise).

    Each stepper owns its state, so several may run side by side.
    """

    def __init__(self, program: Program, dtype: DTypeLike = np.float32):
        self.program = program
        self._cast = interpreter.cast(program, dtype)
        self._state = interpreter.init_state(self._cast)

    def step(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """x: (C,) raw sample -> (D,) estimate, or None while taring and until a period is complete."""
        x = np.asarray(x)
        if x.shape != (len(self.program.inputs),):
            raise ValueError(
                f"a sample of shape {x.shape}; expected ({len(self.program.inputs)},): "
                + " ".join(port.name for port in self.program.inputs)
            )
        y, self._state = interpreter.step(self._cast, self._state, x)
        return y

    def reset(self) -> None:
        """Fresh state; the tare is kept."""
        self._state = interpreter.reset(self._cast, self._state)

    def tare(self) -> None:
        """Fresh state, and measure the tare anew from the next samples."""
        self._state = interpreter.init_state(self._cast)

    @property
    def taring(self) -> bool:
        """True while the tare is being measured: no estimates come."""
        return not interpreter.tared(self._state)

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that the stepper remembers; assign it to restore."""
        return {key: array.copy() for key, array in self._state.items()}

    @state.setter
    def state(self, state: dict[str, NDArray[Any]]) -> None:
        for key, array in self._state.items():
            if key not in state or state[key].shape != array.shape or state[key].dtype != array.dtype:
                found = (state[key].dtype, state[key].shape) if key in state else "missing"
                raise ValueError(f"state {key!r} is {found}; expected {array.dtype}, {array.shape} of the same program")
        self._state = {key: state[key].copy() for key in self._state}
