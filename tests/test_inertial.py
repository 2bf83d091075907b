"""Columns of an accelerometer and a gyroscope: what turning means for them, and the same numbers once folded."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
Rotation = pytest.importorskip("scipy.spatial.transform").Rotation

from hiss.dataset import Scaling, fit_scaling  # noqa: E402
from hiss.errors import ProgramError  # noqa: E402
from hiss.folding.expressions import Builder  # noqa: E402
from hiss.folding.inertial import inertial_columns  # noqa: E402
from hiss.folding.models import fold_model  # noqa: E402
from hiss.inertial import TIMES_S, Inertial, attitude, find_inertial, leaky, rotations  # noqa: E402
from hiss.models import S4D, ARNet, Flat, Hierarchical, Residual  # noqa: E402
from hiss.program import Port, Program, Stage, integer_sequence, interpreter, ops, sequence  # noqa: E402
from hiss.quantization import quantized  # noqa: E402
from hiss.recording import Recording, make_channels  # noqa: E402
from hiss.training import TrainOptions, fit  # noqa: E402

RATE = 50.0
NAMES = [f"{kind}_{axis}" for kind in ("acc", "gyr") for axis in "xyz"]
UNITS = ["m/s^2"] * 3 + ["rad/s"] * 3


def recording(n: int = 300, seed: int = 0, **more: object) -> Recording:
    """Hand motion: smooth turning up to 5 rad/s, gravity as the turning sensor sees it, and a smooth push."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)[:, None] / RATE
    gyr = (2 * np.sin(2 * t * rng.uniform(0.5, 3, 3) + rng.uniform(0, 6, 3))).astype(np.float32)
    phase = 3 * t + rng.uniform(0, 6, 3)
    r = rotations(attitude(gyr.astype(np.float64) / RATE))
    acc = np.einsum("tji,tj->ti", r, np.sin(phase) + np.array([0, 0, 9.81]))
    x = np.concatenate((acc, gyr), 1).astype(np.float32)
    y = np.einsum("tji,tj->ti", r, -np.cos(phase) / 3).astype(np.float32)
    channels, targets = make_channels(NAMES, UNITS), make_channels([f"vel_{a}" for a in "xyz"], "m/s")
    return Recording("hand", t[:, 0], x, channels, y, targets, rate_hz=RATE, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scaling() -> Scaling:
    return fit_scaling([recording(), recording(seed=1)], inertial=True)


def test_attitude_is_the_product_of_all_turns() -> None:
    w = np.random.default_rng(0).normal(size=(37, 3)) * 0.05
    want = Rotation.identity()
    for t, turn in enumerate(w):
        want = want * Rotation.from_rotvec(turn)
        # the step is exact to |w|^5 / 1920 of its angle
        np.testing.assert_allclose(rotations(attitude(w))[t], want.as_matrix(), atol=37 * 0.2**5 / 1920)


def test_leaky_sums_by_doubling_are_the_recurrence() -> None:
    u, decay = np.random.default_rng(1).normal(size=(2, 41, 3, 2)), np.array([0.2, 0.9, 0.999])
    h, want = np.zeros((2, 3, 2)), []
    for t in range(41):
        h = decay[:, None] * h + u[:, t]
        want.append(h)
    np.testing.assert_allclose(leaky(u, decay), np.stack(want, 1), rtol=1e-12)


def test_gravity_alone_is_nothing_however_the_sensor_turns(scaling: Scaling) -> None:
    """a_t = R_t' g makes columns of 0; with the turning left out, it does not."""
    assert scaling.inertial
    x = recording().x.astype(np.float64)
    x[:, :3] = np.einsum("tji,j->ti", rotations(attitude(x[:, 3:] / RATE)), [0, 0, 9.81])
    assert np.abs(scaling.inertial.columns(x)).max() < 1e-10
    x[:, 3:] = 0
    assert np.abs(scaling.inertial.columns(x)).max() > 0.1


def test_columns_turn_with_the_sensor(scaling: Scaling) -> None:
    """A sensor mounted otherwise sees the same vectors in its own frame."""
    assert scaling.inertial
    x, r = recording().x.astype(np.float64), Rotation.random(random_state=3).as_matrix()
    mounted = np.concatenate((x[:, :3] @ r.T, x[:, 3:] @ r.T), 1)
    want = np.einsum("ij,tjk->tik", r, scaling.inertial.columns(x).reshape(len(x), 3, -1))
    np.testing.assert_allclose(scaling.inertial.columns(mounted), want.reshape(len(x), -1), atol=1e-10)


def test_columns_have_unit_size_and_do_not_move_together(scaling: Scaling) -> None:
    assert scaling.inertial
    vectors = [scaling.inertial.columns(recording(seed=s).x).reshape(-1, 3, len(TIMES_S)) for s in (0, 1)]
    rows = np.concatenate(vectors).reshape(-1, len(TIMES_S))
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(len(TIMES_S)), atol=1e-3)


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("kind", ["flat", "hiss", "based", "base alone", "without a correction"])
def test_folded_equals_forward(scaling: Scaling, kind: str, optimize: bool) -> None:
    """float64: 1e-10 of the largest value."""
    torch.manual_seed(0)
    small = S4D(4, 1, 4)
    base = ARNet(period=5, ages=(0, 3), columns=scaling.more_columns)
    spec = {
        "flat": Flat(small, 5),
        "hiss": Hierarchical(small, small, 5),
        "based": Residual(base, Hierarchical(small, small, 5)),
        "base alone": base,
        "without a correction": Residual(base, None),
    }[kind]
    first = (scaling.n_channels,) if isinstance(spec, Residual | ARNet) else ()
    module = spec.build(scaling.n_inputs, 3, *first).double().eval()  # type: ignore[union-attr, arg-type]
    r, x = recording(seed=4), recording(seed=4).x[None].astype(np.float64)
    program = fold_model(module, scaling, channels=r.channels, targets=r.targets, rate_hz=RATE, optimize=optimize)
    columns = [(x - scaling.mean) / scaling.std, np.diff(x, axis=1, prepend=x[:, :1]), scaling.inertial.columns(x)]  # type: ignore[union-attr]
    columns[1] = (columns[1] - scaling.delta_mean) / scaling.delta_std
    with torch.no_grad():
        want = scaling.estimates(module(torch.from_numpy(np.concatenate(columns, -1))).numpy())
    got = sequence.predict(interpreter.cast(program, np.float64), x)
    np.testing.assert_allclose(got, want, atol=1e-10 * np.abs(want).max())


