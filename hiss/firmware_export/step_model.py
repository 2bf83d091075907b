"""Step models: a program as files for an edge runtime, one graph per stage, states as named inputs and outputs.

What every target has in common: how a state lies in a graph, what a stage reads and hands, the manifest beside the
files, and the list of targets. A target is one module with one function (program, name, weights) -> StepModel.

The caller's loop, in every target: run stage 0 on each sample, with `last` true on every period-th step; what it then
hands is the input of stage 1, and so on. Each `<state>_out` is the next step's `<state>_in`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ExportError
from hiss.program import Program, interpreter
from hiss.program.exact import refuse_float64_only
from hiss.program.storage import read

FORMAT = 1
"""Version of the manifest."""

TARGETS = {
    "onnx": "hiss.firmware_export.onnx_model:onnx_model",
    "tflite": "hiss.firmware_export.tflite_model:tflite_model",
}
"""Target -> module:function that writes it; imported when it is asked for."""

WEIGHTS = ("float32", "int8")


@dataclass(frozen=True)
class StepState:
    """One state of a stage in a graph: inputs and outputs `<name>_in` and `<name>_out`.

    key: its name in interpreter.init_state;  shape: in the graph, without the batch;  initial: after a reset.
    """

    key: str
    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    initial: float = 0


@dataclass(frozen=True)
class StepStage:
    """One graph.

    reads, hands: tensor -> length, in order
    last: what is said on the period's last step: the input that is true then (ONNX), or the signature that is called in
    place of `step` (TensorFlow Lite); None where the period is 1
    """

    file: str
    period: int
    reads: dict[str, int]
    hands: dict[str, int]
    last: str | None
    states: tuple[StepState, ...]


@dataclass(frozen=True, eq=False)
class StepModel:
    """What a target makes of a program.

    files: name -> content, without the manifest;  others: what else is among them, as {"single": file}
    reference: the program whose numbers the files give, in its own arithmetic; None where they were read from a folder
    notes: what the user should know, a line each
    bound: difference from `reference` that is right, as a share of an output's largest value
    whole: the states of the forms that hold all stages in one graph and count for themselves, where there are such
    """

    target: str
    name: str
    program: Program
    stages: tuple[StepStage, ...]
    files: Mapping[str, bytes]
    others: Mapping[str, str] = field(default_factory=dict)
    reference: Program | None = None
    notes: tuple[str, ...] = ()
    bound: float = 1e-5
    whole: tuple[StepState, ...] = ()

    @property
    def manifest(self) -> dict[str, Any]:
        """What a caller needs to know, as JSON: ports, periods, hand-overs, states, tare, and the hashes of it all."""
        program = self.program
        return {
            "format": FORMAT,
            "target": self.target,
            "program": program.digest,
            "rate_hz": program.rate_hz,
            "period": program.period,
            "tare": program.tare,
            "inputs": ports(program, "inputs"),
            "outputs": ports(program, "outputs"),
            "stages": [asdict(stage) for stage in self.stages],
            "others": dict(self.others),
            "whole": [asdict(state) for state in self.whole],
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()},
            "notes": list(self.notes),
        }

    @property
    def all_files(self) -> dict[str, bytes]:
        """The files and NAME.json, the manifest."""
        text = json.dumps(self.manifest, indent=2, allow_nan=False) + "\n"
        return {**self.files, f"{self.name}.json": text.encode()}


def ports(program: Program, kind: str) -> list[dict[str, Any]]:
    """inputs or outputs as JSON; a bound that is not finite is left out."""
    keep = {"name", "unit"}
    return [
        {k: v for k, v in asdict(port).items() if k in keep or np.isfinite(v)}
        for port in (program.inputs if kind == "inputs" else program.outputs)
    ]


def file_metadata(program: Program, form: str, weights: str) -> dict[str, str]:
    """What a file says of itself, beside its graph: which form of what program, and what a caller must know of it."""
    told: dict[str, Any] = {
        "format": FORMAT,
        "form": form,
        "program": program.digest,
        "weights": weights,
        "rate_hz": program.rate_hz,
        "period": program.period,
        "tare": program.tare,
        "inputs": ports(program, "inputs"),
        "outputs": ports(program, "outputs"),
    }
    return {f"hiss.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}


def step_model(program: Program, target: str, name: str = "model", weights: str = "float32") -> StepModel:
    """The files of a program for a target, in memory.

    weights: float32, or int8 for the layers that can have it; an integer program brings its own widths.
    Raises ValueError for another target, name or weights; ExportError where the target cannot hold the program;
    MissingExtraError.
    """
    if target not in TARGETS:
        raise ValueError(f"no target {target!r}; there are {', '.join(TARGETS)}")
    if weights not in WEIGHTS:
        raise ValueError(f"weights {weights!r}; known: {', '.join(WEIGHTS)}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"{name!r} does not begin a file name; take letters, digits and _ . -")
    if program.slots is not None:
        raise ExportError(
            f"a spread program evens out its work for a microcontroller and answers a chunk later; {target} would only "
            "answer later: export the program that is not spread (program.plain)"
        )
    refuse_float64_only(program, target)
    module, function = TARGETS[target].split(":")
    made: StepModel = getattr(importlib.import_module(module), function)(program, name, weights)
    return made


def given_or_made(program: Program, target: str, exported: StepModel | None) -> StepModel:
    """What an engine runs: `exported`, or what step_model makes. Raises ExportError where it is of another program."""
    if exported is None:
        return step_model(program, target)
    if exported.target != target or exported.program.digest != program.digest:
        found = f"{exported.target} of program {exported.program.digest[:12]}"
        raise ExportError(f"a step model for {found}; expected {target} of {program.digest[:12]}: export again")
    return exported


# ---- states in a graph -----------------------------------------------------------------------------------------------


def stage_states(program: Program, index: int) -> tuple[StepState, ...]:
    """The states of a stage's ops, those without a number left out. A target may change dtypes and shapes."""
    made = []
    for op in program.stages[index].ops:
        width = program.widths[op.reads[0]] if op.reads else 0
        for part, array in interpreter.initial(op, width, np.float32).items():
            if array.size:
                kind = "bool" if array.dtype == bool else "float32"
                key = f"{op.out}.{part}"
                made.append(StepState(key, state_name(op.out, part), to_graph(key, array).shape, kind))
    return check_names(made)


