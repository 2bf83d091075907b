"""A recording holds what it says, splits by session, is tared once, and refuses what is not a recording."""

import dataclasses

import numpy as np
import pytest

from hiss.errors import RecordingError
from hiss.recording import (
    Channel,
    Recording,
    align,
    check_channels,
    choose_inputs,
    choose_targets,
    make_channels,
    split,
)


def session(name: str = "walk", n: int = 100, split: str | None = None, **changes: object) -> Recording:
    rng = np.random.default_rng(len(name))
    recording = Recording(
        name,
        np.arange(n) / 20,
        rng.normal(50, 10, (n, 3)),
        make_channels(["m0_x", "m0_y", "m0_z"], "uT"),
        rng.normal(0, 1, (n, 2)),
        make_channels(["force", "px"], ["N", "mm"]),
        rate_hz=20.0,
        split=split,
    )
    return dataclasses.replace(recording, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((99, 3))}, r"walk: x has shape \(99, 3\), but 100 stamps and 3 names"),
        ({"x": np.zeros((100, 2))}, r"x has shape \(100, 2\)"),
        ({"y": np.zeros(100)}, r"y has shape \(100,\)"),
        ({"valid": np.ones(7, bool)}, r"valid has shape \(7,\)"),
        ({"t": np.zeros((100, 2))}, "no samples"),
        ({"t": np.arange(100) / 21}, "not regular at 20 Hz"),
        ({"split": "tset"}, "'tset'"),
        ({"channels": make_channels(["a", "force", "b"])}, "two columns are named 'force'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        session(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_value_that_is_not_finite_is_named_by_channel_sample_and_count(value: float) -> None:
    x = np.zeros((100, 3))
    x[40, 1] = x[41, 2] = value
    with pytest.raises(RecordingError, match=r"walk: m0_y is (nan|inf|-inf) at sample 40 \(t = 2 s\), 2 such"):
        session(x=x)


@pytest.mark.parametrize(("stamp", "message"), [(1.9, "goes back"), (1.95, "repeats"), (np.nan, "not a finite number")])
def test_a_stamp_that_does_not_increase_is_named(stamp: float, message: str) -> None:
    t = np.arange(100) / 20
    t[40] = stamp
    with pytest.raises(RecordingError, match=f"sample 40 .*{message}"):
        session(t=t, rate_hz=None)


def test_taring_takes_the_first_mean_off_and_only_once() -> None:
    raw = session()
    tared = raw.tare(20)
    np.testing.assert_allclose(tared.x[:20].mean(axis=0), 0, atol=1e-5)  # float32 of values up to 80
    np.testing.assert_allclose(np.diff(tared.x, axis=0), np.diff(raw.x, axis=0), atol=2e-5)
    assert tared.tared == 20
    assert tared.tare(50) is tared
    assert raw.tare(0) is raw


def test_taring_needs_regular_samples_and_enough_of_them() -> None:
    with pytest.raises(RecordingError, match="has 100"):
        session().tare(101)
    with pytest.raises(RecordingError, match="resample"):
        session(rate_hz=None).tare(20)


def test_a_cut_keeps_stamps_and_labels() -> None:
    part = session().tare(20).cut(30, 50)
    assert (len(part), part.t[0], part.tared, part.targets[0]) == (20, 1.5, 20, Channel("force", "N"))
    with pytest.raises(RecordingError, match="no samples"):
        session().cut(50, 50)


def test_targets_are_chosen_by_name_or_pattern_in_the_order_asked() -> None:
    recording = session()
    chosen = choose_targets(recording, ["m0_[xz]", "force"])
    assert [c.name for c in chosen.targets] == ["m0_x", "m0_z", "force"]
    assert [c.name for c in chosen.channels] == ["m0_y"]
    np.testing.assert_array_equal(chosen.y[:, 1], recording.x[:, 2])
    np.testing.assert_array_equal(chosen.y[:, 2], recording.y[:, 0])
    assert [c.name for c in choose_targets(recording, "px").targets] == ["px"]


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(RecordingError, match=r"walk: no column named 'forse'; did you mean force\?"):
        choose_targets(session(), "forse")
    with pytest.raises(RecordingError, match=r"no column named 'zz\*'; there are: force, px, m0_x"):
        choose_targets(session(), "zz*")


def test_channels_are_checked_by_count_and_order() -> None:
    recording = session()
    check_channels(recording, ["m0_x", "m0_y", "m0_z"])
    with pytest.raises(RecordingError, match=r"walk: 3 channels, but 4 are expected \(missing: m1_x\)"):
        check_channels(recording, ["m0_x", "m0_y", "m0_z", "m1_x"])
    with pytest.raises(RecordingError, match="not expected: m0_z"):
        check_channels(recording, ["m0_x", "m0_y"])
    with pytest.raises(RecordingError, match=r"channel 0 is 'm0_x', but 'm0_y' is expected .*another order"):
        check_channels(recording, ["m0_y", "m0_x", "m0_z"])
    with pytest.raises(RecordingError, match="another sensor"):
        check_channels(recording, ["acc_x", "acc_y", "acc_z"])


def test_a_split_follows_the_labels() -> None:
    train, test = split([session("a", split="test"), session("b", split="train"), session("c", split="val")])
    assert [r.name for r in train] == ["b", "c"]
    assert [r.name for r in test] == ["a"]


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (5, 1), (7, 1), (10, 2), (23, 5)])
def test_without_labels_the_last_fifth_of_the_recordings_is_held_out(count: int, held_out: int) -> None:
    sessions = [session(f"s{i}") for i in range(count)]
    train, test = split(sessions)
    assert [*train, *test] == sessions
    assert len(test) == held_out


