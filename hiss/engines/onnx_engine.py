"""The exported ONNX files as an engine, run by onnxruntime; and their other forms, for the check after an export."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.step_check import BySteps
from hiss.engines.step_stepper import Array, FloatStates, StagedStepper
from hiss.errors import ExportError, MissingExtraError, ProgramError
from hiss.firmware_export.step_model import StepModel, StepState, step_model, tensor_names
from hiss.program import Program
from hiss.program.schedule import State


class OnnxStepper(StagedStepper):
    """A floating point program in onnxruntime, one graph per stage, with the interface of the numpy Stepper."""

    def __init__(self, program: Program, exported: StepModel | None = None):
        """exported: what was written before (load_step_model); by default made here, in memory.

        Raises ProgramError for an integer program, ExportError, MissingExtraError.
        """
        if program.formats is not None and exported is None:
            raise ProgramError(
                "an integer program, but ONNX computes in floating point and would give other numbers; the engines "
                "numpy and c run it to the bit"
            )
        self.model = exported or step_model(program, "onnx")
        super().__init__(program, _Runner(self.model))


class _Runner:
    """What graphs are fed is kept between steps: a dictionary per stage, in which states take each other's place."""

    def __init__(self, model: StepModel):
        self._sessions = [session(model.files[stage.file]) for stage in model.stages]
        self._stages = model.stages
        self._states = FloatStates(model.program, model.stages)
        self._tare = bool(model.program.tare)
        self._flags = np.array(False), np.array(True)
        self._names = [[name for _, name, _ in tensor_names(stage)] for stage in model.stages]
        self._feeds: list[dict[str, Array]] = []

    def step(self, stage: int, values: list[Array], mean: Array, last: bool) -> list[Array]:
        told, feed = self._stages[stage], self._feeds[stage]
        given = [*values, mean] if self._tare and stage == 0 else values
        for name, value in zip(told.reads, given, strict=True):
            feed[name] = value[None]
        if told.last:
            feed[told.last] = self._flags[last]
        made = self._sessions[stage].run(None, feed)
        hands = len(told.hands)
        for name, array in zip(self._names[stage], made[hands:], strict=True):
            feed[name] = array
        return [array[0] for array in made[:hands]]

    def clear(self) -> None:
        self._states.clear()
        self._feed()

    def get(self) -> State:
        for held, feed in zip(self._states.held, self._feeds, strict=True):
            held.update({name: feed[f"{name}_in"] for name in held})
        return self._states.get()

    def put(self, state: State) -> None:
        self._states.put(state)
        self._feed()

    def _feed(self) -> None:
        self._feeds = [{f"{name}_in": array for name, array in held.items()} for held in self._states.held]


class _Whole:
    """A graph of the whole program, of a step or of a sequence, as a Form."""

    def __init__(self, model: StepModel, form: str):
        self._session = session(model.files[model.others[form]])
        self._sequence = form == "sequence"
        self._states = model.whole
        self._outputs = len(model.program.outputs)
        self.tare()

    def tare(self) -> None:
        self._held = {s.name: self._initial(s) for s in self._states}

    def reset(self) -> None:
        self._held |= {s.name: self._initial(s) for s in self._states if not s.key.startswith("tare.")}

    def run(self, x: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        if self._sequence:
            y, made = self._call(x[None])
            return made, y[0]
        found = [self._call(sample[None]) for sample in x]
        made = np.array([bool(m) for _, m in found])
        return made, np.array([y[0] for y, m in found if m], np.float32).reshape(-1, self._outputs)

    def _call(self, x: NDArray[Any]) -> tuple[Array, Array]:
        feed = {f"{name}_in": array for name, array in self._held.items()}
        y, made, *after = self._session.run(None, {"x": x.astype(np.float32), **feed})
        self._held = dict(zip(self._held, after, strict=True))
        return y, made

    @staticmethod
    def _initial(state: StepState) -> Array:
        batch = () if state.dtype == "int64" else (1,)
        return np.full((*batch, *state.shape), state.initial, state.dtype)


def forms(model: StepModel) -> dict[str, Any]:
    """All that an export wrote, for step_check: the stages, the single graph, the sequence."""
    stages = BySteps(OnnxStepper(model.program, model))
    return {"stages": stages, **{form: _Whole(model, form) for form in model.others}}


def runtime() -> str:
    """Name and version of what runs the files. Raises MissingExtraError."""
    return f"onnxruntime {_onnxruntime().__version__}"


def session(data: bytes) -> Any:
    """An onnxruntime session of a file, on one thread: a step is too short for more."""
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ExportError(f"onnxruntime does not take the file: {error}") from error


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    return onnxruntime
