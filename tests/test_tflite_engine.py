"""The laws of TensorFlow Lite files and of the engine that runs them: bytes, states, errors, runtimes, command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from core_families import FAMILIES
from tflite_models import FORMS, estimates, exported, samples

from hiss.cli.main import command
from hiss.engines import tflite_engine, tflite_runtime
from hiss.engines.tflite_engine import TfliteStepper
from hiss.engines.tflite_runtime import RUNTIMES, Runtime, find_runtime
from hiss.errors import ExportError, HissError, MissingExtraError
from hiss.firmware_export.step_model import load_step_model, step_model
from hiss.firmware_export.tflite.operators import BUILTINS
from hiss.program import Port, Program, Stage
from hiss.program import ops as o
from hiss.recording import Channel, Recording
from hiss.recording_hdf5 import write_hdf5

# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_same_program_gives_the_same_bytes():
    for whole in (False, True):
        program, model = exported("every position", whole)
        assert step_model(program, "tflite").all_files == model.all_files


def test_a_file_reads_back_with_the_schema_of_tensorflow_lite():
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    program, model = exported("hiss", whole=True)
    read = schema.ModelT.InitFromPackedBuf(model.files["model.tflite"], 0)
    assert read.version == 3
    assert read.buffers[0].data is None
    keys = [s.signatureKey.decode() for s in read.signatureDefs]
    assert keys == ["stage_0_step", "stage_0_step_last", "stage_1_step"]
    for code in read.operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)
        assert code.builtinCode in {builtin.code for builtin in BUILTINS.values()}
    told = {m.name.decode(): bytes(read.buffers[m.buffer].data).decode() for m in read.metadata}
    assert told["hiss.program"] == program.digest
    assert json.loads(told["hiss.tare"]) == program.tare
    assert [port["unit"] for port in json.loads(told["hiss.inputs"])] == ["uT"] * 3


def test_states_that_would_share_a_name_are_refused():
    z = o.Input("z", np.zeros(1), np.zeros(1, np.int64), -np.ones(1), np.ones(1))
    twins = tuple(o.Delay(name, "z", np.array([1]), np.array([0])) for name in ("a.b", "a_b"))
    program = Program((Port("x"),), (Port("p"), Port("q")), 1.0, (Stage(1, (z, *twins), (), ("a.b", "a_b")),))
    with pytest.raises(ExportError, match=r"past_a_b_in.*rename"):
        step_model(program, "tflite")


# ---- the engine ------------------------------------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("form", tflite_engine.FORMS)
def test_a_restored_state_continues_exactly(form, whole):
    program, model = exported("every position", whole)
    x = samples(program, "", 120)
    stepper, other = (TfliteStepper(program, model, form=form) for _ in range(2))
    before = estimates(stepper, x[:47])  # within a chunk, and after an estimate
    assert len(before)
    other.state = stepper.state
    np.testing.assert_array_equal(estimates(other, x[47:]), estimates(stepper, x[47:]))


def test_a_reset_keeps_the_tare_and_a_tare_measures_anew():
    program, model = exported("hiss")
    x = samples(program, "hiss", 40)
    stepper = TfliteStepper(program, model)
    assert stepper.taring
    first = estimates(stepper, x)
    assert not stepper.taring
    stepper.reset()
    np.testing.assert_array_equal(estimates(stepper, x[program.tare :]), first)
    stepper.tare()
    assert stepper.taring
    np.testing.assert_array_equal(estimates(stepper, x), first)


def test_a_sample_that_is_no_number_is_the_least_of_its_range():
    program, model = exported("hiss")
    x = samples(program, "hiss", 40)
    y = []
    for bad in (np.nan, -1e9):
        x[20, 1] = bad
        y.append(estimates(TfliteStepper(program, model), x))
    np.testing.assert_array_equal(*y)


def test_wrong_samples_and_states_are_said():
    program, model = exported("hiss")
    stepper = TfliteStepper(program, model)
    with pytest.raises(ValueError, match=r"shape \(2,\); expected \(3,\): m0_x"):
        stepper.step(np.zeros(2))
    state = stepper.state
    key = next(key for key in state if key.endswith("past"))
    with pytest.raises(ValueError, match=f"{key}' is missing"):
        stepper.state = {k: v for k, v in state.items() if k != key}
    with pytest.raises(ValueError, match="expected float32"):
        stepper.state = {**state, key: state[key][:, :1]}


def test_a_stale_manifest_and_another_file_are_said(tmp_path):
    program, model = exported("hiss")
    for name, data in model.all_files.items():
        (tmp_path / name).write_bytes(data)
    read = load_step_model(tmp_path / "model.json", program)
    x = samples(program, "hiss", 40)
    np.testing.assert_array_equal(
        estimates(TfliteStepper(program, read), x), estimates(TfliteStepper(program, model), x)
    )
    with pytest.raises(ExportError, match="stale"):
        load_step_model(tmp_path / "model.json", FAMILIES["flat"].make())
    other = {**model.files, "model_stage_1.tflite": b"not a file of TensorFlow Lite"}
    with pytest.raises(ExportError, match="does not take the file"):
        TfliteStepper(program, dataclasses.replace(model, files=other))
    swapped = {**model.files, "model_stage_0.tflite": model.files["model_stage_1.tflite"]}
    with pytest.raises(ExportError, match="no signature 'step_last'"):
        TfliteStepper(program, dataclasses.replace(model, files=swapped))


# ---- the runtimes ----------------------------------------------------------------------------------------------------


class BuiltForNumpy1:
    """As tflite-runtime 2.14 is with numpy 2: it imports, and every Interpreter fails."""

    class OpResolverType:
        BUILTIN_WITHOUT_DEFAULT_DELEGATES = 0

    def Interpreter(self, **options):
        raise SystemError("CreateWrapperFromFile returned a result with an exception set")


@pytest.fixture
def search(monkeypatch):
    find_runtime.cache_clear()
    yield lambda found: monkeypatch.setattr(tflite_runtime, "RUNTIMES", found)
    find_runtime.cache_clear()


def absent():
    raise ImportError("No module named 'tflite_runtime'")


def test_a_runtime_that_fails_late_gives_way_to_the_next(search):
    search({**RUNTIMES, "tflite-runtime": BuiltForNumpy1, "ai-edge-litert": RUNTIMES["ai-edge-litert"]})
    pytest.importorskip("ai_edge_litert")
    assert find_runtime().package == "ai-edge-litert"


def test_a_runtime_that_fails_late_alone_says_what_to_do(search, monkeypatch):
    monkeypatch.setattr(Runtime, "said", "tflite-runtime 2.14.0")
    search({"tflite-runtime": BuiltForNumpy1, "ai-edge-litert": absent})
    with pytest.raises(HissError, match=r"numpy .*built for numpy 1.*ai-edge-litert.*numpy<2"):
        find_runtime()


def test_no_runtime_names_the_extra(search):
    search({"tflite-runtime": absent, "ai-edge-litert": absent})
    with pytest.raises(MissingExtraError, match=r"hiss\[tflite\]"):
        find_runtime()


# ---- the command line ------------------------------------------------------------------------------------------------


@FORMS
def test_an_export_is_checked_and_its_engine_replays(whole, tmp_path):
    program, model = exported("hiss", whole)
    program.save(tmp_path / "m.hiss")
    options = ["export", str(tmp_path / "m.hiss"), "--to", "tflite", "-o", str(tmp_path / "edge"), "--json"]
    said = CliRunner().invoke(command, options, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    assert {Path(name).name for name in facts["files"]} == {*model.all_files, "check.json"}
    assert facts["check"] == json.loads((tmp_path / "edge" / "check.json").read_text())
    assert facts["check"]["target"] == "tflite"
    x = samples(program, "hiss", 60)
    channels = tuple(Channel(port.name, port.unit) for port in program.inputs)
    write_hdf5(tmp_path / "x.h5", [Recording("one", np.arange(60) / 100.0, x, channels, rate_hz=100.0)])
    options = ["replay", str(tmp_path / "m.hiss"), str(tmp_path / "x.h5"), "--engine", "tflite"]
    said = CliRunner().invoke(command, options, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    found = [list(json.loads(line)["y"].values()) for line in said.stdout.splitlines()]
    np.testing.assert_allclose(found, estimates(TfliteStepper(program, model), x), rtol=1e-6)