def check_names(states: Iterable[StepState]) -> tuple[StepState, ...]:
    """The states of one graph. Raises ExportError where two have one name."""
    found = tuple(states)
    names = [state.name for state in found]
    for name in names:
        if names.count(name) > 1:
            raise ExportError(
                f"two states would be called {name!r} in the graph; rename the values that differ in _ or ."
            )
    return found


def state_name(out: str, part: str) -> str:
    """`h_low_0_ssm` of the part h of low.0.ssm."""
    return f"{part}_" + re.sub(r"\W", "_", out)


def to_graph(key: str, array: NDArray[Any]) -> NDArray[Any]:
    """The interpreter's state `key` as graphs hold it: modes (H, N) as (H, 2 N), real parts before imaginary ones; a
    past (K, n) as (K n,), newest first; primed as (1,)."""
    if np.iscomplexobj(array):
        return np.concatenate([array.real, array.imag], -1)
    return array.reshape(-1) if key.rpartition(".")[2] in ("past", "primed") else array


def from_graph(array: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """The reverse; like: a state of the shape and type that is wanted."""
    if np.iscomplexobj(like):
        half = array.shape[-1] // 2
        return (array[..., :half] + 1j * array[..., half:]).astype(like.dtype)
    return array.reshape(like.shape).astype(like.dtype)


# ---- files that were written before ----------------------------------------------------------------------------------


def load_step_model(manifest: str | Path, program: Program) -> StepModel:
    """The step model that an export wrote, for running `program` with it.

    Raises ExportError where the manifest belongs to another program or version, or a file is not the one it names.
    """
    path = Path(manifest)
    try:
        held = json.loads(read(path))
        found = held["format"], held["program"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{path}: no manifest of a step model ({error!r}); expected the .json of an export"
        ) from error
    if found[0] != FORMAT:
        raise ExportError(f"{path}: a manifest of format {found[0]}; this release reads {FORMAT}: export again")
    if found[1] != program.digest:
        raise ExportError(
            f"{path}: stale, it was exported from program {found[1][:12]}, but this is program {program.digest[:12]}; "
            "export again"
        )
    files = {name: _content(path.parent / name, digest) for name, digest in held["sha256"].items()}
    stages = tuple(StepStage(**{**entry, "states": _states(entry["states"])}) for entry in held["stages"])
    return StepModel(
        held["target"],
        path.stem,
        program,
        stages,
        files,
        held["others"],
        notes=tuple(held["notes"]),
        whole=_states(held["whole"]),
    )


def _content(path: Path, digest: str) -> bytes:
    data = read(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ExportError(f"{path}: not the file that its manifest names; export again")
    return data


def _states(entries: list[dict[str, Any]]) -> tuple[StepState, ...]:
    return tuple(StepState(**{**entry, "shape": tuple(entry["shape"])}) for entry in entries)


def tensor_names(stage: StepStage) -> Iterator[tuple[StepState, str, str]]:
    """Every state with the names of its input and its output."""
    for state in stage.states:
        yield state, f"{state.name}_in", f"{state.name}_out"
