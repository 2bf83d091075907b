"""The laws of TensorFlow Lite: what is exported computes the program, for every family and op, in both runtimes."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
import tflite_numpy
from core_families import FAMILIES, integer_program
from programs import random_samples

pytest.importorskip("flatbuffers", reason="TensorFlow Lite needs: pip install 'hiss[tflite]'")

from hiss.engines import tflite_engine, tflite_runtime
from hiss.engines.step_check import check
from hiss.engines.tflite_engine import TfliteStepper
from hiss.engines.tflite_runtime import RUNTIMES, Runtime, find_runtime
from hiss.errors import ExportError, HissError, MissingExtraError
from hiss.firmware_export.selftest import usual_samples
from hiss.firmware_export.step_model import load_step_model, step_model, tensor_names
from hiss.firmware_export.tflite.graph import Graph
from hiss.firmware_export.tflite.operators import BUILTINS, version
from hiss.firmware_export.tflite.settings import settings_of
from hiss.firmware_export.tflite.stage import stage_graph
from hiss.firmware_export.tflite.steps import Modes
from hiss.firmware_export.tflite.whole import parts
from hiss.firmware_export.tflite.writer import tflite_bytes
from hiss.program import Port, Program, Stage, integer_sequence, interpreter, sequence
from hiss.program import ops as o
from hiss.quantization import quantized

PLAIN = [name for name, family in FAMILIES.items() if not family.spread]
STEPS = 2000
MOST = {  # the highest versions that tflite-runtime 2.14 knows
    "FULLY_CONNECTED": 8,
    "MUL": 7,
    "ADD": 5,
    "CONCATENATION": 4,
    "EXP": 2,
    "LOGISTIC": 3,
    "TANH": 3,
    "SLICE": 6,
    "GATHER": 6,
    "QUANTIZE": 3,
    "DEQUANTIZE": 5,
}


def runtime(package):
    try:
        return find_runtime(package)
    except MissingExtraError as error:
        pytest.skip(str(error))


@functools.cache
def exported(family, whole=False):
    program = integer_program(family) if whole else FAMILIES[family].make()
    return program, step_model(program, "tflite")


def samples(program, name, steps=STEPS):
    return random_samples(program, steps, 1) if name.startswith("random") else usual_samples(program, steps)


def estimates(stepper, x):
    return np.array([y for sample in x if (y := stepper.step(sample)) is not None])


def signatures(program, settings=None):
    for i in range(len(program.stages)):
        yield from stage_graph(program, i, "", settings).signatures


# ---- float32 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", RUNTIMES)
@pytest.mark.parametrize("family", PLAIN)
def test_float_files_are_the_interpreter_over_many_recurrent_steps(family, package):
    program, model = exported(family)
    x = samples(program, family)
    found = estimates(TfliteStepper(program, model, runtime=runtime(package).package), x)
    expected = sequence.predict(interpreter.cast(program, np.float64), x)
    assert found.shape == expected.shape
    largest = np.maximum(np.abs(expected).max(0), 1e-30)
    assert (np.abs(found - expected) / largest).max() <= 1e-5  # float32, sums of some hundred terms


@pytest.mark.parametrize("whole", [False, True], ids=["float32", "int8 x int16"])
@pytest.mark.parametrize("family", PLAIN)
def test_every_form_passes_the_check_after_an_export(family, whole):
    found = check(exported(family, whole)[1])
    assert not found.wrong, found.text()
    assert set(found.difference) == {"stages", "single"}
    assert found.estimates > 0
    assert found.against.startswith("integer" if whole else "floating")


@pytest.mark.parametrize("package", RUNTIMES)
@pytest.mark.parametrize("whole", [False, True], ids=["float32", "int8 x int16"])
def test_files_run_as_a_user_would_run_them(package, whole):
    """With the runtime's own choice of kernels and delegates, signatures and the manifest alone."""
    program, model = exported("hiss", whole)
    module, told = runtime(package).module, model.manifest["stages"]
    interpreters = [module.Interpreter(model_content=model.files[stage["file"]]) for stage in told]
    held = [{s["name"]: np.full(s["shape"], s["initial"], s["dtype"]) for s in stage["states"]} for stage in told]
    x, made, phases = samples(program, "hiss", 100), [], [0] * len(told)
    stepper = TfliteStepper(program, model, runtime=package)
    expected = estimates(stepper, x)
    for sample in x[program.tare :]:
        values = [sample[None], stepper.state["tare.mean"][None]]
        for i, stage in enumerate(told):
            last = phases[i] == stage["period"] - 1
            phases[i] = 0 if last else phases[i] + 1
            run = interpreters[i].get_signature_runner(stage["last"] if last and stage["last"] else "step")
            states = {f"{name}_in": array for name, array in held[i].items()}
            y = run(**dict(zip(stage["reads"], values, strict=True)), **states)
            held[i] = {name: y[f"{name}_out"] for name in held[i]}
            if not last:
                break
            values = [y[name] for name in stage["hands"]]
        else:
            made.append(np.concatenate(values, 1)[0])
    # other float kernels round otherwise, which moves an int16 by a unit here and there
    np.testing.assert_allclose(np.array(made), expected, atol=(5e-3 if whole else 1e-5) * np.abs(expected).max())


