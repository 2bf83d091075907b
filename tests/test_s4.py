"""S4: the response is that of the printed recurrence; as low level it folds to a filter, elsewhere to float64 alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch: pip install 'hiss[train]'")

from test_folding import built, folded, forward64, samples  # noqa: E402

from hiss.engines import Stepper, open_stepper  # noqa: E402
from hiss.errors import FoldError, ProgramError  # noqa: E402
from hiss.firmware_export import export_c  # noqa: E402
from hiss.firmware_export.step_model import step_model  # noqa: E402
from hiss.folding import limits  # noqa: E402
from hiss.models import S4, S4D, Flat, Hierarchical, Mamba, Residual, S4Kernel, Transformer  # noqa: E402
from hiss.models.s4d import legs  # noqa: E402
from hiss.program import load_program  # noqa: E402
from hiss.program import ops as o  # noqa: E402
from hiss.program.storage import pack  # noqa: E402
from hiss.quantization import quantized  # noqa: E402

SMALL = S4(5, 2, d_state=8)


def by_steps(kernel: S4Kernel, length: int) -> np.ndarray:
    """The printed recurrence from the parameters alone, all N states of each channel, one step after the other."""
    p = {k: v.detach().double().numpy() for k, v in kernel.named_parameters()}
    rows = []
    for h in range(len(p["d"])):
        half = {k: p[k][h][:, 0] + 1j * p[k][h][:, 1] for k in "bcp"}
        b, c, low_rank = (np.concatenate([half[k], half[k].conj()]) for k in "bcp")
        a = -np.exp(p["log_a_real"][h]) + 1j * p["a_imag"][h]
        matrix = np.diag(np.concatenate([a, a.conj()])) - np.outer(low_rank, low_rank.conj())
        one, dt = np.eye(len(b)), np.exp(p["log_dt"][h])
        a_bar = np.linalg.solve(one - dt / 2 * matrix, one + dt / 2 * matrix)
        x, row = np.linalg.solve(one - dt / 2 * matrix, dt * b), []
        for _ in range(length):
            row.append((c @ x).real)
            x = a_bar @ x
        rows.append(row)
    return np.array(rows)


def stirred(kernel: S4Kernel) -> S4Kernel:
    """Parameters away from where they begin."""
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return kernel


@pytest.mark.parametrize("modes", [1, 4, 32])
@pytest.mark.parametrize("length", [1, 2, 10, 121, 1200])
def test_the_response_is_that_of_the_recurrence(length, modes):
    """1e-11 of its largest value with parameters in float64, the last digits with parameters in float32."""
    torch.manual_seed(length)
    kernel = stirred(S4Kernel(3, modes))
    want = by_steps(kernel, length)
    np.testing.assert_allclose(kernel.response(length).detach(), want, rtol=0, atol=2e-7 * np.abs(want).max())
    exact = kernel.double().response(length).detach()
    np.testing.assert_allclose(exact, want, rtol=0, atol=1e-11 * np.abs(want).max())


def test_it_begins_as_hippo_legs():
    """A[n, k] = -sqrt(2n+1) sqrt(2k+1) below the diagonal, -(n+1) on it, 0 above; B[n] = sqrt(2n+1): the response of
    their product with a C of their own basis is the same, so the eigenvalues of both matrices are."""
    order = 8
    q = np.sqrt(2 * np.arange(order) + 1)
    hippo = -np.tril(np.outer(q, q), -1) - np.diag(np.arange(order) + 1)
    a, b, p = (v.numpy() for v in legs(order))
    low_rank = np.concatenate([p, p.conj()])
    ours = np.diag(np.concatenate([a, a.conj()])) - np.outer(low_rank, low_rank.conj())
    found = np.linalg.eigvals(ours)
    assert max(np.abs(found - e).min() for e in np.linalg.eigvals(hippo)) < 1e-6  # HiPPO is far from normal
    s = 0.3 + 0.2j  # B* (s - A)^-1 B does not depend on the basis
    full = np.concatenate([b, b.conj()])
    transfer = full.conj() @ np.linalg.solve(s * np.eye(order) - ours, full)
    assert transfer == pytest.approx(q @ np.linalg.solve(s * np.eye(order) - hippo, q), rel=1e-10)


def test_gradients_are_those_of_the_response():
    torch.manual_seed(0)
    kernel = stirred(S4Kernel(2, 2)).double()
    assert torch.autograd.gradcheck(lambda *_: kernel.response(5), tuple(kernel.parameters()))


def test_it_is_stable_whatever_its_parameters_are():
    torch.manual_seed(0)
    kernel = S4Kernel(8, 4, dt_max=10.0)
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter.mul_(3).add_(torch.randn_like(parameter))
    assert np.abs(by_steps(kernel, 3000)[:, -1]).max() < 1e3


def test_a_block_has_a_dropout_more_than_that_of_s4d():
    """facts: behind the recurrence, behind GELU, behind the gate."""
    stack, other = SMALL.build(), S4D(5, 2).build()
    assert (stack.layers[0].drops_response, other.layers[0].drops_response) == (True, False)
    x = torch.randn(3, 9, 5)
    torch.manual_seed(1)
    dropped = stack.train()(x)
    torch.manual_seed(1)
    for block in stack.layers:
        block.drops_response = False
    assert not torch.equal(dropped, stack(x))


# ---- programs --------------------------------------------------------------------------------------------------------


def test_as_low_level_it_is_a_short_filter():
    module, scaling = built(Hierarchical(SMALL, S4D(4, 1, d_state=4), period=5))
    program = folded(module, scaling)
    assert [type(op) for _, _, op in program.ops() if op.out.startswith("low") and op.remembers] == [o.Fir] * 2
    assert not program.only_float64


@pytest.fixture(scope="module")
def exact_only():
    """A program with S4 as high level."""
    module, scaling = built(Hierarchical(SMALL, SMALL, period=5))
    return module, scaling, folded(module, scaling)


def test_a_float64_program_runs_where_float64_is(exact_only, tmp_path):
    """Predict, stepper and a loaded file use it without being told: 1e-10 of the largest output."""
    module, scaling, program = exact_only
    x = samples(scaling, 60)
    y = forward64(module, scaling, x)
    program.save(tmp_path / "s4.hiss")
    for same in (program, load_program(tmp_path / "s4.hiss")):
        assert same.predict(x).dtype == np.float64
        np.testing.assert_allclose(same.predict(x), y, rtol=0, atol=1e-10 * np.abs(y).max())
    stepper = open_stepper(program)
    steps = [estimate for estimate in map(stepper.step, x) if estimate is not None]
    np.testing.assert_allclose(steps, y, rtol=0, atol=1e-10 * np.abs(y).max())


@pytest.mark.parametrize(
    "refused",
    [
        lambda p, x, d: export_c(p, d),
        lambda p, x, d: step_model(p, "onnx"),
        lambda p, x, d: step_model(p, "tflite"),
        lambda p, x, d: quantized(p, [x]),
        lambda p, x, d: open_stepper(p, "c"),
        lambda p, x, d: open_stepper(p, "onnx"),
        lambda p, x, d: open_stepper(p, "tflite"),
        lambda p, x, d: Stepper(p, np.float32),
        lambda p, x, d: p.predict(x, np.float32),
    ],
)
def test_all_else_refuses_it_and_says_why(exact_only, refused, tmp_path):
    _, scaling, program = exact_only
    with pytest.raises(ProgramError, match=r"float64 only: S4 carries its state on.*take S4D or Mamba"):
        refused(program, samples(scaling, 60), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_ordinary_program_has_the_bytes_that_it_had():
    """The reason is written only where there is one, so files of before are read and made alike."""
    module, scaling = built(Flat(S4D(3, 1, d_state=4), 2))
    program = folded(module, scaling)
    assert dataclasses.replace(program, only_float64="why").digest != program.digest
    assert b"only_float64" not in pack(program)


# ---- what is said before training ------------------------------------------------------------------------------------

S4_LEVEL, ATTENTION = S4(4, 1, d_state=4), Transformer(4, 1, d_ff=8)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Hierarchical(S4_LEVEL, Mamba(4, 1), 5), None),
        (Hierarchical(S4D(4, 1), S4_LEVEL, 5), "float64"),
        (Residual(None, Flat(S4_LEVEL, 5)), "float64"),
        (Flat(ATTENTION, 5), "will not fold"),
        (Hierarchical(ATTENTION, S4_LEVEL, 5), "will not fold"),
    ],
)
def test_what_will_not_be_possible_is_known_from_the_spec(spec, words):
    """And it is what folding then does."""
    said = limits(spec)
    assert [words in text for text in said] == ([True] if words else [])
    module, scaling = built(spec)
    if words == "will not fold":
        with pytest.raises(FoldError, match="Transformer cannot be folded: attention reads every step"):
            folded(module, scaling)
    else:
        assert bool(folded(module, scaling).only_float64) == (words == "float64")
