"""Exported C on an emulated Cortex-M: cross compiled by zig cc, run by unicorn, instructions counted. Needs no root.

    run = Emulator(folder, "fingertip_force", "m4f")
    run.selftest()                       # 0: every vector matches on that core
    run.count_steps(x)                   # instructions of each step, exactly as executed

An instruction is not a cycle: neither pipeline nor flash wait states are modelled.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.elf import Elf, thumb_instructions
from hiss.engines.host_compiler import run_compiler, zig_command
from hiss.errors import ExportError, MissingExtraError
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Program


@dataclass(frozen=True)
class Core:
    """A Cortex-M as zig (target, cpu) and unicorn (model) name it."""

    target: str
    cpu: str
    model: str


CORES = {
    "m0": Core("thumb-freestanding-eabi", "cortex_m0", "UC_CPU_ARM_CORTEX_M0"),
    "m3": Core("thumb-freestanding-eabi", "cortex_m3", "UC_CPU_ARM_CORTEX_M3"),
    # The floating point unit must be named, or zig calls soft-float functions
    "m4f": Core("thumb-freestanding-eabihf", "cortex_m4+vfp4d16sp", "UC_CPU_ARM_CORTEX_M4"),
    "m7": Core("thumb-freestanding-eabihf", "cortex_m7+fp_armv8d16", "UC_CPU_ARM_CORTEX_M7"),
    "m33": Core("thumb-freestanding-eabihf", "cortex_m33+fp_armv8d16sp", "UC_CPU_ARM_CORTEX_M33"),
}
"""The emulated cores. m0 and m3 compute float32 in software."""

# -g only because zig strips symbols at -Os without it
FLAGS = ("-std=c99", "-ffreestanding", "-fno-sanitize=all", "-fno-stack-protector", "-ffunction-sections", "-g")
LINK = ("-static", "-Wl,-z,max-page-size=4096", "-Wl,--image-base=0x10000", "-Wl,--gc-sections")

_STACK_TOP = 0x3000_0000
_STACK_BYTES = 0x1_0000
_RETURN = 0x2F00_0000  # an address no code lies at: reaching it ends the call
_CPACR = 0xE000_ED88  # coprocessor access: the FPU is off after reset

_GLUE = """#include "{name}.h"
/* one object: compilers like to merge several, and then their symbols are gone */
struct {{
    {name}_t self;
    float x[{inputs}];
    float y[{outputs}];
}} emu;
/* The entry keeps what the emulator calls from being collected as garbage. */
void _start(void);
void _start(void)
{{
    {name}_tare(&emu.self);
    {name}_reset(&emu.self);
    emu.y[0] = (float){name}_step(&emu.self, emu.x, emu.y);{selftest}
}}
"""


class Emulator:
    """One exported model on one emulated core.   folder: where export_c wrote it;  name: its C name."""

    def __init__(self, folder: str | Path, name: str, core: str, inputs: int, outputs: int, optimize: str = "-O2"):
        """Cross compile and load. Raises MissingExtraError without ziglang or unicorn, ExportError otherwise."""
        if core not in CORES:
            raise ValueError(f"no emulated core {core!r}; there are {', '.join(CORES)}")
        self.name, self.core = name, CORES[core]
        with tempfile.TemporaryDirectory() as built:
            elf = cross_compile(Path(folder), name, self.core, inputs, outputs, Path(built), optimize)
        self.elf = elf
        self._uc: Any = _import_unicorn()
        self._machine = self._uc.Uc(self._uc.UC_ARCH_ARM, self._uc.UC_MODE_THUMB | self._uc.UC_MODE_MCLASS)
        self._self = elf.symbols["emu"]
        self._x = self._self + elf.sizes["emu"] - 4 * (inputs + outputs)
        self._y, self._outputs = self._x + 4 * inputs, outputs
        self._boot()
        self._count = 0
        self._sizes: dict[tuple[int, int], int] = {}

    def selftest(self) -> int:
        """The exported self-test on this core: the number of outputs that do not match."""
        return _signed(self._call(f"{self.name}_selftest", self._self))

    def reset(self) -> None:
        """<name>_reset."""
        self._call(f"{self.name}_reset", self._self)

    def tare(self) -> None:
        """<name>_tare."""
        self._call(f"{self.name}_tare", self._self)

    def step(self, x: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """<name>_step on one sample x: (C,); y: (D,) when it is new."""
        self._machine.mem_write(self._x, np.ascontiguousarray(x, dtype="<f4").tobytes())
        made = self._call(f"{self.name}_step", self._self, self._x, self._y)
        if not made & 0xFF:
            return None
        raw = bytes(self._machine.mem_read(self._y, 4 * self._outputs))
        return np.frombuffer(raw, dtype="<f4").astype(np.float32)

    def count_steps(self, x: NDArray[np.float32]) -> list[int]:
        """Instructions of each step over the samples x: (n, C), as executed; repeatable to the instruction."""
        self._machine.ctl_flush_tb()  # blocks translated before the hook would not be counted
        hook = self._machine.hook_add(self._uc.UC_HOOK_BLOCK, self._on_block)
        counts = []
        try:
            for sample in x:
                self._count = 0
                self.step(sample)
                counts.append(self._count)
        finally:
            self._machine.hook_del(hook)
            self._machine.ctl_flush_tb()
        return counts

    def _boot(self) -> None:
        machine = self._machine
        machine.ctl_set_cpu_model(getattr(_arm_constants(), self.core.model))
        low, high = self.elf.span()
        machine.mem_map(low, high - low)
        for address, data in self.elf.segments:
            machine.mem_write(address, data)
        machine.mem_map(_STACK_TOP - _STACK_BYTES, _STACK_BYTES)
        machine.mem_map(_RETURN, 0x1000)
        machine.mem_map(0xE000_E000, 0x1000)
        machine.mem_write(_CPACR, (0xF << 20).to_bytes(4, "little"))

    def _call(self, function: str, *arguments: int) -> int:
        arm = _arm_constants()
        for index, argument in enumerate(arguments):
            self._machine.reg_write(getattr(arm, f"UC_ARM_REG_R{index}"), argument)
        self._machine.reg_write(arm.UC_ARM_REG_SP, _STACK_TOP)
        self._machine.reg_write(arm.UC_ARM_REG_LR, _RETURN | 1)
        try:
            self._machine.emu_start(self.elf.symbols[function] | 1, _RETURN)
        except self._uc.UcError as error:
            at = self._machine.reg_read(arm.UC_ARM_REG_PC)
            raise ExportError(f"{function} stopped on the emulated core at 0x{at:x}: {error}") from error
        return int(self._machine.reg_read(arm.UC_ARM_REG_R0))

    def _on_block(self, machine: Any, address: int, size: int, _data: object) -> None:
        key = (address, size)
        if key not in self._sizes:
            self._sizes[key] = thumb_instructions(bytes(machine.mem_read(address, size)))
        self._count += self._sizes[key]


def measure(program: Program, folder: str | Path, name: str, core: str) -> dict[str, Any]:
    """What export_c wrote into `folder`, on one emulated core.

    mismatches: of the self-test;  average, worst: instructions per step at -O2, over one whole period of usual samples;
    code_bytes: flash of the code alone at -Os, with the soft-float functions of cores that have no floating point unit.
    """
    ports = len(program.inputs), len(program.outputs)
    run = Emulator(folder, name, core, *ports)
    mismatches = run.selftest()
    run.tare()
    x = usual_samples(program, program.tare + program.period)
    for sample in x[: program.tare]:
        run.step(sample)
    counts = run.count_steps(x[program.tare :])
    code = linked_bytes(Path(folder), name, core, *ports)["code"]
    return {"mismatches": mismatches, "average": float(np.mean(counts)), "worst": max(counts), "code_bytes": code}


def cross_compile(
    folder: Path,
    name: str,
    core: Core,
    inputs: int,
    outputs: int,
    built: Path,
    optimize: str = "-O2",
    test: bool = True,
) -> Elf:
    """Compile the files of export_c for `core` into an ELF in `built`; `test`: with the self-test."""
    zig = zig_command()
    if zig is None:
        raise MissingExtraError("ziglang", "firmware")
    selftest = f"\n    emu.y[0] += (float){name}_selftest(&emu.self);" if test else ""
    glue = built / "glue.c"
    glue.write_text(_GLUE.format(name=name, inputs=inputs, outputs=outputs, selftest=selftest))
    sources = [folder / "hiss_ops.c", folder / f"{name}.c", *([folder / f"{name}_selftest.c"] if test else []), glue]
    image = built / f"{name}.elf"
    machine = ("-target", core.target, f"-mcpu={core.cpu}")
    run_compiler(zig, [*machine, optimize, *FLAGS, *LINK, "-I", folder, *sources, "-o", image])
    return Elf.read(image)


def linked_bytes(
    folder: Path, name: str, core: str, inputs: int, outputs: int, optimize: str = "-Os"
) -> dict[str, int]:
    """Flash of a program that only steps the model: {"code", "tables"} in bytes, with what the compiler brings in."""
    with tempfile.TemporaryDirectory() as built:
        elf = cross_compile(folder, name, CORES[core], inputs, outputs, Path(built), optimize, test=False)
    return {"code": elf.sections.get(".text", 0), "tables": elf.sections.get(".rodata", 0)}


def _signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word


def _import_unicorn() -> Any:
    try:
        import unicorn
    except ImportError as error:
        raise MissingExtraError("unicorn", "firmware") from error
    return unicorn


def _arm_constants() -> Any:
    from unicorn import arm_const

    return arm_const
