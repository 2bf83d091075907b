"""Laws of the packages: each is what its ecosystem expects, builds, and prints the estimates of the Stepper."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_programs import every_position
from package_builds import (
    STUBS,
    arduino_build,
    c_compiler,
    cmake_build,
    properties,
    run,
    tool,
)
from programs import random_program

from hiss.engines import Stepper
from hiss.engines.host_compiler import STRICT, run_compiler
from hiss.errors import ExportError
from hiss.firmware_export.c import Model
from hiss.firmware_export.packages import KINDS, About, export_package, make_package, package_texts
from hiss.program import Port, Program, Stage, integer
from hiss.program import ops as o
from hiss.program.passes import spread
from hiss.quantization import quantized


def fingertip() -> Program:
    """force = 0.02 x0 + 0.01 x1 - 0.015 x0[-3] + 1 and twice that, every 5th sample at 50 Hz; tare over 10 samples."""
    two = np.ones(2)
    z = o.Input("z", 0 * two, np.array([5, 5]), -1000 * two, 1000 * two, tare=10)
    past = o.Delay("past", "z", np.array([3]), np.array([0]), "first")
    weights = np.array([[0.02, 0.01], [0.04, 0.02]]) * 32, np.array([[-0.015], [-0.03]]) * 32
    force = o.Affine("force", ("z", "past"), weights, np.array([1.0, 2.0]))
    inputs = (Port("m0_x", "µT", -1000, 1000), Port('m0 "y" */', "uT", -1000, 1000))
    outputs = (Port("force", "N"), Port('twice "\\ ??/', "%d N"))
    return Program(inputs, outputs, 50.0, (Stage(5, (z, past), (force,), ("force",)),), {"made": "2026-11-24"})


def integers(program: Program, step: float = 1.0) -> Program:
    """The program quantized for a converter that counts in steps of `step`."""
    return quantized(program, [readings(program, 600).astype(np.float32) * step])[0]


def counts(program: Program, x: np.ndarray) -> np.ndarray:
    """The samples as the exported step takes them: what they are, or whole numbers of steps."""
    return x if program.formats is None else integer.samples(program, x.astype(np.float32))


def fed(program: Program, x: np.ndarray) -> str:
    """Samples as text for the standard input of an example."""
    return " ".join(map(str, counts(program, x).ravel()))


def readings(program: Program, steps: int) -> np.ndarray:
    """Whole numbers as a converter gives them, (steps, C)."""
    return np.random.default_rng(5).integers(-90, 100, (steps, len(program.inputs)))


PROGRAMS = {
    "fingertip": fingertip(),
    "untared": every_position(tare=0),
    "random": random_program(3, tare=2),
    "fingertip in integers": integers(fingertip()),
    "spread in integers": spread(integers(fingertip())),
    "untared in integers": integers(every_position(tare=0), step=0.25),
}


def expected(program: Program, x: np.ndarray, tare_at: int | None = None) -> np.ndarray:
    """(m, D) of the stepper, or of the integer definition."""
    if program.formats is not None:
        return program.predict(x.astype(np.float32))
    stepper, estimates = Stepper(program), []
    for i, sample in enumerate(x.astype(np.float32)):
        if i == tare_at:
            stepper.tare()
        y = stepper.step(sample)
        estimates += [] if y is None else [y]
    return np.array(estimates).reshape(-1, len(program.outputs))


def estimates_of(text: str, outputs: int) -> np.ndarray:
    """The numbers in lines `name: number unit<tab>name: number unit` after the self-test, (m, D)."""
    lines = text.replace("\r", "").split("mismatches\n", 1)[-1].splitlines()
    rows = [re.findall(r": (-?\d+(?:\.\d+)?)(?= |\t|$)", line) for line in lines]
    return np.array([[float(number) for number in row] for row in rows if row]).reshape(-1, outputs)


def assert_printed(text: str, program: Program, x: np.ndarray) -> None:
    """The estimates in `text` are the program's: as exact as their decimals, integers to the last bit."""
    y, wanted = estimates_of(text, len(program.outputs)), expected(program, x)
    decimals = np.array([len(d) for d in re.findall(r": -?\d+\.?(\d*)", text.splitlines()[-1])])
    assert len(decimals) == y.shape[1]
    assert len(y) == len(wanted) > 5
    assert np.all(np.abs(y - wanted) <= 0.5001 * 10.0**-decimals + 1e-5 * np.abs(wanted))


