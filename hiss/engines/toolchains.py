"""Cross compilers: zig's, from a Python package, and the gcc of a Linux distribution; one set of flags per core.

image = build(Firmware.of(program, folder, "force"), "m4f", "zig", Path(built))     # an Elf to run
linked_sizes(firmware, "m4f", "gcc")                          # {"code": ..., "tables": ..., "data": ...} in bytes
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hiss.engines.elf import Elf
from hiss.engines.firmware import Firmware, write_drivers
from hiss.engines.host_compiler import run_compiler, zig_command
from hiss.errors import ExportError, MissingExtraError


@dataclass(frozen=True)
class Target:
    """A core as the compilers name it.   zig: flags, or () where it has none;  gcc: its program and its flags."""

    zig: tuple[str, ...]
    gcc: str
    gcc_flags: tuple[str, ...]


def _arm(abi: str, zig_cpu: str, *gcc_flags: str) -> Target:
    zig = ("-target", f"thumb-freestanding-{abi}", f"-mcpu={zig_cpu}") if zig_cpu else ()
    return Target(zig, "arm-none-eabi-gcc", ("-mthumb", *gcc_flags))


_HARD = "-mfloat-abi=hard"
TARGETS = {
    "m0": _arm("eabi", "cortex_m0", "-mcpu=cortex-m0"),
    "m3": _arm("eabi", "cortex_m3", "-mcpu=cortex-m3"),
    # The floating point unit must be named, or zig calls soft-float functions; so must the DSP instructions of an M33
    "m4f": _arm("eabihf", "cortex_m4+vfp4d16sp", "-mcpu=cortex-m4", _HARD, "-mfpu=fpv4-sp-d16"),
    "m7": _arm("eabihf", "cortex_m7+fp_armv8d16", "-mcpu=cortex-m7", _HARD, "-mfpu=fpv5-d16"),
    "m33": _arm("eabihf", "cortex_m33+fp_armv8d16sp+dsp", "-mcpu=cortex-m33", _HARD, "-mfpu=fpv5-sp-d16"),
    "m55": _arm("eabihf", "", "-mcpu=cortex-m55", _HARD),
    "rv32imc": Target(
        ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c"),
        "riscv64-unknown-elf-gcc",
        ("-march=rv32imc", "-mabi=ilp32"),
    ),
    "atmega328p": Target((), "avr-gcc", ("-mmcu=atmega328p",)),
}
"""m0, m3 and rv32imc compute float32 in software, m55 has Helium."""

COMPILERS = ("zig", "gcc")
PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
    "avr-gcc": "gcc-avr avr-libc",
}
"""The Debian packages that bring a compiler."""

COMMON = ("-std=c99", "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fno-stack-protector")
# -g only because zig strips symbols at -Os without it
_ZIG = (*COMMON, "-fno-sanitize=all", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-g")
_ZIG_LINK = ("-static", "-Wl,-z,max-page-size=4096", "-Wl,--image-base=0x10000", "-Wl,--gc-sections")
_C_LIBRARY = {"arm-none-eabi-gcc": ("--specs=nano.specs",), "riscv64-unknown-elf-gcc": ("--specs=picolibc.specs",)}


@dataclass(frozen=True)
class Memory:
    """Where an image is linked to: addresses of flash, of RAM, and the end of RAM."""

    rom: int
    ram: int
    ram_end: int


ANYWHERE = Memory(0x1_0000, 0x2000_0000, 0x2010_0000)
"""For emulators that have no memory map of their own."""


def command(core: str, compiler: str) -> tuple[str, ...]:
    """The compiler's command with the core's flags. Raises MissingExtraError or ExportError where it is absent."""
    target = TARGETS[core]
    if compiler == "zig":
        zig = zig_command()
        if not target.zig:
            raise ExportError(f"{core} is not compiled by zig here; take gcc")
        if zig is None:
            raise MissingExtraError("ziglang", "firmware")
        return (*zig, *target.zig)
    if compiler != "gcc":
        raise ValueError(f"no compiler {compiler!r}; there are {', '.join(COMPILERS)}")
    path = shutil.which(target.gcc)
    if path is None:
        raise ExportError(f"{target.gcc} is not installed; on Debian: apt-get install {PACKAGES[target.gcc]}")
    return (path, *target.gcc_flags)


def build(
    firmware: Firmware,
    core: str,
    compiler: str,
    built: Path,
    *,
    optimize: str = "-O2",
    test: bool = True,
    drivers: Sequence[str] = ("calls.c",),
    memory: Memory = ANYWHERE,
) -> Elf:
    """Compile and link the model with `drivers` into built/image.elf.   test: with the self-test."""
    (built / "glue.h").write_text(firmware.glue_header(test=test), encoding="utf-8")
    sources = [*firmware.sources(test=test), *write_drivers(built, *drivers)]
    words = [*command(core, compiler), optimize, *(_ZIG if compiler == "zig" else COMMON)]
    link = _ZIG_LINK if compiler == "zig" else _gcc_link(TARGETS[core].gcc, built, memory)
    image = built / "image.elf"
    run_compiler(words, ["-I", firmware.folder, "-I", built, *sources, *link, "-o", image])
    return Elf.read(image)


def _gcc_link(gcc: str, built: Path, memory: Memory) -> tuple[str, ...]:
    if gcc not in _C_LIBRARY:
        return ("-Wl,--gc-sections",)
    write_drivers(built, "image.ld")
    places = {"ROM": memory.rom, "RAM": memory.ram, "RAM_END": memory.ram_end}
    symbols = [f"-Wl,--defsym={name}=0x{address:x}" for name, address in places.items()]
    script = f"-T{built / 'image.ld'}"
    return ("-nostartfiles", *_C_LIBRARY[gcc], script, "-Wl,--gc-sections", "-Wl,-e,_start", *symbols)


def linked_sizes(firmware: Firmware, core: str, compiler: str = "zig", optimize: str = "-O2") -> dict[str, int]:
    """Flash of a program that only steps the model: {"code", "tables", "data"} in bytes, vectors not counted.

    With what the compiler brings in: division, soft-float, memset.
    """
    with tempfile.TemporaryDirectory() as built:
        elf = build(firmware, core, compiler, Path(built), optimize=optimize, test=False)
    return {"code": elf.code, "tables": elf.tables, "data": elf.data}
