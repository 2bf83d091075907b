"""The law of ONNX: all that is exported computes the program, in every form, for every family and every op."""

from __future__ import annotations

import numpy as np
import pytest
from core_families import FAMILIES, integer_program

pytest.importorskip("onnx", reason="ONNX needs: pip install 'hiss[onnx]'")
pytest.importorskip("onnxruntime", reason="ONNX needs: pip install 'hiss[onnx]'")

from hiss.engines.step_check import check
from hiss.firmware_export.step_model import step_model

PLAIN = [name for name, family in FAMILIES.items() if not family.spread]


@pytest.mark.parametrize("family", PLAIN)
def test_every_form_of_every_family_passes_the_check_after_an_export(family):
    program = FAMILIES[family].make()
    found = check(step_model(program, "onnx"))
    assert not found.wrong, found.text()
    assert set(found.difference) == {"stages", "single", "sequence"}
    assert found.estimates > 0


@pytest.mark.parametrize("family", ["hiss", "residual", "every position"])
def test_int8_weights_and_integer_programs_are_what_their_rounded_weights_compute(family):
    for program, weights in ((FAMILIES[family].make(), "int8"), (integer_program(family), "float32")):
        made = step_model(program, "onnx", weights=weights)
        assert not check(made).wrong
        assert made.reference.formats is None
        assert any(not np.array_equal(a, b) for a, b in _weights(made.reference, program))


def _weights(one, two):
    for (_, _, a), (_, _, b) in zip(one.ops(), two.ops(), strict=True):
        yield from zip(getattr(a, "weights", ()), getattr(b, "weights", ()), strict=True)
