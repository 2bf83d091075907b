"""The law of ONNX: all that is exported computes the program, in every form, for every family and every op."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from core_families import FAMILIES, integer_program
from programs import random_program, random_samples
from step_models import PLAIN, interpreted, long_run

import hiss
from hiss.cli.main import command
from hiss.engines import Stepper, open_stepper
from hiss.engines.onnx_engine import OnnxStepper, forms
from hiss.engines.step_check import check, replay
from hiss.errors import ExportError, ProgramError
from hiss.firmware_export.step_model import StepModel, load_step_model, step_model
from hiss.program import interpreter, passes, sequence
from hiss.recording import Channel, Recording
from hiss.recording_hdf5 import write_hdf5

onnx = pytest.importorskip("onnx", reason="ONNX needs: pip install 'hiss[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX needs: pip install 'hiss[onnx]'")

BOUND = 1e-5


@pytest.mark.parametrize("family", PLAIN)
def test_2000_steps_of_every_family_equal_the_interpreter_in_every_form(family):
    """Estimates within 1e-5 of their largest value, states at the end within 1e-5 of theirs."""
    program = FAMILIES[family].make()
    x, actions = long_run(program)
    made, y, state, largest = interpreted(program, x, actions)
    runs = forms(step_model(program, "onnx"))
    scale = np.maximum(np.abs(y).max(axis=0), 1e-30)
    for name, form in runs.items():
        form_made, form_y = replay(form, x, actions)
        np.testing.assert_array_equal(form_made, made, err_msg=name)
        worst = float((np.abs(form_y - y) / scale).max())
        assert worst <= BOUND, f"{name}: {worst}"
    held = runs["stages"].stepper.state
    assert held.keys() == state.keys()
    for key, array in state.items():
        assert held[key].shape == array.shape
        apart = np.abs(held[key].astype(complex) - array).max(initial=0)
        assert apart <= BOUND * max(largest[key], 1e-30), f"{key}: {apart}"


@pytest.mark.parametrize("seed", range(6, 30))
def test_random_programs_equal_the_interpreter(seed):
    """Every op in every company: 60 steps against float64; of what amplifies rounding, as the float32 interpreter."""
    program = random_program(seed, feedback=seed % 2 == 1)
    x, actions = random_samples(program, 60, seed), np.zeros(60, np.uint8)
    made, exact, *_ = interpreted(program, x, actions)
    _, rounded, *_ = interpreted(program, x, actions, np.float32)
    bound = BOUND * np.abs(exact).max(axis=0) + 16 * np.abs(rounded - exact).max(axis=0) + 1e-30
    for name, form in forms(step_model(program, "onnx")).items():
        form_made, y = replay(form, x, actions)
        np.testing.assert_array_equal(form_made, made, err_msg=name)
        assert (np.abs(y - exact) <= bound).all(), name


@pytest.mark.parametrize("family", ["hiss", "mamba", "residual", "every position"])
def test_int8_weights_and_integer_programs_are_what_their_rounded_constants_compute(family):
    for program, weights in ((FAMILIES[family].make(), "int8"), (integer_program(family), "float32")):
        made = step_model(program, "onnx", weights=weights)
        found = check(made)
        assert not found.wrong, found.text()
        assert made.reference is not None
        assert made.reference.formats is None
        assert made.reference.digest != dataclasses.replace(program, formats=None).digest


def test_int8_weights_lie_as_int8_in_the_file():
    program = FAMILIES["hiss wide"].make()
    size = {w: len(step_model(program, "onnx", weights=w).files["model.onnx"]) for w in ("float32", "int8")}
    saved = 3 * sum(w.size for _, _, op in program.ops() for w in getattr(op, "weights", ()) if w.shape == (32, 32))
    assert size["float32"] - size["int8"] > 0.8 * saved
    graph = onnx.load_from_string(step_model(program, "onnx", weights="int8").files["model_stage_1.onnx"]).graph
    assert sum(node.op_type == "DequantizeLinear" for node in graph.node) >= 4


def fresh(graph, batch: int) -> dict[str, np.ndarray]:
    """Zeros for all states of a graph (no tare)."""
    kinds = {"tensor(float)": np.float32, "tensor(bool)": bool, "tensor(int64)": np.int64}
    return {
        i.name: np.zeros([batch if d == "batch" else d for d in i.shape], kinds[i.type])
        for i in graph.get_inputs()
        if i.name.endswith("_in")
    }


@pytest.mark.parametrize("family", ["hiss", "mamba", "every position", "random 1", "random 2"])
def test_a_batch_runs_as_its_members_do(family):
    """Single graph, stages, sequence: three recordings side by side; a sequence that was cut goes on by its states."""
    program = _without_tare(FAMILIES[family].make())
    x = np.stack([random_samples(program, 43, seed) for seed in range(3)])
    made = step_model(program, "onnx")
    expected = sequence.predict(interpreter.cast(program, np.float64), x.astype(float))
    bound = BOUND * np.abs(expected).max() + 1e-6
    session = onnxruntime.InferenceSession(made.files[made.others["sequence"]])
    first, flags, *held = session.run(None, {"x": x[:, :20], **fresh(session, 3)})
    names = list(fresh(session, 3))
    second, *_ = session.run(None, {"x": x[:, 20:], **dict(zip(names, held, strict=True))})
    assert len(flags) == 20
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), expected, rtol=0, atol=bound)
    for name, run in (("single", _run_single), ("stages", _run_stages)):
        np.testing.assert_allclose(run(made, x), expected, rtol=0, atol=bound, err_msg=name)


def _without_tare(program):
    first, *rest = program.stages
    every = (dataclasses.replace(first.every[0], tare=0), *first.every[1:])
    return dataclasses.replace(program, stages=(dataclasses.replace(first, every=every), *rest))


def _run_single(made: StepModel, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(made.files[made.others["single"]])
    held, estimates = fresh(session, len(x)), []
    for t in range(x.shape[1]):
        y, now, *after = session.run(None, {"x": x[:, t], **held})
        held = dict(zip(held, after, strict=True))
        assert np.isnan(y).all() or now
        estimates += [y] if now else []
    return np.stack(estimates, axis=1)


def _run_stages(made: StepModel, x: np.ndarray) -> np.ndarray:
    """The loop that a caller writes from the manifest alone."""
    stages = json.loads(made.all_files["model.json"])["stages"]
    sessions = [onnxruntime.InferenceSession(made.files[stage["file"]]) for stage in stages]
    held, phase, estimates = [fresh(session, len(x)) for session in sessions], [0] * len(stages), []
    for t in range(x.shape[1]):
        values = [x[:, t]]
        for i, stage in enumerate(stages):
            last = phase[i] == stage["period"] - 1
            phase[i] = 0 if last else phase[i] + 1
            feed = dict(zip(stage["reads"], values, strict=True)) | held[i]
            given = sessions[i].run(None, feed | ({stage["last"]: np.array(last)} if stage["last"] else {}))
            values, after = given[: len(stage["hands"])], given[len(stage["hands"]) :]
            held[i] = {f"{s['name']}_in": array for s, array in zip(stage["states"], after, strict=True)}
            if not last:
                break
        else:
            estimates.append(np.concatenate(values, axis=1))
    return np.stack(estimates, axis=1)


@pytest.mark.parametrize("cut", [1, 2, 13, 40])
@pytest.mark.parametrize("family", ["mamba", "residual", "every position"])
def test_a_restored_state_continues_exactly(family, cut):
    program = FAMILIES[family].make()
    made = step_model(program, "onnx")
    x = random_samples(program, 80)
    whole, first, second = (OnnxStepper(program, made) for _ in range(3))
    expected = [whole.step(sample) for sample in x]
    head = [first.step(sample) for sample in x[:cut]]
    second.state = first.state
    for y, y_expected in zip([*head, *(second.step(sample) for sample in x[cut:])], expected, strict=True):
        np.testing.assert_array_equal(y, y_expected)


def test_states_move_between_numpy_and_onnx():
    program = FAMILIES["every position"].make()
    x = random_samples(program, 90)
    numpy, other = Stepper(program), OnnxStepper(program)
    for sample in x[:37]:
        numpy.step(sample)
    other.state = numpy.state
    for sample in x[37:]:
        y, expected = other.step(sample), numpy.step(sample)
        assert (y is None) == (expected is None)
        if y is not None:
            np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)


def test_reset_keeps_the_tare_and_tare_renews_it():
    program = random_program(2, tare=5)
    x = random_samples(program, 60)
    for form in forms(step_model(program, "onnx")).values():
        expected = form.run(x)
        form.reset()
        made, y = form.run(x[5:])
        np.testing.assert_array_equal(y, expected[1])
        np.testing.assert_array_equal(made, expected[0][5:])
        form.tare()
        np.testing.assert_array_equal(form.run(np.insert(x, 2, np.nan, axis=0))[1], expected[1])


def test_same_program_same_bytes_and_the_files_say_what_they_are():
    one, two = (step_model(FAMILIES["residual"].make(), "onnx", "force").all_files for _ in range(2))
    assert one == two
    assert sorted(one) == [
        "force.json",
        "force.onnx",
        "force_sequence.onnx",
        "force_stage_0.onnx",
        "force_stage_1.onnx",
    ]
    program = FAMILIES["residual"].make()
    for name, data in one.items():
        if name.endswith(".onnx"):
            model = onnx.load_from_string(data)
            onnx.checker.check_model(model, full_check=True)
            onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
            assert (model.ir_version, model.opset_import[0].version) == (8, 17)
            told = {p.key: p.value for p in model.metadata_props}
            assert told["hiss.program"] == program.digest
            assert json.loads(told["hiss.inputs"])[0] == {"name": "m0_x", "unit": "uT", "lo": -1000, "hi": 1000}
            assert [told[f"hiss.{k}"] for k in ("rate_hz", "tare", "period")] == ["100.0", "4", "5"]
    manifest = json.loads(one["force.json"])
    assert [stage["period"] for stage in manifest["stages"]] == [5, 1]
    assert "h_high_0_ssm" in [state["name"] for state in manifest["stages"][1]["states"]]
    assert manifest["tare"] == 4


@pytest.mark.parametrize("family", ["residual", "every position"])
def test_inputs_and_outputs_are_called_what_the_manifest_says(family):
    """Also where a value of the program has the name of an output, or is received and handed on."""
    program = FAMILIES[family].make()
    made = step_model(program, "onnx")
    manifest = json.loads(made.all_files["model.json"])

    def names(file):
        graph = onnx.load_from_string(made.files[file]).graph
        return [i.name for i in graph.input], [i.name for i in graph.output]

    for stage in manifest["stages"]:
        held = [state["name"] for state in stage["states"]]
        inputs = [*stage["reads"], *filter(None, [stage["last"]]), *(f"{name}_in" for name in held)]
        assert names(stage["file"]) == (inputs, [*stage["hands"], *(f"{name}_out" for name in held)])
    held = [state["name"] for state in manifest["whole"]]
    for file in manifest["others"].values():
        assert names(file) == (["x", *(f"{n}_in" for n in held)], ["y", "made", *(f"{n}_out" for n in held)])


def test_the_check_sees_another_program_in_the_files(tmp_path, monkeypatch):
    program = FAMILIES["arnet"].make()
    (stage,) = program.stages
    last = tuple(dataclasses.replace(op, bias=op.bias * 1.001) if hasattr(op, "bias") else op for op in stage.last)
    other = dataclasses.replace(program, stages=(dataclasses.replace(stage, last=last),))
    made = step_model(program, "onnx")
    assert not check(made).wrong
    spoiled = dataclasses.replace(made, files=step_model(other, "onnx").files)
    assert check(spoiled).wrong == ("stages", "single", "sequence")
    monkeypatch.setattr("hiss.engines.step_export.step_model", lambda *_: spoiled)
    with pytest.raises(ExportError, match="nothing was written"):
        hiss.export_steps(program, tmp_path / "edge", "onnx")
    assert not (tmp_path / "edge").exists()
    hiss.export_steps(program, tmp_path / "edge", "onnx", check=False)
    assert "not checked" in (tmp_path / "edge" / "check.json").read_text()


def test_wrong_use_is_said(tmp_path):
    program = random_program(1, tare=2)
    made = step_model(program, "onnx")
    stepper = OnnxStepper(program, made)
    with pytest.raises(ValueError, match="a sample of shape"):
        stepper.step(np.zeros(99))
    state = stepper.state
    missing = next(key for key in state if key.endswith(".past"))
    with pytest.raises(ValueError, match=f"{missing}' is missing"):
        stepper.state = {key: array for key, array in state.items() if key != missing}
    with pytest.raises(ValueError, match="expected float32"):
        stepper.state = state | {"tare.mean": np.zeros(99, np.float32)}
    with pytest.raises(ProgramError, match="numpy and c run it to the bit"):
        open_stepper(integer_program("random 1"), "onnx")
    with pytest.raises(ExportError, match="export again"):
        OnnxStepper(random_program(2), made)
    with pytest.raises(ExportError, match="spread program"):
        step_model(passes.spread(FAMILIES["every position"].make()), "onnx")
    with pytest.raises(ValueError, match="no target 'coreml'"):
        step_model(program, "coreml")
    with pytest.raises(ValueError, match="int4"):
        step_model(program, "onnx", weights="int4")
    with pytest.raises(ValueError, match="file name"):
        step_model(program, "onnx", "a/b")


def test_what_was_exported_runs_again_unless_it_is_stale_or_changed(tmp_path):
    program, other = random_program(1), random_program(2)
    hiss.export_steps(program, tmp_path, "onnx")
    manifest = tmp_path / "model.json"
    x = random_samples(program, 40)
    again, expected = OnnxStepper(program, load_step_model(manifest, program)), OnnxStepper(program)
    for sample in x:
        np.testing.assert_array_equal(again.step(sample), expected.step(sample))
    with pytest.raises(ExportError, match="stale"):
        load_step_model(manifest, other)
    data = (tmp_path / "model_stage_0.onnx").read_bytes()
    (tmp_path / "model_stage_0.onnx").write_bytes(data[:-1] + b"!")
    with pytest.raises(ExportError, match="not the file that its manifest names"):
        load_step_model(manifest, program)
    manifest.write_text('{"format": 2, "program": "x"}')
    with pytest.raises(ExportError, match="format 2"):
        load_step_model(manifest, program)
    manifest.write_text("[]")
    with pytest.raises(ExportError, match="no manifest"):
        load_step_model(manifest, program)


@pytest.fixture
def saved(tmp_path):
    program = random_program(3, tare=2)
    program.save(tmp_path / "a.hiss")
    return program


def run(*words: object):
    return CliRunner().invoke(command, [str(word) for word in words])


def test_the_verb_writes_what_it_has_checked(saved, tmp_path):
    done = run("export", tmp_path / "a.hiss", "--to", "onnx", "-o", tmp_path / "edge", "--name", "force", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["program"] == saved.digest
    assert {path.name for path in (tmp_path / "edge").iterdir()} >= {"force.onnx", "force.json", "check.json"}
    held = json.loads((tmp_path / "edge" / "check.json").read_text())
    assert held == told["check"]
    assert max(held["difference"].values()) <= held["bound"]
    said = run("export", tmp_path / "a.hiss", "--to", "onnx", "-o", tmp_path / "edge").stdout
    assert "largest difference from the floating point interpreter" in said


def test_options_of_c_are_refused_for_onnx_and_the_other_way_round(saved, tmp_path):
    words = ["export", tmp_path / "a.hiss", "-o", tmp_path / "edge"]
    done = run(*words, "--to", "onnx", "--emulate", "m4f")
    assert (done.exit_code, "--emulate is about C" in done.output) == (2, True)
    done = run(*words, "--weights", "int8")
    assert (done.exit_code, "--weights is about step models" in done.output) == (2, True)
    assert not (tmp_path / "edge").exists()


def test_replay_by_onnx_prints_the_estimates_of_numpy(saved, tmp_path):
    x = random_samples(saved, 60)
    channels = tuple(Channel(port.name, port.unit) for port in saved.inputs)
    write_hdf5(tmp_path / "a.h5", [Recording("one", np.arange(60) / 100.0, x, channels, rate_hz=100.0)])
    found = {}
    for engine in ("numpy", "onnx"):
        done = run("replay", tmp_path / "a.hiss", tmp_path / "a.h5", "--engine", engine)
        assert done.exit_code == 0, done.output
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        found[engine] = np.array([[row["y"][port.name] for port in saved.outputs] for row in rows])
    np.testing.assert_allclose(found["onnx"], found["numpy"], rtol=0, atol=1e-5 * np.abs(found["numpy"]).max())


def test_an_absent_package_names_its_extra(saved, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = run("replay", tmp_path / "a.hiss", tmp_path / "a.hiss", "--engine", "onnx")
    assert done.exit_code == 2
    with pytest.raises(Exception, match=r"hiss\[onnx\]"):
        open_stepper(saved, "onnx")
    done = run("export", tmp_path / "a.hiss", "--to", "onnx", "-o", tmp_path / "edge")
    assert (done.exit_code, "not checked: onnxruntime is not installed" in done.output) == (0, True)
