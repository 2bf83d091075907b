"""A part of the numpy stepper: what one op does on preallocated buffers, and the past values that some of them keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Values = dict[str, Array]
Action = Callable[[], object]

_WALK = 32
"""Steps that a window of the past walks before it returns to the top."""


def nothing() -> None:
    """The action of a part that has nothing to do."""


@dataclass(frozen=True)
class Part:
    """One op: `read` makes its value; with memory, `advance` goes before it, `push` ends the step, `clear` restarts.

    `settle` is what the next step needs and this one does not: due at any time before anything else is done to the
    part. `get` and `put` hand its state out and back, as named by the interpreter.
    """

    read: Action
    advance: Action = nothing
    push: Action = nothing
    clear: Action = nothing
    settle: Action = nothing
    get: Callable[[], Values] = dict
    put: Callable[[Values], None] = field(default=lambda state: None)


class Past:
    """The last `length` values of u, newest first: a window that walks down a strip, and from its foot back to the top.

    Rows and windows are made beforehand, as a slice costs as much as a sum.
    """

    def __init__(self, length: int, like: Array):
        self.strip = np.zeros((_WALK + length, len(like)), like.dtype)
        self.rows = list(self.strip[: _WALK + 1])
        self.windows = [self.strip[i : i + length] for i in range(_WALK + 1)]
        self.at = _WALK

    @property
    def window(self) -> Array:
        """(length, n), newest first."""
        return self.windows[self.at]

    def step(self) -> Array:
        """Where the newest value, of this step, is to be written, (n,)."""
        if self.at == 0:
            self.windows[_WALK][1:] = self.windows[0][:-1]
            self.at = _WALK
        else:
            self.at -= 1
        return self.rows[self.at]

    def push(self, u: Array) -> None:
        """u is the newest from here on."""
        np.positive(u, self.step())

    def put(self, past: Array) -> None:
        """Replace all; `past` (length, n), or one row for all."""
        self.window[:] = past

    def clear(self) -> None:
        """All 0."""
        self.windows[self.at].fill(0)
