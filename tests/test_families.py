"""Every family through the verbs: trained as a level by name, kept, resumed, folded, quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch: pip install 'hiss[train]'")

from click.testing import CliRunner  # noqa: E402
from test_training import FAST, recording  # noqa: E402

from hiss.cli.levels import level  # noqa: E402
from hiss.cli.train import command  # noqa: E402
from hiss.folding import fold  # noqa: E402
from hiss.models import S4D, Mamba  # noqa: E402
from hiss.recording import write_hdf5  # noqa: E402
from hiss.training import Run  # noqa: E402

FAMILIES = {"mamba": Mamba}
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
    np.testing.assert_allclose(fold(run).predict(x), y, rtol=0, atol=1e-5 * np.abs(y).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_trained_flat(family, tmp_path):
    train(tmp_path, "--flat", f"{family}:4x1")
    assert type(Run.load(tmp_path / "run").spec.net) is FAMILIES[family]


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