def package_of(*names: str, program: Program | None = None, about: About | None = None):
    return make_package([Model(program or fingertip(), name) for name in names], about)


def written(tmp_path: Path, kind: str, *models: tuple[str, Program]) -> Path:
    folder = tmp_path / f"{kind}_{models[0][0]}"
    export_package(make_package([Model(program, name) for name, program in models]), kind, folder)
    return folder


# ---- metadata and layout ----

CATEGORIES = (
    *("Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage"),
    *("Data Processing", "Other"),
)
SEMVER = r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?"


def test_arduino_library_is_what_the_specification_asks_for(tmp_path):
    folder = written(tmp_path, "arduino", ("fingertip_force", fingertip()), ("grip", every_position()))
    fields = properties(folder)
    required = "name version author maintainer sentence paragraph category url architectures"
    assert set(required.split()) <= set(fields)
    assert all(fields.values())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", fields["name"])
    assert re.fullmatch(SEMVER, fields["version"])
    assert fields["category"] in CATEGORIES
    assert fields["url"].startswith("https://")
    assert fields["includes"] == "fingertip_force.h,grip.h"
    assert all((folder / "src" / header).is_file() for header in fields["includes"].split(","))
    for sketch in folder.glob("examples/*/*"):
        assert sketch.name == f"{sketch.parent.name}.ino"
    assert {p.name for p in (folder / "examples").iterdir()} == {"fingertip_force", "grip"}
    rows = [line.split("\t") for line in (folder / "keywords.txt").read_text().splitlines()]
    assert {len(row) for row in rows} == {2}
    assert {kind for _, kind in rows} == {"KEYWORD1", "KEYWORD2", "LITERAL1"}
    kinds = dict(rows)
    assert kinds["grip_t"] == "KEYWORD1"
    assert kinds["fingertip_force_step"] == "KEYWORD2"
    assert kinds["GRIP_RATE_HZ"] == "LITERAL1"


def test_platformio_library_is_what_the_manifest_asks_for(tmp_path):
    about = About("2.0.1", "Ada Example <ada@example.org>", "https://example.org/force")
    package = package_of("fingertip_force", about=about)
    folder = tmp_path / "lib"
    export_package(package, "platformio", folder)
    fields = json.loads((folder / "library.json").read_text())
    assert {"name", "version", "description", "keywords", "authors", "frameworks", "platforms"} <= set(fields)
    assert fields["name"] == "fingertip_force"
    assert fields["version"] == "2.0.1"
    assert len(fields["name"]) <= 50
    assert len(fields["description"]) <= 255
    assert fields["authors"] == [{"name": "Ada Example", "email": "ada@example.org", "maintainer": True}]
    assert fields["homepage"] == "https://example.org/force"
    assert fields["build"] == {"libArchive": True}
    assert all((folder / "src" / header).is_file() for header in fields["headers"])
    for example in fields["examples"]:
        assert all((folder / example["base"] / file).is_file() for file in example["files"])
    ini = (folder / "examples/fingertip_force/platformio.ini").read_text()
    assert re.search(r"^\[env:\w+\]$", ini, re.M)
    for key in ("platform", "board", "framework", "lib_deps"):
        assert re.search(rf"^{key} = \S+", ini, re.M), key


