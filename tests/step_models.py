"""What the tests of step models share: long runs, and the programs of every family in floating point."""

from __future__ import annotations

import numpy as np
from core_families import FAMILIES

from hiss.firmware_export.selftest import RESET, TARE, scale_of_test, usual_samples
from hiss.program import Program, interpreter

PLAIN = tuple(name for name, family in FAMILIES.items() if not family.spread and not name.endswith("int16"))
"""Families that step models can hold; those that differ in their integers alone stand once."""


def long_run(program: Program, steps: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """(steps, C) samples and the action before each: usual ones, a stretch of full scale, samples that are not finite;
    a reset in the middle of a chunk, and a tare that is renewed."""
    x, actions = usual_samples(program, steps), np.zeros(steps, np.uint8)
    centre, unit = scale_of_test(program)
    signs = np.sign(x[500:560] - centre)
    x[500:560] = centre + 127 * unit * signs  # far beyond the declared range
    x[560:580] = centre + 127 * unit
    x[600, 0] = np.nan
    x[601] = np.inf
    actions[0], actions[1001], actions[1501] = TARE, RESET, TARE
    return x, actions


def interpreted(
    program: Program, x: np.ndarray, actions: np.ndarray, dtype: type = np.float64
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, float]]:
    """made (n,), estimates (m, D), the state at the end, and the largest value that each state had."""
    cast = interpreter.cast(program, dtype)
    state, made, estimates, largest = interpreter.init_state(cast), [], [], {}
    for sample, action in zip(x.astype(dtype), actions, strict=True):
        if action == TARE:
            state = interpreter.init_state(cast)
        elif action == RESET:
            state = interpreter.reset(cast, state)
        y, state = interpreter.step(cast, state, sample)
        made.append(y is not None)
        estimates += [] if y is None else [y]
        for key, array in state.items():
            largest[key] = max(largest.get(key, 0.0), float(np.abs(array).max(initial=0)))
    return np.array(made), np.array(estimates), state, largest
