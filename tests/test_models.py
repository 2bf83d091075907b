"""Models: convolution = recurrence, short form = long form, flat and hierarchical reads, AR-Net's lags, specs."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hiss.models import LSTM, S4, S4D, ARNet, Flat, Hierarchical, Mamba, Residual, Transformer  # noqa: E402
from hiss.models.blocks import SSMStack  # noqa: E402
from hiss.models.fused import convolved, fast_length  # noqa: E402
from hiss.models.kernel import toeplitz  # noqa: E402
from hiss.models.s4d import DISCRETIZATIONS, INITS, S4DKernel, initial_modes, legs  # noqa: E402
from hiss.models.spec import spec_from_json, spec_to_json  # noqa: E402
from hiss.models.stack import StackSpec, linear_rows  # noqa: E402

FAMILIES: list[StackSpec] = [S4D(6, 2, 8), S4(6, 2, 8), Mamba(6, 2, 3), LSTM(6, 2), Transformer(6, 2, 3, 7)]


def kind(spec: object) -> str:
    return type(spec).__name__


def seeded(seed: int = 0) -> None:
    torch.manual_seed(seed)


def by_recurrence(kernel: S4DKernel, u: np.ndarray) -> np.ndarray:
    """The printed formula, sample by sample, from the parameters alone: u (T, H) -> y (T, H)."""
    p = {k: v.detach().numpy() for k, v in kernel.named_parameters()}
    a, dt = -np.exp(p["log_a_real"]) + 1j * p["a_imag"], np.exp(p["log_dt"])[:, None]
    c = p["c"][..., 0] + 1j * p["c"][..., 1]
    if kernel.discretization == "zoh":
        a_bar = np.exp(dt * a)
        b_bar = (a_bar - 1) / a
    else:
        a_bar = (1 + dt * a / 2) / (1 - dt * a / 2)
        b_bar = dt / (1 - dt * a / 2)
    h, rows = np.zeros_like(a), []
    for sample in u:
        h = a_bar * h + b_bar * sample[:, None]
        rows.append((2 * c * h).sum(-1).real + p["d"] * sample)
    return np.stack(rows)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("discretization", DISCRETIZATIONS)
@pytest.mark.parametrize("steps", [1, 2, 5, 37])
def test_convolution_equals_the_printed_recurrence(init: str, discretization: str, steps: int) -> None:
    seeded()
    kernel = S4DKernel(3, 4, init=init, discretization=discretization).double()
    u = torch.randn(steps, 3, dtype=torch.float64)
    want = by_recurrence(kernel, u.numpy())
    taps = kernel.taps(steps)
    by_fft = convolved(u.T[:, None], taps)[:, 0]
    for got in (by_fft, (toeplitz(taps) @ u.T[..., None])[..., 0]):
        np.testing.assert_allclose(got.detach().numpy().T, want, atol=1e-12 * np.abs(want).max())  # float64 sums


def test_legs_modes_are_those_of_the_reference() -> None:
    """facts: Im 0.264, 0.906, 1.70 ... 258, 433, 1303 for N = 64."""
    a, b = initial_modes("legs", 32)
    np.testing.assert_allclose(a.real, -0.5)
    np.testing.assert_allclose(a.imag[[0, 1, 2, -3, -2, -1]], [0.264, 0.906, 1.70, 258, 433, 1303], rtol=5e-3)
    assert b.imag.abs().max() <= 2


def test_real_modes_are_the_eigenvalues_of_legs() -> None:
    """HiPPO-LegS is triangular: -(n + 1) on its diagonal (arXiv 2206.11893, S4D-Real)."""
    a, p = (x[:3].numpy() for x in (legs(6)[0], legs(6)[2]))
    whole = np.diag(np.concatenate([a, a.conj()])) - np.outer(p := np.concatenate([p, p.conj()]), p.conj())
    want, _ = initial_modes("real", 6)
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(whole).real)[::-1], want.real, rtol=1e-8)
    assert not want.imag.any()


def test_every_mode_is_stable() -> None:
    for init in INITS:
        for discretization in DISCRETIZATIONS:
            kernel = S4DKernel(16, 8, init=init, discretization=discretization, dt_max=10.0)
            assert kernel.discrete()[0].abs().max() < 1


@pytest.mark.parametrize("spec", FAMILIES, ids=kind)
@pytest.mark.parametrize("steps", [1, 5, 64])
def test_chunks_of_a_stack_are_short_sequences(steps: int, spec: StackSpec) -> None:
    """Short paths for chunks and for their last step are the path for sequences: one function."""
    seeded()
    stack = spec.build(4, 3).double().eval()
    x = torch.randn(5, steps, 4, dtype=torch.float64)
    whole = stack(x)
    ends = stack.chunk_ends(x.permute(2, 1, 0))
    torch.testing.assert_close(ends.T, whole[:, -1], rtol=0, atol=1e-12)


def test_a_block_is_what_its_docstring_says() -> None:
    seeded()
    stack = SSMStack(S4D(6, 1, 8), None, None).double().eval()
    block = stack.layers[0]
    torch.nn.init.normal_(block.norm.weight)
    torch.nn.init.normal_(block.norm.bias)
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    y = (toeplitz(block.ssm.taps(9)) @ block.norm(x)[..., None].transpose(1, 2))[..., 0].transpose(1, 2)
    value, gate = block.mix(torch.nn.functional.gelu(y)).chunk(2, -1)
    want = x + value * torch.sigmoid(gate)
    torch.testing.assert_close(stack(x), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", FAMILIES, ids=kind)
def test_flat_is_read_at_the_last_sample_of_each_period(spec: StackSpec) -> None:
    seeded()
    model = Flat(spec, 5).build(4, 2).double().eval()
    x = torch.randn(3, 23, 4, dtype=torch.float64)
    torch.testing.assert_close(model(x), model.net(x)[:, 4::5][:, :4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", FAMILIES, ids=kind)
def test_hierarchical_is_low_per_chunk_then_high_then_head(spec: StackSpec) -> None:
    seeded()
    model = Hierarchical(spec, spec, 4).build(3, 2).double().eval()
    x = torch.randn(2, 26, 3, dtype=torch.float64)
    handed = torch.stack([model.low(x[:, 4 * j : 4 * j + 4])[:, -1] for j in range(6)], 1)
    want = model.head(model.high(handed))
    torch.testing.assert_close(model(x), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", FAMILIES, ids=kind)
def test_a_low_level_without_restart_carries_its_state_over_chunks(spec: StackSpec) -> None:
    seeded()
    model = Hierarchical(spec, spec, 4, restart=False).build(3, 2).double().eval()
    x = torch.randn(2, 26, 3, dtype=torch.float64)
    want = model.head(model.high(model.low(x[:, :24])[:, 3::4]))
    torch.testing.assert_close(model(x), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "spec",
    [model for s in FAMILIES for model in (Flat(s, 5), Hierarchical(s, s, 5), Hierarchical(s, s, 5, False))],
    ids=lambda s: kind(s.stacks()[0]),
)
def test_the_future_changes_nothing(spec: Flat | Hierarchical) -> None:
    """Causal, and cut at whole chunks: the estimates of a beginning are the beginning of the estimates."""
    seeded()
    model = spec.build(3, 1).double().eval()
    x = torch.randn(1, 40, 3, dtype=torch.float64)
    torch.testing.assert_close(model(x[:, :15]), model(x)[:, :3], rtol=0, atol=1e-12)


def test_arnet_reads_the_samples_of_its_ages_and_repeats_the_first() -> None:
    seeded()
    model = ARNet(ages=(0, 2, 7), period=3).build(5, 2, n_channels=3).double()
    x = torch.randn(2, 11, 5, dtype=torch.float64)
    got = model(x)
    for j, step in enumerate((2, 5, 8)):
        past = torch.cat([x[:, max(step - age, 0), :3] for age in (0, 2, 7)], -1)
        torch.testing.assert_close(got[:, j], model.linear(past), rtol=0, atol=1e-12)


def test_residual_is_the_sum_of_its_parts() -> None:
    seeded()
    model = Residual(ARNet(ages=(0, 1), period=4), Hierarchical(S4D(4, 1, 4), S4D(4, 1, 4), 4)).build(6, 2, 3).eval()
    x = torch.randn(2, 16, 6)
    torch.testing.assert_close(model(x), model.base(x) + model.correction(x))
    base_only = Residual(ARNet(ages=(0, 1), period=4), None).build(6, 2, 3)
    assert base_only(x).shape == (2, 4, 2)


def test_dropout_acts_in_training_only() -> None:
    seeded()
    model = Flat(S4D(8, 1, 4, dropout=0.5), 1).build(2, 1)
    x = torch.randn(1, 10, 2)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize(
    "spec",
    [
        Flat(S4D(8, 3, init="legs", discretization="bilinear"), 7),
        Hierarchical(S4D(8), S4D(16, d_state=4), 5),
        ARNet(lags=5, spacing="all", period=2),
        Residual(ARNet(ages=(0, 3), period=5), Hierarchical(period=5)),
        Residual(ARNet(period=5), None),
        *(Hierarchical(S4D(), spec) for spec in FAMILIES),
    ],
)
def test_specs_survive_json(spec: object) -> None:
    import json

    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "Hierarchicle"}, "known: S4D"),
        ({"kind": "Flat", "peroid": 3}, "did you mean 'period'"),
        ({"kind": "Flat", "period": "3"}, "cannot be '3'"),
        ({"kind": "Flat", "period": True}, "cannot be True"),
        ({"kind": "Flat", "net": {"kind": "Mamba", "d_stat": 3}}, "did you mean 'd_state'"),
        ({"kind": "Flat", "net": {"kind": "Flat"}}, "Flat.net cannot be"),
        ({"kind": "S4D", "d_model": 10**9}, "d_model"),
        ([1], "unknown kind"),
    ],
)
def test_specs_refuse_what_they_are_not(data: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spec_from_json(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: S4D(d_state=5),
        lambda: S4D(init="hippo"),
        lambda: S4D(discretization="euler"),
        lambda: S4D(dropout=1.0),
        lambda: S4D(0),
        lambda: S4D(dt_min=1.0, dt_max=0.1),
        lambda: Flat(period=0),
        lambda: ARNet(ages=(-1,)),
        lambda: ARNet(spacing="linear"),
        lambda: ARNet().build(3, 1),
        lambda: Residual(None, None),
        lambda: Residual(ARNet(period=2), Hierarchical(period=3)),
    ],
)
def test_bad_choices_are_value_errors(make: object) -> None:
    with pytest.raises(ValueError, match=r"must|known|needs|not chosen|has period"):
        make()  # type: ignore[operator]


def test_fast_lengths_suffice() -> None:
    for n in range(1, 3000):
        assert n <= fast_length(n) < 1.34 * n + 1


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_linear_rows_is_linear(axes: tuple[int, int, int]) -> None:
    """However its input lies in memory."""
    seeded()
    x = torch.randn(3, 4, 5, dtype=torch.float64).permute(axes)
    layer = torch.nn.Linear(len(x), 2).double()
    torch.testing.assert_close(linear_rows(layer, x), layer(x.permute(1, 2, 0)).permute(2, 0, 1))
    assert linear_rows(layer, x).is_contiguous()
