"""Exported C on this computer, with sanitizers that stop at the first undefined thing: the reference of all traces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hiss.engines.batch import BatchCore
from hiss.engines.firmware import Firmware, write_drivers
from hiss.engines.host_compiler import find_compiler, run_compiler
from hiss.errors import ExportError

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g")


class HostCore(BatchCore):
    """One exported model as a program of this computer.   sanitize: with address and undefined-behaviour sanitizers."""

    def __init__(self, firmware: Firmware, *, sanitize: bool = True, optimize: str = "-O1", test: bool = True):
        """Compile. Raises ExportError when there is no compiler, or when it refuses."""
        super().__init__(firmware)
        (self.folder / "glue.h").write_text(firmware.glue_header(test=test), encoding="utf-8")
        drivers = write_drivers(self.folder, "drive.c", "port.h", "port_host.c")
        flags = ("-std=c99", optimize, *(SANITIZERS if sanitize else ()))
        sources = [*firmware.sources(test=test), *drivers]
        self._program = self.folder / "host"
        run_compiler(find_compiler(), [*flags, "-I", firmware.folder, "-I", self.folder, *sources, "-o", self._program])

    def _command(self, *, count: bool) -> Sequence[str | Path]:
        if count:
            raise ExportError("instructions are not counted on this computer; take an emulated core")
        return (self._program,)
