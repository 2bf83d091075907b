"""Exported families, and what runs them: shared by the tests of TensorFlow Lite."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from core_families import FAMILIES, integer_program
from programs import random_samples

pytest.importorskip("flatbuffers", reason="TensorFlow Lite needs: pip install 'hiss[tflite]'")

from hiss.engines.tflite_runtime import find_runtime
from hiss.errors import MissingExtraError
from hiss.firmware_export.selftest import usual_samples
from hiss.firmware_export.step_model import step_model

STEPS = 2000
FORMS = pytest.mark.parametrize("whole", [False, True], ids=["float32", "int8 x int16"])


try:
    find_runtime()
except MissingExtraError as missing:
    pytest.skip(str(missing), allow_module_level=True)


def runtime(package):
    try:
        return find_runtime(package)
    except MissingExtraError as error:
        pytest.skip(str(error))


@functools.cache
def exported(family, whole=False):
    program = integer_program(family) if whole else FAMILIES[family].make()
    return program, step_model(program, "tflite")


def samples(program, name, steps=STEPS):
    return random_samples(program, steps, 1) if name.startswith("random") else usual_samples(program, steps)


def estimates(stepper, x):
    return np.array([y for sample in x if (y := stepper.step(sample)) is not None])
