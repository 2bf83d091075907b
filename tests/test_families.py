"""Every family through the verbs: trained as a level by name, kept, resumed, folded, quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch: pip install 'hiss[train]'")

from click.testing import CliRunner  # noqa: E402
from core_families import folded, integer_program  # noqa: E402
from programs import random_program, random_samples  # noqa: E402
from test_integer_c import compared  # noqa: E402
from test_training import FAST, recording  # noqa: E402

from hiss.cli.levels import level  # noqa: E402
from hiss.cli.train import command  # noqa: E402
from hiss.engines import Stepper  # noqa: E402
from hiss.engines.c_engine import run_selftest  # noqa: E402
from hiss.firmware_export import export_c  # noqa: E402
from hiss.firmware_export.selftest import usual_samples  # noqa: E402
from hiss.folding import fold  # noqa: E402
from hiss.models import LSTM, S4, S4D, Mamba, Transformer  # noqa: E402
from hiss.models.transformer import EncoderLayer, positions  # noqa: E402
from hiss.program import integer, integer_sequence, interpreter, sequence  # noqa: E402
from hiss.quantization import quantized  # noqa: E402
from hiss.recording import write_hdf5  # noqa: E402
from hiss.training import Run  # noqa: E402

FAMILIES = {"mamba": Mamba, "lstm": LSTM}
ALL = {**FAMILIES, "s4d": S4D, "s4": S4, "transformer": Transformer}
ASKED = ["--target", "force", "--period", "5", "--no-base", *FAST]


def train(folder: Path, *words: str) -> str:
    """What hiss train says; it must succeed."""
    if not (folder / "skin.h5").exists():
        write_hdf5(folder / "skin.h5", [recording(split="train"), recording(300, 1, "b", "train")])
    result = CliRunner().invoke(command, [str(folder / "skin.h5"), *ASKED, "-o", str(folder / "run"), *words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_trained_kept_resumed_and_folded_as_both_levels(family, tmp_path):
    """Loaded weights are the trained ones, bit for bit; folded, they say the same: 1e-5 of the largest in float32."""
    train(tmp_path, "--low", f"{family}:4x1", "--high", f"{family}:5x2", "--set", "high.dropout=0.2")
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    run = Run.load(tmp_path / "run")
    assert type(run.spec.low) is type(run.spec.high) is FAMILIES[family]
    assert (run.spec.low.d_model, run.spec.high.n_layers, run.spec.high.dropout) == (4, 2, 0.2)
    assert CliRunner().invoke(command, ["--resume", str(tmp_path / "run")]).exit_code == 0
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before
    x = recording(120, 3).x
    y = run.estimate(x[None])[0]
    program = fold(run)
    stepper, bound = Stepper(program), 1e-5 * np.abs(y).max()
    np.testing.assert_allclose(program.predict(x), y, rtol=0, atol=bound)
    np.testing.assert_allclose(steps_of(stepper, x), y, rtol=0, atol=bound)
    assert run_selftest(export_c(program, tmp_path / "c", "model")) == 0


def steps_of(stepper: Stepper, x: np.ndarray) -> list[np.ndarray]:
    """The estimates of single steps."""
    return [y for y in map(stepper.step, x) if y is not None]


def test_the_report_says_that_a_cell_saturates():
    """It has no bound: samples far beyond calibration drive it to the end of its range, and it stays there."""
    program = folded("lstm")
    x = usual_samples(program, 300).astype(float)
    made, report = quantized(program, [x])
    assert set(report.fed_back) == {f"{level}.{part}" for level in ("low.0", "high.0", "high.1") for part in "hc"}
    assert "they saturate: low.0.h" in report.text()
    assert not quantized(folded("mamba"), [x])[1].fed_back
    assert np.isfinite(integer_sequence.predict(made, 1e6 * x)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_integer_c_equals_the_interpreter_in_every_bit(family):
    """Samples of full scale, resets and tares among them; the longer runs on every core are the campaign's."""
    assert compared(integer_program(family), 70) > 5


