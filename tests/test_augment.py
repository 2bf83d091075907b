"""Augmentation: a turned window is a window of the turned recording; nothing is changed in place, or in validation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hiss.augment import Augmentation, find_turns, scaling_of_turned
from hiss.dataset import Batch, Retare, Scaling, Windows, fit_scaling, sequences
from hiss.errors import TrainingError
from hiss.recording import Recording, make_channels

NAMES = ("acc_x", "acc_y", "acc_z", "heat", "Gyr_X", "Gyr_Y", "Gyr_Z")
TARGETS = ("speed", "vel_x", "vel_y", "vel_z")


def recording(n: int = 90) -> Recording:
    rng = np.random.default_rng(0)
    return Recording(
        "a",
        np.arange(n) / 50,
        rng.normal([0, 0, 9.8, 20, 0, 0, 0], [1, 2, 0.1, 1, 3, 1, 2], (n, 7)),
        make_channels(NAMES),
        rng.normal(1, 2, (n, 4)),
        make_channels(TARGETS),
        rate_hz=50.0,
    )


def windows(r: Recording, augment: Augmentation | None = None, retare: Retare | None = None) -> Windows:
    scaling = augment.scaling if augment else fit_scaling([r])
    return Windows(sequences([r], scaling), 30, 5, scaling.resting_delta, retare, augment)


def turning(rotate: str, r: Recording) -> Augmentation:
    turns = find_turns(rotate, r.channels, r.targets)
    assert turns is not None
    return Augmentation(scaling_of_turned(fit_scaling([r]), [r], turns), turns)


def parts(batch: Batch, s: Scaling) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Channels, their differences and targets, in their units."""
    c = s.n_channels
    return batch.x[..., :c] * s.std + s.mean, batch.x[..., c:] * s.delta_std + s.delta_mean, s.estimates(batch.y)


@pytest.mark.parametrize("rotate", ["yaw", "full", "full_inputs"])
def test_a_turned_window_is_a_window_of_the_turned_recording(rotate: str) -> None:
    r = recording()
    augment = turning(rotate, r)
    plain = windows(r, dataclasses.replace(augment, turns=None)).draw(np.random.default_rng(3), 4)
    turned = windows(r, augment).draw(np.random.default_rng(3), 4)
    x, d, y = parts(plain, augment.scaling)
    tx, td, ty = parts(turned, augment.scaling)
    for b in range(4):
        matrix = np.linalg.lstsq(x[b, :, :3], tx[b, :, :3], rcond=None)[0].T
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-4)  # float32 columns
        assert np.linalg.det(matrix) > 0
        assert abs(matrix - np.eye(3)).max() > 0.01
        np.testing.assert_allclose(tx[b, :, 4:] @ matrix, x[b, :, 4:], atol=1e-4)
        np.testing.assert_allclose(td[b, :, :3] @ matrix, d[b, :, :3], atol=1e-3)
        np.testing.assert_allclose(
            ty[b, :, 1:] @ (np.eye(3) if rotate == "full_inputs" else matrix), y[b, :, 1:], atol=1e-4
        )
        if rotate == "yaw":
            np.testing.assert_allclose(matrix[2], [0, 0, 1], atol=1e-4)
    np.testing.assert_array_equal(turned.x[..., 3], plain.x[..., 3])
    np.testing.assert_array_equal(turned.y[..., 0], plain.y[..., 0])
    np.testing.assert_array_equal(turned.valid, plain.valid)


def test_no_turn_leaves_the_declared_range_or_the_scale() -> None:
    """A channel that hardly moves upright is as wide as any other once turned."""
    r = recording()
    augment = turning("full", r)
    x = windows(r, augment).draw(np.random.default_rng(0), 200).x[..., :3]
    assert abs(x.std() - 1) < 0.1
    raw = x * augment.scaling.std[:3] + augment.scaling.mean[:3]
    assert (abs(raw) < augment.scaling.hi[:3]).all()
    for name in ("y_mean", "y_std"):  # the measure of errors stays
        np.testing.assert_array_equal(getattr(augment.scaling, name), getattr(fit_scaling([r]), name))


def test_full_turns_are_uniform() -> None:
    turns = find_turns("full", recording().channels, recording().targets)
    assert turns is not None
    up = turns.draw(np.random.default_rng(0), 4000)[:, 2, 2]  # Archimedes: uniform in -1 .. 1
    np.testing.assert_allclose([up.mean(), up.var()], [0, 1 / 3], atol=0.03)


def test_a_shift_to_another_tare_turns_with_the_channels() -> None:
    r = recording()
    augment = turning("full", r)
    retare = Retare(np.ones((1, 7), np.float32), 0.99)
    plain = windows(r, dataclasses.replace(augment, turns=None), retare).draw(np.random.default_rng(1), 5)
    turned = windows(r, augment, retare).draw(np.random.default_rng(1), 5)
    size = lambda b: np.linalg.norm(b.shift[:, :3] * augment.scaling.std[:3], axis=1)  # noqa: E731
    np.testing.assert_allclose(size(turned), size(plain), rtol=1e-4)
    assert abs(turned.shift - plain.shift)[:, :3].max() > 0.05


