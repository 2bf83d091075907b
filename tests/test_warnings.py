"""What a model should not be fed without a word: values outside, stuck and dead channels, another gain."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from streaming import Kept, Timed, small_program, small_recording

from hiss.engines import Stepper
from hiss.program import Port, Program
from hiss.quantum import common_steps, steps_of
from hiss.realtime.devices.anyskin import anyskin_channels
from hiss.realtime.framing import Frame
from hiss.realtime.live import Limits, Loop
from hiss.realtime.warnings import STUCK
from hiss.recording import read_recordings

CHANNELS = anyskin_channels(5)
KINDS = ("outside", "stuck", "dead", "gain")
STEP = 0.2  # uT, that of the x and y axes


def program(steps: float | None = STEP) -> Program:
    made = small_program()
    inputs = tuple(Port(p.name, p.unit, -1000, 1000) for p in made.inputs)
    known = {} if steps is None else {"steps": [steps] * 15}
    return dataclasses.replace(made, inputs=inputs, provenance=known)


def skin(n: int = 3000, step: float = STEP, seed: int = 0) -> np.ndarray:
    """15 channels that drift and count in steps, offsets up to 900."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(0, 2, (n, 15)), 0) * 0.5 + np.linspace(-900, 900, 15)
    return (np.round(x / step) * step).astype(np.float32)


def said(x: np.ndarray, model: Program | None = None) -> list[tuple[str, str]]:
    """(kind, text) of the warnings over these samples at 100 Hz."""
    kept = Kept()
    items = [(10**12 + i * 10**7, Frame(row, i * 0.01)) for i, row in enumerate(x)]
    Loop(Timed(items, CHANNELS), Stepper(model or program()), [kept], Limits(tare_anyway=True)).run()
    return [(e.kind, e.text) for e in kept.events if e.kind in KINDS]


def test_a_sensor_like_that_of_the_training_gives_no_warning() -> None:
    assert said(skin()) == []


def test_a_value_outside_the_range_is_told_once_and_again_after_it_was_well() -> None:
    """The range is that behind the tare: offsets of 900 are well within it."""
    x = skin()
    x[500:700, 4] += 3000
    x[1500:1600, 4] += 3000
    found = said(x)
    assert [kind for kind, _ in found] == ["outside", "outside"]
    assert "m1_y is 3" in found[0][1]
    assert "uT after the tare; the model knows -1000 .. 1000, and clips there" in found[0][1]


def test_many_channels_outside_are_one_warning() -> None:
    x = skin()
    x[500:] += 5000
    found = said(x, program(None))
    assert found[0][0] == "outside"
    assert "more: " in found[0][1]
    assert len(found) <= 5


@pytest.mark.parametrize(("value", "kind"), [(12.4, "stuck"), (0.0, "dead")])
def test_a_channel_that_stands_still_while_others_move_is_told(value: float, kind: str) -> None:
    x = skin()
    x[:200, 7] = x[0, 7]  # not so long
    x[800:, 7] = value
    found = said(x)
    assert [k for k, _ in found] == [kind]
    assert found[0][1].startswith("m2_y is ")


def test_a_sensor_that_rests_is_not_stuck() -> None:
    x = skin()
    x[800:] = x[800]
    assert said(x) == []


def test_a_channel_that_is_no_number_is_dead() -> None:
    x = skin()
    x[800:, 2] = np.nan
    (warning,) = said(x)
    assert warning[0] == "dead"
    assert f"m0_z was not a number in {STUCK} frames" in warning[1]


@pytest.mark.parametrize("factor", [0.25, 2.0, 4.0])
def test_another_gain_is_told_by_the_step(factor: float) -> None:
    (warning,) = said(skin(step=STEP * factor))
    assert warning[0] == "gain"
    assert f"{factor:.4g} times those of the training data" in warning[1]
    assert "(and 14 more: " in warning[1]
    assert said(skin(step=STEP * factor), program(None)) == []  # a model that does not know says nothing


def test_averaged_samples_have_no_step_and_are_not_called_another_gain() -> None:
    x = skin().astype(np.float64)
    assert said(((x[1:] + 2 * x[:-1]) / 3).astype(np.float32)) == []
    small = small_recording(20.0).x
    assert steps_of(small).tolist() == [0.0] * 15


def test_the_steps_of_real_skins_are_those_of_their_gain(eflesh_normal: Path, eflesh_shear: Path) -> None:
    """MLX90393 at 4 times and at once the gain of the library's 0.6 and 0.968 uT; what was tared shows none."""
    for path, factor in ((eflesh_normal, 4), (eflesh_shear, 1)):
        for raw in (True, False):
            recordings = read_recordings(path, raw=raw)
            steps = [common_steps([r.x[:, i] for r in recordings]) for i in range(6)]
            np.testing.assert_allclose(steps, [raw * factor * s for s in (0.6, 0.6, 0.968) * 2], rtol=1e-4)


@pytest.mark.parametrize("step", [0.2, 0.3227, 2.42, 3.872, 1.0, 1 / 32768])
@pytest.mark.parametrize("offset", [0.0, 5000.0])
def test_the_step_of_a_channel_is_found(step: float, offset: float) -> None:
    counts = np.cumsum(np.random.default_rng(0).integers(-40, 41, 2000)) + round(offset / step)
    x = (counts * step).astype(np.float32)
    if step > 8 * np.abs(x).max() * 2.0**-23:
        assert steps_of(x[:, None])[0] == pytest.approx(step, rel=1e-3)
        assert common_steps([x, x[100:]]) == pytest.approx(step, rel=1e-3)
        assert common_steps([x, 2 * x]) == 0
    else:
        assert steps_of(x[:, None])[0] == 0  # lost in the numbers' own rounding
