"""The integer stepper: the integer definition itself, sample by sample, with the interface of the numpy Stepper."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.program import Program, integer
from hiss.program.schedule import State


class IntegerStepper:
    """Runs an integer program: raw samples in, estimates in their units out, every bit as the exported C.

    Slower than compiled C (engine "c"), which gives the same numbers.
    """

    def __init__(self, program: Program):
        """Raises ProgramError where the program has no number formats."""
        integer.arithmetic(program)
        self.program = program
        self._state: State = integer.init_state(program)

    def step(self, x: NDArray[Any]) -> NDArray[np.float32] | None:
        """x: (C,) raw sample -> (D,) estimate, or None while taring and until a period is complete."""
        x = np.asarray(x, np.float64)
        if x.shape != (len(self.program.inputs),):
            names = " ".join(port.name for port in self.program.inputs)
            raise ValueError(f"a sample of shape {x.shape}; expected {(len(self.program.inputs),)}: {names}")
        if self.taring and not np.isfinite(x).all():
            return None  # such a sample does not count
        y, self._state = integer.step(self.program, self._state, integer.samples(self.program, x))
        return None if y is None else integer.estimates(self.program, y).astype(np.float32)

    def reset(self) -> None:
        """Fresh state; the tare is kept."""
        self._state = integer.reset(self.program, self._state)

    def tare(self) -> None:
        """Fresh state, and measure the tare anew from the next samples."""
        self._state = integer.init_state(self.program)

    @property
    def taring(self) -> bool:
        """True while the tare is being measured: no estimates come."""
        return int(self._state["tare.left"]) > 0

    @property
    def state(self) -> State:
        """All that the stepper remembers, under the names of `integer.init_state`; assign it to restore."""
        return {key: array.copy() for key, array in self._state.items()}

    @state.setter
    def state(self, state: State) -> None:
        for key, array in self._state.items():
            if key not in state or np.shape(state[key]) != array.shape:
                found = np.shape(state[key]) if key in state else "missing"
                raise ValueError(f"state {key!r} is {found}; expected {array.shape} of the same program")
        self._state = {key: np.array(state[key]) for key in self._state}
