"""Gaps: live, prediction, evaluation and training take one policy, and live's default is what training did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from streaming import Kept, small_program, small_recording

from hiss.cli.main import command
from hiss.cli.predict import estimates
from hiss.engines import Stepper
from hiss.errors import RecordingError
from hiss.gaps import Gaps, behind, regular, tared
from hiss.realtime.feeds import RecordingFeed
from hiss.realtime.live import Limits, Loop
from hiss.recording import Recording, make_channels, write_hdf5

PARITY = 1e-6  # of the largest estimate: float32, sums in another order


def paused(pauses: tuple[int, ...] = (60, 130), n: int = 200, seed: int = 0) -> Recording:
    """20 Hz with a rest of 2 s before the named samples, and one of 0.2 s, which is no gap."""
    steps = np.full(n, 0.05)
    steps[0], steps[list(pauses)], steps[20] = 0.0, 2.0, 0.2
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(0, 20, (n, 15)), 0) + rng.normal(0, 500, 15)
    return Recording("walk", np.cumsum(steps), x.astype(np.float32), small_recording().channels)


@pytest.mark.parametrize("policy", ["interpolate", "hold", "reset", "hold:3", "reset:3", "reset:0.1"])
@pytest.mark.parametrize("pauses", [(60, 130), (2, 90)])  # the second: a gap within the tare
def test_live_makes_of_gaps_what_prediction_makes(policy: str, pauses: tuple[int, ...]) -> None:
    program, recording, gaps, kept = small_program(), paused(pauses), Gaps.parse(policy), Kept()
    summary = Loop(RecordingFeed(recording), Stepper(program), [kept], Limits(gaps=gaps)).run()
    pieces = regular(recording, program.rate_hz, gaps)
    times, y = estimates(program, pieces)
    assert kept.y.shape == np.shape(y)
    np.testing.assert_allclose(kept.y, y, rtol=0, atol=PARITY * np.abs(y).max())
    np.testing.assert_allclose([e.t for e in kept.estimates], times, atol=1e-9)
    assert summary.restarts == {"reset": 2, "reset:0.1": 3}.get(policy, 0) == len(pieces) - 1
    assert [e.seq for e in kept.estimates] == sorted({e.seq for e in kept.estimates})
    if policy == "reset":  # a new start costs what the pause took, not one estimate more
        assert sum(len(p) for p in pieces) < len(regular(recording, 20.0)[0]) - 70


def test_a_held_gap_repeats_the_last_sample_and_ends_with_the_next() -> None:
    recording = paused((60,))
    (held,) = regular(recording, 20.0, Gaps("hold"))
    (across,) = regular(recording, 20.0)
    within = (held.t > recording.t[59] + 1e-6) & (held.t < recording.t[60] - 1e-6)
    assert within.sum() == 39
    assert (held.x[within] == recording.x[59]).all()
    np.testing.assert_array_equal(held.x[~within], across.x[~within])
    assert not (across.x[within] == recording.x[59]).any()


def test_pieces_of_a_session_have_its_tare() -> None:
    recording = paused((3, 100))
    pieces = regular(recording, 20.0, Gaps("reset"))
    assert len(pieces[0]) == 3
    whole = np.concatenate([p.x for p in pieces])
    made = tared(pieces, 10)
    rest = whole[:10].mean(0, dtype=np.float64)
    np.testing.assert_array_equal(np.concatenate([p.x for p in made]), (whole - rest).astype(np.float32))
    assert [p.tared for p in made] == [10] * 3
    left = behind(made, 10)
    assert sum(map(len, left)) == len(whole) - 10
    assert len(left) == 2
    with pytest.raises(RecordingError, match="tare over 9999 samples"):
        tared(pieces, 9999)


@pytest.mark.parametrize("text", ["wait", "hold:", "reset:0", "reset:-1", "hold:x", "interpolate:3", "", "reset:inf"])
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"interpolate, hold\[:SECONDS\] or reset\[:SECONDS\]"):
        Gaps.parse(text)


@pytest.mark.parametrize("text", ["interpolate", "hold", "reset", "hold:0.25", "reset:3"])
def test_a_policy_is_written_as_it_is_read(text: str) -> None:
    assert str(Gaps.parse(text)) == text
    assert Gaps.trained({"gap": text}) == Gaps.parse(text)
    assert Gaps.trained({}) == Gaps()


# ---- training ----


def session(seed: int, split: str) -> Recording:
    """50 Hz with pauses of 1.5 s, counts in steps of 0.25 uT, a force that follows them."""
    rng = np.random.default_rng(seed)
    steps = np.full(900, 0.02)
    steps[0], steps[[200, 420, 700]] = 0.0, 1.5
    x = np.round((np.cumsum(rng.normal(0, 1, (900, 3)), 0) + 40) * 4) / 4
    y = (0.1 * (x - x[:10].mean(0))).sum(1, keepdims=True)
    channels, target = make_channels(["a", "b", "c"], "uT"), make_channels(["force"], "N")
    return Recording(f"s{seed}", np.cumsum(steps), x.astype(np.float32), channels, y, target, split=split)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("gaps")
    write_hdf5(folder / "s.h5", [session(i, "train") for i in range(2)] + [session(2, "test")])
    asked = ["--target", "force", "--rate", "50", "--tare", "10", "--low", "4x1", "--high", "4x1", "--d-state", "4"]
    done = invoke("train", folder / "s.h5", *asked, "--gap", "reset:1", "--set", "steps=4", "-o", folder / "run")
    assert done[0] == 0, done
    assert invoke("fold", folder / "run", "-o", folder / "m.hiss")[0] == 0
    return folder


def invoke(*words: object) -> tuple[int, str]:
    from click.testing import CliRunner

    done = CliRunner().invoke(command, [str(w) for w in words])
    return done.exit_code, done.output


def test_training_keeps_its_policy_and_live_takes_it(trained: Path) -> None:
    from hiss.program import load_program

    program = load_program(trained / "m.hiss")
    assert program.provenance["gap"] == "reset:1"
    assert program.provenance["steps"] == [0.25] * 3
    sizes = {r["name"]: r for r in program.provenance["train"]}
    assert set(sizes) == {"s0", "s1"}
    assert len(program.provenance["train"]) == 8  # four pieces of each session
    code, out = invoke("replay", trained / "m.hiss", trained / "s.h5", "--json")
    assert code == 0, out
    assert json.loads(out[out.index("{") : out.rindex("}") + 1])["restarts"] == 3


def test_prediction_and_evaluation_begin_anew_too(trained: Path) -> None:
    """Their estimates are those of the replay, of which each is at the end of a chunk behind a gap."""
    code, out = invoke("predict", trained / "m.hiss", trained / "s.h5", "--trial", "s2")
    assert code == 0, out
    rows = [line.split(",") for line in out.splitlines() if line.startswith("s2,")]
    code, out = invoke("replay", trained / "m.hiss", trained / "s.h5", "--trial", "s2")
    said = [json.loads(line) for line in out.splitlines() if line.startswith('{"t"')]
    np.testing.assert_allclose([float(r[1]) for r in rows], [s["t"] for s in said], atol=2e-6)
    np.testing.assert_allclose([float(r[2]) for r in rows], [s["y"]["force"] for s in said], rtol=1e-5, atol=1e-5)
    across = invoke("replay", trained / "m.hiss", trained / "s.h5", "--trial", "s2", "--gap", "interpolate")[1]
    assert len([line for line in across.splitlines() if line.startswith('{"t"')]) > len(said) + 30
    code, out = invoke("evaluate", trained / "run", "--json")
    assert code == 0, out
    code, out = invoke("evaluate", trained / "run", "--windows", "4x3s", "--json")
    assert code == 0, out


def test_fine_tuning_keeps_the_policy_of_its_run(trained: Path) -> None:
    code, out = invoke(
        "train", trained / "s.h5", "--from", trained / "run", "--set", "steps=2", "-o", trained / "tuned"
    )
    assert code == 0, out
    about = json.loads((trained / "tuned" / "run.json").read_text())
    assert about["provenance"]["gap"] == about["settings"]["gap"] == "reset:1"
    code, out = invoke("train", trained / "s.h5", "--target", "force", "--gap", "wait", "-o", trained / "no")
    assert code == 2
    assert "no policy for gaps" in out
