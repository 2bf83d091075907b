"""The laws of TensorFlow Lite: what is exported computes the program, for every family and op, in both runtimes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tflite_numpy
from core_families import FAMILIES
from tflite_models import FORMS, estimates, exported, runtime, samples

from hiss.engines.step_check import check
from hiss.engines.tflite_engine import FORMS as FILES
from hiss.engines.tflite_engine import TfliteStepper
from hiss.engines.tflite_runtime import RUNTIMES
from hiss.errors import ExportError
from hiss.firmware_export.step_model import step_model, tensor_names
from hiss.firmware_export.tflite.graph import Graph
from hiss.firmware_export.tflite.operators import version
from hiss.firmware_export.tflite.settings import settings_of
from hiss.firmware_export.tflite.stage import stage_graph
from hiss.firmware_export.tflite.steps import Modes
from hiss.firmware_export.tflite.whole import parts
from hiss.firmware_export.tflite.writer import tflite_bytes
from hiss.program import Port, Program, Stage, integer_sequence, interpreter, sequence
from hiss.program import ops as o
from hiss.quantization import quantized

PLAIN = [name for name, family in FAMILIES.items() if not family.spread]
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


@FORMS
@pytest.mark.parametrize("family", PLAIN)
def test_every_form_passes_the_check_after_an_export(family, whole):
    found = check(exported(family, whole)[1])
    assert not found.wrong, found.text()
    assert set(found.difference) == {"stages", "single"}
    assert found.estimates > 0
    assert found.against.startswith("integer" if whole else "floating")


@pytest.mark.parametrize("package", RUNTIMES)
@FORMS
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


@FORMS
@pytest.mark.parametrize("package", RUNTIMES)
def test_the_single_file_is_the_files_of_the_stages_to_the_bit(package, whole):
    program, model = exported("every position", whole)
    x = samples(program, "", 100)
    forms = (TfliteStepper(program, model, form=form, runtime=runtime(package).package) for form in FILES)
    np.testing.assert_array_equal(*(estimates(stepper, x) for stepper in forms))


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


@FORMS
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


@pytest.mark.parametrize(("pole", "kind"), [(0.9, "int16"), (0.98, "float32"), (0.9995 * np.exp(1j), "float32")])
def test_a_state_too_coarse_in_int16_is_float32(pole, kind):
    """It would not decay to 0, or, where it swings for long, not see its input."""
    one = np.ones(1)
    z = o.Input("z", 0 * one, np.zeros(1, np.int64), -one, one)
    y = o.Diagonal("y", "z", np.full((1, 1), pole, complex), np.ones((1, 1), complex), 0 * one)
    program = Program((Port("a"),), (Port("b"),), 10.0, (Stage(1, (z, y), (), ("y",)),))
    whole, _ = quantized(program, [np.random.default_rng(0).uniform(-1, 1, (500, 1))])
    (stage,) = step_model(whole, "tflite").stages
    assert [state.dtype for state in stage.states] == [kind]


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
