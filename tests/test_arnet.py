"""AR-Net fits: equations without rows equal those with, three fits agree, sparse finds the true lags."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="exact fits need scipy: pip install 'hiss[train]'")

from hiss.arnet.choose import choose
from hiss.arnet.equations import lag_equations
from hiss.arnet.exact import default_threshold, exact, nested_errors, sparse
from hiss.arnet.synthetic import ar_series, one_step, stpe
from hiss.ridge import lagged, normal_equations


def parts_with_gaps(seed=0, channels=3, outputs=2):
    """Two recordings far from 0, rows left out singly and in stretches."""
    rng = np.random.default_rng(seed)
    made = []
    for n in (300, 41):
        rows = rng.random(n) > 0.1
        rows[n // 3 : n // 2] = False
        y = rng.normal(size=(n, outputs)) - 4
        y[~rows] = np.nan
        made.append((1e3 + np.cumsum(rng.normal(size=(n, channels)), 0), y, rows))
    return made


@pytest.mark.parametrize("lags", [1, 2, 7, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_equations_without_rows_equal_those_with(lags, channels):
    parts = parts_with_gaps(channels=channels)
    fast = lag_equations(parts, lags)
    slow = normal_equations([(x, y, np.flatnonzero(rows)) for x, y, rows in parts], range(lags))
    assert fast.n == slow.n
    for name in ("x_mean", "y_mean", "xx", "xy"):
        want = getattr(slow, name)
        # the plain sums are of 1e6 a row and lose digits; the fast ones are centred first
        np.testing.assert_allclose(getattr(fast, name), want, atol=1e-9 * max(1.0, np.abs(want).max()))
    y = np.concatenate([y[rows] for _, y, rows in parts])
    np.testing.assert_allclose(fast.yy, ((y - y.mean(0)) ** 2).sum(0), rtol=1e-12)


def test_lower_orders_and_parts_are_contained_in_the_equations():
    parts = parts_with_gaps()
    whole, low = lag_equations(parts, 9), lag_equations(parts, 4)
    np.testing.assert_allclose(whole.order(4).xx, low.xx, atol=1e-9 * np.abs(low.xx).max())
    rest = whole.without(lag_equations(parts[1:], 9))
    first = lag_equations(parts[:1], 9)
    np.testing.assert_allclose(rest.xx, first.xx, atol=1e-7 * np.abs(first.xx).max())  # centred about other means
    np.testing.assert_allclose(rest.x_mean, first.x_mean, rtol=1e-12)


def test_exact_equals_least_squares_over_rows_with_its_errors():
    parts = parts_with_gaps()
    fit = exact(lag_equations(parts, 5), errors=True)
    rows = np.concatenate([lagged(x, range(5), np.flatnonzero(m)) for x, _, m in parts])
    y = np.concatenate([y[m] for _, y, m in parts])
    design = np.hstack([rows - rows.mean(0), np.ones((len(rows), 1))])
    want = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(fit.weight.T, want[:-1], rtol=1e-7, atol=1e-9)  # condition about 1e3
    left = y - design @ want
    noise = (left**2).sum(0) / (len(y) - design.shape[1])
    np.testing.assert_allclose(fit.noise, noise, rtol=1e-8)
    error = np.sqrt(np.outer(noise, np.diag(np.linalg.inv(design.T @ design))[:-1]))
    np.testing.assert_allclose(fit.error, error, rtol=1e-6)
    equations = lag_equations(parts, 5)
    np.testing.assert_allclose(equations.error(fit.weight, fit.bias), (left**2).mean(0), rtol=1e-8)
    np.testing.assert_allclose(nested_errors(equations)[-1], (left**2).mean(), rtol=1e-8)


def test_one_factorization_tells_the_error_of_every_order():
    equations = lag_equations(parts_with_gaps(), 6)
    each = [equations.order(k) for k in range(1, 7)]
    want = [float((e.error((f := exact(e)).weight, f.bias)).mean()) for e in each]
    np.testing.assert_allclose(nested_errors(equations), want, rtol=1e-8)


def test_sparse_finds_the_true_lags_of_small_data():
    """1,000 samples, 20 lags, true ones 1, 3, 10: the paper's AR-Net reaches 3.2, least squares 18.3."""
    true = np.zeros(20)
    true[[0, 2, 9]] = 0.2, 0.3, -0.5
    dense, thin = [], []
    for seed in range(20):
        equations = lag_equations([one_step(ar_series(true, 1000, seed), 20)], 20)
        dense.append(stpe(exact(equations).weight[0], true))
        thin.append(stpe(sparse(equations).weight[0], true))
    assert np.mean(thin) <= 3.2
    assert np.mean(dense) > 15  # the task is as hard as the paper's


