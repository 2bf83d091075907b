"""AR-Net fits: equations without rows equal those with, three fits agree, sparse finds the true lags."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("scipy", reason="exact fits need scipy: pip install 'hiss[train]'")

from hiss.arnet import reading
from hiss.arnet.choose import choose
from hiss.arnet.equations import lag_equations
from hiss.arnet.exact import default_threshold, exact, nested_errors, sparse
from hiss.arnet.synthetic import ar_series, one_step, stpe
from hiss.program import Port, Program, Stage, ops
from hiss.program.difference import difference_equation
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


# ---- reading ----


def test_poles_impulse_and_frequency_response_agree():
    """1.2, -0.5: poles 0.6 +- 0.374i; the pulse's answer is their sum of powers, its spectrum the gain."""
    w = np.array([1.2, -0.5, 0.0])
    found = reading.poles(w)
    np.testing.assert_allclose(sorted(found.imag), [-np.sqrt(0.14), np.sqrt(0.14)], rtol=1e-12)
    answer = reading.impulse_response(w, 400)
    recursion = [1.0, 1.2]
    while len(recursion) < 400:
        recursion.append(1.2 * recursion[-1] - 0.5 * recursion[-2])
    np.testing.assert_allclose(answer, recursion, atol=1e-15)
    hz, gain = reading.frequency_response(w, 8.0, 201)
    assert hz[-1] == 4.0
    np.testing.assert_allclose(gain, np.abs(np.fft.rfft(answer, 400)), rtol=1e-12)
    assert reading.stability_warning(w) is None


def test_an_unstable_loop_is_warned_of():
    said = reading.stability_warning(np.array([1.1]))
    assert said is not None
    assert "1.1000" in said
    assert "WARNING" in reading.text([], np.random.default_rng(0).normal(size=200), 1.0, np.array([0.5, 0.6]))


def test_ljung_box_tells_noise_from_what_is_not():
    """Under noise p is uniform; of an AR(1) it is 0. The statistic is the textbook sum."""
    noise = [np.random.default_rng(seed).normal(size=500) for seed in range(200)]
    ps = np.array([reading.ljung_box(e, 20).p for e in noise])
    assert abs((ps < 0.05).mean() - 0.05) < 0.04  # 200 draws: 1.5 % a deviation
    assert reading.ljung_box(ar_series((0.3,), 500, 0), 20).p < 1e-6
    e = noise[0] - noise[0].mean()
    r = [float(e[k:] @ e[:-k] / (e @ e)) for k in range(1, 4)]
    want = 500 * 502 * sum(v**2 / (500 - k) for k, v in enumerate(r, 1))
    np.testing.assert_allclose(reading.ljung_box(noise[0], 3).statistic, want, rtol=1e-12)


def test_intervals_of_weights_hold_the_true_ones_as_often_as_they_say():
    true, inside = (0.6, -0.3), []
    for seed in range(200):
        fit = exact(lag_equations([one_step(ar_series(true, 400, seed), 2)], 2), errors=True)
        lags = {
            lag.age: lag
            for lag in reading.selected_lags(
                [(i, 0) for i in range(len(fit.weight[0]))], fit.weight[0], fit.error[0], ["y"]
            )
        }
        inside += [lags[i].low <= true[i] <= lags[i].high for i in range(2)]
    assert 0.91 <= np.mean(inside) <= 0.98  # 95 %, 400 of them


def test_the_difference_equation_is_the_program():
    """In raw units, evaluated by hand from the printed text."""
    rng = np.random.default_rng(1)
    z = ops.Input("z", np.array([3.0, -1.0]), np.array([2, -1]), np.array([-99.0, -99.0]), np.array([99.0, 99.0]))
    past = ops.Delay("past", "z", np.array([1, 3, 2]), np.array([0, 0, 1]), "first")
    w = rng.normal(size=(1, 5))
    y = ops.Affine("y", ("past", "z"), (w[:, :3], w[:, 3:]), np.array([0.7]))
    program = Program((Port("a"), Port("b")), (Port("c"),), 10.0, (Stage(1, (z, past, y), (), ("y",)),))
    said = difference_equation(program)
    assert said is not None
    x = rng.normal(size=(9, 2)) * 10
    t, names = 8, {"a": 0, "b": 1}
    total = float(re.search(r"c\[t\] = ([+-][\d.e-]+)", said)[1])
    terms = re.findall(r"([+-][\d.e+-]+) (\w)\[t(?:-(\d+))?\]", said)
    assert len(terms) == 5
    total += sum(float(weight) * x[t - int(age or 0), names[name]] for weight, name, age in terms)
    np.testing.assert_allclose(total, program.predict(x, dtype=np.float64)[-1, 0], rtol=1e-4)  # six digits are printed
    assert "difference equation" in program.equations()


def test_a_reading_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'hiss[plot]'")
    from hiss.plotting import plot_reading

    fit = exact(lag_equations([one_step(ar_series((0.6, -0.3), 400, 0), 5)], 5), errors=True)
    lags = reading.selected_lags([(i, 0) for i in range(len(fit.weight[0]))], fit.weight[0], fit.error[0], ["y"])
    left = np.random.default_rng(0).normal(size=300)
    for loop in (None, fit.weight[0]):
        plot_reading(tmp_path / "a.png", reading.panels(lags, left, loop, 10.0), "y")
        assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_exact_weights_are_those_of_statsmodels():
    """Classic AR: AutoReg's conditional least squares, with its standard errors."""
    autoreg = pytest.importorskip(
        "statsmodels.tsa.ar_model", reason="statsmodels is not installed: 'hiss[dev]'"
    ).AutoReg
    y = 7 + ar_series((0.5, 0.2, -0.4), 3000, 2)
    classic, fit = autoreg(y, 12, trend="c").fit(), exact(lag_equations([one_step(y, 12)], 12), errors=True)
    np.testing.assert_allclose(fit.weight[0], classic.params[1:], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fit.bias[0], classic.params[0], rtol=1e-8)
    errors = classic.bse[1:] * np.sqrt(len(y) - 12) / np.sqrt(len(y) - 12 - 13)  # it divides by n, not by what is free
    np.testing.assert_allclose(fit.error[0], errors, rtol=1e-6)


def test_gain_of_taps_is_that_of_their_transform():
    hz, gain = reading.taps_response([0, 3], [0.5, -0.2], 10.0, 51)
    padded = np.zeros(100)
    padded[[0, 3]] = 0.5, -0.2
    assert hz[-1] == 5.0
    np.testing.assert_allclose(gain, np.abs(np.fft.rfft(padded)), atol=1e-12)