# ---- int8 x int16 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", RUNTIMES)
@pytest.mark.parametrize("family", PLAIN)
def test_every_int16_operator_is_its_numpy_model(family, package):
    program, _ = exported(family, whole=True)
    rng, seen = np.random.default_rng(0), set()
    for signature in signatures(program, settings_of(program)):
        everything = {str(i): i for operator in signature.operators for i in operator.outputs}
        data = tflite_bytes([dataclasses.replace(signature, outputs=everything)], {})  # so that none is overwritten
        run = runtime(package).interpreter(data).get_signature_runner(signature.key)
        for _ in range(3):
            given = {name: drawn(rng, signature.tensors[i], name) for name, i in signature.inputs.items()}
            made = run(**given)
            values = [tensor.data for tensor in signature.tensors]
            for name, i in signature.inputs.items():
                values[i] = given[name]
            for name, i in everything.items():
                values[i] = made[name]
            for operator in signature.operators:
                if "int16" in {signature.tensors[i].dtype for i in (operator.inputs[0], *operator.outputs)}:
                    seen.add(operator.kind)
                    off = np.abs(values[operator.outputs[0]] - tflite_numpy.model(operator, signature.tensors, values))
                    assert off.max() <= tflite_numpy.tolerance(operator.kind) + 1e-6, operator.kind
    assert "QUANTIZE" in seen


def drawn(rng, tensor, name):
    """Numbers of all sizes: a third of int16's range is usual, some are at its ends."""
    if tensor.dtype == "bool":
        return rng.integers(0, 2, tensor.shape).astype(bool)
    if tensor.dtype == "int16":
        return np.clip(rng.normal(size=tensor.shape) * 10000, -(2**15), 2**15 - 1).astype(np.int16)
    return (rng.normal(size=tensor.shape) * (100 if name in ("x", "tare") else 1)).astype(np.float32)


@pytest.mark.parametrize("family", PLAIN)
def test_int16_values_are_about_as_right_as_the_integers_of_c(family):
    program, model = exported(family, whole=True)
    x = samples(program, family, 400)
    stepper = TfliteStepper(program, model)
    stepper.state = {**stepper.state, "tare.left": np.array(0)}
    exact = sequence.predict(interpreter.cast(program, np.float64), x, tared=True)
    found = (estimates(stepper, x), integer_sequence.predict(program, x))
    ours, integers = (np.sqrt(np.square(y - exact).mean(0)) for y in found)
    # weights are rounded on another grid, states have int16; parts of a sum have room for the worst of their signs
    assert (ours <= 3 * integers + 4e-3 * np.abs(exact).max(0)).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_parts_of_weights_add_up_to_them(bits):
    w = np.random.default_rng(0).normal(size=(5, 40)) * np.array([[1e-4], [1], [3], [50], [0]])
    made = parts(w, bits)
    assert len(made) == bits // 8
    assert all(integers.dtype == np.int8 for integers, _ in made)
    found = sum(scales[:, None] * integers for integers, scales in made)
    half = np.abs(w).max(1, keepdims=True) / (254 if bits == 8 else 254 * 254)
    assert (np.abs(found - w) <= half * (1 + 1e-5)).all()


def test_a_rounded_pole_keeps_its_gain_at_rest_and_stays_inside_the_circle():
    a = np.array([[0.9993 * np.exp(1e-4j), 0.99999, 0.7 * np.exp(2j)]])
    op = o.Diagonal("y", "u", a, np.array([[0.3 - 2j, 1, 1j]]), np.zeros(1))
    m = Modes(op, np.array([[900.0, 3e4, 2.0]]))
    n = a.shape[1]
    pole = m.kept[:n] + 1j * m.turned[n:]
    assert (np.abs(pole) < 1).all()
    np.testing.assert_array_equal(np.rint(pole.real * 2**15), pole.real * 2**15)
    h = m.gain[:n] / (1 - pole)
    np.testing.assert_allclose(m.read[:n] * h.real + m.read[n:] * h.imag, (op.c / (1 - a)).real.T, rtol=1e-9)
    assert (m.gain[:n, 0] * np.array([900.0, 3e4, 2.0]) <= 1).all()


