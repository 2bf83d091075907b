"""The check after an export: every form of a step model over the golden vectors, against the interpreter.

The vectors are those of the C self-test: a tare, chunk boundaries, a reset in the middle of a chunk, samples far beyond
the declared range. The interpreter is that of the model's reference: floating point in float64, or the integers of a
program whose values saturate.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hiss.engines.integer_engine import IntegerStepper
from hiss.engines.step_stepper import StagedStepper
from hiss.firmware_export.selftest import RESET, STEP, TARE, Vectors, vectors
from hiss.firmware_export.step_model import StepModel
from hiss.program import Program

ENGINES = {"onnx": "hiss.engines.onnx_engine", "tflite": "hiss.engines.tflite_engine"}
"""Target -> module with `forms(model)` and `runtime()`; imported when it is asked for."""


class Form(Protocol):
    """What the check runs: a stepper, a graph of a whole step or of a sequence."""

    def run(self, x: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Samples (n, C) -> made (n,), and the estimates (m, D)."""

    def reset(self) -> None:
        """Fresh state; the tare is kept."""

    def tare(self) -> None:
        """Fresh state, and measure the tare anew."""


class BySteps:
    """A stepper as a form."""

    def __init__(self, stepper: StagedStepper | IntegerStepper):
        self.reset, self.tare = stepper.reset, stepper.tare
        self.stepper = stepper

    def run(self, x: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """step() over samples."""
        made = [self.stepper.step(sample) for sample in x]
        found = np.array([y for y in made if y is not None], np.float32)
        return np.array([y is not None for y in made], bool), found.reshape(-1, len(self.stepper.program.outputs))


@dataclass(frozen=True)
class Check:
    """What was measured.

    steps, estimates: of the vectors;  runtime: name and version
    bound: of what is right: the target's, or what float32 costs this program on these vectors, where that is more
    difference: form -> largest difference of an output, as a share of its largest value;  against: from what
    integers: the same between `against` and the integer program that was exported in floating point
    """

    target: str
    program: str
    runtime: str
    steps: int
    estimates: int
    bound: float
    difference: Mapping[str, float]
    against: str = "floating point interpreter, float64"
    integers: float | None = None

    @property
    def wrong(self) -> tuple[str, ...]:
        """The forms that differ by more than the bound, or are not a number."""
        return tuple(form for form, found in self.difference.items() if not found <= self.bound)

    def to_json(self) -> dict[str, Any]:
        """For check.json; two digits of what is measured, the rest is the same everywhere."""
        beside = {} if self.integers is None else {"beside the integers": float(f"{self.integers:.1e}")}
        return {
            "target": self.target,
            "program": self.program,
            "against": self.against,
            "vectors": {"steps": self.steps, "estimates": self.estimates},
            "runtime": self.runtime,
            "bound": float(f"{self.bound:.1e}"),
            "difference": {form: float(f"{found:.1e}") for form, found in self.difference.items()},
            **beside,
        }

    def text(self) -> str:
        """A line."""
        found = ", ".join(f"{form} {value:.1e}" for form, value in self.difference.items())
        beside = "" if self.integers is None else f"; the integers differ by {self.integers:.1e}"
        return (
            f"check by {self.runtime}, {self.steps} steps: largest difference from the {self.against}, as a share "
            f"of the output's largest value: {found} (right: up to {self.bound:.1e}){beside}"
        )


def check(model: StepModel) -> Check:
    """Run the files of a step model. Raises MissingExtraError without the runtime, ExportError where it refuses."""
    engine = importlib.import_module(ENGINES[model.target])
    if model.reference is None:
        raise ValueError("a step model that was read from a folder; the check belongs to the export that made it")
    v = _golden(model.reference)
    largest = np.abs(v.y).max(axis=0, initial=0)
    moves = largest > 0
    bound = max(model.bound, float((v.tolerance[moves] / largest[moves]).max(initial=0)))
    largest[~moves] = np.finfo(np.float32).tiny
    forms: dict[str, Form] = engine.forms(model)
    found = {name: difference(form, v, largest) for name, form in forms.items()}
    whole, runtime = model.reference.formats is not None, engine.runtime()
    against, integers = ("integer interpreter" if whole else Check.against), None
    if model.program.formats is not None and not whole:
        integers = difference(BySteps(IntegerStepper(model.program)), v, largest)
    return Check(model.target, model.program.digest, runtime, len(v.q), len(v.y), bound, found, against, integers)


def _golden(reference: Program) -> Vectors:
    """The vectors with the estimates of the reference's own arithmetic."""
    v = vectors(dataclasses.replace(reference, formats=None))
    if reference.formats is None:
        return v
    return dataclasses.replace(v, y=replay(BySteps(IntegerStepper(reference)), v.x, v.actions)[1])


def difference(form: Form, v: Vectors, largest: NDArray[Any]) -> float:
    """Largest |difference| / largest value over the vectors; infinite where other steps make an estimate."""
    made, y = replay(form, v.x, v.actions)
    if not np.array_equal(made, v.made) or np.isnan(y).any():
        return float("inf")
    return float((np.abs(y - v.y) / largest).max(initial=0))


def replay(form: Form, x: NDArray[Any], actions: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Samples (n, C), with what is done before each of them: made (n,) and the estimates (m, D)."""
    begins = [*np.flatnonzero(actions != STEP), len(x)]
    if begins[0] != 0:
        begins.insert(0, 0)
    parts = []
    for begin, end in itertools.pairwise(begins):
        if actions[begin] == TARE:
            form.tare()
        elif actions[begin] == RESET:
            form.reset()
        parts.append(form.run(x[begin:end]))
    return np.concatenate([made for made, _ in parts]), np.concatenate([y for _, y in parts])
