"""The exported ONNX files as an engine, run by onnxruntime; and their other forms, for the check after an export."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.step_check import BySteps
from hiss.engines.step_stepper import Array, FloatStates, StagedStepper
from hiss.errors import ExportError, MissingExtraError, ProgramError
from hiss.firmware_export.step_model import StepModel, StepStage, StepState, given_or_made
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
        self.model = given_or_made(program, "onnx", exported)
        super().__init__(program, _Runner(self.model))


class _Runner:
    def __init__(self, model: StepModel):
        self._graphs = [_StageGraph(session(model.files[stage.file]), stage) for stage in model.stages]
        self._states = FloatStates(model.program, model.stages)
        self._tare = bool(model.program.tare)

    def step(self, stage: int, values: list[Array], mean: Array, last: bool) -> list[Array]:
        return self._graphs[stage].step([*values, mean] if self._tare and stage == 0 else values, last)

    def clear(self) -> None:
        self._states.clear()
        self._hold()

    def get(self) -> State:
        for graph, held in zip(self._graphs, self._states.held, strict=True):
            held.update(graph.state)
        return self._states.get()

    def put(self, state: State) -> None:
        self._states.put(state)
        self._hold()

    def _hold(self) -> None:
        for graph, held in zip(self._graphs, self._states.held, strict=True):
            for name, buffer in graph.state.items():
                buffer[...] = held[name]


class _StageGraph:
    """One graph on buffers that are bound once, which halves the time of a step.

    States lie in two sets of buffers, which take turns as what the graph reads and what it writes.
    """

    def __init__(self, made: Any, stage: StepStage):
        self._session, self._turn = made, 0
        self._reads = {name: np.zeros((1, n), np.float32) for name, n in stage.reads.items()}
        self._hands = {name: np.zeros((1, n), np.float32) for name, n in stage.hands.items()}
        self._last = np.array(False)
        self._states = [{s.name: np.zeros((1, *s.shape), s.dtype) for s in stage.states} for _ in range(2)]
        given = self._reads | ({stage.last: self._last} if stage.last else {})
        self._bindings = [self._bound(given, *sets) for sets in (self._states, self._states[::-1])]

    @property
    def state(self) -> dict[str, Array]:
        """The buffers that the next step reads."""
        return self._states[self._turn]

    def step(self, values: list[Array], last: bool) -> list[Array]:
        """Hands, in buffers that the next step overwrites."""
        for buffer, value in zip(self._reads.values(), values, strict=True):
            buffer[0] = value
        self._last[...] = last
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        return [buffer[0] for buffer in self._hands.values()]

    def _bound(self, given: dict[str, Array], before: dict[str, Array], after: dict[str, Array]) -> Any:
        value, binding = _onnxruntime().OrtValue.ortvalue_from_numpy, self._session.io_binding()
        for name, buffer in {**given, **{f"{name}_in": held for name, held in before.items()}}.items():
            binding.bind_ortvalue_input(name, value(buffer))
        for name, buffer in {**self._hands, **{f"{name}_out": held for name, held in after.items()}}.items():
            binding.bind_ortvalue_output(name, value(buffer))
        return binding


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
