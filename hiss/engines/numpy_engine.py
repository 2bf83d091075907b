"""The numpy stepper: one sample in, an estimate out when a period is complete. Buffers are made once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hiss.engines.numpy_ops import part
from hiss.engines.numpy_part import Values
from hiss.engines.numpy_plan import Buffers, fused
from hiss.engines.numpy_steps import Steps, TailSteps, planned
from hiss.errors import ProgramError
from hiss.program import Program, interpreter
from hiss.program import ops as o
from hiss.program.tail import copies


class Stepper:
    """Runs a program sample by sample in floating point (the program's own dtype, float32, unless `dtype` is given).

    Each stepper owns its state, so several may run side by side.
    """

    def __init__(self, program: Program, dtype: DTypeLike = None):
        if program.formats is not None:
            raise ProgramError(
                "an integer program, but this stepper computes in floating point and would give other numbers; "
                "use hiss.engines.open_stepper(program), which runs it in integers"
            )
        self.program = program
        cast = interpreter.cast(program, dtype or program.dtype)
        self._input = interpreter.input_op(cast)
        real = self._input.offset.dtype
        plan = planned(cast) if cast.slots is not None else None
        stages = [plan.head] if plan else [fused(stage) for stage in cast.stages]
        ops = plan.ops if plan else [op for stage in stages for op in stage.ops]
        names = copies(cast) if plan else {}
        kept = {name for stage in cast.stages for name in stage.hands}
        kept |= {op.input for op in ops if isinstance(op, o.Delay)}
        passing = frozenset() if plan else frozenset(op.out for op in ops) - kept
        widths = cast.widths | {copy: cast.widths[name] for name, copy in names.items()}
        self._values = Buffers(ops, widths, real, passing, () if plan else stages)
        self._parts = {op.out: part(op, self._values) for op in ops if not isinstance(op, o.Input)}
        self._stages = [Steps(stage, self._parts) for stage in stages]
        self._settling = [stage for stage in self._stages if stage.settling]
        self._tail = TailSteps(cast, plan, self._parts) if plan else None
        self._held = {f"held.{name}": self._values[names.get(name, name)] for name in cast.tail.held} if plan else {}
        self._hands = [self._values[names.get(name, name)] for name in cast.stages[-1].hands]
        self._scale = np.exp2(-self._input.shift).astype(real)
        self._mean = np.zeros(len(program.inputs), real)
        self._left = self._input.tare
        self._z, self._lo, self._hi = self._values[self._input.out], self._input.lo, self._input.hi
        self._offset = self._input.offset if self._input.offset.any() else None
        self._tares = self._input.tare > 0

    def step(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """x: (C,) raw sample -> (D,) estimate, or None while taring and until a period is complete."""
        for stage in self._settling:
            stage.settle()
        x = np.asarray(x, self._mean.dtype)
        if x.shape != self._mean.shape:
            names = " ".join(port.name for port in self.program.inputs)
            raise ValueError(f"a sample of shape {x.shape}; expected {self._mean.shape}: {names}")
        if self._left:
            self._tare_step(x)
            return None
        z = self._z
        np.fmax(np.subtract(x, self._mean, z) if self._tares else x, self._lo, z)  # not clip: a NaN becomes lo
        np.fmin(z, self._hi, z)
        if self._offset is not None:
            np.subtract(z, self._offset, z)
        np.multiply(z, self._scale, z)
        if self._tail is not None:
            return self._spread_step(self._tail)
        for stage in self._stages:
            if not stage.step():
                return None
        return np.concatenate(self._hands)

    def _spread_step(self, tail: TailSteps) -> NDArray[Any] | None:
        """A slot of the chunk before, then stage 0, whose last step overwrites what is held."""
        (head,) = self._stages
        made = tail.pending and tail.step(head.phase)
        y = np.concatenate(self._hands) if made else None
        tail.pending = head.step() or tail.pending
        return y

    def _tare_step(self, x: NDArray[Any]) -> None:
        if not np.isfinite(x).all():  # such a sample does not count
            return
        seen = self._input.tare - self._left
        if seen == 0:
            self._mean[:] = x
        else:
            self._mean += (x - self._mean) / x.dtype.type(seen + 1)
        self._left -= 1

    def finish(self) -> None:
        """Do now what the next step would do first: for who has time between an estimate and the next sample."""
        for stage in self._settling:
            stage.settle()

    def reset(self) -> None:
        """Fresh state; the tare is kept."""
        for stage in self._settling:
            stage.due = False
        for each in self._parts.values():
            each.clear()
        for array in self._held.values():
            array.fill(0)
        self._put_progress([0] * len(self.program.stages), False)

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
        self.finish()
        state: Values = {"tare.mean": self._mean.copy(), "tare.left": np.array(self._left)}
        state |= {f"phase.{i}": np.array(phase) for i, phase in enumerate(self._phases())}
        state |= {key: array.copy() for key, array in self._held.items()}
        state |= {"tail.pending": np.array(int(self._tail.pending))} if self._tail else {}
        return state | {f"{out}.{key}": a for out, each in self._parts.items() for key, a in each.get().items()}

    @state.setter
    def state(self, state: dict[str, NDArray[Any]]) -> None:
        for key, array in self.state.items():
            if key not in state or np.shape(state[key]) != array.shape or np.asarray(state[key]).dtype != array.dtype:
                found = (np.asarray(state[key]).dtype, np.shape(state[key])) if key in state else "missing"
                raise ValueError(f"state {key!r} is {found}; expected {array.dtype}, {array.shape} of the same program")
        self._mean[:] = state["tare.mean"]
        self._left = int(state["tare.left"])
        phases = [int(state[f"phase.{i}"]) for i in range(len(self.program.stages))]
        self._put_progress(phases, bool(state.get("tail.pending", False)))
        for key, array in self._held.items():
            array[:] = state[key]
        for out, each in self._parts.items():
            each.put({key: state[f"{out}.{key}"] for key in each.get()})

    def _phases(self) -> list[int]:
        own = [stage.phase for stage in self._stages]
        return own + (self._tail.phases[1:] if self._tail else [])

    def _put_progress(self, phases: list[int], pending: bool) -> None:
        for stage, phase in zip(self._stages, phases, strict=False):
            stage.phase = phase
        if self._tail:
            self._tail.phases, self._tail.pending = [0, *phases[1:]], pending
