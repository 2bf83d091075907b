"""Dataset: scaling from training recordings only, windows at fair offsets, hold-out, ridge = normal equations."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hiss.dataset import (
    Retare,
    Scaling,
    Sequence,
    Windows,
    find_retare,
    fit_scaling,
    hold_out,
    prepare,
    sequences,
    window_length,
)
from hiss.errors import ProgramError, RecordingError, TrainingError
from hiss.recording import Recording, make_channels
from hiss.ridge import BLOCK, lagged, log_ages, normal_equations, thinned


def recording(n: int = 200, seed: int = 0, *, name: str = "a", split: str | None = None, tared: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    return Recording(
        name,
        np.arange(n) / 50,
        rng.normal([3, -100], [1, 20], (n, 2)).astype(np.float32),
        make_channels(["p", "q"], "uT"),
        rng.normal(5, 2, (n, 2)).astype(np.float32),
        make_channels(["vel_x", "vel_y"], "m/s"),
        valid=rng.random(n) > 0.1,
        rate_hz=50.0,
        split=split,
        tared=tared,
    )


def test_scaled_training_inputs_have_mean_0_and_deviation_1() -> None:
    r = recording()
    scaling = fit_scaling([r])
    z = scaling.inputs(r.x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)  # float32
    np.testing.assert_allclose(z.std(0), 1, atol=1e-5)
    np.testing.assert_allclose(scaling.targets(r.y)[r.valid].std(0), 1, atol=1e-5)
    np.testing.assert_allclose(scaling.estimates(scaling.targets(r.y)), r.y, rtol=1e-5, atol=1e-5)


def test_the_first_difference_is_0() -> None:
    scaling = fit_scaling([recording()])
    x = recording(seed=1).x[None]
    np.testing.assert_array_equal(scaling.inputs(x)[0, 0, 2:], scaling.resting_delta)
    want = (np.diff(x[0].astype(float), axis=0) - scaling.delta_mean) / scaling.delta_std
    np.testing.assert_allclose(scaling.inputs(x)[0, 1:, 2:], want, rtol=1e-6, atol=1e-6)


def test_wild_samples_are_clipped_to_the_declared_range() -> None:
    scaling = fit_scaling([recording()])
    wild = np.array([[1e9, -1e9]])
    np.testing.assert_array_equal(scaling.inputs(wild), scaling.inputs(np.array([[scaling.hi[0], scaling.lo[1]]])))
    inside = recording(seed=1).x * 1.5
    assert (inside >= scaling.lo).all()
    assert (inside <= scaling.hi).all()


def test_a_dead_channel_does_no_harm() -> None:
    r = recording()
    dead = dataclasses.replace(r, x=np.zeros_like(r.x))
    assert np.isfinite(fit_scaling([dead]).inputs(r.x)).all()


def test_scaling_survives_json_in_every_bit() -> None:
    scaling = fit_scaling([recording()])
    again = Scaling.from_json(json.loads(json.dumps(scaling.to_json())))
    for field in dataclasses.fields(scaling):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(scaling, field.name))


@pytest.mark.parametrize(
    "change",
    [{"std": [0.0, 1.0]}, {"mean": [1.0]}, {"lo": [float("nan")] * 2}, {"tare": -1}, {"more": 1}, {"std": "x"}],
)
def test_a_changed_scaling_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ProgramError):
        Scaling.from_json({**fit_scaling([recording()]).to_json(), **change})


def test_nothing_valid_is_said() -> None:
    r = recording()
    with pytest.raises(TrainingError, match="valid"):
        fit_scaling([dataclasses.replace(r, valid=np.zeros(len(r), bool))])


def test_prepare_takes_patterns_rates_and_tares() -> None:
    (r,) = prepare([recording()], "vel_*", 25.0, 10)
    assert [t.name for t in r.targets] == ["vel_x", "vel_y"]
    assert (r.rate_hz, r.tared) == (25.0, 10)
    np.testing.assert_allclose(r.x[:10].mean(0), 0, atol=1e-4)
    assert [t.name for t in prepare([recording()], ["vel_y"], 50.0)[0].targets] == ["vel_y"]


def test_prepare_tares_all_like_the_one_that_is() -> None:
    prepared = prepare([recording(), recording(tared=20)], "vel_x", 50.0)
    assert [r.tared for r in prepared] == [20, 20]


def test_prepare_refuses_other_channels_and_unknown_targets() -> None:
    other = dataclasses.replace(recording(), channels=make_channels(["p", "r"], "uT"))
    with pytest.raises(RecordingError, match="'r'"):
        prepare([recording(), other], "vel_x", 50.0)
    with pytest.raises(RecordingError, match="vel_z"):
        prepare([recording()], "vel_z", 50.0)
    with pytest.raises(TrainingError):
        prepare([], "vel_x", 50.0)


def test_hold_out_prefers_what_is_given_then_what_is_marked_then_the_ends() -> None:
    a, b, c = recording(100), recording(50, 1, split="val"), recording(200, 2)
    assert hold_out([a, c], [b])[1] == [b]
    assert hold_out([a, b, c]) == ([a, c], [b])
    fit_on, val = hold_out([a, c])
    assert [len(r) for r in fit_on] == [80, 160]
    assert [len(r) for r in val] == [20, 40]
    np.testing.assert_array_equal(val[0].x, a.x[80:])


def parts() -> list[Sequence]:
    scaling = fit_scaling([recording()])
    return sequences([recording(60), recording(35, 1), recording(12, 2)], scaling)


def test_a_window_is_a_piece_of_its_sequence_read_at_chunk_ends() -> None:
    all_parts = parts()
    resting = np.array([7, 8], np.float32)
    batch = Windows(all_parts, 20, 5, resting).stack([(0, 13), (1, 15)])
    np.testing.assert_array_equal(batch.x[0, 1:], all_parts[0].x[14:33])
    np.testing.assert_array_equal(batch.x[0, 0], [*all_parts[0].x[13, :2], 7, 8])
    np.testing.assert_array_equal(batch.y[1], all_parts[1].y[15:35][4::5])
    np.testing.assert_array_equal(batch.valid[1], all_parts[1].valid[15:35][4::5])


def test_a_short_sequence_is_filled_up_but_not_scored() -> None:
    batch = Windows(parts(), 20, 5).stack([(2, 0)])
    assert batch.x.shape == (1, 20, 4)
    assert not batch.valid[0, 2:].any()


def test_every_offset_is_drawn_equally_often() -> None:
    """41 offsets of the first, 16 of the second, 1 of the third; 4 sigma of a binomial."""
    windows = Windows(parts(), 20, 5)
    index = [
        Sequence(np.arange(len(p.x), dtype=np.float32)[:, None] + 100 * i, p.y, p.valid) for i, p in enumerate(parts())
    ]
    windows = Windows(index, 20, 5)
    first = windows.draw(np.random.default_rng(0), 20_000).x[:, 0, 0]
    places, counts = np.unique(first, return_counts=True)
    assert len(places) == 41 + 16 + 1
    expected = 20_000 / 58
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)


def test_spread_windows_reach_both_ends_and_never_change() -> None:
    windows = Windows(parts(), 20, 5)
    a, b = windows.spread(8), windows.spread(8)
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.x[0], parts()[0].x[:20])


def test_window_length_is_whole_chunks_of_what_there_is() -> None:
    assert window_length([recording(203)], 1200, 50, 5) == 200
    assert window_length([recording(203)], 102, 50, 10) == 100
    with pytest.raises(TrainingError, match="3 samples"):
        window_length([recording(3)], 100, 50, 5)


def test_ridge_solves_the_normal_equations() -> None:
    """The gradient of sum (y - W x - b)^2 + lambda n |W|^2 vanishes, over several recordings and blocks."""
    rng = np.random.default_rng(0)
    data = [(rng.normal(2, 1, (n, 3)), rng.normal(size=(n, 2))) for n in (BLOCK + 500, 700)]
    ages, strength = (0, 1, 5), 1e-2
    steps = [np.arange(len(x)) for x, _ in data]
    weight, bias = normal_equations(((x, y, s) for (x, y), s in zip(data, steps, strict=True)), ages).solve(strength)
    rows = np.concatenate([lagged(x, ages, s) for (x, _), s in zip(data, steps, strict=True)])
    left = np.concatenate([y for _, y in data]) - rows @ weight.T - bias
    n = len(rows)
    np.testing.assert_allclose(left.sum(0), 0, atol=1e-8 * n)
    np.testing.assert_allclose(left.T @ rows, strength * n * weight, atol=1e-8 * n)


def test_a_linear_law_with_lags_is_found_exactly() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 2))
    y = 3 * lagged(x, (4,), np.arange(500))[:, :1] - x[:, 1:] + 7
    weight, bias = normal_equations([(x, y, np.arange(500))], (0, 4)).solve(0.0)
    np.testing.assert_allclose(weight, [[0, -1, 3, 0]], atol=1e-10)
    np.testing.assert_allclose(bias, [7], atol=1e-10)


def test_lags_stop_at_the_first_sample() -> None:
    x = np.arange(5.0)[:, None]
    np.testing.assert_array_equal(lagged(x, (0, 3), np.array([0, 2, 4])), [[0, 0], [2, 0], [4, 1]])


def test_log_ages_run_from_0_to_the_longest() -> None:
    ages = log_ages(24, 400)
    assert ages[0] == 0
    assert ages[-1] == 400
    assert len(ages) == len(set(ages)) <= 24
    assert log_ages(24, 0) == (0,)


def test_thinning_keeps_valid_steps_only() -> None:
    valid = [np.ones(100, bool), np.arange(50) % 2 == 0]
    kept = thinned(valid, most=40)
    assert sum(map(len, kept)) <= 40
    assert all(v[k].all() for v, k in zip(valid, kept, strict=True))


def test_another_tare_is_one_taken_where_the_targets_are_as_at_the_start() -> None:
    """Load 0 .. 40 and 60 .. 100, the skin 3 higher after the load: offsets of 0 and 3, nothing of the load."""
    n = np.arange(100)
    load = ((n >= 40) & (n < 60)).astype(np.float32)[:, None]
    x = np.where(n < 40, 0, np.where(n < 60, 50, 3)).astype(np.float32)[:, None]
    names = make_channels(["p"]), make_channels(["f"])
    r = Recording("r", n / 10, x, names[0], load, names[1], rate_hz=10.0, tared=5)
    scaling = fit_scaling([r])
    retare = find_retare([r], scaling, 1.0)
    assert retare is not None
    np.testing.assert_allclose(np.unique((retare.offsets * scaling.std).round(3)), [0, 3])
    assert find_retare([dataclasses.replace(r, tared=0)], fit_scaling([dataclasses.replace(r, tared=0)]), 1.0) is None
    assert find_retare([r], scaling, 0.0) is None


def test_a_shown_tare_moves_channels_and_not_differences() -> None:
    retare = Retare(np.array([[2, 4]], np.float32), 1.0)
    draws = retare.draw(np.random.default_rng(0), 40_000).astype(np.float64)
    np.testing.assert_allclose(draws.T @ draws / len(draws), retare.products(1.0), rtol=0.02)  # 4 sigma
    plain, moved = (Windows(parts(), 20, 5, None, r).draw(np.random.default_rng(3), 6) for r in (None, retare))
    np.testing.assert_array_equal(plain.x, moved.x)
    shift = moved.x - moved.shown
    np.testing.assert_array_equal(shift[..., 2:], 0)
    np.testing.assert_allclose(shift[..., 1], 2 * shift[..., 0], atol=1e-5)
    assert ((shift[..., 0] > -1e-6) & (shift[..., 0] < 2.001)).all()
    np.testing.assert_array_equal(plain.y, moved.y)