def test_one_recording_alone_is_cut_in_time_and_said() -> None:
    with pytest.warns(UserWarning, match="walk is the only recording"):
        (train,), (test,) = split([session()])
    assert (len(train), len(test)) == (80, 20)
    assert train.t[-1] < test.t[0]


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(RecordingError, match="none is left"):
        split([session(split="test")])
    with pytest.raises(RecordingError, match="no recordings"):
        split([])


def test_aligned_streams_lie_on_one_clock() -> None:
    """Two linear signals, sampled at different irregular times, agree with their lines on the common grid."""
    rng = np.random.default_rng(0)
    t_a, t_b = np.sort(rng.uniform(0, 10, 300)), np.sort(rng.uniform(1, 12, 150))
    one = align(
        {"a": (t_a, (2 * t_a)[:, None], ["v"], ["m"]), "b": (t_b, np.c_[-t_b, t_b], ["v", "w"], ["m", "s"])}, rate_hz=50
    )
    assert [c.name for c in one.channels] == ["a_v", "b_v", "w"]
    assert one.t[0] == max(t_a[0], t_b[0])
    assert min(t_a[-1], t_b[-1]) - 0.02 < one.t[-1] <= min(t_a[-1], t_b[-1]) + 1e-3
    np.testing.assert_allclose(one.x, np.c_[2 * one.t, -one.t, one.t], rtol=1e-6, atol=4e-5)  # SNAP of 20 ms, slope 2


def test_aligning_a_regular_stream_with_itself_changes_nothing() -> None:
    r = session()
    one = align({"a": (r.t, r.x, ["x", "y", "z"], ["", "", ""]), "b": (r.t, r.x, ["u", "v", "w"], ["", "", ""])}, 20.0)
    np.testing.assert_array_equal(one.x, np.hstack([r.x, r.x]))


def test_streams_that_do_not_overlap_are_refused() -> None:
    x = np.zeros((5, 1))
    with pytest.raises(RecordingError, match="b starts at 100 s, a ended at 4 s"):
        align({"a": (np.arange(5.0), x, ["v"], [""]), "b": (np.arange(100.0, 105.0), x, ["w"], [""])}, 10)


def test_inputs_are_chosen_by_name_or_pattern_in_the_order_of_the_recording():
    r = session(channels=make_channels(["m0_x", "qx", "m0_y"]))
    assert [c.name for c in choose_inputs(r, ["m*"]).channels] == ["m0_x", "m0_y"]
    np.testing.assert_array_equal(choose_inputs(r, ["m0_y", "m0_x"]).x, r.x[:, [0, 2]])
    assert choose_inputs(r, []).channels == r.channels
    with pytest.raises(RecordingError, match="zz"):
        choose_inputs(r, ["zz*"])
