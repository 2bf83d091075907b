"""CSP-Bench: the six readers give the shapes, rates, targets and scalings of the published preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import csp_folders
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("scipy")
pytest.importorskip("torch")

from scipy.spatial.transform import Rotation

from hiss import catalog
from hiss.cli.settings import settings_from
from hiss.dataset import Scaling, fit_scaling, sequences
from hiss.folder_data import Made, convert_folder
from hiss.recording import Recording, choose_targets, read_recordings
from hiss.resample import SNAP

SETS = ("marker_writing", "intrinsic_slip", "joystick_control", "ronin", "vector", "total_capture")
F64 = np.ndarray


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Made]]:
    """Each set: what its files hold, and what the reader made of them."""
    found = {}
    for name in SETS:
        folder = tmp_path_factory.mktemp(name)
        script = catalog.load_script(catalog.find(name))
        more = (script.IMUS, script.JOINTS) if name == "total_capture" else ()
        found[name] = (getattr(csp_folders, name)(folder, *more), convert_folder(catalog.find(name), folder))
    return found


def at(t: F64, x: F64, when: F64) -> F64:
    """Linear between samples, the repeated stamp left away."""
    kept = np.concatenate(([True], np.diff(t) > 0))
    return np.stack([np.interp(when, t[kept], c[kept]) for c in x.T], axis=1)


def close(got: F64, want: F64) -> None:
    """Equal but for float32, and for grid points that snap to a sample up to SNAP of a period away."""
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6 + 3 * SNAP * abs(np.diff(want, axis=0)).max())


def grid(*stamps: F64, seconds: int) -> F64:
    """The 50 Hz grid from the later first stamp on."""
    return max(t[0] for t in stamps) + np.arange(seconds * 50) / 50


def target(name: str, r: Recording) -> Recording:
    """With the preset's target."""
    preset = catalog.find(name).preset
    kind = {"displacement": "d0.2({})", "": "{}"}[preset.get("change", "")]
    return choose_targets(r, [kind.format(t) for t in preset["target"]])


