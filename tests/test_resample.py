"""Resampling is linear and causal, and the same for a whole recording and for one sample at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiss.errors import RecordingError
from hiss.recording import Recording, make_channels
from hiss.resample import Resampler, grid_stamps, resample_linear


def session(t: np.ndarray, width: int = 2, seed: int = 0) -> Recording:
    x = np.random.default_rng(seed).normal(0, 100, (len(t), width)).astype(np.float32)
    return Recording("session", t, x, make_channels([f"c{i}" for i in range(width)]))


def pushed(recording: Recording, rate_hz: float) -> list[tuple[int, np.ndarray]]:
    resampler = Resampler(rate_hz, recording.x.shape[1])
    return [made for t, x in zip(recording.t, recording.x, strict=True) for made in resampler.push(float(t), x)]


# stamps of a live stream: steps from 10 us (a burst out of a USB buffer) to 5 s (a gap), first stamp up to the epoch
stamps = st.builds(
    lambda first, steps: first + np.cumsum([0.0, *steps]),
    st.sampled_from([0.0, 0.123, -7.5, 1743471820.437]),
    st.lists(st.floats(1e-5, 5.0) | st.sampled_from([0.05, 0.02, 1 / 3]), max_size=60),
)


@settings(deadline=None, max_examples=200)
@given(t=stamps, rate_hz=st.sampled_from([1.0, 20.0, 50.0, 95.23809523809524, 333.3]))
def test_one_sample_at_a_time_equals_the_whole_recording_in_every_bit(t: np.ndarray, rate_hz: float) -> None:
    recording = session(t)
    whole = recording.resampled(rate_hz)
    parts = pushed(recording, rate_hz)
    assert [k for k, _ in parts] == list(range(len(whole)))
    assert np.array_equal(np.array([x for _, x in parts]), whole.x)


@settings(deadline=None)
@given(t=stamps, data=st.data())
def test_what_was_made_never_changes_when_more_arrives(t: np.ndarray, data: st.DataObject) -> None:
    recording = session(t)
    cut = data.draw(st.integers(1, len(t)))
    whole, head = recording.resampled(20.0), recording.cut(0, cut).resampled(20.0)
    assert np.array_equal(head.x, whole.x[: len(head)])
    assert len(whole) == len(head) or whole.t[len(head)] > t[cut - 1]  # and nothing was held back


@pytest.mark.parametrize("rate_hz", [20.0, 95.23809523809524, 1000.0 / 3])
@pytest.mark.parametrize("first", [0.0, 1743471820.437])
def test_a_regular_recording_passes_its_own_rate_unchanged(rate_hz: float, first: float) -> None:
    t = np.round(first + np.arange(5000) / rate_hz, 6)  # stamps as a logger writes them
    recording = session(t)
    assert np.array_equal(recording.resampled(rate_hz).x, recording.x)
    assert [len(Resampler(rate_hz, 2).push(float(at), x)) for at, x in zip(t[:1], recording.x, strict=False)] == [1]
    made = Resampler(rate_hz, 2)
    assert all(len(made.push(float(at), x)) == 1 for at, x in zip(t, recording.x, strict=True))  # no sample of delay


def test_a_straight_line_stays_straight_also_across_a_gap() -> None:
    t = np.array([0.0, 0.07, 0.13, 5.0, 5.08])
    grid = grid_stamps(0.0, 5.08, 20.0)
    out = resample_linear(t, (3 * t + 1)[:, None], grid)
    np.testing.assert_allclose(out[:, 0], 3 * grid + 1, rtol=3e-7)  # float32 samples


def test_a_gap_is_emitted_when_it_ends() -> None:
    resampler = Resampler(10.0, 1)
    assert [k for k, _ in resampler.push(0.0, [0.0])] == [0]
    assert resampler.push(0.05, [1.0]) == []
    assert [k for k, _ in resampler.push(1.0, [2.0])] == list(range(1, 11))


def test_a_new_sample_is_valid_where_both_its_samples_are() -> None:
    valid = np.array([True, True, False, True, True])
    r = Recording("r", np.arange(5.0), np.zeros((5, 1)), make_channels(["a"]), valid=valid).resampled(2.0)
    assert r.valid.tolist() == [True, True, True, False, False, False, True, True, True]


def test_resetting_starts_a_new_grid() -> None:
    t = np.array([3.0, 3.04, 3.3])
    resampler = Resampler(20.0, 1)
    first = [(k, x.tolist()) for at in t for k, x in resampler.push(float(at), [at])]
    resampler.reset()
    assert [(k, x.tolist()) for at in t for k, x in resampler.push(float(at), [at])] == first


@pytest.mark.parametrize("stamp", [0.5, 1.0, float("nan"), float("inf")])
def test_a_stamp_that_does_not_increase_is_refused(stamp: float) -> None:
    resampler = Resampler(20.0, 1)
    resampler.push(1.0, [0.0])
    with pytest.raises(RecordingError, match="must increase"):
        resampler.push(stamp, [0.0])


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan")])
def test_a_rate_is_a_positive_number(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        Resampler(rate_hz, 1)


def test_a_grid_outside_the_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves"):
        resample_linear(np.array([0.0, 1.0]), np.zeros((2, 1)), np.array([0.5, 1.5]))


def test_a_sample_just_within_the_snap_is_on_the_grid_point() -> None:
    recording = session(np.array([0.0, 0.999, 1.5]))  # a thousandth of a period before the point at 1 s
    assert np.array_equal(recording.resampled(1.0).x[1], recording.x[1])
    assert np.array_equal(pushed(recording, 1.0)[1][1], recording.x[1])


def test_the_caller_may_reuse_its_array() -> None:
    """Sources decode into one buffer."""
    t = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 50))
    recording = session(t)
    resampler, buffer, made = Resampler(20.0, 2), np.zeros(2, np.float32), []
    for at, x in zip(recording.t, recording.x, strict=True):
        buffer[:] = x
        made += resampler.push(float(at), buffer)
    assert np.array_equal(np.array([x for _, x in made]), recording.resampled(20.0).x)
