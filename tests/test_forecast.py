"""Forecasts: the future as a target, dates, gaps that are held and not learned from, intervals that cover."""

from __future__ import annotations

import csv
import json
import warnings

import numpy as np
import pytest

pytest.importorskip("torch", reason="training is not installed: pip install 'hiss[train]'")

from test_cli import hiss

from hiss.arnet.synthetic import ar_series
from hiss.errors import RecordingError
from hiss.recording import Recording, choose_targets, make_channels
from hiss.recording_csv import read_csv
from hiss.recording_dates import on_grid, usual_rate


@pytest.fixture(autouse=True)
def one_recording_is_cut_in_time():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*only recording.*")
        yield


def series_file(path, y, missing=(), absent=()):
    """Five minutes apart, as dates; `missing` cells are empty, `absent` rows are not there."""
    stamps = np.datetime64("2017-05-01") + np.arange(len(y)) * np.timedelta64(5, "m")
    rows = [
        f"{str(t).replace('T', ' ')},{'' if i in missing else format(v, '.6g')}"
        for i, (t, v) in enumerate(zip(stamps, y, strict=True))
        if i not in absent
    ]
    path.write_text("ds,y\n" + "\n".join(rows) + "\n")
    return path


def test_a_target_can_be_a_columns_future():
    x = np.arange(20.0)[:, None] * (1, 10)
    valid = np.arange(20) != 7
    r = Recording("a", np.arange(20) / 4, x, make_channels(["u", "v"], "m"), valid=valid, rate_hz=4.0)
    got = choose_targets(r, ["v+1", "v+3"])
    assert [c.name for c in got.channels] == ["u", "v"]
    assert [(c.name, c.unit) for c in got.targets] == [("v+1", "m"), ("v+3", "m")]
    np.testing.assert_array_equal(got.y[:17], np.stack([x[1:18, 1], x[3:20, 1]], 1))
    assert np.flatnonzero(~got.valid).tolist() == [4, 6, 7, 17, 18, 19]  # the future of 4 and of 6 is sample 7
    with pytest.raises(RecordingError, match="no column named 'w"):
        choose_targets(r, ["w+1"])


def test_dates_are_seconds_and_months_are_regular(tmp_path):
    r = read_csv(series_file(tmp_path / "a.csv", np.arange(9.0)))
    np.testing.assert_allclose(r.t, np.arange(9) * 300.0)
    months = np.datetime64("1949-01") + np.arange(40)
    text = "\n".join(f"{m.astype('datetime64[D]')},{i}" for i, m in enumerate(months))
    (tmp_path / "m.csv").write_text("date,passengers\n" + text)
    monthly = read_csv(tmp_path / "m.csv")
    assert monthly.rate_hz is not None
    assert [c.name for c in monthly.channels] == ["passengers"]


def test_what_is_missing_is_held_and_not_valid(tmp_path):
    path = series_file(tmp_path / "a.csv", np.arange(30.0), missing=(0, 5, 6), absent=(10, 11, 12))
    with pytest.raises(RecordingError):
        read_csv(path)
    r = on_grid(read_csv(path, fill=True), 1 / 300)
    assert len(r) == 30
    assert r.x[[0, 5, 6], 0].tolist() == [1, 4, 4]
    assert np.flatnonzero(~r.valid).tolist() == [0, 5, 6, 10, 11, 12]


def test_a_series_is_trained_scored_and_forecast_with_intervals(tmp_path):
    """Exact intervals: of an AR(2) with noise 1, those of 1 and of 2 samples ahead are known."""
    y = 50 + ar_series((1.2, -0.5), 6000, 0)
    path = series_file(tmp_path / "wave.csv", y, missing=(100, 101), absent=range(2000, 2040))
    run = tmp_path / "run"
    code, _, said = hiss("train", path, "--model", "arnet", "--forecast", 2, "--lags", 30, "-o", run)
    assert code == 0, said
    assert "not learned from" in said
    code, out, said = hiss("evaluate", run, "--json")
    assert code == 0, said
    outputs = json.loads(out)["outputs"]
    assert list(outputs) == ["y+1", "y+2"]
    assert outputs["y+1"]["rmse"] < 1.1  # the noise is 1, 1,200 errors tell it to 2 % and the start has no past
    assert outputs["y+2"]["rmse"] < 1.1 * np.hypot(1, 1.2)
    code, out, said = hiss("predict", run, path, "--interval", "0.9")
    assert code == 0, said
    rows = list(csv.DictReader(out.splitlines()))
    made = np.array([[float(row[f"y+1{end}"]) for end in ("", " low", " high")] for row in rows])
    assert np.isfinite(made).all()
    half = (made[:, 2] - made[:, 1]) / 2
    np.testing.assert_allclose(half, 1.645, rtol=0.08)  # of a normal; 1,200 errors tell a quantile to 4 %
    late = slice(5000, 5900)  # not trained on
    inside = (made[late, 1] <= y[5001:5901]) & (y[5001:5901] <= made[late, 2])
    assert abs(inside.mean() - 0.9) < 0.03


