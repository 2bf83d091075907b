"""Displacement and velocity targets: differences of a position over a time, whatever the rate; sums are positions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hiss.changes import change_names, change_of
from hiss.errors import RecordingError
from hiss.metrics import cumulative
from hiss.recording import Recording, choose_targets, make_channels, write_hdf5

RATE = 50.0


def recording(n: int = 120, seed: int = 0, as_channels: bool = False) -> Recording:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    p = np.cumsum(x, 0)  # a change is a sum of past inputs
    a, b = make_channels(["acc", "gyr"]), make_channels(["px", "py"], "m")
    t = np.arange(n) / RATE
    if as_channels:
        return Recording(f"r{seed}", t, np.hstack([x, p]), (*a, *b), rate_hz=RATE)
    return Recording(f"r{seed}", t, x, a, p, b, rate_hz=RATE)


def test_a_displacement_is_the_position_less_that_of_before() -> None:
    r = recording()
    got = choose_targets(r, "d0.2(p*)")
    want = r.y[10:].astype(float) - r.y[:-10]
    np.testing.assert_allclose(got.y[10:], want, atol=1e-5)  # float32
    np.testing.assert_allclose(got.y[:10], r.y[:10] - r.y[0], atol=1e-5)
    assert not got.valid[:10].any()
    assert got.valid[10:].all()
    assert [(t.name, t.unit) for t in got.targets] == [("d0.2(px)", "m"), ("d0.2(py)", "m")]
    speed = choose_targets(r, ["v0.2(py)"])
    np.testing.assert_allclose(speed.y[10:, 0], want[:, 1] / 0.2, rtol=1e-4, atol=1e-5)
    assert speed.targets[0].unit == "m/s"


def test_the_position_is_no_input_beside_its_change() -> None:
    got = choose_targets(recording(as_channels=True), ["d0.2(px)"])
    assert [c.name for c in got.channels] == ["acc", "gyr", "py"]


def test_what_is_not_valid_at_either_end_is_not_valid() -> None:
    r = recording()
    valid = np.ones(len(r), bool)
    valid[40] = False
    got = choose_targets(dataclasses.replace(r, valid=valid), "d0.2(px)")
    assert np.flatnonzero(~got.valid).tolist() == [*range(10), 40, 50]


def test_other_rates_and_irregular_stamps_give_the_same_change() -> None:
    """A straight line moves alike whatever the samples' times."""
    t = np.cumsum(np.random.default_rng(0).uniform(0.005, 0.03, 200))
    line = Recording("a", t, np.zeros((200, 1)), make_channels(["x"]), 3 * t[:, None], make_channels(["p"], "m"))
    got = choose_targets(line, "v0.25(p)")
    np.testing.assert_allclose(got.y[got.valid], 3, rtol=1e-4)
    assert got.valid.sum() > 150


def test_unknown_columns_and_other_names() -> None:
    with pytest.raises(RecordingError, match="no column named 'q'"):
        choose_targets(recording(), "d0.2(q)")
    assert change_of("d(px)") is change_of("d0(px)") is change_of("px+3") is None
    assert change_names("velocity", ["px", "d1(py)"], 0.1) == ("v0.1(px)", "d1(py)")
    with pytest.raises(ValueError, match="known: displacement, velocity"):
        change_names("speed", ["px"], 0.1)


def test_summed_errors_restart_with_each_recording_and_skip_what_is_not_valid() -> None:
    error = np.array([[3.0, 4], [1, 0], [0, 0], [9, 9], [0, 1]])
    off = cumulative(np.zeros((5, 2)), error, np.array([1, 1, 1, 0, 1], bool), (0, 3))
    np.testing.assert_allclose(off, [5, np.hypot(4, 4), np.hypot(4, 4), 0, 1])


def test_train_and_evaluate_say_how_far_the_position_is_off(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from hiss.cli.evaluate import command as evaluate
    from hiss.cli.train import command as train

    write_hdf5(tmp_path / "walk.h5", [recording(600, s) for s in range(3)])
    asked = ["--target", "p*", "--change", "velocity", "--model", "arnet", "--lags", "12", "--period", "10"]
    done = CliRunner().invoke(train, [str(tmp_path / "walk.h5"), *asked, "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    said = CliRunner().invoke(evaluate, [str(tmp_path / "run"), "--json"])
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert list(found["outputs"]) == ["v0.2(px)", "v0.2(py)"]
    # what is summed are the rests of a linear fit that could be exact; the walk itself goes 40 m
    assert found["position_error"]["unit"] == "m"
    assert found["position_error"]["mean"] < 0.5
