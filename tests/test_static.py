"""The law of the exported text: static analysis is silent but for what docs/misra.md lists, and so is every compiler.

What a program brings into an image is looked up in its objects: no malloc, no stdio, no libm, and no floating point
in integers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, absent
from exported_sources import SHAPES, exported

from hiss.engines.host_compiler import STRICT, find_compiler, zig_command
from hiss.engines.toolchains import COMMON, TARGETS, command
from hiss.errors import HissError

INTEGERS = [shape for shape in SHAPES if not shape.startswith("float32")]

# ---- cppcheck ----

PATHS = {
    "plain": ("-DHISS_PORTABLE",),
    "DSP": ("-D__GNUC__=12", "-D__ARM_FEATURE_DSP=1"),
    "Helium": ("-D__GNUC__=12", "-D__ARM_FEATURE_MVE=1"),
    "AVR": ("-D__GNUC__=5", "-D__AVR__"),
}
"""The ways through the preprocessor, a run each."""

SUPPRESSED = {
    # The shift of a negative number: one function alone does it, and a HISS_CHECK refuses compilers where it is not
    # arithmetic
    "shiftTooManyBitsSigned": "hiss_int.h",
    # What an assembler loop goes through lies in a struct that it alone reads
    "unusedStructMember": "hiss_int.c",
}
"""cppcheck's findings that stay, and the file."""

WHERE = {
    "hiss_base.h": "base",
    "hiss_int.c": "integer runtime",
    "hiss_int.h": "integer runtime",
    "hiss_ops.c": "float32 runtime",
}
LISTED = re.compile(r"^\| ([\d.]+) \| [a-z]+ \| ([a-z0-9, ]+) \| \S", re.MULTILINE)
FOUND = re.compile(r"^(?:.*/)?([\w.]+):\d+: misra-c2012-([\d.]+)$", re.MULTILINE)


