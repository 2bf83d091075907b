"""The causal low-pass: scipy's filter run forwards, the same in training, offline, folded and in integers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy import signal

from hiss.dataset import Scaling, fit_scaling
from hiss.errors import ProgramError, TrainingError
from hiss.filters import Lowpass
from hiss.folding import fold
from hiss.models import S4D, ARNet, Flat, Hierarchical, Residual
from hiss.program import integer_sequence, interpreter, sequence
from hiss.program import ops as o
from hiss.quantization import quantize
from hiss.recording import Recording, make_channels
from hiss.training import Run, TrainOptions, fit, pretrain

TINY = S4D(4, 1, 4)
QUICK = TrainOptions(
    steps=6, epoch_steps=3, batch=2, window_samples=60, warmup_steps=2, min_gain=0.0, lowpass_hz=3.0, lowpass_order=3
)


def recording(n: int = 400, seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    slow = np.cumsum(rng.normal(size=(n, 2)), 0) / 5
    x = slow + rng.normal(size=(n, 2)) + [0, 9.81]
    names = make_channels(["p", "q"]), make_channels(["force"], "N")
    return Recording(f"r{seed}", np.arange(n) / 20, x, names[0], slow[:, :1] * slow[:, 1:], names[1], rate_hz=20.0)


def quick(spec: object, options: TrainOptions = QUICK, **more: object) -> Run:
    return fit(spec, [recording(), recording(seed=1)], "force", options=options, progress=False, device="cpu", **more)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_modes_are_the_filter_and_it_is_causal(order: int) -> None:
    x = recording().x.astype(np.float64)
    lowpass = Lowpass(0.1, order, np.array([0.0, 9.5]))
    b, a = signal.butter(order, 0.2)
    want = lowpass.centre + signal.lfilter(b, a, x - lowpass.centre, axis=0)
    np.testing.assert_allclose(lowpass.run(x), want, atol=1e-9)
    poles, c, d = lowpass.modes()
    h, made = np.zeros((2, len(poles)), complex), []
    for u in x - lowpass.centre:
        h = poles * h + u[:, None]
        made.append((c * h).sum(1).real + d * u)
    np.testing.assert_allclose(lowpass.centre + np.array(made), want, atol=1e-9)
    np.testing.assert_array_equal(lowpass.run(x[:50]), lowpass.run(x)[:50])


SPECS = {
    "hiss": Hierarchical(TINY, TINY, 5),
    "flat": Flat(TINY, 5),
    "residual": Residual(ARNet(windows_s=(0.5,), period=5), Hierarchical(TINY, TINY, 5)),
    "arnet": ARNet(windows_s=(0.5,), period=5),
}


@pytest.mark.parametrize("name", SPECS)
def test_the_program_is_the_run_filter_and_all(name: str) -> None:
    run = quick(SPECS[name])
    assert run.scaling.lowpass is not None
    program, x = fold(run), recording(seed=2).x
    assert any(isinstance(op, o.Diagonal) and op.out == "z" for op in program.stages[0].every)
    run.module.double()
    want = run.estimate(x[None])[0]
    got = sequence.predict(interpreter.cast(program, np.float64), x.astype(np.float64)[None], tared=True)[0]
    np.testing.assert_allclose(got, want, atol=1e-5 * abs(want).max())  # Scaling hands float32 on
    bare = fold(quick(SPECS[name], dataclasses.replace(QUICK, lowpass_hz=0.0)))
    assert abs(sequence.predict(bare, x[None], tared=True)[0] - want).max() > 1e-3  # it is not for nothing


def test_integers_take_the_filter_along() -> None:
    run = quick(SPECS["residual"])
    program, x = fold(run), recording().x
    made, _ = quantize(program, [recording(), recording(seed=1)], weights="int16")
    exact, whole = sequence.predict(program, x[None], tared=True)[0], integer_sequence.predict(made, x[None])[0]
    assert abs(whole - exact).max() < 0.02 * abs(exact).max()


def test_training_sees_what_the_program_will_see() -> None:
    """A range of the raw samples, scales of the filtered ones, which move less."""
    run, plain = quick(SPECS["flat"]), quick(SPECS["flat"], dataclasses.replace(QUICK, lowpass_hz=0.0))
    raw = np.concatenate([recording(seed=s).x for s in (0, 1)])
    assert (run.scaling.lo < raw.min(0)).all()
    assert (run.scaling.delta_std < 0.6 * plain.scaling.delta_std).all()


def test_a_filtered_scaling_is_kept_and_older_ones_still_load() -> None:
    plain = fit_scaling([recording()])
    assert "lowpass" not in plain.to_json()
    assert Scaling.from_json(plain.to_json()).lowpass is None
    kept = dataclasses.replace(plain, lowpass=Lowpass(0.1, 2, np.array([1.0, 2.0])))
    again = Scaling.from_json(json.loads(json.dumps(kept.to_json())))
    assert again.lowpass is not None
    np.testing.assert_array_equal(again.lowpass.run(recording().x), kept.lowpassed(recording().x))
    for damage in ({"cutoff": 0.7, "order": 2, "centre": [0, 0]}, {"cutoff": 0.1, "order": 2, "centre": [0]}, 3):
        with pytest.raises(ProgramError, match="lowpass"):
            Scaling.from_json({**plain.to_json(), "lowpass": damage})


def test_who_trains_on_keeps_the_filter_and_none_is_above_half_the_rate() -> None:
    bare = dataclasses.replace(QUICK, lowpass_hz=0.0)
    for more in (
        {"start": quick(SPECS["flat"])},
        {"pretrained": pretrain(SPECS["flat"], [recording()], options=QUICK)},
    ):
        (before,) = more.values()
        after = quick(SPECS["flat"], bare, **more)
        assert after.scaling.to_json()["lowpass"] == before.scaling.to_json()["lowpass"]
        with pytest.raises(TrainingError, match="lowpass_hz is 2, but the run that is trained on has 3"):
            quick(SPECS["flat"], dataclasses.replace(QUICK, lowpass_hz=2.0), **more)
    with pytest.raises(TrainingError, match="below half of the rate"):
        quick(SPECS["flat"], dataclasses.replace(QUICK, lowpass_hz=11.0))


def test_live_steps_through_the_filter_as_the_sequence_does() -> None:
    from hiss.engines import Stepper

    program, x = fold(quick(SPECS["residual"])), recording(seed=2).x
    stepper = Stepper(program)
    made = [y for y in (stepper.step(sample) for sample in x) if y is not None]
    want = sequence.predict(program, x[None], tared=True)[0]
    np.testing.assert_allclose(np.array(made), want, atol=1e-4 * abs(want).max())  # float32
