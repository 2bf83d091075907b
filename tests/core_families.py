"""Integer programs of every model family, and samples for long runs on every core."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
from c_programs import every_position
from integer_states import hard_actions, hard_samples
from programs import random_program, random_samples

from hiss.firmware_export.selftest import usual_samples
from hiss.program import Port, Program, Stage, ops, passes
from hiss.program.interpreter import input_op
from hiss.quantization import quantized

CHANNELS, OUTPUTS = 3, 2


@dataclass(frozen=True)
class Family:
    """What is quantized and how.   make: the float program;  small: it fits into an ATmega328P;  spread: flat work."""

    make: object
    weights: str = "int8"
    states: str = "int32"
    small: bool = False
    spread: bool = False


def folded(name: str) -> Program:
    """An untrained model with usual scales, by seed; its widths are odd, so that kernels have rests of their loops."""
    torch = pytest.importorskip("torch", reason="models need torch: pip install 'hiss[train]'")
    from hiss.dataset import Scaling
    from hiss.folding import fold_model
    from hiss.models import LSTM, S4D, ARNet, Ensemble, Flat, Hierarchical, Mamba, Residual
    from hiss.recording import Channel

    level, wide = S4D(d_model=8, n_layers=1, d_state=8), S4D(d_model=32, n_layers=2, d_state=16)
    odd = S4D(d_model=7, n_layers=2, d_state=6)
    lags = ARNet(ages=(0, 1, 4, 11), period=5)
    spec = {
        "flat": Flat(odd, period=4),
        "hiss": Hierarchical(level, level, period=5),
        "hiss wide": Hierarchical(wide, wide, period=10),
        "hiss carried": Hierarchical(odd, Mamba(d_model=5, n_layers=1, d_state=4), 5, restart=False),
        "lstm": Hierarchical(LSTM(d_model=7, n_layers=1), LSTM(d_model=5, n_layers=2), 5),
        "mamba": Hierarchical(Mamba(d_model=7, n_layers=1, d_state=3), Mamba(d_model=5, n_layers=2, d_state=4), 5),
        "arnet": lags,
        "residual": Residual(ARNet(ages=(0, 2, 9), period=5), Hierarchical(odd, level, period=5)),
        "ensemble": Ensemble(
            (
                Hierarchical(odd, Mamba(d_model=5, n_layers=1, d_state=4), 5),
                Hierarchical(LSTM(d_model=7, n_layers=1), odd, 5),
                Flat(LSTM(d_model=5, n_layers=1), 5),
            )
        ),
    }[name]
    torch.manual_seed(3)
    one = np.ones(CHANNELS)
    std = np.array([90.0, 200.0, 30.0])
    scaling = Scaling(
        tare=4,
        lo=-1000 * one,
        hi=1000 * one,
        mean=np.array([40.0, -120.0, 10.0]),
        std=std,
        deltas=True,
        delta_mean=0 * one,
        delta_std=std / 20,
        y_mean=np.zeros(OUTPUTS),
        y_std=np.ones(OUTPUTS),
    )
    takes_channels = isinstance(spec, ARNet | Residual)
    module = spec.build(2 * CHANNELS, OUTPUTS, CHANNELS) if takes_channels else spec.build(2 * CHANNELS, OUTPUTS)
    return fold_model(
        module.eval(),
        scaling,
        channels=tuple(Channel(f"m0_{axis}", "uT") for axis in "xyz"),
        targets=tuple(Channel(f"force_{axis}", "N") for axis in "xy"),
        rate_hz=100.0,
    )


def turning() -> Program:
    """Columns of an accelerometer with a gyroscope, turned by feedback, in front of a small HiSS."""
    torch = pytest.importorskip("torch", reason="models need torch: pip install 'hiss[train]'")
    from hiss.dataset import fit_scaling
    from hiss.folding import fold_model
    from hiss.models import S4D, Hierarchical
    from hiss.recording import Recording, make_channels

    names = [f"{sensor}_{axis}" for sensor in ("acc", "gyr") for axis in "xyz"]
    channels, targets = make_channels(names, ["m/s^2"] * 3 + ["rad/s"] * 3), make_channels(["vel_x", "vel_y"], "m/s")
    rng = np.random.default_rng(11)
    x = (rng.normal(size=(400, 6)) * ([4.0] * 3 + [0.5] * 3)).astype(np.float32)
    y = rng.normal(size=(400, 2)).astype(np.float32)
    scaling = fit_scaling([Recording("r", np.arange(400) / 50, x, channels, y, targets, rate_hz=50)], inertial=True)
    torch.manual_seed(3)
    module = Hierarchical(S4D(7, 1, 6), S4D(5, 1, 4), 5).build(scaling.n_inputs, 2).eval()
    return fold_model(module, scaling, channels=channels, targets=targets, rate_hz=50.0)


def dense_lags(weights: int, outputs: int) -> Program:
    """An AR-Net of one channel with all of its lags, read where they lie; 128 products fill a column of sums on AVR."""
    rng = np.random.default_rng(5)
    z = ops.Input("z", np.array([3.0]), np.array([4]), np.array([-2000.0]), np.array([2000.0]))
    past = ops.Delay("past", "z", np.arange(1, weights), np.zeros(weights - 1, np.int64), "first")
    w = rng.normal(size=(2, weights)) / np.sqrt(weights)
    w[-1] = (1 - 2**-15) / 128  # 32767 each: with samples of full scale the largest sums of bytes that there are
    w, bias = w[-outputs:], np.array([0.3, -2.0])[-outputs:]
    y = ops.Affine("y", ("z", "past"), (w[:, :1], w[:, 1:]), bias)
    stage = Stage(1, (z, past, y), (), ("y",))
    return Program((Port("v"),), (Port("a"), Port("b"))[:outputs], 50.0, (stage,))


def real_poles() -> Program:
    """3 channels that are alike, 5 of 3 real modes each, 6 outputs."""
    rng = np.random.default_rng(7)
    limit, a = np.full(3, 1000.0), 1 - np.geomspace(1e-3, 1, 15).reshape(5, 3)
    stage = Stage(
        1,
        (
            ops.Input("u", np.full(3, 5.0), np.full(3, 8), -limit, limit),
            ops.Affine("bu", ("u",), (rng.normal(size=(5, 3)),), rng.normal(size=5)),
            ops.Diagonal("h", "bu", a.astype(complex), rng.normal(size=(5, 3)) * (1 - a) + 0j, rng.normal(size=5)),
            ops.Affine("y", ("h",), (rng.normal(size=(6, 5)),), rng.normal(size=6)),
        ),
        (),
        ("y",),
    )
    names = "abcdef"
    inputs, outputs = tuple(Port(n, "count", -1000.0, 1000.0) for n in names[:3]), tuple(Port(f"y_{n}") for n in names)
    return Program(inputs, outputs, 50.0, (stage,))


FAMILIES = {
    "real poles": Family(real_poles, weights="int16", small=True),
    "dense lags": Family(lambda: dense_lags(128, 1), small=True),
    "more lags": Family(lambda: dense_lags(150, 2), small=True),
    "flat": Family(lambda: folded("flat"), states="int16"),
    "hiss": Family(lambda: folded("hiss"), small=True),
    "hiss wide": Family(lambda: folded("hiss wide")),
    "hiss carried": Family(lambda: folded("hiss carried"), small=True),
    # not small: avr-gcc 5.4 makes wrong code of it from -O1 on (self + 96 of a register that it has just overwritten)
    "lstm": Family(lambda: folded("lstm")),
    "mamba": Family(lambda: folded("mamba"), small=True),
    "inertial": Family(turning),
    "arnet": Family(lambda: folded("arnet"), small=True),
    "residual": Family(lambda: folded("residual"), weights="int16"),
    "ensemble": Family(lambda: folded("ensemble")),
    "every position": Family(every_position),
    "every position, int16": Family(every_position, weights="int16", states="int16"),
    "every position, spread": Family(every_position, spread=True),
    **{
        f"random {seed}": Family(
            functools.partial(random_program, seed, feedback=True), ("int8", "int16")[seed % 2], small=True
        )
        for seed in range(6)
    },
}


def integer_program(name: str) -> Program:
    """A family's integer program."""
    family = FAMILIES[name]
    program = family.make()
    x = random_samples(program, 600, 1) if name.startswith("random") else usual_samples(program, 600)
    made, _ = quantized(program, [x.astype(float)], weights=family.weights, states=family.states)
    return passes.spread(made) if family.spread else made


def long_samples(program: Program, random: int, adversarial: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(samples (n, C), actions (n,)): usual noise and noise over all integers, then constants, alternating extremes and
    square waves of full scale; resets within chunks and a tare renewed in each part."""
    rng = np.random.default_rng(seed)
    limit = 2 ** (program.formats[input_op(program).out]["x"].bits - 1)
    usual = hard_samples(program, 10 * random, seed)[: random // 2]
    noise = rng.integers(-limit, limit, (random - random // 2, len(program.inputs)))
    hard = hard_samples(program, 2 * adversarial, seed)[6 * adversarial // 10 :][:adversarial]
    parts = [usual, noise, hard]
    actions = np.concatenate([hard_actions(program, len(part)) for part in parts])
    return np.concatenate(parts), actions
