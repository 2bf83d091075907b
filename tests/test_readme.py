"""What the README shows, runs: each line of its Python, and each verb that it names."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np
import pytest

import hiss

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small eflesh_normal_force.h5 in it (simulated)."""
    from hiss import catalog

    folder = tmp_path_factory.mktemp("readme")
    recordings, _ = catalog.load_script(catalog.find("simulated_skin")).simulate(seed=1, minutes=2)
    hiss.write_hdf5(folder / "eflesh_normal_force.h5", recordings)
    return folder


def test_the_python_of_the_readme_runs(folder, monkeypatch, capsys):
    """Line by line as it stands; only the number of training steps is less."""
    pytest.importorskip("torch")
    monkeypatch.chdir(folder)
    few = hiss.TrainOptions(steps=2, epoch_steps=1, batch=1, window_samples=100)
    monkeypatch.setattr(hiss, "fit", functools.partial(hiss.fit, options=few, progress=False), raising=False)
    code, loop = blocks("python")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert (folder / "force.hiss").is_file()
    assert {p.name for p in (folder / "firmware").iterdir()} >= {"fingertip_force.h", "hiss_ops.c"}
    assert "stage 1" in capsys.readouterr().out
    assert len(names["estimates"]) > 10
    check_loop(loop, names["program"], names["test"][0].x, capsys)


def check_loop(loop, program, samples, capsys):
    """The loop over an exported ONNX file prints the estimates of the program."""
    pytest.importorskip("onnxruntime")
    hiss.export_steps(program, "edge/", "onnx", name="force")
    exec(compile(loop, "README.md", "exec"), {"samples": samples})
    printed = [float(line.strip("[]")) for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(printed, program.predict(samples)[:, 0], rtol=0, atol=1e-4)


def test_the_verbs_of_the_readme_exist():
    from hiss.cli.main import VERBS

    text = README.read_text(encoding="utf-8")
    shown = set(re.findall(r"^    hiss ([\w-]+)", text, re.M))
    assert shown == set(VERBS)


def test_the_device_file_of_the_readme_is_read():
    from hiss.realtime.devices.declared import DeclaredDecoder
    from hiss.realtime.devices.declared_layout import layout_from, toml_table

    (text,) = blocks("toml")
    assert [c.name for c in DeclaredDecoder(layout_from(toml_table(text))).channels] == ["x", "y", "z"]


def test_the_exit_codes_of_the_readme_are_those_of_the_help():
    from hiss.cli.stream import EXIT_CODES

    text = README.read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d) \|", text, re.M) == re.findall(r"^  (\d)  ", EXIT_CODES, re.M)


def test_the_c_of_the_readme_names_what_is_generated():
    from programs import random_program

    from hiss.firmware_export.export import c_texts

    header = c_texts(random_program(1), "fingertip_force")["fingertip_force.h"]
    (code,) = blocks("c")
    for name in set(re.findall(r"fingertip_force_\w+|FINGERTIP_FORCE_\w+", code)):
        assert re.search(rf"\b{name}\b", header), f"{name} of the README is not in the header"