def test_sparse_is_the_refit_of_what_it_keeps():
    x = ar_series((0.2, 0.3, -0.5), 5000, 1)
    parts = [one_step(x, 30)]
    fit = sparse(lag_equations(parts, 30))
    assert np.flatnonzero(fit.kept).tolist() == [0, 1, 2]
    rows = lagged(parts[0][0], [0, 1, 2], np.flatnonzero(parts[0][2]))
    design = np.hstack([rows, np.ones((len(rows), 1))])
    want = np.linalg.lstsq(design, parts[0][1][parts[0][2], 0], rcond=None)[0]
    np.testing.assert_allclose(fit.weight[0, :3], want[:3], rtol=1e-10)
    assert np.abs(fit.t[0, :3]).min() > default_threshold(30)
    assert not fit.weight[0, 3:].any()


def test_a_series_of_noise_keeps_one_lag_at_most():
    fit = sparse(lag_equations([one_step(np.random.default_rng(3).normal(size=4000), 50)], 50))
    assert fit.kept.sum() == 1


def test_a_channel_that_rests_does_not_break_the_fit():
    parts = [(np.hstack([x, np.full((len(x), 1), 7.0)]), y, m) for x, y, m in parts_with_gaps()]
    fit = exact(lag_equations(parts, 3))
    assert np.isfinite(fit.weight).all()
    assert fit.ridge > 0


def test_values_that_are_not_finite_are_refused_by_their_place():
    x = np.zeros((9, 1))
    x[4] = np.nan
    with pytest.raises(ValueError, match="sample 4 is not finite"):
        lag_equations([(x, x, np.ones(9, bool))], 2)
    with pytest.raises(ValueError, match="no valid sample"):
        lag_equations([(np.zeros((9, 1)), np.zeros((9, 1)), np.zeros(9, bool))], 2)


def test_the_choice_takes_few_lags_of_a_sparse_series_and_says_why():
    choice = choose([one_step(ar_series((0.2, 0.3, -0.5), 20_000, 0), 40)], 40)
    assert choice.candidate.threshold is not None or choice.candidate.lags <= 5
    assert choice.fit.kept[:3].all()
    assert choice.fit.kept.sum() <= 6
    assert "cross-validation" in choice.why
    with pytest.raises(ValueError, match="known: auto, exact, sparse"):
        choose([one_step(ar_series((0.5,), 500, 0), 4)], 4, "best")


def test_cross_validation_by_equations_equals_that_by_rows():
    """A fold's error from equations is the error of a fit on the other rows."""
    x, y, rows = one_step(ar_series((0.6, -0.3), 400, 0), 3)
    fold = rows & (np.arange(len(rows)) < 150)
    whole, part = lag_equations([(x, y, rows)], 3), lag_equations([(x, y, fold)], 3)
    fit = exact(whole.without(part))
    direct = exact(lag_equations([(x, y, rows & ~fold)], 3))
    np.testing.assert_allclose(fit.weight, direct.weight, rtol=1e-9)
    held = lagged(x, range(3), np.flatnonzero(fold)) @ direct.weight.T + direct.bias
    np.testing.assert_allclose(part.error(fit.weight, fit.bias), ((held - y[fold]) ** 2).mean(0), rtol=1e-9)


@pytest.mark.parametrize("lags", [3, 10])
def test_gradients_find_the_exact_weights(lags):
    """The paper's step size leaves 7 % at 3 lags; the range test's leaves at most 1 %."""
    pytest.importorskip("torch", reason="gradients need torch: pip install 'hiss[train]'")
    from hiss.arnet.descent import Descent, descend

    rng = np.random.default_rng(lags)
    true = rng.uniform(-1, 1, lags)
    parts = [one_step(ar_series(true / np.abs(true).sum(), 30_000, lags), lags)]
    got = descend(parts, lags, Descent(epochs=4))
    want = exact(lag_equations(parts, lags))
    assert stpe(got.weight[0], want.weight[0]) <= 1.0
    assert abs(got.bias[0] - want.bias[0]) < 0.01
    again = descend(parts, lags, Descent(epochs=4))
    np.testing.assert_array_equal(got.weight, again.weight)


def test_gradients_order_channels_as_the_exact_fit_does():
    pytest.importorskip("torch", reason="gradients need torch: pip install 'hiss[train]'")
    from hiss.arnet.descent import Descent, descend

    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 2)) * (1, 30) + (5, 0)
    y = 2 * x[:, :1] - 0.1 * np.roll(x[:, 1:], 2, 0) + 3
    rows = np.arange(len(x)) >= 2
    got = descend([(x, y, rows)], 3, Descent(epochs=6))
    want = exact(lag_equations([(x, y, rows)], 3))
    np.testing.assert_allclose(got.weight, want.weight, atol=2e-3)
    np.testing.assert_allclose(got.weight[0], [2, 0, 0, 0, 0, -0.1], atol=2e-3)
