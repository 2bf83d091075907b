"""The C compiler of this computer: found, and run with its errors turned into ExportError."""

from __future__ import annotations

import functools
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hiss.errors import ExportError

STRICT = (
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wshadow",
    "-Wdouble-promotion",
    "-Werror",
)
"""The warnings under which generated C must be silent."""


def zig_command() -> tuple[str, ...] | None:
    """The C compiler inside the ziglang package (a cross compiler, no root needed); None where it is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    return (sys.executable, "-m", "ziglang", "cc")


@functools.cache
def find_compiler() -> tuple[str, ...]:
    """The host compiler's command: $CC, then cc, gcc, clang, then zig's. Raises ExportError when there is none."""
    named = os.environ.get("CC", "").strip()
    if named:
        return _named_compiler(named)
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return (path,)
    if zig := zig_command():
        return zig
    raise ExportError(
        "no C compiler found (looked for $CC, cc, gcc, clang and zig). Install one, for example gcc from your "
        "system's packages, or: pip install 'hiss[firmware]', which brings zig cc"
    )


def _named_compiler(named: str) -> tuple[str, ...]:
    command = tuple(shlex.split(named))
    if shutil.which(command[0]) is None:
        raise ExportError(f"the environment says CC={named}, but there is no such program; correct or unset CC")
    return command


def run_compiler(command: Sequence[str], arguments: Sequence[str | Path]) -> None:
    """Run one compilation. Raises ExportError with the compiler's first complaints when it fails."""
    words = [*command, *(str(argument) for argument in arguments)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ExportError(f"{command[0]}: the compiler does not start ({error.strerror})") from error
    if done.returncode != 0:
        complaints = "\n".join((done.stderr or done.stdout).strip().splitlines()[:20])
        raise ExportError(f"{' '.join(command)} ended with {done.returncode}:\n{complaints}")


def object_sizes(path: Path) -> dict[str, int] | None:
    """Bytes of text, data and bss of an object file, from the `size` tool; None where there is no such tool."""
    tool = shutil.which("size")
    if tool is None:
        return None
    done = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or len(lines) < 2:
        return None
    text, data, bss = (int(word) for word in lines[1].split()[:3])
    return {"text": text, "data": data, "bss": bss}
