"""The simulated skin obeys its physics, is the same for the same seed, and can be learned but not read off."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from hiss import catalog
from hiss.cli.datasets import command
from hiss.recording import Recording, read_recordings

SKIN = catalog.load_script(catalog.find("simulated_skin"))


@pytest.fixture(scope="module")
def made() -> tuple[list[Recording], dict[str, Any]]:
    recordings, extra = SKIN.simulate(3, 8.0)
    return recordings, extra


def test_the_same_seed_gives_the_same_arrays_and_another_one_others() -> None:
    (a, raw_a), (b, raw_b), (c, _) = (SKIN.simulate(seed, 0.6) for seed in (7, 7, 8))
    for one, same, other in zip(a, b, c, strict=True):
        assert one.x.tobytes() == same.x.tobytes()
        assert one.y.tobytes() == same.y.tobytes()
        assert raw_a[one.name]["raw_x"].tobytes() == raw_b[one.name]["raw_x"].tobytes()
        assert one.x[0].tobytes() != other.x[0].tobytes()


def test_a_run_does_not_depend_on_how_many_others_are_made(made: tuple[list[Recording], dict[str, Any]]) -> None:
    assert SKIN.one_run(3, 0, 160.0, "train").x.tobytes() == made[1]["sim0"]["raw_x"].tobytes()


def test_a_dipole_has_its_textbook_field() -> None:
    """1 A m^2 at 1 m: 0.2 uT on its axis, -0.1 uT beside it; and no sources: the flux through a closed box is zero."""
    up = np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(SKIN.dipole_field(np.array([0, 0, 1e3]), up), [0, 0, 0.2], atol=1e-12)
    np.testing.assert_allclose(SKIN.dipole_field(np.array([1e3, 0, 0]), up), [0, 0, -0.1], atol=1e-12)
    side = (np.arange(80) + 0.5) / 80 * 10 - 5
    u, v = (g.ravel() for g in np.meshgrid(side, side))
    faces = [np.roll(np.stack([np.full(u.shape, 5.0 * s), u, v], axis=1), k, axis=1) for k in range(3) for s in (-1, 1)]
    flux = [
        s * SKIN.dipole_field(f, up)[:, k].mean()
        for f, (k, s) in zip(faces, [(k, s) for k in range(3) for s in (-1, 1)], strict=True)
    ]
    assert abs(sum(flux)) < 1e-6 * max(map(abs, flux))


def test_the_layer_creeps_and_comes_back() -> None:
    clock = np.arange(0, 60, SKIN.STEP_S)
    force = np.zeros((len(clock), 3))
    force[100:3100, 0] = 2.0  # from 1 s to 31 s
    depth = SKIN.sink(force)[:, 0]
    assert depth[99] == 0
    assert (np.diff(depth[100:3100]) >= 0).all()
    assert 1.3 < depth[3099] / depth[101] < 2.2  # the Prony terms sum to about the instant compliance
    assert 0.02 < depth[3110] / depth[3099] < 0.6  # most comes back at once, the rest later
    assert depth[-1] < 0.1 * depth[3110]


def test_loading_and_unloading_differ_also_when_slow() -> None:
    """Play is hysteresis without time: the same force is met at another depth on the way back."""
    up = np.linspace(0, 4, 20_000)
    force = np.zeros((40_000, 3))
    force[:, 0] = np.r_[up, up[::-1]]
    depth = SKIN.sink(force)[:, 0]
    assert depth[30_000] > depth[10_000] * 1.01


def test_samples_are_steps_of_the_chip_on_increasing_stamps(made: tuple[list[Recording], dict[str, Any]]) -> None:
    for raw in made[1].values():
        steps = raw["raw_x"].reshape(-1, 5, 3) / SKIN.LSB
        np.testing.assert_allclose(steps, np.round(steps), atol=2e-3)  # float32 of up to 5 mT
        assert (np.diff(raw["raw_t"]) > 0).all()
        assert np.diff(raw["raw_t"]).mean() == pytest.approx(1 / SKIN.RAW_HZ, rel=0.01)


def test_a_recording_begins_at_rest_and_holds_presses_and_rests(made: tuple[list[Recording], dict[str, Any]]) -> None:
    for recording in made[0]:
        force = recording.y[:, 0]
        assert (force[: int(1.4 * SKIN.RATE_HZ)] == 0).all()  # the tare is taken there
        assert force.max() > 5
        assert force.min() > -1e-3
        assert 0.1 < (force < 0.01).mean() < 0.7
        assert np.abs(recording.x).max() > 1000  # not tared
        assert recording.tared == 0


def lagged(recording: Recording, lags: list[int]) -> np.ndarray:
    rows = np.maximum(np.arange(len(recording))[:, None] - lags, 0)
    return np.c_[recording.x[rows].reshape(len(recording), -1), np.ones(len(recording))].astype(float)


def test_the_past_is_needed_and_suffices(made: tuple[list[Recording], dict[str, Any]]) -> None:
    """A ridge over 3 s of lags explains the force (R2 > 0.9); without the past it errs at least twice as much."""
    *train, test = [r.resampled(20.0).tare(20) for r in made[0]]
    error = {}
    for name, lags in (("static", [0]), ("lags", [0, 1, 2, 3, 5, 8, 13, 21, 36, 60])):
        a = np.concatenate([lagged(r, lags) for r in train])
        scale = a.std(axis=0) + 1e-5
        a /= scale
        weights = np.linalg.solve(
            a.T @ a + 1e-4 * len(a) * np.eye(a.shape[1]), a.T @ np.concatenate([r.y[:, 0] for r in train])
        )
        error[name] = np.mean((lagged(test, lags) / scale @ weights - test.y[:, 0]) ** 2)
    assert error["lags"] < 0.1 * test.y[:, 0].var()
    assert error["lags"] < 0.25 * error["static"]  # as mean squares


def test_make_writes_a_recording_file_that_says_it_is_simulated(tmp_path: Path) -> None:
    path = tmp_path / "skin.h5"
    arguments = ["make", "simulated_skin", "-o", str(path), "--seed", "5", "--minutes", "1"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.stdout == f"{path}\n"
    recordings = read_recordings(path)
    assert [r.split for r in recordings] == ["train", "val", "test"]
    assert all("SIMULATED" in r.attrs["notes"] and r.attrs["simulated"] == "seed 5" for r in recordings)
    raw = read_recordings(path, raw=True)
    np.testing.assert_array_equal(raw[0].resampled(SKIN.RATE_HZ).x, recordings[0].x)
    assert sum(r.duration_s for r in recordings) == pytest.approx(60, abs=1)
