"""BROAD, PyShoe and running GRF from their publishers' files: what is in both equals the shared recordings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import shared_path

pytest.importorskip("scipy")

from scipy.io import savemat

from hiss import catalog
from hiss.cli.datasets import command
from hiss.errors import RecordingError
from hiss.folder_data import convert_folder
from hiss.matlab import fields, read_mat

SETS = {
    "broad": ("broad_95hz.h5", 3, {"x": 2**-14, "y": 2**-12, "quat": 2**-15, "pos": 2**-14}),
    "pyshoe": ("pyshoe_vicon.h5", 2, {"x": 2**-14, "y": 2**-12, "vel_xy": 2**-12, "pos_xy": 2**-14}),
    "grf_running": ("grf_running.h5", 31, {"x": 0, "y": 0}),
}
"""The shared file, how many of its trials are in raw/, and half a bit of the mantissas that it was rounded to."""


@pytest.mark.parametrize("name", SETS)
def test_a_converted_trial_is_the_shared_one(name: str, tmp_path: Path) -> None:
    """Same trials, columns, units, rate and split; same numbers but for the bits that the shared file left away."""
    file, count, tolerances = SETS[name]
    out = tmp_path / f"{name}.h5"
    done = CliRunner().invoke(command, ["make", name, str(shared_path("raw", name)), "-o", str(out)])
    assert done.exit_code == 0, done.output
    with h5py.File(out) as ours, h5py.File(shared_path("data", name, file)) as reference:
        assert len(ours) == count
        for key in ("x_names", "y_names"):
            assert json.loads(ours.attrs[key]) == json.loads(reference.attrs[key])
        split = {t: part for part, trials in json.loads(reference.attrs["split"]).items() for t in trials}
        assert {t: part for part, trials in json.loads(ours.attrs["split"]).items() for t in trials} == {
            t: split[t] for t in ours
        }
        for trial in ours:
            got, want = ours[trial], reference[trial]
            assert {**ours.attrs, **got.attrs}["rate_hz"] == pytest.approx(want.attrs["rate_hz"], rel=1e-12)
            valid = want["valid"][()] if "valid" in want else np.ones(len(want["x"]))
            np.testing.assert_array_equal(got["valid"], valid)
            assert set(got) - {"movement", "valid"} == set(tolerances)
            for key, bound in tolerances.items():
                np.testing.assert_allclose(
                    got[key][()][valid > 0],
                    want[key][()][valid > 0],
                    rtol=bound + 2e-7,  # and of float32
                    atol=1e-6,
                    err_msg=f"{trial} {key}",
                )


def test_missing_trials_are_named_and_an_empty_folder_is_refused(tmp_path: Path) -> None:
    made = CliRunner().invoke(
        command, ["make", "broad", str(shared_path("raw", "broad")), "-o", str(tmp_path / "b.h5")]
    )
    assert "missing in the folder: 01_undisturbed_slow_rotation_A.mat" in made.output
    assert "and 31 more" in made.output
    for name in SETS:
        with pytest.raises(RecordingError, match=r"github\.com"):
            convert_folder(catalog.find(name), tmp_path)


def test_tables_of_other_conditions_are_refused(tmp_path: Path) -> None:
    for path in shared_path("raw", "grf_running").glob("*.csv"):
        shutil.copy(path, tmp_path)
    table = tmp_path / "GRF_one_sub.csv"
    table.write_text("".join(table.read_text().splitlines(True)[1:]))
    with pytest.raises(RecordingError, match="not of the same conditions"):
        convert_folder(catalog.find("grf_running"), tmp_path)


TREE = {"acc": np.arange(6.0).reshape(2, 3), "rate": 50.0, "who": "A3", "s": {"t": np.arange(4.0), "n": np.eye(2)}}


def test_structs_texts_and_vectors_of_both_matlab_formats(tmp_path: Path) -> None:
    """A 7.3 file as MATLAB lays it out: 512 bytes, then HDF5 with turned arrays and texts as uint16."""
    savemat(tmp_path / "five.mat", TREE)
    with h5py.File(tmp_path / "seven.mat", "w", userblock_size=512) as file:
        for name, value in (
            ("acc", TREE["acc"]),
            ("s/t", np.arange(4.0)[None]),
            ("s/n", np.eye(2)),
            ("rate", [[50.0]]),
        ):
            file[name] = np.transpose(value)
        file["who"] = np.array([[ord(c)] for c in "A3"], np.uint16)
    for name in ("five.mat", "seven.mat"):
        found = read_mat(tmp_path / name)
        assert set(found) == {"acc", "rate", "who", "s/t", "s/n"}
        assert found["who"] == "A3"
        np.testing.assert_array_equal(found["acc"], TREE["acc"])
        np.testing.assert_array_equal(found["s/t"], np.arange(4.0))
        assert float(np.ravel(found["rate"])[0]) == 50
    with pytest.raises(RecordingError, match="no gyr in the file; there are: acc"):
        fields(found, "x.mat", "acc", "gyr")


def test_what_is_no_matlab_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"not a matrix" * 40)
    (tmp_path / "b.mat").write_bytes(bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(9))
    for name in ("a.mat", "b.mat", "c.mat"):
        with pytest.raises(RecordingError, match=name):
            read_mat(tmp_path / name)