@pytest.mark.parametrize(
    ("name", "channels", "outputs", "parts"),
    [
        ("marker_writing", 30, 2, "ttttttt..e"),
        ("intrinsic_slip", 30, 3, None),
        ("joystick_control", 63, 3, None),
        ("ronin", 6, 2, "ttte"),
        ("vector", 6, 3, "tttte"),
        ("total_capture", 117, 63, "tte"),
    ],
)
def test_shapes_rates_and_splits(made: Any, name: str, channels: int, outputs: int, parts: str | None) -> None:
    recordings = made[name][1].recordings
    for r in recordings:
        assert r.x.shape[1] == channels
        assert target(name, r).y.shape == (len(r), outputs)
        assert r.rate_hz == 50
        assert len(r) % 50 == 0  # whole seconds: ten inputs for each of five targets
        (sequence,) = sequences([target(name, r)], fit_scaling([target(name, r)], rule=name))
        assert sequence.x.shape == (len(r), 2 * channels)
        assert sequence.y[9::10].shape == (len(r) // 10, outputs)
    if parts:
        want = [{"t": "train", "e": "test"}[p] for p in parts.replace(".", "")]
        want = ["train"] * 7 + ["test"] * 2 if name == "marker_writing" else want  # one of ten is left out
        assert [r.split for r in recordings] == want
    else:
        assert sorted({r.split for r in recordings}) == ["test", "train"]
        assert sum(r.split == "train" for r in recordings) == int(0.8 * len(recordings))


def test_the_random_part_is_that_of_the_reference() -> None:
    import torch

    from hiss.csp_bench import random_part

    chosen, _ = torch.utils.data.random_split(range(50), [40, 10], generator=torch.Generator().manual_seed(0))
    assert [i for i, part in enumerate(random_part(50)) if part == "train"] == sorted(chosen.indices)


def test_marker_writing(made: Any) -> None:
    demos, got = made["marker_writing"]
    assert got.left_out == {"a sample jumps by more than 1000": 1}
    demo, r = demos[0], got.recordings[0]
    when = grid(demo["t"], demo["at"], seconds=8)
    close(r.x, at(demo["t"], demo["x"] - demo["x"][:5].mean(0), when))
    p = at(demo["at"], demo["p"], when)[:, :2]
    close(r.y, p)
    moved = target("marker_writing", r)
    published = np.diff(p[::10], axis=0, prepend=p[:1])  # y_0 = 0
    close(moved.y[::10], published)
    close(moved.y[19::10], p[19::10] - p[9:-10:10])  # ours: at the end of each chunk
    assert r.tared == 5


def test_intrinsic_slip(made: Any) -> None:
    demos, got = made["intrinsic_slip"]
    demo, r = demos[0], next(r for r in got.recordings if r.name == "box_0_demonstration_00")
    since = Rotation.from_quat(demo["q"]) * Rotation.from_quat(demo["q"][0]).inv()
    pose = np.column_stack([demo["p"][:, [0, 2]] - demo["p"][0, [0, 2]], since.as_rotvec()[:, 1]])
    close(r.y, at(demo["at"], pose, grid(demo["t"], demo["at"], seconds=8)))
    assert [c.unit for c in r.targets] == ["m", "m", "rad"]


def test_joystick_control(made: Any) -> None:
    demos, got = made["joystick_control"]
    assert got.left_out == {"shorter than 15 s or longer than 90 s": 1}
    demo, r = demos[0], got.recordings[0]
    when = grid(demo["t"], demo["at"], seconds=15)
    want = np.clip(demo["x"] - np.median(demo["x"][:100], axis=0), -1000, 1000)
    close(r.x, at(demo["t"], want, when))
    p = at(demo["at"], demo["p"], when)
    close(r.y, p - p[0])
    names = [c.name for c in r.channels]
    assert (names[0], names[24], names[-1]) == ("finger0_x", "fingertip0_x", "palm2_z")


def test_ronin(made: Any) -> None:
    """The force that the phone felt in the world comes out again, whichever way it was held."""
    truth, got = made["ronin"]
    for r in got.recordings:
        known = truth[r.name]
        when = known["t"][known["start"]] + np.arange(len(r)) / 50
        np.testing.assert_allclose(r.x, at(known["t"], np.hstack([known["acc"], known["gyr"]]), when), atol=1e-4)
        np.testing.assert_allclose(r.y, at(known["t"], known["p"][:, :2], when), atol=1e-5)


def test_vector(made: Any) -> None:
    truth, got = made["vector"]
    for r in got.recordings:
        known = truth[r.name]
        when = grid(known["t"], known["at"], seconds=6)
        close(r.x, at(known["t"], known["imu"][:, [3, 4, 5, 0, 1, 2]], when))
        back = Rotation.from_quat(known["q"][0]).inv()
        close(r.y, at(known["at"], back.apply(known["p"] - known["p"][0]), when))


def test_total_capture(made: Any) -> None:
    """Accelerations and axes in the global frame, joints from their own first pose, metres; S4 is in the test alone."""
    truth, got = made["total_capture"]
    assert [r.name for r in got.recordings] == ["s1_rom1", "s2_acting1", "s4_walking2"]
    r = got.recordings[0]
    known = truth["s1_rom1"]
    t, when = np.arange(190) / 60, np.arange(150) / 50
    np.testing.assert_allclose(r.x[:, :3], at(t, known["acc"]["Head"], when), atol=1e-4)
    columns = known["turn"]["Head"].as_matrix()[:, :, :2].reshape(-1, 6)
    np.testing.assert_allclose(r.x[::5, 39:45], columns[::6][:30], atol=1e-5)  # every fifth lies on a frame
    axes = r.x[:, 39:].reshape(-1, 3, 2)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1, atol=1e-5)  # on arcs: rotations between frames, too
    joint = list(catalog.load_script(catalog.find("total_capture")).JOINTS).index("LeftHand")
    p = known["p"][:190, 3 * joint : 3 * joint + 3] * 0.0254
    back = known["q"]["LeftHand"][0].inv()
    np.testing.assert_allclose(r.y[:, 3 * joint : 3 * joint + 3], at(t, back.apply(p - p[0]), when), atol=1e-5)


def reference_scales(name: str, x: F64, d: F64, y: F64) -> tuple[F64, F64, F64, F64]:
    """m and s of [x, d], m and s of y, as facts of the published tasks, each written out."""
    z = np.hstack([x, d])
    m, std, span = z.mean(0), z.std(0), z.max(0) - z.min(0)
    zero, y_std = np.zeros_like(m), y.std(0)
    if name in ("marker_writing", "ronin"):
        return m, 3 * std, y.mean(0), y_std
    if name == "intrinsic_slip":
        return zero, span / 5, 0 * y_std, y_std[[0, 0, 2]]
    if name == "vector":
        return zero, span / 5, y.mean(0), y_std
    if name == "joystick_control":
        return zero, zero + 1000, y.mean(0), 2 * y_std
    s = span.copy()
    s[39:117] = 1  # 155 in the published code
    return zero, s, y.mean(0), 3 * y_std