def test_a_run_estimates_the_velocity_of_a_turning_sensor_and_keeps_it_when_saved(tmp_path: object) -> None:
    """What no map of lags can say is exact with the columns: the base alone is near it. Off, it is not."""
    train = [recording(600, s) for s in range(4)]
    options = TrainOptions(window_samples=200, steps=2, folds=1)
    spec = Residual(ARNet(period=5, ages=(0,)), None)
    errors = {}
    for on in (True, False):
        chosen = dataclasses.replace(options, inertial=on)
        run = fit(spec, train, "vel_*", options=chosen, progress=False, device="cpu", out=f"{tmp_path}/{on}")
        test = recording(600, 9)
        got = type(run).load(f"{tmp_path}/{on}").estimate(test.x[None].astype(np.float64))[0]
        errors[on] = np.sqrt(((got - test.y[4::5])[20:] ** 2).mean()) / test.y.std()
    assert errors[True] < 0.3
    assert errors[False] > 0.5


def test_only_an_accelerometer_with_a_gyroscope_that_is_not_tared_counts() -> None:
    r = recording()
    assert fit_scaling([r], inertial=True).inertial
    assert fit_scaling([r]).inertial is None
    assert fit_scaling([r.tare(10)], inertial=True).inertial is None
    for units in (["uT"] * 6, ["m/s^2"] * 6, ["m/s^2"] * 3 + ["deg/s", "uT", "deg/s"]):
        assert find_inertial(make_channels(NAMES, units), [r.x], RATE) is None
    degrees = find_inertial(make_channels(NAMES, ["g"] * 3 + ["deg/s"] * 3), [r.x], RATE)
    assert degrees is not None
    assert degrees.angle == pytest.approx(np.pi / 180 / RATE)