def test_zephyr_module_is_what_the_schema_allows(tmp_path):
    folder = written(tmp_path, "zephyr", ("fingertip_force", fingertip()), ("grip", every_position()))
    module = (folder / "zephyr/module.yml").read_text()
    assert set(re.findall(r"^(\w+):", module, re.M)) == {"name", "build", "samples"}
    assert set(re.findall(r"^  (\w+):", module, re.M)) == {"cmake", "kconfig"}
    for sample in re.findall(r"^  - (\S+)$", module, re.M):
        assert {p.name for p in (folder / sample).iterdir()} == {"CMakeLists.txt", "prj.conf", "sample.yaml", "src"}
    declared = set(re.findall(r"^config (\w+)$", (folder / "zephyr/Kconfig").read_text(), re.M))
    assert declared == {f"HISS_{n}{s}" for n in ("FINGERTIP_FORCE", "GRIP") for s in ("", "_SELFTEST")}
    used = set(re.findall(r"CONFIG_(HISS_\w+)", (folder / "zephyr/CMakeLists.txt").read_text()))
    used |= set(re.findall(r"^CONFIG_(\w+)=y", (folder / "samples/grip/prj.conf").read_text(), re.M))
    assert used == declared
    for source in re.findall(r"\.\./(src/\w+\.c)", (folder / "zephyr/CMakeLists.txt").read_text()):
        assert (folder / source).is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_same_models_same_bytes(kind):
    """No dates, no paths: what a program remembers of its making does not reach a package."""
    other = dataclasses.replace(fingertip(), provenance={"made": "2027-01-01", "data": "/home/me/force.h5"})
    texts = package_texts(package_of("force"), kind)
    assert texts == package_texts(package_of("force", program=other), kind)
    assert not re.search(r"20\d\d-\d\d|/home", "".join(texts.values()))
    assert all(text.endswith("\n") and text.isascii() for text in texts.values())


def test_steps_of_a_sample_that_are_not_one_unit_are_said():
    for name, program in PROGRAMS.items():
        (first,) = (op for op in program.stages[0].every if isinstance(op, o.Input))
        bits = 0 if program.formats is None else program.formats[first.out]["x"].frac_bits[0]
        (line,) = re.findall(
            r"x\[0\] = .*", package_texts(package_of("f", program=program), "arduino")["examples/f/f.ino"]
        )
        assert (f"in steps of {2.0**-bits:g} */" in line) == (bits > 0), name
    assert bits > 0  # the last one


@pytest.mark.parametrize("kind", KINDS)
def test_several_models_share_one_runtime(kind):
    programs = fingertip(), every_position(), PROGRAMS["untared in integers"]
    models = [Model(program, name) for program, name in zip(programs, ("force", "grip", "touch"), strict=True)]
    names = [Path(path).name for path in package_texts(make_package(models), kind)]
    for once in ("hiss_base.h", "hiss_ops.c", "hiss_int.c", "grip.h", "force.h", "touch.h"):
        assert names.count(once) == 1


# ---- they run ----


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_sketch_prints_the_estimates_of_the_stepper(name, tmp_path):
    """Compiled against a stub Arduino core, fed whole numbers, at the model's rate by its own clock."""
    program = PROGRAMS[name]
    library = written(tmp_path, "arduino", ("force", program))
    sketch = arduino_build(library / "examples/force/force.ino", [library], tmp_path / "built")
    x = readings(program, 143)
    done = run([sketch], input=fed(program, x))
    assert "self-test: 0 mismatches" in done.stdout
    assert_printed(done.stdout.replace("rest position measured\r\n", ""), program, x)
    first, last = map(int, done.stderr.split())
    assert abs(last - first - (len(x) - 1) * 1e6 / program.rate_hz) < 200  # of the last sample: nothing adds up
    assert ("rest position measured" in done.stdout) == (program.tare > 0)


def test_a_key_measures_the_rest_position_anew(tmp_path):
    program = PROGRAMS["fingertip"]
    library = written(tmp_path, "arduino", ("force", program))
    sketch = arduino_build(library / "examples/force/force.ino", [library], tmp_path / "built")
    x = readings(program, 120)
    done = run([sketch, 2 * 57], input=fed(program, x))
    y = estimates_of(done.stdout, 2)
    np.testing.assert_allclose(y, expected(program, x, tare_at=57), atol=6e-5)
    assert len(y) < len(expected(program, x))
    assert done.stdout.count("rest position measured") == 2


