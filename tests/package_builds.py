"""How tests build packages on this computer, each as its ecosystem does it: no IDE, no board, no network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from conftest import absent

from hiss.engines.host_compiler import STRICT, find_compiler, run_compiler, zig_command
from hiss.errors import ExportError

STUBS = Path(__file__).parent / "stubs"
SKETCH = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-I", STUBS / "arduino")


def c_compiler() -> tuple[str, ...]:
    try:
        return find_compiler()
    except ExportError as error:
        absent(str(error))


def cpp_compiler() -> tuple[str, ...]:
    """The host's C++ compiler."""
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return (path,)
    if zig := zig_command():
        return (*zig[:-1], "c++")
    absent("no C++ compiler")


def tool(name: str) -> str:
    """A program that must be installed."""
    return shutil.which(name) or absent(f"no {name}")


def properties(library: Path) -> dict[str, str]:
    """library.properties as a dictionary."""
    lines = (library / "library.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def arduino_build(sketch: Path, libraries: list[Path], built: Path, archives: bool = True) -> Path:
    """A sketch with the stub core and whole libraries, compiled and linked by Arduino's rules -> the program.

    The .ino gets #include <Arduino.h> before it and is C++; every source in src/ of a library is compiled; a library
    with dot_a_linkage is linked as an archive. archives: false takes no notice of that.
    """
    built.mkdir()
    include = [word for library in libraries for word in ("-I", library / "src")]
    main = built / f"{sketch.name}.cpp"
    main.write_text(f"#include <Arduino.h>\n#line 1\n{sketch.read_text()}")
    cpp = cpp_compiler()
    run_compiler(cpp, [*SKETCH, *include, "-c", main, "-o", built / "sketch.o"])
    run_compiler(
        cpp, ["-std=c++11", "-I", STUBS / "arduino", "-c", STUBS / "arduino" / "core.cpp", "-o", built / "core.o"]
    )
    linked: list[Path] = []
    for number, library in enumerate(libraries):
        objects = []
        for source in sorted((library / "src").glob("*.c")):
            objects.append(built / f"{number}_{source.stem}.o")
            run_compiler(c_compiler(), ["-std=c99", "-Os", *STRICT, *include, "-c", source, "-o", objects[-1]])
        if archives and properties(library).get("dot_a_linkage") == "true":
            archive = built / f"{number}.a"
            subprocess.run([tool("ar"), "rcs", archive, *objects], check=True)
            objects = [archive]
        linked += objects
    program = built / "program"
    run_compiler(cpp, [built / "sketch.o", built / "core.o", *linked, "-o", program])
    return program


def cmake_build(source: Path, built: Path, *options: str) -> Path:
    """Configure and build -> the build folder."""
    quiet = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror"]
    run([tool("cmake"), "-S", source, "-B", built, *quiet, *options])
    run([tool("cmake"), "--build", built, "--parallel", "2"])
    return built


def run(command: list[object], **more: object) -> subprocess.CompletedProcess[str]:
    """A command that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done
