"""Exported C in qemu: a Cortex-M55 with Helium, and RV32IMC; compiled by the distribution's gcc.

Files pass by semihosting; a small plugin, compiled when it is first needed, counts instructions. A count includes the
call: some six instructions.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hiss.engines.batch import BatchCore
from hiss.engines.firmware import Firmware, write_drivers
from hiss.engines.host_compiler import find_compiler, run_compiler
from hiss.engines.toolchains import Memory, build
from hiss.errors import ExportError


@dataclass(frozen=True)
class Board:
    """program: qemu's;  machine: its name of the board;  package: Debian's that brings it."""

    program: str
    machine: tuple[str, ...]
    memory: Memory
    package: str


BOARDS = {
    "m55": Board(
        "qemu-system-arm", ("-M", "mps3-an547"), Memory(0x1000_0000, 0x3000_0000, 0x3008_0000), "qemu-system-arm"
    ),
    "rv32imc": Board(
        "qemu-system-riscv32",
        ("-M", "virt", "-bios", "none", "-m", "8M"),
        Memory(0x8000_0000, 0x8040_0000, 0x8080_0000),
        "qemu-system-misc",
    ),
}
_QUIET = ("-display", "none", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native")


class QemuCore(BatchCore):
    """One exported model on one core of BOARDS."""

    def __init__(self, firmware: Firmware, core: str, *, optimize: str = "-O2", test: bool = True):
        """Compile. Raises ExportError when the compiler or qemu is absent, or the compiler refuses."""
        if core not in BOARDS:
            raise ValueError(f"qemu runs {', '.join(BOARDS)} here; {core!r} is none of them")
        super().__init__(firmware)
        self._board = BOARDS[core]
        self._qemu = find_qemu(core)
        drivers = ("drive.c", "port.h", "port_semihosting.c")
        memory = self._board.memory
        self.elf = build(
            firmware, core, "gcc", self.folder, optimize=optimize, test=test, drivers=drivers, memory=memory
        )

    def _command(self, *, count: bool) -> Sequence[str | Path]:
        command: tuple[str | Path, ...] = (
            self._qemu,
            *self._board.machine,
            *_QUIET,
            "-kernel",
            self.folder / "image.elf",
        )
        if not count:
            return command
        mark = self.elf.symbols["drive_mark"]
        return (*command, "-icount", "shift=0", "-plugin", f"{self._plugin()},mark={mark}")

    def _plugin(self) -> Path:
        plugin = self.folder / "count_plugin.so"
        if not plugin.exists():
            sources = write_drivers(self.folder, "count_plugin.c")
            run_compiler(find_compiler(), ["-O2", "-shared", "-fPIC", *sources, "-o", plugin])
        return plugin


def find_qemu(core: str) -> str:
    """The path of a core's qemu. Raises ExportError when it is absent."""
    board = BOARDS[core]
    path = shutil.which(board.program)
    if path is None:
        raise ExportError(f"{board.program} is not installed; on Debian: apt-get install {board.package}")
    return path