@pytest.mark.parametrize("name", SETS)
def test_scalings(made: Any, name: str) -> None:
    chosen = [target(name, r) for r in made[name][1].recordings if r.split == "train"]
    scaling: Scaling = fit_scaling(chosen, rule=name)
    x = np.concatenate([r.x.astype(float) for r in chosen])
    d = np.concatenate([np.diff(r.x.astype(float), axis=0, prepend=r.x[:1]) for r in chosen])
    y = np.concatenate([r.y[r.valid].astype(float) for r in chosen])
    m, s, y_m, y_s = reference_scales(name, x, d, y)
    np.testing.assert_allclose([*scaling.mean, *scaling.delta_mean], m, atol=1e-9 + 1e-9 * abs(m).max())
    np.testing.assert_allclose([*scaling.std, *scaling.delta_std], np.maximum(s, 1e-5))
    np.testing.assert_allclose(scaling.y_mean, y_m, atol=1e-12)
    np.testing.assert_allclose(scaling.y_std, np.maximum(y_s, 1e-5))
    limit = {"marker_writing": 3000, "intrinsic_slip": 3000, "joystick_control": 1000}.get(name)
    assert limit is None or (scaling.hi == limit).all()
    again = (scaling.inputs(x[None])[0, 1:, : x.shape[1]] * scaling.std + scaling.mean).astype(np.float32)
    np.testing.assert_allclose(again, x[1:], atol=1e-5 * abs(x).max())


@pytest.mark.parametrize("name", SETS)
def test_presets_are_settings(name: str) -> None:
    settings = settings_from(catalog.find(name).preset, name)
    assert (settings.rate, settings.period) == (50, 10)
    assert settings.train_options().scaling == name
    assert settings.spec(10).period == 10


def test_a_training_starts_from_the_folder_as_it_is_downloaded(tmp_path: Path) -> None:
    """hiss train --preset NAME FOLDER, a small model; the run's errors are measured by the targets' own deviation."""
    from hiss.cli.evaluate import command as evaluate
    from hiss.cli.train import command as train
    from hiss.training import Run

    csp_folders.joystick_control(tmp_path / "down", 4)
    small = ["--low", "4x1", "--high", "4x1", "--d-state", "4", "--set", "steps=4", "--set", "window_samples=200"]
    out = tmp_path / "run"
    asked = ["--preset", "joystick_control", str(tmp_path / "down"), *small, "-o", str(out)]
    done = CliRunner().invoke(train, asked)
    assert done.exit_code == 0, done.output
    run = Run.load(out)
    (path,) = out.glob("*.h5")
    y = np.concatenate([r.y[: int(0.8 * len(r))] for r in read_recordings(path) if r.split == "train"])
    np.testing.assert_allclose(run.target_std, y.std(0), rtol=1e-4)
    np.testing.assert_allclose(run.scaling.y_std, 2 * run.target_std)
    found = json.loads(CliRunner().invoke(evaluate, [str(out), "--json"]).stdout)
    rmse = [o["rmse"] for o in found["outputs"].values()]
    assert found["nmse"] == pytest.approx(np.mean((np.array(rmse) / run.target_std) ** 2))
    again = CliRunner().invoke(train, ["--preset", "joystick_control", str(path), *small, "-o", str(tmp_path / "two")])
    assert again.exit_code == 0, again.output


def test_what_a_preset_cannot_take_is_said(tmp_path: Path) -> None:
    from hiss.cli.train import command as train

    for arguments, why in (
        (["--preset", "marker_writting", str(tmp_path)], "did you mean marker_writing"),
        (["--preset", "broad", str(tmp_path)], "has no preset; there are: intrinsic_slip"),
        (["--preset", "ronin"], "takes one folder: the folders train_dataset_1"),
        ([str(tmp_path), "--target", "x"], "is a folder"),
        (["--preset", "ronin", str(tmp_path)], "no trial of ronin in it; expected is the folders train_dataset_1"),
    ):
        done = CliRunner().invoke(train, arguments)
        assert done.exit_code == 2, done.output
        assert why in done.output.replace("\n", " ")