@pytest.mark.parametrize(("key", "spread"), [("gain", False), ("offset", False), ("noise", True)])
def test_a_disturbance_is_shown_beside_the_window_and_has_its_own_differences(key: str, spread: bool) -> None:
    r = recording()
    augment = Augmentation(fit_scaling([r]), **{key: 0.1})
    plain, s = windows(r).draw(np.random.default_rng(2), 400), augment.scaling
    batch = windows(r, augment).draw(np.random.default_rng(2), 400)
    for name in ("x", "y", "valid"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(plain, name))
    x, _, _ = parts(plain, s)
    sx, sd, _ = parts(dataclasses.replace(batch, x=batch.shown), s)
    np.testing.assert_allclose(np.diff(sx, axis=1), sd[:, 1:], atol=1e-3)
    np.testing.assert_allclose(sd[:, 0], 0, atol=1e-5)
    change = sx / x - 1 if key == "gain" else (sx - x) / s.std
    if key == "gain":
        change = change[..., 2:4]  # far from 0
    assert abs(change.std() - 0.1) < 0.01
    assert bool(change.std(1).min() > 0.05) is spread  # one for a window, or one for a sample


def test_the_same_seed_draws_the_same_and_another_another() -> None:
    r = recording()
    augment = dataclasses.replace(turning("full", r), gain=0.1, noise=0.1)
    a, b, c = (windows(r, augment).draw(np.random.default_rng(s), 3).shown for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert abs(a - c).max() > 0.1


def test_sequences_and_validation_windows_stay_as_they_are() -> None:
    r = recording()
    augment = dataclasses.replace(turning("full", r), gain=0.1)
    made = windows(r, augment)
    before = [np.array(part.x) for part in made.parts], [np.array(part.y) for part in made.parts]
    spread = made.spread(3)
    made.draw(np.random.default_rng(0), 8)
    np.testing.assert_array_equal(before[0][0], made.parts[0].x)
    np.testing.assert_array_equal(before[1][0], made.parts[0].y)
    np.testing.assert_array_equal(
        spread.shown, windows(r, dataclasses.replace(augment, turns=None, gain=0.0)).spread(3).x
    )


@pytest.mark.parametrize(
    ("names", "targets", "why"),
    [
        (("acc_x", "acc_y", "acc_z"), ("vel_x", "vel_y"), "vel_z"),
        (("acc_x", "acc_z"), ("speed",), "acc_y"),
        (("a", "b"), ("speed",), "no channel is a vector"),
        (("acc_x", "acc_y", "acc_z"), ("q_w", "q_x", "q_y", "q_z"), "quaternion"),
    ],
)
def test_what_cannot_be_turned_is_refused(names: tuple[str, ...], targets: tuple[str, ...], why: str) -> None:
    with pytest.raises(TrainingError, match=why):
        find_turns("full", make_channels(names), make_channels(targets))


def test_changes_and_other_times_of_a_vector_are_vectors() -> None:
    targets = make_channels(["d0.2(p_x)", "d0.2(p_y)", "acc_x+1", "acc_y+1", "acc_x+2", "acc_y+2"])
    turns = find_turns("yaw", recording().channels, targets)
    assert turns is not None
    assert turns.targets == ((0, 1), (2, 3), (4, 5))
    assert "d0.2(p_xy), acc_xy+1, acc_xy+2" in turns.said


def test_what_is_turned_is_said() -> None:
    turns = find_turns("yaw", recording().channels, recording().targets)
    assert turns is not None
    assert turns.said == "rotate=yaw: turned are acc_xy, Gyr_XY and the targets vel_xy; as they are: acc_z, heat, Gyr_Z"


def test_training_takes_the_options_and_a_turned_run_covers_every_turn() -> None:
    pytest.importorskip("torch")
    from hiss.models import S4D, Hierarchical
    from hiss.training import TrainOptions, fit

    options = TrainOptions(steps=4, epoch_steps=2, batch=2, window_samples=30, rotate="full", gain=0.1, input_noise=0.1)
    net = Hierarchical(S4D(4, 1, 4), S4D(4, 1, 4), 5)
    runs = [
        fit(net, [recording(300)], "vel_*", options=o, progress=False, device="cpu")
        for o in (options, dataclasses.replace(options, rotate="none"))
    ]
    assert runs[0].provenance["options"]["rotate"] == "full"
    assert (runs[0].scaling.hi[:3] > 9.8).all()
    assert runs[1].scaling.hi[0] != runs[1].scaling.hi[1]
    with pytest.raises(ValueError, match="rotate"):
        TrainOptions(rotate="roll")


def test_no_key_of_a_config_means_two_things_and_each_option_has_one() -> None:
    pytest.importorskip("torch")
    from hiss.cli.settings import OPTION_KEYS, Settings
    from hiss.training import TrainOptions

    own = {f.name for f in dataclasses.fields(Settings)}
    assert not own & set(OPTION_KEYS)
    assert {f.name for f in dataclasses.fields(TrainOptions)} == set(OPTION_KEYS)
