"""The stepper of step models: who runs the graphs is a runner, when they run and what is remembered stands here.

It has the interface of the numpy Stepper. The tare is measured here, as interpreter.tare_step does; a graph is only
given its mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.step_model import StepStage, StepState, from_graph, to_graph
from hiss.program import Program, interpreter, schedule
from hiss.program.schedule import State

Array = NDArray[Any]


class Runner(Protocol):
    """Runs the graphs of one step model, and owns what they remember."""

    def step(self, stage: int, values: list[Array], mean: Array, last: bool) -> list[Array]:
        """One step of a stage: the values it reads, each (n,) -> the values it hands, each (n,); unread unless `last`.

        mean: of the tare, (C,), for stage 0.
        """

    def clear(self) -> None:
        """All states as they are after a reset."""

    def get(self) -> State:
        """The states, copied, under the names of interpreter.init_state; shapes and types are the runner's own."""

    def put(self, state: State) -> None:
        """Take states in place of those held; their names, shapes and types have been checked."""


class StagedStepper:
    """Runs a program sample by sample through graphs, one per stage."""

    def __init__(self, program: Program, runner: Runner):
        self.program = program
        self._runner = runner
        self._input = interpreter.input_op(interpreter.cast(program, np.float32))
        self._periods = [stage.period for stage in program.stages]
        self._mean: Array = np.zeros(len(program.inputs), np.float32)
        self._left = 0
        self.tare()

    def step(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """x: (C,) raw sample -> (D,) estimate, or None while taring and until a period is complete."""
        x = np.asarray(x, np.float32)
        if x.shape != self._mean.shape:
            names = " ".join(port.name for port in self.program.inputs)
            raise ValueError(f"a sample of shape {x.shape}; expected {self._mean.shape}: {names}")
        if self._left:
            self._tare_step(x)
            return None
        values = [x]
        for i, period in enumerate(self._periods):
            last = self._phases[i] == period - 1
            values = self._runner.step(i, values, self._mean, last)
            self._phases[i] = 0 if last else self._phases[i] + 1
            if not last:
                return None
        return np.concatenate(values)

    def _tare_step(self, x: Array) -> None:
        held = {"tare.mean": self._mean, "tare.left": np.array(self._left)}
        held = interpreter.tare_step(self._input, held, x)
        self._mean, self._left = held["tare.mean"], int(held["tare.left"])

    def reset(self) -> None:
        """Fresh state; the tare is kept."""
        self._runner.clear()
        self._phases = [0] * len(self._periods)

    def tare(self) -> None:
        """Fresh state, and measure the tare anew from the next samples."""
        self.reset()
        self._mean = np.zeros(len(self.program.inputs), np.float32)
        self._left = self._input.tare

    @property
    def taring(self) -> bool:
        """True while the tare is being measured: no estimates come."""
        return self._left > 0

    @property
    def state(self) -> State:
        """All that the stepper remembers, under the names of `interpreter.init_state`; assign it to restore."""
        phases = {f"phase.{i}": np.array(phase) for i, phase in enumerate(self._phases)}
        return {"tare.mean": self._mean.copy(), "tare.left": np.array(self._left), **phases, **self._runner.get()}

    @state.setter
    def state(self, state: State) -> None:
        for key, array in self.state.items():
            found = np.asarray(state[key]) if key in state else None
            if found is None or found.shape != array.shape or found.dtype != array.dtype:
                said = "missing" if found is None else f"{found.dtype}, {found.shape}"
                raise ValueError(f"state {key!r} is {said}; expected {array.dtype}, {array.shape} of the same program")
        self._mean = np.array(state["tare.mean"], np.float32)
        self._left = int(state["tare.left"])
        self._phases = [int(state[f"phase.{i}"]) for i in range(len(self._periods))]
        self._runner.put(state)


class FloatStates:
    """The states of a float runner.   held: of each stage, name of the state -> (1, ...) as its graph takes it."""

    def __init__(self, program: Program, stages: tuple[StepStage, ...]):
        real = interpreter.cast(program, np.float32)
        states = schedule.fresh(real, interpreter.Floating(real), ())
        self._like = {key: array for key, array in states.items() if not key.startswith("phase.")}
        self._stages = stages
        self.held: list[dict[str, Array]] = []
        self.clear()

    def clear(self) -> None:
        """All as after a reset."""
        self.held = [
            {state.name: np.full((1, *state.shape), state.initial, state.dtype) for state in stage.states}
            for stage in self._stages
        ]

    def get(self) -> State:
        """As the interpreter names and shapes them, in float32."""
        found = {s.key: held[s.name][0] for s, held in self._each()}
        return {k: from_graph(found[k], like) if k in found else like.copy() for k, like in self._like.items()}

    def put(self, state: State) -> None:
        """The reverse."""
        for s, held in self._each():
            held[s.name] = np.ascontiguousarray(to_graph(s.key, state[s.key])[None].astype(s.dtype))

    def _each(self) -> Iterator[tuple[StepState, dict[str, Array]]]:
        for stage, held in zip(self._stages, self.held, strict=True):
            for state in stage.states:
                yield state, held
