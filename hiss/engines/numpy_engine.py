"""The numpy stepper: one sample in, an estimate out when a period is complete. Buffers are made once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hiss.engines.numpy_ops import Action, Part, Values, part
from hiss.engines.numpy_plan import Buffers, fused
from hiss.errors import ProgramError
from hiss.program import Program, Stage, interpreter
from hiss.program import ops as o


class _Steps:
    """What one stage does on an ordinary step, and on the one that completes its period."""

    def __init__(self, stage: Stage, parts: dict[str, Part]):
        every = _now(stage.every, parts)
        advances = [parts[op.out].advance for op in stage.last if _advances(op)]
        pushes = [parts[op.out].push for op in stage.ops if isinstance(op, o.Delay)]
        clears = [parts[op.out].clear for op in stage.ops if getattr(op, "restart", False)]
        self.period, self.phase = stage.period, 0
        self.ordinary = [*every, *advances, *pushes]
        self.completing = [*every, *_now(stage.last, parts), *pushes, *clears]

    def step(self) -> bool:
        """True when the period is complete."""
        complete = self.phase == self.period - 1
        for action in self.completing if complete else self.ordinary:
            action()
        self.phase = 0 if complete else self.phase + 1
        return complete


def _now(ops: tuple[o.Op, ...], parts: dict[str, Part]) -> list[Action]:
    """Advance, where there is memory, and read, in the order of the ops."""
    made: list[Action] = []
    for op in ops:
        if op.out in parts:
            made += [parts[op.out].advance, parts[op.out].read] if _advances(op) else [parts[op.out].read]
    return made


def _advances(op: o.Op) -> bool:
    return isinstance(op, o.Diagonal | o.Fir | o.Selective)


class Stepper:
    """Runs a program sample by sample in floating point (float32 unless `dtype` says otherwise).

    Each stepper owns its state, so several may run side by side.
    """

    def __init__(self, program: Program, dtype: DTypeLike = np.float32):
        if program.formats is not None:
            raise ProgramError(
                "an integer program, but this stepper computes in floating point and would give other numbers; "
                "use program.predict (hiss predict), or step the program it was quantized from"
            )
        self.program = program
        cast = interpreter.cast(program, dtype)
        self._input = interpreter.input_op(cast)
        real = self._input.offset.dtype
        stages = [fused(stage) for stage in cast.stages]
        ops = [op for stage in stages for op in stage.ops]
        self._values = Buffers(ops, cast.widths, real)
        self._parts = {op.out: part(op, self._values) for op in ops if not isinstance(op, o.Input)}
        self._stages = [_Steps(stage, self._parts) for stage in stages]
        self._hands = [self._values[name] for name in cast.stages[-1].hands]
        self._scale = np.exp2(-self._input.shift).astype(real)
        self._mean = np.zeros(len(program.inputs), real)
        self._left = self._input.tare

    def step(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """x: (C,) raw sample -> (D,) estimate, or None while taring and until a period is complete."""
        x = np.asarray(x, self._mean.dtype)
        if x.shape != self._mean.shape:
            names = " ".join(port.name for port in self.program.inputs)
            raise ValueError(f"a sample of shape {x.shape}; expected {self._mean.shape}: {names}")
        if self._left:
            self._tare_step(x)
            return None
        op, z = self._input, self._values[self._input.out]
        np.subtract(x, self._mean, z)
        np.fmax(z, op.lo, z)  # not clip: a NaN becomes lo
        np.fmin(z, op.hi, z)
        np.subtract(z, op.offset, z)
        np.multiply(z, self._scale, z)
        for stage in self._stages:
            if not stage.step():
                return None
        return np.concatenate(self._hands)

    def _tare_step(self, x: NDArray[Any]) -> None:
        if not np.isfinite(x).all():  # such a sample does not count
            return
        seen = self._input.tare - self._left
        if seen == 0:
            self._mean[:] = x
        else:
            self._mean += (x - self._mean) / x.dtype.type(seen + 1)
        self._left -= 1

    def reset(self) -> None:
        """Fresh state; the tare is kept."""
        for each in self._parts.values():
            each.clear()
        for stage in self._stages:
            stage.phase = 0

    def tare(self) -> None:
        """Fresh state, and measure the tare anew from the next samples."""
        self.reset()
        self._mean.fill(0)
        self._left = self._input.tare

    @property
    def taring(self) -> bool:
        """True while the tare is being measured: no estimates come."""
        return self._left > 0

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that the stepper remembers, under the names of `interpreter.init_state`; assign it to restore."""
        state: Values = {"tare.mean": self._mean.copy(), "tare.left": np.array(self._left)}
        state |= {f"phase.{i}": np.array(stage.phase) for i, stage in enumerate(self._stages)}
        return state | {f"{out}.{key}": a for out, each in self._parts.items() for key, a in each.get().items()}

    @state.setter
    def state(self, state: dict[str, NDArray[Any]]) -> None:
        for key, array in self.state.items():
            if key not in state or np.shape(state[key]) != array.shape or np.asarray(state[key]).dtype != array.dtype:
                found = (np.asarray(state[key]).dtype, np.shape(state[key])) if key in state else "missing"
                raise ValueError(f"state {key!r} is {found}; expected {array.dtype}, {array.shape} of the same program")
        self._mean[:] = state["tare.mean"]
        self._left = int(state["tare.left"])
        for i, stage in enumerate(self._stages):
            stage.phase = int(state[f"phase.{i}"])
        for out, each in self._parts.items():
            each.put({key: state[f"{out}.{key}"] for key in each.get()})
