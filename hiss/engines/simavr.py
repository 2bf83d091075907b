"""Exported C on an emulated ATmega328P: compiled by avr-gcc, run by a small program linked with libsimavr.

Its functions are called by address and its RAM is read directly. Counts are clock cycles, exact, of step alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiss.engines.batch import BatchCore
from hiss.engines.elf import Elf
from hiss.engines.firmware import Firmware, write_drivers
from hiss.engines.host_compiler import find_compiler, run_compiler
from hiss.engines.toolchains import build
from hiss.errors import ExportError

CORES = ("atmega328p",)
FLASH_BYTES, RAM_BYTES = 32 * 1024, 2 * 1024
_DATA = 0x80_0000  # where avr-gcc's images put RAM
_HEADER = Path("/usr/include/simavr/sim_avr.h")


class AvrCore(BatchCore):
    """One exported model on an ATmega328P."""

    def __init__(self, firmware: Firmware, *, optimize: str = "-O2", test: bool = True):
        """Compile. Raises ExportError when avr-gcc or libsimavr is absent, or the model does not fit into the part."""
        super().__init__(firmware)
        check_simavr()
        self.elf = _built(firmware, self.folder, optimize, test)
        self._test = test
        runner = write_drivers(self.folder, "simavr_runner.c")
        self._runner = self.folder / "simavr_runner"
        run_compiler(find_compiler(), ["-O2", *runner, "-o", self._runner, "-lsimavr", "-lelf"])

    def _command(self, *, count: bool) -> Sequence[str | Path]:
        del count  # always
        f, symbols = self.firmware, self.elf.symbols
        ram = self.elf.sizes["emu"] - f.x_bytes - f.y_bytes
        emu = symbols["emu"] - _DATA
        data = (emu, emu + ram, emu + ram + f.x_bytes, symbols["_end"] - _DATA)
        code = [symbols[f"{f.name}_{function}"] for function in ("step", "reset", "tare")]
        code.append(symbols[f"{f.name}_selftest"] if self._test else 0)
        numbers = (symbols["emu_wait"], *data, *code, ram, f.x_bytes, f.y_bytes)
        return (self._runner, self.folder / "image.elf", *(f"0x{number:x}" for number in numbers))

    def _extras(self) -> dict[str, Any]:
        return {"cycles": True, "stack": int(np.fromfile(self.folder / "stack.bin", "<u4")[0])}


def _built(firmware: Firmware, folder: Path, optimize: str, test: bool) -> Elf:
    try:
        return build(firmware, "atmega328p", "gcc", folder, optimize=optimize, test=test)
    except ExportError as error:
        if not re.search("within region|will not fit", str(error)):  # what the linker says of flash and of RAM
            raise
        fits = f"{FLASH_BYTES} bytes of flash and {RAM_BYTES} of RAM, stack included"
        raise ExportError(f"the model does not fit into an ATmega328P: {fits}") from error


def check_simavr() -> None:
    """Raises ExportError when libsimavr is absent."""
    if not _HEADER.exists():
        raise ExportError("libsimavr is not installed; on Debian: apt-get install libsimavr-dev libelf-dev")
