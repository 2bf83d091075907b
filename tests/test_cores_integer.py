"""The law of the cores: integer C gives the same bits everywhere, outputs and all live state after every step.

This computer's C, with sanitizers, is held against the integer interpreter; every core against this computer's.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import absent
from core_families import FAMILIES, integer_program, long_samples
from integer_states import RESET, TARE
from integer_states import first_difference as from_interpreter

from hiss.engines.cores import CORES, missing, open_core
from hiss.engines.firmware import Firmware
from hiss.engines.host_core import HostCore
from hiss.engines.trace import differing_bits, first_difference
from hiss.firmware_export import export_c
from hiss.firmware_export.c import Model
from hiss.program import integer

SHORT, LONG = (120, 80), (10_000, 1_000)
USUAL = ("hiss", "every position", "dense lags", "real poles")
RUNS = [(core, "zig") for core in CORES if core != "host"] + [("m4f", "gcc")]


def require(core, compiler="zig"):
    """absent() where this computer lacks the core."""
    reason = missing(core, compiler)
    if reason is not None:
        absent(reason)


class Case:
    """A family's firmware, samples, and the trace of this computer."""

    def __init__(self, name, folder, steps):
        require("host")
        self.name, self.program = name, integer_program(name)
        export_c(self.program, folder, "model")
        self.firmware, self.model = Firmware.of(self.program, folder, "model"), Model(self.program, "model")
        self.x, self.actions = long_samples(self.program, *steps)
        self.reference = HostCore(self.firmware).run(self.x, self.actions)

    def against_interpreter(self):
        """Every made, y and state word; the number of estimates."""
        state, made = integer.init_state(self.program), 0
        # A model's version is a digest of the whole program: made once, not per step
        model = SimpleNamespace(layout=self.model.layout, program=self.program, version=self.model.version)
        for i, x in enumerate(self.x):
            if self.actions[i] == TARE:
                state = integer.init_state(self.program)
            elif self.actions[i] == RESET:
                state = integer.reset(self.program, state)
            y, state = integer.step(self.program, state, x)
            assert self.reference.made[i] == (y is not None), f"step {i}"
            if y is not None:
                made += 1
                assert self.reference.y[i].tolist() == y.tolist(), f"step {i}"
            if not FAMILIES[self.name].spread or state["phase.0"] == 0:  # within a tail stages have moved on in part
                different = from_interpreter(model, self.reference.state[i].tobytes(), state)
                assert different is None, f"step {i}: {different}"
        return made

    def on(self, core, compiler):
        """Every bit of one core against this computer's; absent() where the core is."""
        if core == "atmega328p" and not FAMILIES[self.name].small:
            pytest.skip(f"{self.name} does not fit into an ATmega328P")
        require(core, compiler)
        run = open_core(core, self.firmware, compiler=compiler)
        assert run.selftest() == 0
        trace, members = run.run(self.x, self.actions), self.model.layout.members
        assert first_difference(trace, self.reference, members) is None
        assert differing_bits(trace, self.reference, members) == 0


@pytest.fixture(scope="module")
def short_of(tmp_path_factory):
    """Family -> its short case, made once."""
    return functools.cache(lambda name: Case(name, tmp_path_factory.mktemp("short"), SHORT))


@pytest.fixture(scope="module", params=USUAL)
def short(request, short_of):
    return short_of(request.param)


@pytest.fixture(scope="module", params=FAMILIES)
def long(request, tmp_path_factory):
    return Case(request.param, tmp_path_factory.mktemp("long"), LONG)


def test_this_computer_equals_the_interpreter_in_every_bit(short):
    assert short.against_interpreter() > 10


@pytest.mark.parametrize(("core", "compiler"), RUNS)
def test_every_core_equals_this_computer_in_every_bit(short, core, compiler):
    short.on(core, compiler)


@pytest.mark.campaign
def test_this_computer_equals_the_interpreter_in_every_bit_for_long(long):
    assert long.against_interpreter() > 500


@pytest.mark.campaign
@pytest.mark.parametrize(("core", "compiler"), RUNS)
def test_every_core_equals_this_computer_in_every_bit_for_long(long, core, compiler):
    long.on(core, compiler)


def test_samples_reach_every_extreme(short):
    """The samples that stand for all: both limits of their type, resets and tares at any phase of a chunk."""
    limits = np.iinfo(short.firmware.x_dtype)
    assert short.x.max() == limits.max
    assert short.x.min() == limits.min
    assert np.isin([RESET, TARE], short.actions).all()
    assert len(set(np.flatnonzero(short.actions) % short.program.period)) >= min(2, short.program.period)


PLANTED = {
    "saturation in the DSP path": ("m4f", "gcc", "hiss_int.c", "ssat %0, #16", "ssat %0, #15"),
    "the wrong half in the DSP path": ("m33", "zig", "hiss_int.c", "smlawt %[turned]", "smlawb %[turned]"),
    "a shift in the Helium path": ("m55", "gcc", "hiss_int.c", "(m + 1, place), 16)", "(m + 1, place), 15)"),
    "a sign in the Helium path": (
        "m55",
        "gcc",
        "hiss_int.c",
        "vsubq_s32(state.val[1], vshlq_r",
        "vaddq_s32(state.val[1], vshlq_r",
    ),
    "half a table entry on AVR": ("atmega328p", "gcc", "hiss_base.h", "t)pgm_read_word", "t)(int8_t)pgm_read_word"),
    "a sign of lags on AVR": ("atmega328p", "gcc", "hiss_int.h", "sbc %C[high], %[zero]", "nop"),
    "a run of lags that is left out on AVR": ("atmega328p", "gcc", "hiss_int.h", "tst %[more]\\n\\tbrne 3b", "nop"),
    "an input of real poles": ("m33", "zig", "hiss_int.c", "32U - (head >> 26)", "31U - (head >> 26)"),
    "a ring one row too long": ("m0", "zig", "hiss_base.h", "at + 1U < rows", "at + 1U <= rows"),
    "a phase that a reset keeps": ("rv32imc", "zig", "model.c", "    self->phase_0 = 0U;\n", ""),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_bug_planted_in_one_cores_path_is_caught(bug, short_of, tmp_path):
    core, compiler, file, good, bad = PLANTED[bug]
    require(core, compiler)
    families = {"ring": "every position", "lags": "dense lags", "real": "real poles"}
    case = short_of(next((family for word, family in families.items() if word in bug), "hiss"))
    shutil.copytree(case.firmware.folder, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / file).read_text()
    assert good in text, f"{file} has changed: plant the bug elsewhere"
    (tmp_path / file).write_text(text.replace(good, bad, 1))
    with_bug = open_core(core, replace(case.firmware, folder=tmp_path), compiler=compiler)
    trace = with_bug.run(case.x, case.actions)
    assert first_difference(trace, case.reference, case.model.layout.members) is not None