def test_a_sketch_whose_self_test_fails_prints_no_estimates(tmp_path):
    library = written(tmp_path, "arduino", ("force", fingertip()))
    source = library / "src/force.c"
    changed = re.sub(r"(force_\w+\[\d+\] HISS_TABLE = \{\n    )", r"\g<1>9", source.read_text(), count=1)
    assert changed != source.read_text()
    source.write_text(changed)
    sketch = arduino_build(library / "examples/force/force.ino", [library], tmp_path / "built")
    done = subprocess.run([sketch], input="1 " * 200, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert re.search(r"self-test: [1-9]\d* mismatches", done.stdout)
    assert "force: " not in done.stdout


def both(first: Path, second: Path) -> str:
    """A sketch that uses two libraries."""
    text = (first / "examples/force/force.ino").read_text()
    return text.replace("#include <force.h>", "#include <force.h>\n#include <grip.h>\nstatic grip_t other;").replace(
        "void loop()\n{\n", "void loop()\n{\n    grip_reset(&other);\n    if (grip_selftest(&other) != 0) delay(1);\n"
    )


def test_two_libraries_exported_apart_link_together(tmp_path):
    """Each brings the runtime; as archives they link, and only so."""
    first = written(tmp_path, "arduino", ("force", fingertip()))
    second = written(tmp_path, "arduino", ("grip", every_position()))
    third = written(tmp_path, "arduino", ("touch", PROGRAMS["untared in integers"]))
    (tmp_path / "both.ino").write_text(both(first, second))
    sketch = arduino_build(tmp_path / "both.ino", [first, second, third], tmp_path / "built")
    x = readings(fingertip(), 40)
    done = run([sketch], input=fed(fingertip(), x))
    np.testing.assert_allclose(estimates_of(done.stdout, 2), expected(fingertip(), x), atol=6e-5)
    with pytest.raises(ExportError, match=r"multiple definition|duplicate symbol"):
        arduino_build(tmp_path / "both.ino", [first, second], tmp_path / "clash", archives=False)


def test_platformio_example_builds_like_the_sketch(tmp_path):
    """The same sketch, which includes Arduino.h itself."""
    folder = written(tmp_path, "platformio", ("force", fingertip()))
    sketch = written(tmp_path, "arduino", ("force", fingertip())) / "examples/force/force.ino"
    text = (folder / "examples/force/src/main.cpp").read_text()
    assert text == f"#include <Arduino.h>\n\n{sketch.read_text()}"


def test_cmake_package_builds_tests_itself_and_streams(tmp_path):
    tool("cmake")
    program = PROGRAMS["untared in integers"]
    folder = written(tmp_path, "cmake", ("force", fingertip()), ("grip", program))
    built = cmake_build(folder, tmp_path / "built")
    tested = run([tool("ctest"), "--test-dir", built, "--output-on-failure"])
    assert "100% tests passed" in tested.stdout
    assert "out of 2" in tested.stdout
    x = readings(program, 64)
    done = run([built / "grip_example"], input=fed(program, x))
    assert "self-test: 0 mismatches" in done.stderr
    assert_printed(done.stdout, program, x)


def test_ctest_fails_where_the_code_is_wrong(tmp_path):
    tool("cmake")
    folder = written(tmp_path, "cmake", ("force", fingertip()))
    source = folder / "src/force.c"
    changed, count = re.subn(r"^ +self->\w+\[.*\] = \w+\[\d\];\n", "", source.read_text(), flags=re.M)
    assert count == 1  # the past never moves on
    source.write_text(changed)
    built = cmake_build(folder, tmp_path / "built")
    done = subprocess.run([tool("ctest"), "--test-dir", built], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "0% tests passed" in done.stdout


USER = """cmake_minimum_required(VERSION 3.13)
project(user LANGUAGES C)
{added}
add_executable(user user.c)
target_link_libraries(user PRIVATE force::force grip::grip)
"""
USER_C = """#include "force.h"
#include "grip.h"
int main(void)
{
    static force_t force;
    static grip_t grip;
    return force_selftest(&force) + grip_selftest(&grip) != 0;
}
"""


def test_cmake_packages_exported_apart_share_the_runtime(tmp_path):
    """By add_subdirectory; a package of another runtime version is refused."""
    tool("cmake")
    for name, program in (("force", fingertip()), ("grip", every_position())):
        written(tmp_path, "cmake", (name, program))
    added = "add_subdirectory(cmake_force)\nadd_subdirectory(cmake_grip)"
    (tmp_path / "CMakeLists.txt").write_text(USER.format(added=added))
    (tmp_path / "user.c").write_text(USER_C)
    built = cmake_build(tmp_path, tmp_path / "built")
    run([built / "user"])
    lists = tmp_path / "cmake_grip/CMakeLists.txt"
    version = re.search(r"HISS_OPS_VERSION (\d+)", lists.read_text()).group(1)
    lists.write_text(lists.read_text().replace(f"found EQUAL {version}", "found EQUAL 999"))
    done = subprocess.run(
        [tool("cmake"), "-S", tmp_path, "-B", tmp_path / "b2"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "export both with the same hiss" in re.sub(r"\s+", " ", done.stderr)


def test_installed_cmake_packages_are_found(tmp_path):
    tool("cmake")
    for name, program in (("force", fingertip()), ("grip", every_position())):
        folder = written(tmp_path, "cmake", (name, program))
        built = cmake_build(folder, tmp_path / f"built_{name}")
        run([tool("cmake"), "--install", built, "--prefix", tmp_path / "prefix"])
    user = tmp_path / "user"
    user.mkdir()
    (user / "CMakeLists.txt").write_text(USER.format(added="find_package(force REQUIRED)\nfind_package(grip REQUIRED)"))
    (user / "user.c").write_text(USER_C)
    run([cmake_build(user, tmp_path / "built", f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}") / "user"])


def zephyr_build(folder: Path, name: str, tmp_path: Path, *more: Path) -> Path:
    """The sample with a sensor put in, built with a stub Zephyr; `more` modules beside it."""
    main = folder / f"samples/{name}/src/main.c"
    text, count = re.subn(r"\((\w+)\)0;", r"(\1)stub_reading();", main.read_text())
    assert count
    main.write_text(text)
    modules = [f"-DZEPHYR_EXTRA_MODULES={';'.join(map(str, more))}"] if more else []
    return cmake_build(main.parents[1], tmp_path / "built", f"-DZephyr_DIR={STUBS / 'zephyr'}", *modules) / "app"


@pytest.mark.parametrize("name", ["fingertip", "untared in integers"])
def test_the_zephyr_sample_prints_the_estimates_of_the_stepper(name, tmp_path):
    """With a stub of Zephyr's build system, kernel and console; a second module brings the runtime too."""
    tool("cmake")
    program = PROGRAMS[name]
    folder = written(tmp_path, "zephyr", ("force", program))
    other = written(tmp_path, "zephyr", ("grip", every_position()))
    (folder / "samples/force/prj.conf").open("a").write("CONFIG_HISS_GRIP=y\n")
    app = zephyr_build(folder, "force", tmp_path, other)
    x = readings(program, 88)
    done = run([app], input=fed(program, x))
    assert "self-test: 0 mismatches" in done.stdout
    assert_printed(done.stdout, program, x)
    assert int(done.stderr) == (len(x) + 1) * round(1e6 / program.rate_hz)  # when the sample after the last is due


CROSS = {
    "avr-gcc": ("-mmcu=atmega328p", "-std=c99"),
    "arm-none-eabi-gcc": ("-mcpu=cortex-m4", "-mthumb", "-std=c99"),
    "avr-g++": ("-mmcu=atmega328p", "-x", "c++", "-std=c++11"),
    "arm-none-eabi-g++": ("-mcpu=cortex-m0", "-mthumb", "-x", "c++", "-std=c++11"),
}


@pytest.mark.parametrize("compiler", CROSS)
def test_sources_compile_for_boards_without_a_warning(compiler, tmp_path):
    """As C99, and as C++ for those who rename files; both arithmetics."""
    command = (tool(compiler),)
    models = ("force", fingertip()), ("grip", every_position()), ("touch", PROGRAMS["untared in integers"])
    folder = written(tmp_path, "plain", *models)
    for source in sorted(folder.glob("*.c")):
        run_compiler(command, [*CROSS[compiler], *STRICT, "-Os", "-c", source, "-o", tmp_path / f"{source.stem}.o"])


# ---- what the README shows ----

STATES = """
#include <stdio.h>
#include "grip.h"
{shown}
static force_t second;
static grip_t other;

int main(void)
{{
    float x[FORCE_INPUTS], y[FORCE_OUTPUTS], z[FORCE_OUTPUTS];
    static uint8_t bytes[sizeof(force_t)];
    static uint8_t foreign[sizeof(force_t) + sizeof(grip_t)];
    int wrong = 0, made = 0;
    begin();
    for (int i = 0; i < 200; ++i) {{
        for (int c = 0; c < FORCE_INPUTS; ++c) x[c] = (float)((i * 37 + c * 11) % 83) - 40.0f;
        const bool here = sample(x, y);
        if (i == {cut}) {{ /* in the middle of a chunk, in another instance */
            force_save(bytes, &model);
            memset(&second, 0xA5, sizeof second);
            wrong += !force_restore(&second, bytes);
        }} else if (i > {cut}) {{
            const bool there = force_step(&second, x, z);
            wrong += here != there || (here && memcmp(y, z, sizeof y) != 0);
            made += here;
        }}
        (void)grip_step(&other, x, z);
    }}
    wrong += made < 10;
    grip_tare(&other);
    memcpy(foreign, &other, sizeof other);
    wrong += force_restore(&second, foreign); /* of another model: refused, and begun anew */
    wrong += !force_ready(&second);
    return wrong;
}}
"""


@pytest.mark.parametrize("cut", [4, 51, 98])
def test_states_go_on_in_another_instance_and_foreign_ones_are_refused(cut, tmp_path):
    """The C of the README, compiled: cut inside the tare, inside a chunk, and right before its end."""
    folder = written(tmp_path, "cmake", ("force", fingertip()), ("grip", every_position()))
    shown = "\n".join(re.findall(r"```c\n(.*?)```", (folder / "README.md").read_text(), re.S))
    (tmp_path / "states.c").write_text(STATES.format(shown=shown, cut=cut))
    sources = sorted((folder / "src").glob("*.c"))
    run_compiler(
        c_compiler(),
        ["-std=c99", "-O1", "-I", folder / "src", tmp_path / "states.c", *sources, "-o", tmp_path / "states"],
    )
    assert subprocess.run([tmp_path / "states"], check=False).returncode == 0


# ---- what is refused ----


@pytest.mark.parametrize(
    ("kind", "names", "words"),
    [
        ("snap", ["force"], "plain, cmake, arduino"),
        ("plain", ["force", "force"], "two models are named 'force' and 'force'"),
        ("plain", ["Force", "force"], "two models are named 'Force' and 'force'"),
        ("plain", ["force", "force_selftest"], "two models would write force_selftest.c"),
        ("plain", ["force", "float"], "a word of C"),
        ("cmake", ["test"], "target of CMake"),
        ("cmake", ["force", "force_check"], "two CMake targets"),
        ("arduino", ["Wire"], "header of Arduino cores"),
        ("arduino", ["ArduinoForce"], "Arduino's own"),
        ("platformio", ["SPI"], "header of Arduino cores"),
        ("zephyr", ["current"], "Zephyr module"),
        ("plain", [], "without a model"),
    ],
)
def test_names_that_clash_are_refused_and_nothing_is_written(kind, names, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_package(package_of(*names), kind, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": "1.2"}, "1.2.3"),
        ({"version": "v1.2.3"}, "1.2.3"),
        ({"author": " "}, "author is empty"),
        ({"author": "Ada\nname=x"}, "use ASCII"),
        ({"url": "example.org"}, "https://"),
    ],
)
def test_metadata_that_cannot_stand_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        About(**fields)


def test_a_rate_that_the_examples_cannot_count_is_refused():
    slow = dataclasses.replace(fingertip(), rate_hz=1e-4)
    with pytest.raises(ExportError, match="2147 s"):
        package_texts(package_of("force", program=slow), "arduino")
    assert package_texts(package_of("force", program=slow), "plain")