def test_a_value_that_keeps_its_scale_is_handed_on_with_it():
    """clip, relu and sigmoid have scales of their own, finer or coarser than their formats."""
    one = np.ones(2)
    z = o.Input("z", 0 * one, np.zeros(2, np.int64), -100 * one, 100 * one)
    maps = (o.Map("small", "z", "clip", -0.5, 0.25), o.Map("open", "z", "sigmoid"), o.Map("up", "small", "relu"))
    lag = o.Delay("lag", "up", np.array([1, 2]), np.array([0, 1]))
    first = Stage(2, (z, *maps, lag), (), ("small", "open", "up", "lag"))
    total = o.Add("y", first.hands, (1, 1, -1, 1))
    program = Program((Port("a"), Port("b")), (Port("c"), Port("d")), 10.0, (first, Stage(1, (total,), (), ("y",))))
    x = np.random.default_rng(0).normal(size=(200, 2)) * 2
    whole, _ = quantized(program, [x])
    found = estimates(TfliteStepper(whole), x)
    np.testing.assert_allclose(found, sequence.predict(program, x), atol=2e-3)  # z has 2^-12 at the best, +-10 in it


@pytest.mark.parametrize("family", PLAIN)
def test_int8_weights_never_meet_float_activations(family):
    """With a scale per row, tflite-runtime 2.14 gives zeros for that and no error."""
    program, _ = exported(family, whole=True)
    for signature in [*signatures(program, settings_of(program)), *signatures(FAMILIES[family].make())]:
        for operator in signature.operators:
            if operator.kind in ("FULLY_CONNECTED", "DEPTHWISE_CONV_2D"):
                x, w = (signature.tensors[i].dtype for i in operator.inputs[:2])
                assert (x, w) in (("float32", "float32"), ("int16", "int8"))


def test_the_trap_is_there():
    """Why the rule above stands: a hybrid layer with a scale per row is silently 0 in tflite-runtime 2.14."""
    graph = Graph()
    x = graph.tensor("x", (1, 2), "float32")
    w = graph.constant("w", np.array([[100, 50], [25, -100]], np.int8), (0.01, 0.02))
    y = graph.add("FULLY_CONNECTED", (x, w, -1), graph.tensor("y", (1, 2), "float32"))
    data = tflite_bytes([graph.signature("step", {"x": x}, {"y": y})], {})
    run = runtime("tflite-runtime").interpreter(data).get_signature_runner("step")
    assert not run(x=np.ones((1, 2), np.float32))["y"].any()


@pytest.mark.parametrize("family", PLAIN)
def test_operators_and_versions_are_those_of_the_oldest_runtime(family):
    program, _ = exported(family, whole=True)
    for signature in signatures(program, settings_of(program)):
        for operator in signature.operators:
            read = signature.tensors[operator.inputs[0]].dtype
            assert version(operator.kind, read) <= MOST.get(operator.kind, 7)
            if read == "int16":
                assert operator.kind in tflite_numpy.EVALUATE


@pytest.mark.parametrize("whole", [False, True], ids=["float32", "int8 x int16"])
@pytest.mark.parametrize("family", PLAIN)
def test_what_goes_out_of_a_state_is_what_comes_in(family, whole):
    """Same shape, type and scale, so it feeds straight back."""
    program, _ = exported(family, whole)
    for i in range(len(program.stages)):
        graph = stage_graph(program, i, "", settings_of(program) if whole else None)
        for signature in graph.signatures:
            for state, before, after in tensor_names(graph.told):
                a = signature.tensors[signature.inputs[before]]
                b = signature.tensors[signature.outputs[after]]
                assert (a.shape, a.dtype, a.scale) == (b.shape, b.dtype, b.scale)
                assert (a.shape, a.dtype) == (state.shape, state.dtype)


def test_islands_are_listed_with_their_cost():
    _, model = exported("every position", whole=True)
    said = "\n".join(model.notes)
    for name, reason in (("scan", "EXP"), ("act", "GELU"), ("x", "RSQRT"), ("delta", "LOG")):
        assert any(line.startswith(f"{name}: float32 ({reason}") and "numbers a step" in line for line in model.notes)
    assert "conversions" in said
    assert "gate:" not in said  # a product has an int16 kernel


def test_a_state_that_int16_would_not_see_decay_is_float32():
    _, model = exported("hiss", whole=True)
    kinds = {state.key: state.dtype for stage in model.stages for state in stage.states}
    assert kinds["high.0.ssm.h"] == "float32"
    _, model = exported("every position", whole=True)
    kinds = {state.key: state.dtype for stage in model.stages for state in stage.states}
    assert kinds["y.h"] == "int16"


def test_int8_weights_of_a_float_program_are_refused():
    with pytest.raises(ExportError, match="hiss quantize"):
        step_model(FAMILIES["hiss"].make(), "tflite", weights="int8")


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


# ---- the engine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True], ids=["float32", "int8 x int16"])
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
