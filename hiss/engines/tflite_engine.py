"""The exported TensorFlow Lite files as an engine, run by tflite-runtime or ai-edge-litert."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.step_check import BySteps
from hiss.engines.step_stepper import StagedStepper
from hiss.engines.tflite_runtime import Runtime, find_runtime
from hiss.errors import ExportError
from hiss.firmware_export.step_model import StepModel, StepStage, given_or_made, tensor_names
from hiss.firmware_export.tflite.stage import STEP
from hiss.program import Program
from hiss.program.schedule import State

Array = NDArray[Any]
FORMS = ("stages", "single")


class TfliteStepper(StagedStepper):
    """A program in TensorFlow Lite, with the interface of the numpy Stepper.

    A floating point program runs in float32. An integer program runs with int8 weights and int16 values: close to its
    integers, not equal to them (engine "c" is).
    """

    def __init__(
        self, program: Program, exported: StepModel | None = None, *, form: str = "stages", runtime: str | None = None
    ):
        """exported: what was written before (load_step_model); by default made here, in memory.

        form: a file per stage, or the single file;  runtime: a package, by default the first that works.
        Raises ExportError, MissingExtraError, HissError where a runtime is there and does not work.
        """
        self.model = given_or_made(program, "tflite", exported)
        super().__init__(program, _Runner(self.model, form, find_runtime(runtime)))


class _Runner:
    """calls: of each stage, what runs an ordinary step (None: nothing remembers) and what completes the period."""

    def __init__(self, model: StepModel, form: str, runtime: Runtime):
        self._stages, self._tare = model.stages, model.program.tare > 0
        if form == "single":
            files = [runtime.interpreter(model.files[model.others["single"]])] * len(model.stages)
        else:
            files = [runtime.interpreter(model.files[stage.file]) for stage in model.stages]
        prefixes = [f"stage_{i}_" if form == "single" else "" for i in range(len(files))]
        self._calls = [_calls(*found) for found in zip(files, model.stages, prefixes, strict=True)]
        self._names = [[(s.key, before, after) for s, before, after in tensor_names(stage)] for stage in model.stages]
        self.clear()

    def step(self, stage: int, values: list[Array], mean: Array, last: bool) -> list[Array]:
        """One step of a stage."""
        call = self._calls[stage][last]
        if call is None:
            return []
        told, held = self._stages[stage], self._held[stage]
        given = [*values, mean] if self._tare and stage == 0 else values
        feed = {name: value[None] for name, value in zip(told.reads, given, strict=True)}
        for _, before, after in self._names[stage]:
            feed[before] = held[after]
        made = call(**feed)
        for _, _, after in self._names[stage]:
            held[after] = made[after]
        return [made[name][0] for name in told.hands] if last else []

    def clear(self) -> None:
        """All states as they are after a reset."""
        self._held = [
            {f"{s.name}_out": np.full(s.shape, s.initial, s.dtype) for s in stage.states} for stage in self._stages
        ]

    def get(self) -> State:
        """The states as the graphs hold them."""
        return {key: held[after].copy() for key, held, after in self._each()}

    def put(self, state: State) -> None:
        """The reverse."""
        for key, held, after in self._each():
            held[after] = np.array(state[key])

    def _each(self) -> Any:
        for names, held in zip(self._names, self._held, strict=True):
            for key, _, after in names:
                yield key, held, after


def _calls(interpreter: Any, stage: StepStage, prefix: str) -> tuple[Any, Any]:
    """What runs an ordinary step of a stage, and its last one. Raises ExportError where the file has other calls."""
    there = interpreter.get_signature_list()
    last = prefix + (stage.last or STEP)
    ordinary = prefix + STEP if stage.last and stage.states else None
    for key in filter(None, (ordinary, last)):
        if key not in there:
            raise ExportError(f"{stage.file}: no signature {key!r} in it, but {sorted(there)}; export again")
    runner = interpreter.get_signature_runner
    return (runner(ordinary) if ordinary else None), runner(last)


def forms(model: StepModel) -> dict[str, Any]:
    """All that an export wrote, for step_check."""
    return {form: BySteps(TfliteStepper(model.program, model, form=form)) for form in FORMS}


def runtime() -> str:
    """Name and version of what runs the files. Raises MissingExtraError."""
    return find_runtime().said
