"""Training with bfloat16 products and with a compiler: the same outcome, and a word where the machine lacks them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hiss.models import S4D, Hierarchical  # noqa: E402
from hiss.recording import Recording, make_channels  # noqa: E402
from hiss.training import (  # noqa: E402
    TrainOptions,
    fit,
    speed,
)

MODEL = Hierarchical(S4D(8, 2, 4), S4D(8, 1, 4), 5)
QUICK = TrainOptions(steps=80, epoch_steps=40, batch=4, window_samples=100, warmup_steps=5)


def skin(name: str, seed: int) -> Recording:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=(600, 2)), 0).astype(np.float32) / 5
    y = (x[:, :1] * np.tanh(x[:, 1:])).astype(np.float32)
    channels = make_channels(["p", "q"], "uT"), make_channels(["force"], "N")
    return Recording(name, np.arange(600) / 20, x, channels[0], y, channels[1], rate_hz=20)


def trained(capsys: pytest.CaptureFixture[str], **options: object) -> tuple[dict[str, np.ndarray], str]:
    """The weights that training ends with, and what it said."""
    train = [skin("a", 0), skin("b", 1)]
    run = fit(MODEL, train, "force", options=dataclasses.replace(QUICK, **options))  # type: ignore[arg-type]
    return {k: v.numpy() for k, v in run.module.state_dict().items()}, capsys.readouterr().err


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[k], other[k]) for k in one)


def off(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Norm of the difference of all weights beside that of one's change from the other's start."""
    return float(np.sqrt(sum(((one[k] - other[k]) ** 2).sum() for k in one) / sum((v**2).sum() for v in one.values())))


def test_bfloat16_products_end_near_where_float32_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "has_bf16", lambda device: True)  # torch can do it everywhere, slowly
    plain, _ = trained(capsys)
    half, _ = trained(capsys, bf16=True)
    assert 0 < off(plain, half) < 0.02
    assert all(v.dtype == np.float32 for v in half.values())


def test_what_the_machine_lacks_is_said_and_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = trained(capsys)
    monkeypatch.setattr(speed, "has_bf16", lambda device: False)
    monkeypatch.setattr(torch, "compile", missing_compiler)
    asked, said = trained(capsys, bf16=True, compile=True)
    assert same(plain, asked)
    assert "compile is left out: no working C++ compiler found" in said
    assert "bf16 is left out: this CPU does not multiply bfloat16" in said


def missing_compiler(function: object) -> object:
    """As torch.compile: what it gives fails at its first call."""

    def call(x: object) -> object:
        raise RuntimeError("no working C++ compiler found\nset CXX")

    return call


@pytest.mark.campaign  # compiling takes half a minute
def test_a_compiled_network_says_what_it_says_and_learns_the_same() -> None:
    torch.manual_seed(0)
    model = Hierarchical(S4D(8, 2, 4, dropout=0.0), S4D(8, 1, 4, dropout=0.0), 5).build(3, 2)
    x, call = torch.randn(2, 40, 3), torch.compile(model)
    grads = []
    for each in (model, call):
        model.zero_grad()
        each(x).square().mean().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(call(x), model(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-6)
