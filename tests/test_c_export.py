"""Laws of the generated C on this computer: equal to the interpreter, clean, as large as stated, a sharp self-test."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import math
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from c_programs import every_position
from conftest import absent
from programs import random_program, random_samples

from hiss.engines import Stepper, host_compiler
from hiss.engines.c_engine import CStepper, run_selftest
from hiss.engines.host_compiler import STRICT, find_compiler, run_compiler, zig_command
from hiss.errors import ExportError
from hiss.firmware_export import export_c
from hiss.firmware_export.export import c_texts
from hiss.firmware_export.kernels import EMIT
from hiss.firmware_export.tables import float_text
from hiss.program import Port, Program, Stage
from hiss.program import ops as o

STEPS, RESET_AT, TARE_AT = 97, 37, 61
RANDOM = [(seed, feedback) for seed in range(15) for feedback in (False, True)]


@pytest.fixture(scope="module", autouse=True)
def host_has_a_compiler():
    try:
        find_compiler()
    except ExportError as error:
        absent(str(error))


def interpreted(program, x, dtype):
    """(made: (n,) bool, estimates) of the numpy stepper with a reset and a tare on the way."""
    stepper, made, estimates = Stepper(program, dtype), [], []
    for i, sample in enumerate(x):
        if i == RESET_AT:
            stepper.reset()
        if i == TARE_AT:
            stepper.tare()
        y = stepper.step(sample)
        made.append(y is not None)
        if y is not None:
            estimates.append(y)
    return np.array(made), np.array(estimates).reshape(-1, len(program.outputs)).astype(np.float64)


def allowed(single, double):
    """How far C may lie from float64, per output: 16 times what numpy's float32 does, as another order of summing and
    fused products give errors of the same kind and size; at least 32 units of the last place of the largest value."""
    spread, largest = np.abs(single - double).max(0, initial=0), np.abs(double).max(0, initial=0)
    return np.maximum(16 * spread, 32 * np.finfo(np.float32).eps * largest) + 1e-30


DRIVER = """
#include <stdio.h>
{includes}
/* every program steps over its own samples, read from stdin; flags and estimates go to stdout */
{runs}
int main(void) {{ {calls} return 0; }}
"""
RUN = """
static void run_{name}(void)
{{
    static {name}_t self;
    float x[{inputs}], y[{outputs}];
    {name}_tare(&self);
    for (int i = 0; i < {steps}; ++i) {{
        if (i == {reset}) {name}_reset(&self);
        if (i == {tare}) {name}_tare(&self);
        if (fread(x, sizeof x, 1, stdin) != 1) return;
        const unsigned char made = {name}_step(&self, x, y);
        fwrite(&made, 1, 1, stdout);
        if (made) fwrite(y, sizeof y, 1, stdout);
    }}
    const int wrong = (int){name}_selftest(&self);
    fwrite(&wrong, sizeof wrong, 1, stdout);
}}
"""


@pytest.fixture(scope="module")
def programs():
    """name -> program: random ones over every op, and the one with every op in every position."""
    drawn = {f"r{seed}{'f' if feedback else ''}": random_program(seed, feedback=feedback) for seed, feedback in RANDOM}
    return {**drawn, "every_position": every_position(), "untared": every_position(tare=0)}


@pytest.fixture(scope="module")
def driven(programs, tmp_path_factory):
    """name -> (x, made, estimates, self-test) from one executable that holds all programs, watched by sanitizers."""
    folder = tmp_path_factory.mktemp("driven")
    for name, program in programs.items():
        export_c(program, folder, name)
    sizes = {name: (len(p.inputs), len(p.outputs)) for name, p in programs.items()}
    runs = [
        RUN.format(name=n, inputs=c, outputs=d, steps=STEPS, reset=RESET_AT, tare=TARE_AT)
        for n, (c, d) in sizes.items()
    ]
    includes = "\n".join(f'#include "{name}.h"' for name in programs)
    calls = " ".join(f"run_{name}();" for name in programs)
    (folder / "driver.c").write_text(DRIVER.format(includes=includes, runs="".join(runs), calls=calls))
    arguments = ["-std=c99", "-O1", "-g0", *sorted(folder.glob("*.c")), "-o", folder / "driver"]
    try:
        run_compiler(find_compiler(), ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", *arguments])
    except ExportError:
        run_compiler(find_compiler(), arguments)  # a compiler without sanitizers: the numbers still must agree
    samples = {name: random_samples(program, STEPS, 1) for name, program in programs.items()}
    done = subprocess.run(
        [folder / "driver"], input=b"".join(x.tobytes() for x in samples.values()), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[:2000]
    return {name: (samples[name], *found) for name, found in _parsed(done.stdout, sizes).items()}


def _parsed(raw, sizes):
    found, at = {}, 0
    for name, (_, outputs) in sizes.items():
        made, estimates = [], []
        for _ in range(STEPS):
            made.append(bool(raw[at]))
            at += 1
            if made[-1]:
                estimates.append(np.frombuffer(raw, np.float32, outputs, at))
                at += 4 * outputs
        wrong = int(np.frombuffer(raw, np.int32, 1, at)[0])
        at += 4
        found[name] = (np.array(made), np.array(estimates).reshape(-1, outputs), wrong)
    return found


def test_c_equals_the_interpreter_for_every_op(programs, driven):
    """Also: no undefined behaviour and no access outside an array, where the compiler has sanitizers."""
    for name, program in programs.items():
        x, made, y, wrong = driven[name]
        made_64, double = interpreted(program, x, np.float64)
        _, single = interpreted(program, x, np.float32)
        np.testing.assert_array_equal(made, made_64, err_msg=name)
        assert np.all(np.abs(y - double) <= allowed(single, double)), name
        assert wrong == 0, name


def test_random_programs_hold_every_op(programs):
    """Or the law above would be silent about one."""
    assert {type(op) for p in programs.values() for _, _, op in p.ops()} == set(o.OPS.values()) == set(EMIT)
    functions = {op.function for p in programs.values() for _, _, op in p.ops() if isinstance(op, o.Map)}
    assert functions == set(o.FUNCTIONS)


@pytest.fixture(scope="module")
def program():
    return every_position()


@pytest.fixture(scope="module")
def samples(program):
    return random_samples(program, 150, 3)


def test_samples_that_are_not_finite_mean_the_same_to_every_reader(program, samples):
    """A NaN becomes lo, an infinity an end of the range; during the tare such a sample does not count."""
    x, n = samples.copy(), program.tare
    assert n > 1
    x[1, 2], x[2, 0], x[n + 2 + 5, 1], x[n + 2 + 17] = np.nan, np.inf, np.nan, -np.inf
    readers = [CStepper(program), Stepper(program), Stepper(program, np.float64)]
    tares = [np.flatnonzero([(stepper.step(sample), stepper.taring)[1] for sample in x])[-1] for stepper in readers]
    assert tares == [n] * 3  # the last sample after which the tare is not done: two more than usual
    for stepper in readers:
        stepper.tare()
    c, single, double = ([y for sample in x if (y := stepper.step(sample)) is not None] for stepper in readers)
    assert len(c) == len(single) == len(double) == (len(x) - n - 2) // program.period
    assert np.isfinite(double).all()
    assert np.all(np.abs(np.array(c) - double) <= allowed(np.array(single), np.array(double)))
    np.testing.assert_allclose(program.predict(x, np.float64), double, rtol=1e-9, atol=1e-9)


def test_two_instances_do_not_disturb_each_other(program, samples):
    alone, other, both = CStepper(program), CStepper(program), CStepper(program)
    expected = alone.run(samples)
    made = []
    for sample in samples:
        other.step(sample[::-1] * 0.5)
        y = both.step(sample)
        made += [] if y is None else [y]
    np.testing.assert_array_equal(np.array(made), expected)


@pytest.mark.parametrize("cut", [0, 2, 40, 77])
def test_saved_state_goes_on_exactly(program, samples, cut):
    expected = CStepper(program).run(samples)
    first = CStepper(program)
    head = first.run(samples[:cut])
    second = CStepper(program)
    second.run(samples[:11])
    second.state = first.state
    np.testing.assert_array_equal(np.concatenate([head, second.run(samples[cut:])]), expected)


def test_state_of_another_program_is_refused(program):
    with pytest.raises(ValueError, match="do not hold a state of this program"):
        CStepper(program).state = CStepper(random_program(2)).state


def test_stepper_has_the_interface_of_the_numpy_stepper(program, samples):
    stepper, reference = CStepper(program), Stepper(program)
    assert stepper.taring
    for sample in samples[: program.tare]:
        assert stepper.step(sample) is None
    assert not stepper.taring
    stepper.reset()
    assert not stepper.taring  # reset keeps the tare
    stepper.tare()
    assert stepper.taring
    assert {n for n in dir(reference) if not n.startswith("_")} <= {n for n in dir(stepper) if not n.startswith("_")}
    with pytest.raises(ValueError, match="expected"):
        stepper.step(samples[0, :2])


def test_a_fresh_struct_of_any_content_is_made_ready_by_reset(program, samples):
    """reset() keeps a tare, but not one that was never measured."""
    stepper = CStepper(program)
    expected = stepper.run(samples)
    ctypes.memset(stepper._self, 0xA5, len(stepper._self))
    stepper.reset()
    np.testing.assert_array_equal(stepper.run(samples), expected)


def test_nan_counts_as_the_lower_end_of_the_range(program, samples):
    bad, low = samples.copy(), samples.copy()
    bad[20:90:7, 1], low[20:90:7, 1] = np.nan, -1e9
    y = CStepper(program).run(bad)
    assert np.all(np.isfinite(y))
    np.testing.assert_array_equal(y, CStepper(program).run(low))


# ---- the text ----


def test_same_program_same_bytes(program):
    """Wherever and whenever: provenance (dates, paths) does not reach the text."""
    again = dataclasses.replace(every_position(), provenance={"made": "2026-11-24", "data": "/home/me/force.h5"})
    assert c_texts(program, "force") == c_texts(again, "force")
    assert c_texts(program, "force")["force.c"] != c_texts(every_position(tare=4), "force")["force.c"]


@pytest.mark.parametrize("value", [0.1, 1.0, -0.0, 1e-30, 3.4e38, 16777217.0, 1 / 3, math.pi, 1e10, 5e-324])
def test_constants_read_back_to_the_same_bits(value):
    assert np.float32(float_text(value).removesuffix("f")) == np.float32(value)
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", float_text(value))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1st",
        "a-b",
        "float",
        "class",
        "hiss_force",
        "_x",
        "a__b",
        "a" * 50,
        "ä",
        "x\n",
        "size",
        "uint32",
        "stdint",
        "Math",
    ],
)
def test_names_that_c_cannot_take_are_refused(program, name, tmp_path):
    with pytest.raises(ValueError, match="cannot name a model in C"):
        export_c(program, tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_constants_beyond_float32_are_refused():
    one = np.ones(1)
    first = o.Input("z", one, np.zeros(1, int), -one, one)
    huge = o.Affine("y", ("z",), (np.full((1, 1), 1e39),), one)
    program = Program((Port("x"),), (Port("y"),), 1.0, (Stage(1, (first, huge), (), ("y",)),))
    with pytest.raises(ExportError, match="float32"):
        c_texts(program, "huge")


# ---- compilers ----


@pytest.fixture(scope="module")
def exported(program, tmp_path_factory):
    return export_c(program, tmp_path_factory.mktemp("exported"), "force")


def compilers():
    zig = zig_command()
    host = [pytest.param((c,), id=c) for c in ("gcc", "clang") if shutil.which(c)]
    return [*host, pytest.param(zig, id="zig")] if zig else host


@pytest.mark.parametrize("language", [("-std=c99",), ("-x", "c++", "-std=c++11"), ("-std=c99", "-O3", "-DNDEBUG")])
@pytest.mark.parametrize("compiler", compilers())
def test_compiles_without_a_warning_as_c_and_cpp(exported, compiler, language):
    for source in exported.sources:
        run_compiler(compiler, [*language, *STRICT, "-c", source, "-o", source.with_suffix(".o")])


def test_needs_no_library_and_has_no_data_of_its_own(exported, tmp_path):
    """No malloc, stdio or libm: only memcpy and memset, which compilers themselves call. No mutable data."""
    if shutil.which("nm") is None:
        absent("no nm")
    objects = []
    for source in exported.sources:
        objects.append(tmp_path / f"{source.stem}.o")
        run_compiler(find_compiler(), ["-std=c99", "-O2", "-fno-pic", "-c", source, "-o", objects[-1]])
    symbols = subprocess.run(["nm", *objects], capture_output=True, text=True, check=True).stdout
    kinds = {tuple(line.split()[-2:]) for line in symbols.splitlines() if len(line.split()) >= 2}
    defined = {name for kind, name in kinds if kind != "U"}
    assert {name for kind, name in kinds if kind == "U"} - defined <= {"memcpy", "memset", "memmove"}
    assert not [name for kind, name in kinds if kind in "bBdDC"]


def test_header_states_what_is_true(exported):
    """The compiler checks sizeof against the stated number; tables are added up here."""
    header, source = exported.files[0].read_text(), exported.files[1].read_text()
    ram, states, scratch = map(int, re.search(r"RAM +(\d+) bytes.*= (\d+) of states, (\d+) of", header).groups())
    assert (ram, states + scratch, scratch) == (exported.ram_bytes, ram, exported.scratch_bytes)
    assert f"sizeof(force_t) == {ram})" in source
    width = {"float": 4, "uint16_t": 2}
    tables = sum(width[kind] * int(n) for kind, n in re.findall(r"static const (\w+) \w+\[(\d+)\]", source))
    assert tables == exported.table_bytes == int(re.search(r"Flash +(\d+) bytes", header).group(1))
    opening = header[: header.index("#ifndef")]
    for stated in (
        "MAC ",
        "settling",
        "look-ahead",
        "100 Hz",
        "every 10 samples (0.1 s)",
        "x[3]  m3 [uT]  -100 .. 120",
    ):
        assert stated in opening
    assert opening.count("*/") == 1  # a port's name cannot end the comment


def test_wrong_runtime_version_is_refused(exported, tmp_path):
    for file in exported.files:
        text = file.read_text().replace("#define HISS_OPS_VERSION 3 ", "#define HISS_OPS_VERSION 999 ")
        (tmp_path / file.name).write_text(text)
    with pytest.raises(ExportError, match="needs version 3 of the runtime"):
        run_compiler(find_compiler(), ["-std=c99", "-c", tmp_path / "force.c", "-o", tmp_path / "force.o"])


def test_no_compiler_is_said_clearly(program, monkeypatch, tmp_path):
    find_compiler.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(host_compiler, "zig_command", lambda: None)
    try:
        with pytest.raises(ExportError, match=r"no C compiler found.*pip install 'hiss\[firmware\]'"):
            CStepper(program)
        monkeypatch.setenv("CC", "no-such-cc -m32")
        with pytest.raises(ExportError, match="CC=no-such-cc"):
            CStepper(program)
    finally:
        find_compiler.cache_clear()


# ---- the self-test ----


def mutations(source):
    """(what, changed source): one number of every table, every state update, restart and reset left out."""
    for match in re.finditer(r"static const float (\w+)\[\d+\] HISS_TABLE = \{\n    ([^,]+),", source):
        number = match.group(2).removesuffix("f")
        changed = float_text(float(number) * 1.3 + 0.01)
        yield match.group(1), source[: match.start(2)] + changed + source[match.end(2) :]
    start = source[source.index("_start(force_t *self)\n{") :]
    for line in re.findall(
        r"^ +(?:self->\w+_\d = 0U|hiss_push_f32\(.*\)|hiss_diagonal_step_f32\(.*\));$", source, re.M
    ):
        yield line.strip(), source.replace(line, ";", 1)
    yield "no reset", source.replace("    force_start(self);\n}\n\nvoid force_tare", "}\n\nvoid force_tare", 1)
    zero = re.search(r"hiss_zero_f32\(self->h_0_h.*\);", start).group(0)
    yield zero, source.replace(zero, ";", 1)


def test_selftest_finds_planted_bugs(exported, tmp_path):
    """Every table and every line of state matters to the vectors."""
    cc, flags = find_compiler(), ["-std=c99", "-O0", "-shared", "-fPIC", "-I", exported.folder]
    fixed = []
    for file in ("hiss_ops", "force_selftest"):
        fixed.append(tmp_path / f"{file}.o")
        run_compiler(cc, ["-std=c99", "-O1", "-fPIC", "-c", exported.folder / f"{file}.c", "-o", fixed[-1]])
    assert run_selftest(exported) == 0
    silent, tried = [], 0
    for what, text in mutations((exported.folder / "force.c").read_text()):
        mutant, library = tmp_path / "mutant.c", tmp_path / f"mutant{tried}.so"
        mutant.write_text(text)
        run_compiler(cc, [*flags, mutant, *fixed, "-o", library])
        wrong = ctypes.CDLL(str(library)).force_selftest(ctypes.create_string_buffer(exported.ram_bytes))
        tried += 1
        if wrong == 0:
            silent.append(what)
    assert tried > 50
    assert silent == ["h_2_a"]  # restarts on every step: its pole is never used, in the interpreter neither


# ---- functions of one number ----

EXACT = {
    # name: (float64 reference, absolute tolerance for |x| <= 1, growing with |x|): what hiss_ops.h states, gelu and
    # softplus in units of the last place of their argument
    "tanh": (np.tanh, 1.2e-7),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 1.2e-7),
    "gelu": (lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2, 1.5e-7),
    "silu": (lambda x: x / (1 + np.exp(-x)), 1.5e-7),
    "softplus": (lambda x: np.logaddexp(0, x), 1.5e-7),
}


@pytest.mark.parametrize("name", EXACT)
def test_functions_are_as_accurate_as_stated(program, name):
    exact, tolerance = EXACT[name]
    x = np.concatenate([np.linspace(-40, 40, 20001), np.linspace(-2, 2, 20001), [0.0, 1e-30, -1e-30]])
    x = x.astype(np.float32)
    error = np.abs(mapped(program, name, x) - exact(x.astype(np.float64)))
    grows = np.maximum(1, np.abs(x)) if name in ("gelu", "silu", "softplus") else 1
    assert np.max(error / grows) < tolerance


def test_exp_and_rsqrt_are_as_accurate_as_stated(program):
    x = np.linspace(-87, 88.7, 40001).astype(np.float32)
    assert np.max(np.abs(mapped(program, "exp", x) / np.exp(x.astype(np.float64)) - 1)) < 1.2e-7
    beyond = mapped(program, "exp", np.array([-87.1, -1e30, -np.inf, 88.8, np.inf], np.float32))
    np.testing.assert_array_equal(beyond, [0, 0, 0, np.inf, np.inf])
    for name, low, high, exact, tolerance in (
        ("rsqrt", 1.2e-38, 3e38, lambda v: 1 / np.sqrt(v), 1.2e-7),
        ("log1p", 1e-6, 1.0, np.log1p, 1.8e-7),
        ("erf", 1e-6, 6.0, np.vectorize(math.erf), 1.2e-7),
    ):
        function = getattr(CStepper(program)._library, f"hiss_{name}")
        function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
        x = np.geomspace(low, high, 4001).astype(np.float32)
        y = np.array([function(float(v)) for v in x])
        wanted = exact(x.astype(np.float64))
        scale = 1.0 if name == "erf" else wanted
        assert np.max(np.abs((y - wanted) / scale)) < tolerance


def mapped(program, name, x):
    """A Map kernel of the runtime over an array."""
    kernel = getattr(CStepper(program)._library, f"hiss_{name}_f32")
    kernel.restype, kernel.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    y = np.empty_like(x)
    kernel(y.ctypes.data, x.ctypes.data, x.size)
    return y.astype(np.float64)


# ---- the verb ----


def test_export_verb_writes_compiles_and_checks(program, tmp_path):
    program.save(tmp_path / "force.hiss")

    def run(*more):
        words = [sys.executable, "-m", "hiss", "export", tmp_path / "force.hiss", "-o", tmp_path / "fw", *more]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    done = run("--name", "fingertip_force", "--check", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["mismatches"] == 0
    assert {path.name for path in (tmp_path / "fw").iterdir()} == {*c_texts(program, "fingertip_force"), "bill.json"}
    refused = run("--name", "float")
    assert refused.returncode == 2
    assert "cannot name a model in C" in refused.stderr