def test_a_sample_that_does_not_fit_scores_far_from_zero(tmp_path):
    """Scores of an AR(2) with noise 1 are its noise; a spike of 9 stands out, what is missing has none."""
    y = ar_series((1.2, -0.5), 4000, 1)
    run, path = tmp_path / "run", series_file(tmp_path / "wave.csv", y)
    assert hiss("train", path, "--model", "arnet", "--forecast", 1, "--lags", 8, "-o", run)[0] == 0
    y[3000] += 9
    path = series_file(tmp_path / "today.csv", y, missing=(2000,))
    code, out, said = hiss("predict", run, path, "--score")
    assert code == 0, said
    assert "1 samples are missing" in said
    scores = [row["y+1 score"] for row in csv.DictReader(out.splitlines())]
    assert [i for i, s in enumerate(scores) if not s] == [0, 2000]
    size = np.array([float(s or 0) for s in scores])
    assert np.flatnonzero(np.abs(size) > 5).tolist()[0] == 3000
    assert size[3000] > 7
    assert abs(size[:2000].std() - 1) < 0.08
    assert hiss("predict", run, path, "--interval", "0.9")[0] == 0


def test_denoising_leaves_less_noise_than_there_was(tmp_path):
    """A slow wave and noise: the sample of 4 before, from those around it; that the noise is known helps more."""
    t, rng = np.arange(6000), np.random.default_rng(0)
    clean = np.sin(t / 9) + 0.5 * np.sin(t / 14)
    path, left = series_file(tmp_path / "wave.csv", clean + 0.3 * rng.normal(size=len(t))), {}
    for noise in ((), ("--noise-sd", 0.3)):
        run = tmp_path / f"run{len(noise)}"
        asked = ["--model", "arnet", "--target", "y", "--denoise", 4, "--lags", 20, *noise]
        code, _, said = hiss("train", path, *asked, "-o", run)
        assert code == 0, said
        code, out, _ = hiss("predict", run, path)
        made = np.array([float(row["y-4"]) for row in csv.DictReader(out.splitlines())])
        left[len(noise)] = np.sqrt(np.mean((made[100:] - clean[96:-4]) ** 2))
    assert left[0] < 0.15
    assert left[2] < 0.95 * left[0]
    assert hiss("evaluate", run)[0] == 0
    code, _, said = hiss("predict", run, path, "--score")
    assert code == 2
    assert "takes a forecast" in said


def test_a_rate_is_found_where_rows_are_missing():
    t = np.arange(30) * 5.0
    assert usual_rate(np.delete(t, [3, 9, 10, 11])) == 0.2
    assert usual_rate(np.cumsum(np.random.default_rng(0).uniform(1, 2, 30))) is None


def test_intervals_are_of_arnet_and_said_so(tmp_path):
    path = series_file(tmp_path / "wave.csv", ar_series((0.9,), 400, 0))
    run = tmp_path / "run"
    asked = ["--model", "arnet", "--fit", "sparse", "--forecast", 1, "--lags", 5, "-o", run]
    assert hiss("train", path, *asked)[0] == 0
    assert hiss("fold", run, "-o", tmp_path / "a.hiss")[0] == 0
    code, out, _ = hiss("predict", tmp_path / "a.hiss", path, "--interval", "0.5")
    assert code == 0
    assert "y+1 low" in out
    code, out, _ = hiss("inspect", tmp_path / "a.hiss", "--no-equations")
    assert code == 0


def test_which_series_is_asked_for_where_there_are_several(tmp_path):
    (tmp_path / "two.csv").write_text("t,a,b\n" + "\n".join(f"{i},{i % 7},{i % 5}" for i in range(200)))
    code, _, said = hiss("train", tmp_path / "two.csv", "--model", "arnet", "--forecast", 1, "-o", tmp_path / "r")
    assert code == 2
    assert "there are: a, b" in said
    asked = ["--model", "arnet", "--forecast", 2, "--target", "b", "--lags", 8, "-o", tmp_path / "r"]
    assert hiss("train", tmp_path / "two.csv", *asked)[0] == 0
    code, out, _ = hiss("evaluate", tmp_path / "r", "--json")
    assert code == 0
    assert json.loads(out)["outputs"]["b+2"]["r2"] > 0.8  # exact but for a start without a past