@pytest.mark.parametrize("seed", range(4))
def test_loops_over_whole_sequences_are_steps(seed):
    """Loops step together and chunks of loops run side by side: the same integers, the same floats (1e-12)."""
    for program in (folded("lstm"), random_program(seed, feedback=True, tare=0)):
        x = random_samples(program, 83, seed).astype(float)
        made, _ = quantized(program, [x])
        whole = integer.samples(made, x)
        state = {**integer.init_state(made), "tare.left": np.array(0)}
        np.testing.assert_array_equal(integer_sequence.run(made, whole), integer.run(made, state, whole)[0])
        exact = interpreter.cast(program, np.float64)
        state = {**interpreter.init_state(exact), "tare.left": np.array(0)}
        y, after = sequence.run(exact, state, x)
        steps = []
        for row in x:
            estimate, state = interpreter.step(exact, state, row)
            steps += [] if estimate is None else [estimate]
        np.testing.assert_allclose(y, steps, rtol=1e-12, atol=1e-12)
        for part, held in after.items():
            np.testing.assert_allclose(held, state[part], rtol=1e-12, atol=1e-12, err_msg=part)


@pytest.mark.parametrize("family", ALL)
def test_a_family_is_trained_flat_and_what_it_cannot_do_is_said_before(family, tmp_path):
    said = train(tmp_path, "--flat", f"{family}:4x1")
    assert type(Run.load(tmp_path / "run").spec.net) is ALL[family]
    note = {"s4": "note: this model folds to a program in float64", "transformer": "note: this model will not fold"}
    assert ("note: " in said) == (family in note)
    if family in note:
        assert said.index(note[family]) < said.index("training")


def test_positions_of_a_transformer_are_sines_and_cosines():
    table = positions(torch.zeros(1, 7, 6, dtype=torch.float64)).numpy()
    assert table[3, 2] == pytest.approx(np.sin(3 / 10000 ** (2 / 6)))
    assert table[6, 5] == pytest.approx(np.cos(6 / 10000 ** (4 / 6)))


def test_an_encoder_layer_is_that_of_torch():
    """The same weights in torch's own layer: 1e-12 in float64."""
    torch.manual_seed(0)
    layer = EncoderLayer(Transformer(6, 1, n_heads=3, d_ff=7)).double().eval()
    other = torch.nn.TransformerEncoderLayer(6, 3, 7, batch_first=True, norm_first=True).double().eval()
    other.self_attn.in_proj_weight, other.self_attn.in_proj_bias = layer.w_qkv.weight, layer.w_qkv.bias
    other.self_attn.out_proj, other.linear1, other.linear2 = layer.w_out, layer.w_1, layer.w_2
    other.norm1, other.norm2 = layer.norm_1, layer.norm_2
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    future = torch.nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), other(x, src_mask=future), rtol=0, atol=1e-12)


def test_heads_must_divide():
    with pytest.raises(ValueError, match="n_heads must divide d_model; got 2 and 5"):
        Transformer(5)


def test_a_level_is_said_in_a_word():
    of_s4d = {"d_state": 4, "init": "legs"}
    assert level("low", "8x3", of_s4d) == S4D(8, 3, d_state=4, init="legs")
    assert level("low", "S4D:8x3,init=inv", of_s4d) == S4D(8, 3, d_state=4, init="inv")
    assert level("low", "mamba:8x3, expand=1, dt_max=0.5", of_s4d) == Mamba(8, 3, expand=1, dt_max=0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mmba:8x3", "did you mean 'mamba'"),
        ("mamba:8", "such as 32x2"),
        ("mamba:8x3,d_sate=3", "did you mean 'd_state'"),
        ("mamba:8x3,d_state=three", "whole number"),
        ("mamba:8x3,dropout=x", "expected a number"),
        ("mamba:0x3", "d_model"),
    ],
)
def test_what_a_level_cannot_be_is_named(text, words):
    with pytest.raises(ValueError, match=words):
        level("low", text, {})
