"""Folded = forward, for every family; what the passes save and that they change nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch: pip install 'hiss[train]'")

from hiss.dataset import Scaling  # noqa: E402
from hiss.errors import FoldError  # noqa: E402
from hiss.folding import fold_model  # noqa: E402
from hiss.models import LSTM, S4, S4D, ARNet, Ensemble, Flat, Hierarchical, Mamba, Residual  # noqa: E402
from hiss.program import cost, interpreter, passes, sequence  # noqa: E402
from hiss.program import ops as o  # noqa: E402
from hiss.recording import Channel  # noqa: E402

CHANNELS, OUTPUTS = 3, 2
LOW = S4D(d_model=6, n_layers=2, d_state=4)
MAMBA = Mamba(d_model=5, n_layers=2, d_state=3)
CELLS = LSTM(d_model=5, n_layers=2)
FAMILIES = {
    "flat": Flat(S4D(d_model=5, n_layers=2, d_state=6), period=4),
    "flat every sample": Flat(S4D(d_model=5, n_layers=1, d_state=6, init="legs"), period=1),
    "hiss lin": Hierarchical(LOW, S4D(d_model=7, n_layers=2, d_state=4), period=5),
    "hiss inv bilinear": Hierarchical(
        dataclasses.replace(LOW, init="inv", discretization="bilinear"), S4D(d_model=6, n_layers=1, d_state=4), period=3
    ),
    "hiss legs": Hierarchical(dataclasses.replace(LOW, init="legs"), S4D(d_model=6, n_layers=1, d_state=4), period=1),
    "flat mamba": Flat(MAMBA, period=4),
    "hiss without restart": Hierarchical(LOW, MAMBA, period=5, restart=False),
    "lstm without restart": Hierarchical(CELLS, CELLS, period=3, restart=False),
    "mamba mamba": Hierarchical(MAMBA, MAMBA, period=5),
    "mamba s4d": Hierarchical(MAMBA, LOW, period=3),
    "flat lstm": Flat(CELLS, period=4),
    "lstm lstm": Hierarchical(CELLS, CELLS, period=5),
    "lstm mamba": Hierarchical(CELLS, MAMBA, period=3),
    "s4 mamba": Hierarchical(S4(d_model=5, n_layers=2, d_state=8), MAMBA, period=5),
    "s4 lstm, residual": Residual(
        ARNet(ages=(0, 3), period=3), Hierarchical(S4(d_model=5, n_layers=1), CELLS, period=3)
    ),
    "s4d mamba, residual": Residual(ARNet(ages=(0, 3), period=5), Hierarchical(LOW, MAMBA, period=5)),
    "arnet": ARNet(ages=(0, 1, 4, 11), period=5),
    "arnet without present": ARNet(ages=(3, 1, 2), period=1),
    "arnet of one age": ARNet(ages=(0,), period=2),
    "residual": Residual(ARNet(ages=(0, 2, 9), period=5), Hierarchical(LOW, LOW, period=5)),
    "residual flat": Residual(ARNet(ages=(0, 2, 9), period=4), Flat(LOW, period=4)),
    "residual without correction": Residual(ARNet(ages=(0, 2, 9), period=5), None),
    "residual without base": Residual(None, Hierarchical(LOW, LOW, period=5)),
    "ensemble": Ensemble((Hierarchical(LOW, MAMBA, period=5), Hierarchical(CELLS, LOW, period=5, restart=False))),
    "ensemble of flat": Ensemble((Flat(LOW, period=4), Flat(CELLS, period=4), Flat(MAMBA, period=4))),
    "ensemble of both": Ensemble((Hierarchical(CELLS, MAMBA, period=3), Flat(LOW, period=3), Flat(CELLS, period=3))),
}


def some_scaling(rng, deltas=True, tare=0):
    mean, std = rng.normal(size=CHANNELS) * 300, 10 ** rng.uniform(-2, 3, CHANNELS)
    return Scaling(
        tare=tare,
        lo=(mean - 3 * std).astype(np.float32).astype(np.float64),  # as fit_scaling makes them
        hi=(mean + 3 * std).astype(np.float32).astype(np.float64),
        mean=mean,
        std=std,
        deltas=deltas,
        delta_mean=std * 0.01,
        delta_std=std / 30,
        y_mean=rng.normal(size=OUTPUTS),
        y_std=rng.uniform(0.5, 3, OUTPUTS),
    )


def built(spec, deltas=True, seed=0):
    """(module in float64, scaling) with random parameters."""
    torch.manual_seed(seed)
    n_in = CHANNELS * (2 if deltas else 1)
    takes_channels = isinstance(spec, ARNet | Residual)
    module = spec.build(n_in, OUTPUTS, CHANNELS) if takes_channels else spec.build(n_in, OUTPUTS)
    return module.double().eval(), some_scaling(np.random.default_rng(seed), deltas)


def folded(module, scaling, **options):
    names = tuple(Channel(f"x{i}", "uT") for i in range(CHANNELS))
    targets = tuple(Channel(f"y{i}", "N") for i in range(OUTPUTS))
    return fold_model(module, scaling, channels=names, targets=targets, rate_hz=100.0, **options)


def samples(scaling, steps, seed=1):
    rng = np.random.default_rng(seed)
    x = scaling.mean + 1.5 * scaling.std * rng.standard_normal((steps, CHANNELS))
    return x.astype(np.float32).astype(np.float64)  # what a recording holds


def forward64(module, scaling, x):
    """forward() in the units of the outputs; the columns in float64, as Scaling has them before its last rounding."""
    x = np.clip(x, scaling.lo, scaling.hi)
    columns = (x - scaling.mean) / scaling.std
    if scaling.deltas:
        steps = np.diff(x, axis=0, prepend=x[:1])
        columns = np.concatenate((columns, (steps - scaling.delta_mean) / scaling.delta_std), axis=-1)
    with torch.no_grad():
        return module(torch.from_numpy(columns)[None])[0].numpy() * scaling.y_std + scaling.y_mean


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("deltas", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_folded_equals_forward(family, deltas, optimize):
    """The step form is the sequence form: 1e-10 in float64, 1e-5 of the largest output in float32."""
    module, scaling = built(FAMILIES[family], deltas)
    x = samples(scaling, 120)
    y = forward64(module, scaling, x)
    program = folded(module, scaling, optimize=optimize)
    np.testing.assert_allclose(program.predict(x, np.float64), y, rtol=1e-10, atol=1e-10 * np.abs(y).max())
    np.testing.assert_allclose(program.predict(x, np.float32), y, rtol=0, atol=1e-5 * np.abs(y).max())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("one_pass", [passes.dead_values, passes.last_sample_only, passes.fir_form, passes.optimized])
def test_no_pass_changes_an_output(family, one_pass):
    module, scaling = built(FAMILIES[family], seed=3)
    program = folded(module, scaling, optimize=False)
    x = samples(scaling, 83)
    np.testing.assert_allclose(
        one_pass(program).predict(x, np.float64), program.predict(x, np.float64), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_cutting_a_recording_in_two_changes_nothing(family):
    module, scaling = built(FAMILIES[family])
    program = interpreter.cast(folded(module, scaling), np.float64)
    x = samples(scaling, 60)
    whole = sequence.predict(program, x)
    for cut in (1, 8, 30):
        first, state = sequence.run(program, interpreter.init_state(program), x[:cut])
        second, _ = sequence.run(program, state, x[cut:])
        np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-11, atol=1e-11)


def reference_size(optimize):
    """low 32x2 | high 32x2, N = 16, 3 channels and their deltas, 2 outputs, period 10."""
    s4d = S4D(d_model=32, n_layers=2, d_state=16)
    module, scaling = built(Hierarchical(s4d, s4d, period=10))
    return folded(module, scaling, optimize=optimize)


def test_the_passes_cost_3485_products_per_sample_instead_of_9178():
    assert cost.cost(reference_size(True)).macs == pytest.approx(3484.8)
    assert cost.cost(reference_size(False)).macs == pytest.approx(9177.6)


def test_only_a_linear_recurrence_that_restarts_has_a_fir_form():
    modes = np.full((1, 1), 0.5 + 0j)
    with pytest.raises(FoldError, match="carries its state"):
        passes.as_fir(o.Diagonal("h", "u", modes, modes, np.ones(1)), 4)
    with pytest.raises(FoldError, match="depends on the input"):
        passes.as_fir(o.Selective("h", "u", "d", "b", "c", -np.ones((1, 2)), np.ones(1), True), 4)


def test_a_model_without_update_equations_is_refused():
    _, scaling = built(FAMILIES["flat"])
    with pytest.raises(FoldError, match="Linear cannot be folded"):
        folded(torch.nn.Linear(2, 2), scaling)


def test_the_equations_name_every_value():
    program = reference_size(True)
    text = program.equations()
    assert all(op.out in text for _, _, op in program.ops())
