"""A bare processor in unicorn: functions of an image called by address, instructions and stack counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hiss.engines.elf import RISCV, Elf, riscv_instructions, thumb_instructions
from hiss.errors import ExportError, MissingExtraError

MODELS = {
    "m0": "UC_CPU_ARM_CORTEX_M0",
    "m3": "UC_CPU_ARM_CORTEX_M3",
    "m4f": "UC_CPU_ARM_CORTEX_M4",
    "m7": "UC_CPU_ARM_CORTEX_M7",
    "m33": "UC_CPU_ARM_CORTEX_M33",
    "rv32imc": "UC_CPU_RISCV32_SIFIVE_E31",
}
"""The cores, as unicorn names them."""

_STACK_TOP = 0x3000_0000
_STACK_BYTES = 0x1_0000
_PAINT = b"\xa5"
_RETURN = 0x2F00_0000  # an address no code lies at: reaching it ends the call
_CPACR = 0xE000_ED88  # coprocessor access: the FPU is off after reset
_PAGE = 0x1000


class Machine:
    """One image on one processor.   count: instructions executed while counting is on."""

    def __init__(self, core: str, elf: Elf):
        """Raises MissingExtraError without unicorn."""
        self._uc = _import_unicorn()
        self._elf = elf
        riscv = elf.machine == RISCV
        self._count_in: Callable[[bytes], int] = riscv_instructions if riscv else thumb_instructions
        self._registers = _riscv_registers() if riscv else _arm_registers()
        self._thumb = 0 if riscv else 1
        self._machine = self._new(riscv, MODELS[core])
        self._load()
        self.count = 0
        self._sizes: dict[tuple[int, int], int] = {}

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of memory."""
        return bytes(self._machine.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory."""
        self._machine.mem_write(address, data)

    def call(self, function: str, *arguments: int) -> int:
        """function(*arguments), words; its result, a word. Raises ExportError where the processor stops within it."""
        registers = self._registers
        for register, argument in zip(registers["arguments"], arguments, strict=False):
            self._machine.reg_write(register, argument)
        self._machine.reg_write(registers["sp"], _STACK_TOP)
        self._machine.reg_write(registers["return"], _RETURN | self._thumb)
        try:
            self._machine.emu_start(self._elf.symbols[function] | self._thumb, _RETURN)
        except self._uc.UcError as error:
            at = self._machine.reg_read(registers["pc"])
            raise ExportError(f"{function} stopped on the emulated core at 0x{at:x}: {error}") from error
        return int(self._machine.reg_read(registers["arguments"][0]))

    def counting(self, on: bool) -> None:
        """Count from here on, or no longer: every block then calls back, and is many times slower."""
        self._machine.ctl_flush_tb()  # blocks translated before the hook would not be counted
        if on:
            self._hook = self._machine.hook_add(self._uc.UC_HOOK_BLOCK, self._on_block)
        else:
            self._machine.hook_del(self._hook)
            self._machine.ctl_flush_tb()

    def paint_stack(self) -> None:
        """Fill the stack with a pattern."""
        self.write(_STACK_TOP - _STACK_BYTES, _PAINT * _STACK_BYTES)

    def painted_over(self) -> int:
        """Bytes of stack used since paint_stack."""
        stack = self.read(_STACK_TOP - _STACK_BYTES, _STACK_BYTES)
        return len(stack.lstrip(_PAINT))

    def _new(self, riscv: bool, model: str) -> Any:
        uc = self._uc
        if riscv:
            from unicorn import riscv_const as models

            machine = uc.Uc(uc.UC_ARCH_RISCV, uc.UC_MODE_RISCV32)
        else:
            from unicorn import arm_const as models

            machine = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS)
        machine.ctl_set_cpu_model(getattr(models, model))
        return machine

    def _load(self) -> None:
        pages = {page for address, data in self._elf.segments for page in _pages(address, len(data))}
        for page in pages:
            self._machine.mem_map(page, _PAGE)
        for address, data in self._elf.segments:
            self._machine.mem_write(address, data)
        self._machine.mem_map(_STACK_TOP - _STACK_BYTES, _STACK_BYTES)
        self._machine.mem_map(_RETURN, _PAGE)
        if self._thumb:
            self._machine.mem_map(0xE000_E000, _PAGE)
            self._machine.mem_write(_CPACR, (0xF << 20).to_bytes(4, "little"))

    def _on_block(self, machine: Any, address: int, size: int, _data: object) -> None:
        key = (address, size)
        if key not in self._sizes:
            self._sizes[key] = self._count_in(bytes(machine.mem_read(address, size)))
        self.count += self._sizes[key]


def _pages(address: int, size: int) -> range:
    return range(address & -_PAGE, address + size, _PAGE)


def _import_unicorn() -> Any:
    try:
        import unicorn
    except ImportError as error:
        raise MissingExtraError("unicorn", "firmware") from error
    return unicorn


def _arm_registers() -> dict[str, Any]:
    from unicorn import arm_const as c

    arguments = (c.UC_ARM_REG_R0, c.UC_ARM_REG_R1, c.UC_ARM_REG_R2, c.UC_ARM_REG_R3)
    return {"arguments": arguments, "sp": c.UC_ARM_REG_SP, "return": c.UC_ARM_REG_LR, "pc": c.UC_ARM_REG_PC}


def _riscv_registers() -> dict[str, Any]:
    from unicorn import riscv_const as c

    arguments = (c.UC_RISCV_REG_A0, c.UC_RISCV_REG_A1, c.UC_RISCV_REG_A2, c.UC_RISCV_REG_A3)
    return {"arguments": arguments, "sp": c.UC_RISCV_REG_SP, "return": c.UC_RISCV_REG_RA, "pc": c.UC_RISCV_REG_PC}
