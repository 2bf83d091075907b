"""Models of equal size: as many parameters as fit, all levels together, and never one more."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hiss.compare.sizes import STEP, sized  # noqa: E402
from hiss.models import LSTM, S4, S4D, ARNet, Ensemble, Flat, Hierarchical, Mamba, Residual, Transformer  # noqa: E402

MODELS = [
    Flat(S4D(32, 2)),
    Flat(LSTM(32, 2)),
    Flat(Transformer(32, 2, n_heads=4, d_ff=64)),
    Hierarchical(S4D(32, 2), Mamba(16, 1)),
    Hierarchical(LSTM(8, 1), S4(32, 2)),
    Ensemble((Flat(LSTM(16, 2), 10), Hierarchical(S4D(32, 2), Mamba(32, 1)))),
]


def count(spec: object) -> int:
    return sum(p.numel() for p in spec.build(10, 3).parameters())  # type: ignore[attr-defined]


@pytest.mark.parametrize("spec", MODELS, ids=str)
@pytest.mark.parametrize("parameters", [6000, 20000, 60000])
def test_a_model_is_as_large_as_the_budget_lets_it_be(spec: object, parameters: int) -> None:
    made = sized(spec, parameters, 10, 3)
    assert count(made) <= parameters
    assert sized(spec, count(made), 10, 3) == made
    assert count(sized(spec, count(made) - 1, 10, 3)) < count(made)
    assert count(made) > 0.5 * parameters


def test_levels_keep_their_relation_and_a_base_stays_as_it_is() -> None:
    base = ARNet(ages=(0, 1), period=10)
    made = sized(Residual(base, Hierarchical(S4D(32, 2), Mamba(16, 1))), 40000, 10, 3)
    assert made.base == base
    assert abs(made.correction.low.d_model - 2 * made.correction.high.d_model) <= STEP
    assert count(made.correction) <= 40000
    assert sized(base, 10, 10, 3) == base


def test_random_numbers_are_not_touched_and_what_cannot_be_so_small_is_refused() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    sized(Flat(S4D(32, 2)), 20000, 10, 3)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=f"layers of {STEP} channels"):
        sized(Flat(S4D(32, 2)), 10, 10, 3)
