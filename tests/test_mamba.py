"""Mamba: the scan in blocks is the printed recurrence, with its gradients; its cost is linear in the steps."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch: pip install 'hiss[train]'")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from hiss.models import Mamba, scan  # noqa: E402
from hiss.models.mamba import MambaBlock  # noqa: E402
from hiss.models.scan import selective_scan  # noqa: E402


def given(steps: int, batch: int, channels: int, states: int, reads: int, scale: float = 0.3) -> list[torch.Tensor]:
    """u, delta, a, b, c of selective_scan."""
    torch.manual_seed(steps)
    sizes = [(steps, batch, channels), (steps, batch, channels), (states, channels), (steps, batch, states)]
    u, delta, a, b, c = (torch.randn(*size, dtype=torch.float64) for size in [*sizes, (reads, batch, states)])
    return [u, delta.abs() * scale, -16 * a.abs(), b, c]


def by_steps(u, delta, a, b, c, read: slice) -> torch.Tensor:
    """The printed formula, one step after the other."""
    h, states = torch.zeros(u.shape[1], *a.shape, dtype=u.dtype), []
    for t in range(len(u)):
        h = torch.exp(delta[t][:, None] * a) * h + b[t][..., None] * (delta[t] * u[t])[:, None]
        states.append(h)
    return (torch.stack(states)[read] * c[..., None]).sum(2)


@pytest.mark.parametrize("block", [16, 100, 1 << 17])
@pytest.mark.parametrize("read", [slice(None), slice(4, None, 5), slice(-1, None), slice(30, None, 50)])
def test_the_scan_in_blocks_is_the_recurrence_and_so_are_its_gradients(block, read, monkeypatch):
    """Whatever the blocks are: several, cut within sequences, between them, or one; 1e-12 of sums in float64."""
    monkeypatch.setattr(scan, "BLOCK", block)
    arguments = [v.requires_grad_() for v in given(37, 5, 3, 2, len(range(*read.indices(37))))]
    y, want = selective_scan(*arguments, read), by_steps(*arguments, read)
    torch.testing.assert_close(y, want, rtol=0, atol=1e-12)
    back = torch.randn_like(want)
    for got, expected in zip(
        torch.autograd.grad(y, arguments, back), torch.autograd.grad(want, arguments, back), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12 * float(expected.abs().max() + 1))


def test_decays_that_vanish_stay_finite_in_float32():
    """delta A down to -1000: a quotient of running products would be 0 / 0; 1e-5 of the largest in float32."""
    wide = given(300, 2, 4, 3, 300, scale=20.0)
    narrow = [v.float().requires_grad_() for v in wide]
    y, want = selective_scan(*narrow), by_steps(*wide, slice(None))
    torch.testing.assert_close(y.double(), want, rtol=0, atol=1e-5 * float(want.abs().max()))
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(y.sum(), narrow))


class Counted(TorchDispatchMode):
    """Numbers that operations write, and those that are kept for the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.written = self.kept = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for out in made if isinstance(made, tuple | list) else [made]:
            self.written += out.numel() if isinstance(out, torch.Tensor) and not func.is_view else 0
        return made

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        self.kept += tensor.numel()
        return tensor


def cost_of(steps: int) -> Counted:
    """Of forward and backward of a Mamba block."""
    block, count = MambaBlock(Mamba(4, 1, d_state=3)), Counted()
    with count, torch.autograd.graph.saved_tensors_hooks(count.keep, lambda kept: kept):
        block(torch.randn(steps, 2, 4)).sum().backward()
    return count


def test_time_and_memory_are_linear_in_the_steps(monkeypatch):
    """What is written and what is kept, forward and backward: each further 64 steps add the same (5 %: rests of
    blocks). With autograd through a loop that selects steps, what is written grows as the square."""
    monkeypatch.setattr(scan, "BLOCK", 512)
    few, some, many = (cost_of(steps) for steps in (64, 128, 512))
    for measure in ("written", "kept"):
        one, two, eight = (getattr(count, measure) for count in (few, some, many))
        assert eight - two == pytest.approx(6 * (two - one), rel=0.05)


def test_a_block_is_what_the_file_says():
    """Every formula of the docstring, in numpy, step by step."""
    torch.manual_seed(0)
    block = MambaBlock(Mamba(6, 1, d_state=3, d_conv=3, expand=2, dt_rank=2)).double().eval()
    torch.nn.init.normal_(block.norm.weight)
    x = torch.randn(11, 1, 6, dtype=torch.float64)
    p = {k: v.detach().numpy() for k, v in block.named_parameters()}
    past, h, rows = np.zeros((3, 12)), np.zeros((12, 3)), []
    for sample in x[:, 0].numpy():
        z = (sample - sample.mean()) / np.sqrt(sample.var() + 1e-5) * p["norm.weight"] + p["norm.bias"]
        v, gate = np.split(p["w_in.weight"] @ z, 2)
        past = np.stack([v, *past[:-1]])
        u = silu((p["conv.weight"].T * past).sum(0) + p["conv.bias"])
        s, b, c = np.split(p["w_x.weight"] @ u, [2, 5])
        delta = np.log1p(np.exp(p["w_delta.weight"] @ s + p["w_delta.bias"]))
        h = np.exp(delta[:, None] * -np.exp(p["log_a"])) * h + (delta * u)[:, None] * b
        y = h @ c + p["d"] * u
        rows.append(sample + p["w_out.weight"] @ (y * silu(gate)))
    np.testing.assert_allclose(block(x)[:, 0].detach().numpy(), rows, rtol=0, atol=1e-12)


def silu(u: np.ndarray) -> np.ndarray:
    return u / (1 + np.exp(-u))


def test_it_begins_as_mamba_ssm_does():
    """facts: N 16, 4 samples, expand 2, rank d / 16 rounded up, step sizes in 1e-3 .. 1e-1, A = -(1 .. N)."""
    torch.manual_seed(0)
    spec = Mamba(40, 1)
    block = MambaBlock(spec)
    assert (spec.inner, spec.rank, spec.d_state, spec.d_conv) == (80, 3, 16, 4)
    dt = torch.nn.functional.softplus(block.w_delta.bias)
    assert 1e-3 * 0.999 <= dt.min() < 3e-3
    assert 3e-2 < dt.max() <= 1e-1 * 1.001
    torch.testing.assert_close(-torch.exp(block.log_a), -torch.arange(1.0, 17).expand(80, 16))
    assert block.w_delta.weight.abs().max() <= 3**-0.5


@pytest.mark.parametrize("wrong", [{"dt_rank": -1}, {"dt_rank": 65}, {"expand": 0}, {"d_conv": 0}, {"dt_min": 0.0}])
def test_bad_choices_are_value_errors(wrong):
    with pytest.raises(ValueError, match="must be"):
        Mamba(32, 2, **wrong)