def test_scaling_with_columns_comes_back_from_plain_data(scaling: Scaling) -> None:
    again = Scaling.from_json(scaling.to_json())
    x = recording(seed=2).x
    np.testing.assert_array_equal(again.inputs(x), scaling.inputs(x))
    for key, wrong in (("acc", [0, 1, 6]), ("decay", [1.5]), ("mix", [[1.0]]), ("gyr", [3, 4])):
        data = scaling.to_json()
        data["inertial"] = {**data["inertial"], key: wrong}
        with pytest.raises(ProgramError, match="inertial"):
            Scaling.from_json(data)


def test_program_saved_and_stepped_says_the_same(scaling: Scaling) -> None:
    """Sample by sample and cut in two, the attitude goes on."""
    module = Hierarchical(S4D(4, 1, 4), S4D(4, 1, 4), 5).build(scaling.n_inputs, 3).eval()
    r = recording(120, 5)
    program: Program = fold_model(module, scaling, channels=r.channels, targets=r.targets, rate_hz=RATE)
    cast = interpreter.cast(program, np.float64)
    whole = sequence.predict(cast, r.x)
    state, parts = interpreter.init_state(cast), []
    for piece in (r.x[:47], r.x[47:]):
        y, state = sequence.run(cast, state, piece)
        parts.append(y)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-12)


def columns_program(spec: Inertial) -> Program:
    """The columns alone: y = v, of samples as they are."""
    builder, one = Builder(), np.ones(6)
    z = builder.add(ops.Input("z", 0 * one, np.array([2, 2, 2, 0, 0, 0]), -100 * one, 100 * one))
    unit = np.array([4.0] * 3 + [1.0] * 3)
    builder.affine("y", inertial_columns(builder, spec, z, unit, 0 * one))
    names = [f"v{i}" for i in range(spec.width)]
    stage = Stage(1, tuple(builder.ops), (), ("y",))
    return Program(tuple(Port(n) for n in NAMES), tuple(Port(n) for n in names), RATE, (stage,))


def nearly_still(seed: int, seconds: float = 40) -> np.ndarray:
    """A quiet sensor that turns by 2 degrees a second, gravity in its frame; then it is moved, and struck."""
    rng, n = np.random.default_rng(seed), int(seconds * RATE)
    axis = rng.normal(size=3)
    still = np.zeros((n, 6))
    still[:, 3:] = np.deg2rad(2) * axis / np.linalg.norm(axis)
    x = np.concatenate((still, recording(300, seed).x))
    r = rotations(attitude(x[:, 3:] / RATE))
    x[:n, :3] += np.einsum("tji,j->ti", r[:n], [0, 0, 9.81])
    x += np.array([0.01] * 3 + [0.003] * 3) * rng.normal(size=x.shape)
    x[-20:, :3] += 15 * rng.normal(size=(20, 3))
    return x


def test_integers_do_not_drift_while_the_sensor_hardly_turns(scaling: Scaling) -> None:
    """Columns have size 1, formats that of fast turning and shocks. Filters in 16 bits at that size are off by 0.5."""
    assert scaling.inertial
    program = columns_program(scaling.inertial)
    whole, _ = quantized(program, [nearly_still(seed) for seed in (0, 1)])
    for seed in (2, 3):
        x = nearly_still(seed)[:2000]
        exact = sequence.predict(interpreter.cast(program, np.float64), x)
        off = integer_sequence.predict(whole, x) - exact
        assert np.sqrt((off**2).mean(0)).max() < 0.06