def cppcheck(*words: str | Path) -> str:
    """What cppcheck says, one finding a line; absent() without it."""
    tool = shutil.which("cppcheck")
    if tool is None:
        absent("no cppcheck; on Debian: apt-get install cppcheck")
    form = "--template={file}:{line}: {id}"
    done = subprocess.run([tool, "--quiet", "--std=c99", form, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def deviations(text: str) -> set[tuple[str, str]]:
    """(rule, where) of the table in docs/misra.md."""
    return {(rule, where) for rule, places in LISTED.findall(text) for where in places.split(", ")}


def misra(files: list[Path], way: str) -> set[tuple[str, str]]:
    """(rule, where) of all that the MISRA addon finds."""
    said = cppcheck("--addon=misra", *PATHS[way], *files)
    return {(rule, WHERE.get(file, "generated")) for file, rule in FOUND.findall(said)}


def listed() -> set[tuple[str, str]]:
    return deviations((ROOT / "docs" / "misra.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("way", PATHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cppcheck_finds_nothing_but_what_is_explained(shape, way):
    files = exported(shape)
    suppressed = [f"--suppress={what}:{files[0].parent / file}" for what, file in SUPPRESSED.items()]
    assert cppcheck("--enable=warning,style,performance,portability", *suppressed, *PATHS[way], *files) == ""


def test_cppcheck_sees_what_is_wrong(tmp_path):
    (tmp_path / "bad.c").write_text("int f(void);\nint f(void)\n{\n    int a[2] = {0, 1};\n    return a[2];\n}\n")
    assert "arrayIndexOutOfBounds" in cppcheck("--enable=warning", tmp_path / "bad.c")


@pytest.mark.parametrize("way", PATHS)
@pytest.mark.parametrize("shape", ["int8 weights", "float32"])
def test_the_runtime_deviates_from_misra_only_as_listed(shape, way):
    runtime = exported(shape)[0]
    if runtime.name == "hiss_ops.c" and way in ("DSP", "Helium"):
        pytest.skip("the float32 runtime has one way for all")
    assert misra([runtime], way) - listed() == set()


@pytest.mark.parametrize("shape", SHAPES)
def test_generated_sources_deviate_from_misra_only_as_listed(shape):
    own = exported(shape)[1:]
    assert misra(own, "plain") - listed() == set()


def test_what_is_listed_has_a_reason_and_a_new_deviation_is_seen(tmp_path):
    """Every row of the table is read; goto (15.1) is not among them, and the addon sees it."""
    text = (ROOT / "docs" / "misra.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| \d", text, re.MULTILINE)) == len(LISTED.findall(text)) > 10
    (tmp_path / "new.c").write_text(
        "int f(int x);\nint f(int x)\n{\n    if (x > 1) {\n        goto end;\n    }\nend:\n    return x;\n}\n"
    )
    assert ("15.1", "generated") in misra([tmp_path / "new.c"], "plain") - listed()


# ---- compilers ----

CORES = ("m0", "m3", "m4f", "m7", "m33", "m55", "rv32imc", "atmega328p")
COMPILERS = [
    *(("host", compiler) for compiler in ("gcc", "zig")),
    *((core, "gcc") for core in CORES),
    *((core, "zig") for core in ("m0", "m4f", "m33", "rv32imc")),
]


def compiler_of(core: str, compiler: str, language: str) -> list[str]:
    """The command that compiles C99, or C++ where its program is the C compiler's with ++; absent() without it."""
    if core != "host":
        try:
            words = list(command(core, compiler))
        except HissError as error:
            absent(str(error))
    elif compiler == "zig":
        words = list(zig_command() or absent("no ziglang: pip install 'hiss[firmware]'"))
    else:
        words = [shutil.which("gcc") or absent("no gcc; on Debian: apt-get install gcc g++")]
    own = "-fno-sanitize=all" if compiler == "zig" else "-fno-stack-protector"
    if language == "c99":
        return [*words, "-std=c99", "-O2", "-ffreestanding", own]
    cpp = ("-x", "c++", "-std=c++11", "-fno-exceptions", "-fno-rtti")
    return [*as_cpp(words), *cpp, "-O0", "-ffreestanding", own]


def as_cpp(words: list[str]) -> list[str]:
    if words[1:4] == ["-m", "ziglang", "cc"]:
        return [*words[:3], "c++", *words[4:]]
    name = words[0].removesuffix("gcc") + "g++"
    if shutil.which(name) is None:
        absent(f"no {Path(name).name}; on Debian: apt-get install g++")
    return [name, *words[1:]]


def objects(words: list[str], files: list[Path], folder: Path) -> list[Path]:
    """Compile in `folder` under all warnings, which all stop; where the objects are."""
    done = subprocess.run([*words, *STRICT, "-c", *files], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return [folder / f"{file.stem}.o" for file in files]


@pytest.mark.parametrize("language", ["c99", "c++"])
@pytest.mark.parametrize(("core", "compiler"), COMPILERS)
def test_every_compiler_is_silent_in_c_and_cpp(core, compiler, language, tmp_path):
    words, seen = compiler_of(core, compiler, language), set()
    for shape in SHAPES:
        files = exported(shape)
        own = [file for file in files if file.name not in seen]  # the runtime is the same for all
        objects(words, own, tmp_path)
        seen |= {file.name for file in files if file.name.startswith("hiss_")}


@pytest.mark.parametrize("wrong", ["int8_t f(int x);\nint8_t f(int x) { return x; }\n", "int f(void) { return 0; }\n"])
def test_a_warning_is_not_overlooked(wrong, tmp_path):
    (tmp_path / "bad.c").write_text("#include <stdint.h>\nstatic " + wrong)
    with pytest.raises(AssertionError):
        objects([*find_compiler(), "-std=c99"], [tmp_path / "bad.c"], tmp_path)


# ---- what is linked in ----

COPIES = {"memcpy", "memset", "memmove", *(f"__aeabi_{name}" for name in ("memcpy", "memcpy4", "memclr", "memclr4"))}
INTEGER_HELPERS = {
    *(f"__aeabi_{name}" for name in ("idiv", "uidiv", "idivmod", "uidivmod", "lmul", "llsl", "llsr", "lasr")),
    *(f"__aeabi_{name}" for name in ("ldivmod", "uldivmod")),
    *(f"__gnu_thumb1_case_{name}" for name in ("sqi", "uqi", "shi", "uhi", "si")),
}
FLOAT_HELPERS = {
    *(f"__aeabi_{name}" for name in ("fadd", "fsub", "frsub", "fmul", "fdiv", "f2iz", "f2uiz", "i2f", "ui2f")),
    *(f"__aeabi_fcmp{name}" for name in ("eq", "lt", "le", "ge", "gt", "un")),
}
ALLOWED = {
    ("host", "integers"): COPIES,
    ("m0", "integers"): COPIES | INTEGER_HELPERS,
    ("m3", "integers"): COPIES | INTEGER_HELPERS,
    ("m4f", "integers"): COPIES | INTEGER_HELPERS,
    ("m55", "integers"): COPIES | INTEGER_HELPERS,
    ("host", "float32"): COPIES,
    ("m0", "float32"): COPIES | INTEGER_HELPERS | FLOAT_HELPERS,
    ("m4f", "float32"): COPIES | INTEGER_HELPERS,
}
"""What the objects of a model may leave to the compiler's own library."""


def undefined(paths: list[Path], nm: str) -> set[str]:
    """Symbols that the objects use, and none of them defines."""
    if shutil.which(nm) is None:
        absent(f"no {nm}; on Debian it comes with the compiler")
    done = subprocess.run([nm, "--portability", *paths], capture_output=True, text=True, check=True)
    kinds: dict[str, set[str]] = {}
    for words in (line.split() for line in done.stdout.splitlines()):
        if len(words) >= 2:
            kinds.setdefault(words[0].lstrip("_") if sys.platform == "darwin" else words[0], set()).add(words[1])
    return {name for name, found in kinds.items() if found <= {"U", "w"}}


def needs(core: str, shape: str, folder: Path) -> set[str]:
    words = compiler_of(core, "gcc", "c99")
    nm = "nm" if core == "host" else TARGETS[core].gcc.removesuffix("gcc") + "nm"
    return undefined(objects([*words, *COMMON], exported(shape), folder), nm)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("core", ["host", "m0", "m3", "m4f", "m55"])
def test_a_model_needs_no_malloc_no_stdio_no_libm_and_integers_no_float(core, shape, tmp_path):
    allowed = ALLOWED.get((core, "integers" if shape in INTEGERS else "float32"))
    if allowed is None:
        pytest.skip("float32 on this core is what it is on another")
    assert needs(core, shape, tmp_path) - allowed == set()


def test_a_symbol_that_must_not_be_is_seen(tmp_path):
    """float32 on a core without a floating point unit needs what integers must not."""
    assert needs("m0", "float32", tmp_path) & FLOAT_HELPERS
