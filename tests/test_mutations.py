"""Six kinds of bugs, planted into exported integer C one at a time: the interpreter sees each, and so does the
self-test that is shipped. A planting whose text is gone fails.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import absent
from exported_sources import exported, program_of
from integer_states import RESET, TARE, hard_actions, hard_samples
from integer_states import first_difference as different_state

from hiss.engines.cores import missing
from hiss.engines.firmware import Firmware
from hiss.engines.host_core import HostCore
from hiss.engines.trace import Trace
from hiss.firmware_export.c import Model
from hiss.program import integer

SHAPE, STEPS = "int8 weights", 150
Plant = Callable[[str], str]


def replaced(good: str, bad: str) -> Plant:
    """The one `good` of a text becomes `bad`."""

    def plant(text: str) -> str:
        found = text.count(good)
        if found != 1:
            pytest.fail(f"{good!r} stands {found} times, not once: plant the bug elsewhere")
        return text.replace(good, bad)

    return plant


def one_more(table: str, entry: int) -> Plant:
    """An entry of a table becomes one more."""

    def plant(text: str) -> str:
        held = re.search(rf" {table}\[\d+\][ A-Z_]* = \{{([^}}]*)\}}", text)
        if held is None:
            pytest.fail(f"there is no table {table}: plant the bug elsewhere")
        number = list(re.finditer(r"-?\d+", held[1]))[entry]
        begin, end = (held.start(1) + at for at in number.span())
        return text[:begin] + str(int(number[0]) + 1) + text[end:]

    return plant


BUGS: dict[str, tuple[str, Plant]] = {
    "rounding: a half that is dropped": ("hiss_int.c", replaced(" + ((UINT32_C(1) << shift) >> 1);\n", ";\n")),
    "sign: of a product of imaginary parts": (
        "hiss_int.c",
        replaced("hiss_product(re, d_re) - hiss_product(im, d_im)", "hiss_product(re, d_re) + hiss_product(im, d_im)"),
    ),
    "saturation: the upper limit is one less": (
        "hiss_int.c",
        replaced(
            "(int16_t)hiss_clamped(x, INT16_MIN, INT16_MAX)", "(int16_t)hiss_clamped(x, INT16_MIN, INT16_MAX - 1)"
        ),
    ),
    "saturation: there is none": ("hiss_int.c", replaced("hiss_clamped(x, INT16_MIN, INT16_MAX);\n", "x;\n")),
    "reset: a state outlives its chunk": ("model.c", replaced("        hiss_zero_s32(self->y_h, 24U);\n", "")),
    "reset: a state outlives a reset": ("model.c", replaced("    hiss_zero_s32(self->h_0_h, 24U);\n", "")),
    "table: the entry beside the right one": (
        "hiss_int.c",
        replaced("table + hiss_asr(place", "table + 1 + hiss_asr(place"),
    ),
    "table: a constant is one more": ("model.c", one_more("float_w", 0)),
    "shift: of a state's product": (
        "hiss_int.c",
        replaced("hiss_asr(turned_im, shift)", "hiss_asr(turned_im, shift + 1)"),
    ),
    "shift: of one row": ("model.c", one_more("float_w", -1)),
}


@pytest.fixture(scope="module")
def subject():
    """A model's C, samples and actions, and what the interpreter makes of them step by step."""
    reason = missing("host")
    if reason is not None and "sanitizer" not in reason:
        absent(reason)
    program = program_of(SHAPE)
    x, actions = hard_samples(program, STEPS), hard_actions(program, STEPS)
    state, expected = integer.init_state(program), []
    for sample, action in zip(x, actions, strict=True):
        if action == TARE:
            state = integer.init_state(program)
        elif action == RESET:
            state = integer.reset(program, state)
        y, state = integer.step(program, state, sample)
        expected.append((y, state))
    model = Model(program, "model")
    own = SimpleNamespace(layout=model.layout, program=program, version=model.version)
    firmware = Firmware.of(program, exported(SHAPE)[0].parent, "model")
    return SimpleNamespace(x=x, actions=actions, expected=expected, model=own, firmware=firmware)


def ran(subject, folder: Path) -> Trace:
    """The C in `folder` over the samples, its self-test before."""
    core = HostCore(replace(subject.firmware, folder=folder), sanitize=False)
    return core.run(subject.x, subject.actions)


def first_difference(subject, trace: Trace) -> str | None:
    """The first output or live state that is not the interpreter's; None when every bit is."""
    for i, (y, state) in enumerate(subject.expected):
        if trace.made[i] != (y is not None):
            return f"step {i}: made {trace.made[i]}"
        if y is not None and trace.y[i].tolist() != y.tolist():
            return f"step {i}: y {trace.y[i]}, interpreter {y}"
        different = different_state(subject.model, trace.state[i].tobytes(), state)
        if different is not None:
            return f"step {i}: {different}"
    return None


def test_without_a_bug_every_bit_is_the_interpreters(subject):
    trace = ran(subject, subject.firmware.folder)
    assert first_difference(subject, trace) is None
    assert trace.mismatches == 0


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_by_the_interpreter_and_by_the_selftest(bug, subject, tmp_path):
    file, plant = BUGS[bug]
    shutil.copytree(subject.firmware.folder, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / file).read_text(encoding="utf-8")
    (tmp_path / file).write_text(plant(text), encoding="utf-8")
    trace = ran(subject, tmp_path)
    assert first_difference(subject, trace) is not None
    assert trace.mismatches > 0


@pytest.mark.parametrize("plant", [replaced("what is not there", ""), replaced("int", "long"), one_more("no_table", 0)])
def test_a_planting_whose_text_is_gone_fails(plant):
    with pytest.raises(pytest.fail.Exception, match="plant the bug elsewhere"):
        plant("int a; int b;")
