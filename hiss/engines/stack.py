"""Stack of an exported model, from what gcc says of each function (-fstack-usage) and who calls whom in the image.

    stack_bytes(firmware, "m4f")     # Stack(bytes=196, chain=(("force_step", 104), ("hiss_affine_f32", 92)))

The compiler's own functions (division, soft-float) come without such figures: theirs are counted from what their
instructions push. On AVR a function's bytes include its return address; elsewhere it is pushed like any register.
"""

from __future__ import annotations

import bisect
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hiss.engines.firmware import Firmware
from hiss.engines.host_compiler import run_compiler
from hiss.engines.toolchains import COMMON, TARGETS, build, command
from hiss.errors import ExportError

_FUNCTION = re.compile(r"^([0-9a-f]+) <(.+)>:$", re.MULTILINE)
_LINE = re.compile(r"^ *[0-9a-f]+:\t(\S+)\s*([^;@#]*)")
_TARGET = re.compile(r"\b(?:0x)?([0-9a-f]+) <[^>]+>")  # AVR's linker names places oddly: the address counts
_JUMP = re.compile(r"b(?!l|ic|fi|fc)|jmp|rjmp|j$|tail|cbn?z")
_CALLS = ("call", "rcall", "bl", "blx", "jal")
_INDIRECT = ("icall", "ijmp", "jalr")
_END = re.compile(r"ret|reti|bx|pop|ldmia|b(\.n|\.w)?$|jmp|rjmp|j$|tail|\.")


@dataclass(frozen=True)
class Stack:
    """bytes: of the deepest chain of calls;  chain: its functions from the outermost on, with their bytes."""

    bytes: int
    chain: tuple[tuple[str, int], ...]


@dataclass
class _Code:
    """One function of the image.   frame: bytes that its instructions push;  runs_into: what follows it."""

    frame: int
    calls: set[str] = field(default_factory=set)
    jumps: set[str] = field(default_factory=set)
    runs_into: set[str] = field(default_factory=set)
    indirect: bool = False


def stack_bytes(firmware: Firmware, core: str, optimize: str = "-O2", function: str = "step") -> Stack:
    """The most stack that <name>_<function> can take on a core, compiled by gcc.

    Raises ExportError when a tool is absent, and where calls are recursive or their targets unknown: there is no bound.
    """
    with tempfile.TemporaryDirectory() as built:
        folder = Path(built)
        stated = _stated_frames(firmware, core, optimize, folder)
        build(firmware, core, "gcc", folder, optimize=optimize)
        code = _read_code(_disassembly(core, folder / "image.elf"), avr=core.startswith("atmega"))
    for name, held in code.items():
        if name.split(".")[0] in stated:
            held.frame, held.runs_into = stated[name.split(".")[0]], set()
        else:
            held.calls.discard(name)  # parts of a library function that call one another
    chain = _deepest(f"{firmware.name}_{function}", code, ())
    return Stack(sum(size for _, size in chain), chain)


def _stated_frames(firmware: Firmware, core: str, optimize: str, built: Path) -> dict[str, int]:
    """Function -> bytes, from the compiler."""
    frames: dict[str, int] = {}
    for index, source in enumerate(firmware.sources()):
        made = built / f"stated{index}.o"
        flags = (optimize, *COMMON, "-fstack-usage", "-c")
        run_compiler(command(core, "gcc"), [*flags, "-I", firmware.folder, source, "-o", made])
        for line in made.with_suffix(".su").read_text().splitlines():
            place, size, kind = line.split("\t")
            name = place.split(":")[-1].split(".")[0]
            if "dynamic" in kind and "bounded" not in kind:
                raise ExportError(f"{name} takes a variable amount of stack: there is no bound")
            frames[name] = max(int(size), frames.get(name, 0))
    return frames


def _disassembly(core: str, image: Path) -> str:
    tool = TARGETS[core].gcc.removesuffix("gcc") + "objdump"
    path = shutil.which(tool)
    if path is None:
        raise ExportError(f"{tool} is not installed; it comes with the compiler's binutils")
    words = [path, "-d", "--no-show-raw-insn", str(image)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def _read_code(text: str, *, avr: bool) -> dict[str, _Code]:
    begins = [(int(found[1], 16), found[2]) for found in _FUNCTION.finditer(text)]
    code = {name: _Code(2 if avr else 0) for _, name in begins}
    now, ended, name = _Code(0), True, ""
    for line in text.splitlines():
        if found := _FUNCTION.match(line):
            if not ended:
                now.runs_into.add(found[2])
            name = found[2]
            now, ended = code[name], True
        elif found := _LINE.match(line):
            word, operands = found[1], found[2]
            now.frame += _pushed(word, operands)
            ended = ended if word == "nop" else bool(_END.match(word)) or operands.startswith("pc,")
            target = _TARGET.search(line)
            now.indirect |= word in _INDIRECT or (word == "blx" and target is None)
            if target is not None:
                _add_edge(now, name, word, *_function_at(int(target[1], 16), begins))
    return code


def _add_edge(code: _Code, name: str, word: str, other: str, offset: int) -> None:
    """A call or a jump out of `name`; a jump within it, or a call into its middle (avr-gcc's push of 2), is none."""
    within = other == name
    if word in _CALLS and not (within and offset):
        code.calls.add(other)
    elif not within and _JUMP.match(word):
        code.jumps.add(other)


def _function_at(address: int, begins: list[tuple[int, str]]) -> tuple[str, int]:
    """The function that holds an address, and how far within."""
    begin, name = begins[bisect.bisect_right(begins, address, key=lambda begin: begin[0]) - 1]
    return name, address - begin


def _pushed(word: str, operands: str) -> int:
    """Bytes by which one instruction makes the stack longer."""
    listed = len(re.findall(r"\b[rsd]\d+\b|\b(?:lr|sl|fp|ip)\b", operands))
    if word in ("push", "push.w") and "{" in operands:
        return 4 * listed
    if word.startswith("stmdb") and operands.startswith("sp!"):
        return 4 * listed
    if word == "vpush":
        return 8 * listed
    if word == "push":
        return 1
    if found := re.match(r"sp, (?:sp, )?#(\d+)", operands):
        return int(found[1]) if word.startswith("sub") else 0
    if found := re.search(r"\[sp, #-(\d+)\]!", operands):
        return int(found[1])
    if found := re.match(r"sp,\s*sp,\s*-(\d+)", operands):
        return int(found[1])
    if found := re.match(r"r28, 0x([0-9a-f]+)", operands):
        return int(found[1], 16) if word == "sbiw" else 0
    return 0


def _deepest(name: str, code: dict[str, _Code], above: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    if name in above:
        raise ExportError(f"{' calls '.join((*above, name))}: recursion, so the stack has no bound")
    held = code.get(name)
    if held is None:
        raise ExportError(f"{name} is not in the image; is that the model's name?")
    if held.indirect:
        raise ExportError(f"{name} calls what a variable points to: its stack is unknown")
    # a jump back is a loop between the parts of a library function
    inner = held.calls | {jump for jump in held.jumps | held.runs_into if jump not in above}
    chains = [_deepest(called, code, (*above, name)) for called in sorted(inner)]
    below = max(chains, key=lambda chain: sum(size for _, size in chain), default=())
    return ((name, held.frame), *below)
