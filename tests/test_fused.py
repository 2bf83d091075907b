"""The fused parts of an SSM block say what torch's operations say, gradients too; what is kept follows parameters."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from hiss.models import S4, S4D, Hierarchical, Mamba  # noqa: E402
from hiss.models.fused import Head, block, composed, standardised  # noqa: E402
from hiss.models.powers import modal_filters, modal_taps  # noqa: E402

EPS = 1e-5


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
def test_filters_of_groups_are_those_of_their_layers(rule: str) -> None:
    """Taps times the gain, sums of taps times the bias, for groups of one and two layers; gradients too."""
    torch.manual_seed(0)
    shapes = (3,), (3, 4), (3, 4), (3, 4, 2), (3,), (3,), (3,)
    kinds = [[some(*shape) for _ in range(3)] for shape in shapes]

    def made(*flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return modal_filters([flat[i : i + 3] for i in range(0, len(flat), 3)], rule, ((1, 2), (2, 7)))

    flat = [each for kind in kinds for each in kind]
    found = made(*flat)
    layers = (2, found[0], found[1]), (7, found[2], found[4]), (7, found[3], found[5])
    for layer, (length, taps, shift) in enumerate(layers):
        parameters, (gain, bias) = [kind[layer] for kind in kinds[:5]], (kind[layer][:, None] for kind in kinds[5:])
        want = modal_taps(*parameters, rule, length)
        torch.testing.assert_close(taps, want * gain)
        torch.testing.assert_close(shift, want.cumsum(1) * bias)
    assert torch.autograd.gradcheck(made, flat)


@pytest.mark.parametrize("high", [S4D(6, 1, 8), S4D(6, 1, 8, discretization="bilinear"), S4(6, 1, 8), Mamba(6, 1)])
@pytest.mark.parametrize("restart", [True, False])
def test_learning_levels_say_what_they_say_at_rest(high: object, restart: bool) -> None:
    """Filters made for both levels together are those that each makes for itself."""
    torch.manual_seed(0)
    model = Hierarchical(S4D(6, 2, 8), high, 5, restart=restart).build(4, 2).double().eval()
    x = torch.randn(2, 40, 4, dtype=torch.float64)
    with torch.no_grad():
        at_rest = model(x)
    torch.testing.assert_close(model(x).detach(), at_rest, rtol=1e-12, atol=1e-12)


EVERY = slice(None)
WAYS = {
    "chunks": ((3, 4, 5), (3, 4, 4), (3, 4), EVERY),
    "ends of chunks": ((3, 4, 5), (3, 1, 4), (3, 1), EVERY),
    "sequences": ((3, 2, 7), (3, 7), (3, 7), EVERY),
    "some steps": ((3, 2, 7), (3, 7), (3, 7), slice(1, None, 3)),
}


def arrays(way: str) -> tuple[list[torch.Tensor], slice]:
    """x, taps, shift, weight and bias."""
    torch.manual_seed(0)
    *shapes, read = WAYS[way]
    return [*(some(*shape) for shape in shapes), some(6, 3), some(6)], read


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@pytest.mark.parametrize("length", [1, 2, 7, 10])
def test_gradients_of_taps_are_right(rule: str, length: int) -> None:
    torch.manual_seed(0)
    parameters = some(3), some(3, 4), some(3, 4), some(3, 4, 2), some(3)
    assert torch.autograd.gradcheck(lambda *p: modal_taps(*p, rule, length), parameters)


@pytest.mark.parametrize("way", WAYS)
def test_a_block_says_what_its_formula_says(way: str) -> None:
    (x, taps, shift, weight, bias), read = arrays(way)
    given = x, taps, shift, Head(weight, bias, EPS), read
    torch.testing.assert_close(block(*given), composed(*given), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("drops", [(0.0, 0.0), (0.3, 0.0), (0.3, 0.4)])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_right(way: str, drops: tuple[float, float]) -> None:
    given, read = arrays(way)

    def made(
        x: torch.Tensor, taps: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        torch.manual_seed(1)  # the same masks at each call
        return block(x, taps, shift, Head(weight, bias, EPS, *drops), read)

    assert torch.autograd.gradcheck(made, given)


def test_a_norm_of_large_offsets_keeps_its_digits() -> None:
    """The mean goes before the squares are taken: what is lost is the rounding of the offset, not of its square."""
    torch.manual_seed(0)
    x = torch.randn(64, 50) + 1e3
    exact = F.layer_norm(x.double().T, (64,)).T
    assert (standardised(x, EPS)[0] - exact).abs().max() < 1e3 * 2**-21


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_leaves_out_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    n = 500_000
    zero, one = torch.zeros(1, 1, n), torch.ones(1, 1)
    weight, bias = torch.tensor([[0.0], [0.0]]), torch.tensor([1.0, 50.0])  # value 1, gate open
    y = block(zero, zero[..., :1], one, Head(weight, bias, EPS, p))[0]
    deviation = (p * (1 - p) / n) ** 0.5
    assert abs(float((y == 0).double().mean()) - p) < 5 * deviation + 2**-16
    assert abs(float(y.double().mean()) - 1) < 5 * deviation / (1 - p) + 2**-15
    left = (y[0] == 0).double() - p
    assert abs(float((left[1:] * left[:-1]).mean())) < 5 * p * (1 - p) / n**0.5  # neighbours know nothing of each other


def test_a_model_without_gradients_says_what_it_says_with_them() -> None:
    """Kept taps follow each change of the parameters, and copies of a model keep their own."""
    torch.manual_seed(0)
    model = Hierarchical(S4D(6, 2), S4(6, 2, 8), 5).build(4, 2).eval()
    x = torch.randn(2, 40, 4)

    def with_gradients(of: torch.nn.Module) -> torch.Tensor:
        return of(x).detach()

    def without(of: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return of(x)

    first = without(model)
    assert torch.equal(first, with_gradients(model))
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.low.layers[1].ssm.parameters():
            parameter.mul_(1.1)
    assert not torch.equal(without(model), first)
    assert torch.equal(without(model), with_gradients(model))
    assert torch.equal(without(other), first)
    model.load_state_dict(other.state_dict())
    assert torch.equal(without(model), first)
    with torch.inference_mode():
        assert torch.equal(model(x), first)
        model(x[:, :14].repeat(1, 1, 1))
    model(x[:, :14]).sum().backward()  # nothing that was kept is of inference alone


@pytest.mark.parametrize("spec", [S4D(16, 2), S4(16, 2), Mamba(16, 2)])
def test_bfloat16_products_change_little(spec: object) -> None:
    """Sums, norms and states stay in float32: an estimate moves by the rounding of single products."""
    torch.manual_seed(0)
    model = Hierarchical(S4D(16, 2), spec, 5).build(4, 2).eval()
    x = torch.randn(4, 100, 4)
    plain = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(x)
    assert half.dtype == torch.float32 or spec.__class__ is Mamba
    assert 0 < (half - plain).norm() / plain.norm() < 0.02
    half.square().mean().backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())
