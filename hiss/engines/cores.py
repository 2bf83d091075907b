"""Every core that exported C runs on here, under one interface.

core = open_core("m55", Firmware.of(program, folder, "force"))
trace = core.run(x, actions)          # made, y and every byte of the struct after each step
first_difference(trace, reference, Model(program, "force").layout.members)      # None: equal in every bit
"""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

from numpy.typing import NDArray

from hiss.engines import emulator, simavr, toolchains
from hiss.engines.firmware import Firmware
from hiss.engines.host_compiler import find_compiler
from hiss.engines.host_core import HostCore
from hiss.engines.qemu import BOARDS, QemuCore, find_qemu
from hiss.engines.simavr import AvrCore
from hiss.engines.trace import Trace
from hiss.errors import ExportError

CORES = ("host", *emulator.CORES, "m55", "rv32imc-qemu", *simavr.CORES)
"""host: this computer, with sanitizers;  rv32imc: zig and unicorn;  rv32imc-qemu: gcc and qemu."""


class Core(Protocol):
    """One exported model on one core."""

    def selftest(self) -> int:
        """The exported self-test: the number of outputs that do not match."""

    def run(self, x: NDArray[Any], actions: NDArray[Any] | None = None) -> Trace:
        """From a struct of zeros over x (n, C), each sample after its action (n,): 0 none, 1 reset, 2 tare."""


def open_core(core: str, firmware: Firmware, *, compiler: str = "zig", optimize: str = "-O2") -> Core:
    """An exported model on a core of CORES.   compiler: "zig" or "gcc", where unicorn runs what it makes.

    Raises ValueError for an unknown core, MissingExtraError or ExportError where a tool is absent or refuses.
    """
    if core == "host":
        return HostCore(firmware)
    if core in emulator.CORES:
        return emulator.Emulator.of(firmware, core, compiler=compiler, optimize=optimize)
    if core in simavr.CORES:
        return AvrCore(firmware, optimize=optimize)
    if core in CORES:
        return QemuCore(firmware, core.removesuffix("-qemu"), optimize=optimize)
    raise ValueError(f"no core {core!r}; there are {', '.join(CORES)}")


def missing(core: str, compiler: str = "zig") -> str | None:
    """What is absent on this computer for a core, and how it is installed; None when all is there."""
    if core in emulator.CORES:
        packages = ("unicorn", *(("ziglang",) if compiler == "zig" else ()))
        absent = [package for package in packages if importlib.util.find_spec(package) is None]
        if absent:
            return f"{' and '.join(absent)} not installed: pip install 'hiss[firmware]'"
    try:
        if core in simavr.CORES:
            simavr.check_simavr()
        if core.removesuffix("-qemu") in BOARDS and core not in emulator.CORES:
            find_qemu(core.removesuffix("-qemu"))
        if core == "host":
            return "zig has no address sanitizer: install gcc or clang" if "ziglang" in find_compiler() else None
        toolchains.command(core.removesuffix("-qemu"), compiler if core in emulator.CORES else "gcc")
    except ExportError as error:
        return str(error)
    return None
