"""What one core takes for a model: an image per core, counted in its emulator."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hiss.engines import emulator
from hiss.engines.batch import BatchCore
from hiss.engines.cores import missing, open_core
from hiss.engines.firmware import Firmware
from hiss.engines.stack import stack_bytes
from hiss.engines.toolchains import command, linked_sizes
from hiss.engines.trace import TARE
from hiss.errors import ExportError
from hiss.firmware_export.bill import CoreBill
from hiss.firmware_export.export import CExport, export_c
from hiss.program import Program

OPTIMIZE = "-O2"
"""Of the one image that flash, stack and instructions are taken from."""


def usual_compiler(core: str) -> str:
    """gcc where this computer has one for the core, else zig. Raises ExportError where neither runs."""
    absent = {compiler: missing(core, compiler) for compiler in ("gcc", "zig")}
    for compiler, what in absent.items():
        if what is None:
            return compiler
    raise ExportError(f"{core} cannot be emulated here: {absent['zig']}")


def priced(program: Program, core: str, compiler: str) -> tuple[CExport, CoreBill]:
    """A program as C, and what one core takes for it; the sources are written to a folder that goes away.

    Raises HissError.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = export_c(program, folder, "model")
        return model, core_bill(program, Path(folder), "model", core, compiler)


def core_bill(program: Program, folder: Path, name: str, core: str, compiler: str) -> CoreBill:
    """What one core takes: the self-test, then two whole periods of usual samples after the tare. The average is of the
    second: the very first step also fills the pasts.

    m0 ... rv32imc run what either compiler makes, the others what gcc makes. Raises HissError.
    """

    firmware = Firmware.of(program, folder, name)
    before = program.tare + program.latency  # in the first chunk of a spread program there is no tail yet
    x = emulator.usual_input(program, before + 2 * program.period)
    if core in emulator.CORES:
        counts, mismatches, stack, unit = _by_unicorn(firmware, core, compiler, x, before)
    else:
        compiler = "gcc"
        counts, mismatches, stack, unit = _by_process(firmware, core, x, before)
    target = core.removesuffix("-qemu")
    sizes = linked_sizes(firmware, target, compiler, OPTIMIZE)
    bound = _stack_bound(firmware, target) if compiler == "gcc" else None
    return CoreBill(
        core=core,
        compiler=_compiler_text(target, compiler),
        code_bytes=sizes["code"],
        table_bytes=sizes["tables"] + sizes["data"],
        average=float(np.mean(counts[program.period :])),
        worst=int(max(counts)),
        mismatches=mismatches,
        stack_bytes=stack if bound is None else bound,
        stack_from="bound" if bound is not None else "measured" if stack is not None else "",
        unit=unit,
    )


Measured = tuple[Any, int, int | None, str]
"""Counts of each step of a period, mismatches of the self-test, bytes of stack, what was counted."""


def _by_unicorn(firmware: Firmware, core: str, compiler: str, x: Any, tare: int) -> Measured:

    run = emulator.Emulator.of(firmware, core, compiler=compiler, optimize=OPTIMIZE)
    mismatches = run.selftest()
    run.tare()
    for sample in x[:tare]:
        run.step(sample)
    counts = run.count_steps(x[tare:])
    return counts, mismatches, run.stack_bytes(x[tare:]), "instructions"


def _by_process(firmware: Firmware, core: str, x: Any, tare: int) -> Measured:

    run = open_core(core, firmware, optimize=OPTIMIZE)
    if not isinstance(run, BatchCore):
        raise ExportError(f"{core} counts no instructions")
    actions = np.zeros(len(x), np.uint8)
    actions[0] = TARE
    trace = run.run(x, actions, count=True)
    if trace.counts is None:
        raise ExportError(f"{core} counts no instructions")
    return trace.counts[tare:], trace.mismatches, trace.stack, "cycles" if trace.cycles else "instructions"


def _stack_bound(firmware: Firmware, target: str) -> int | None:
    """Bytes that no step can exceed, as gcc states them; None where there is no bound."""
    with contextlib.suppress(ExportError):
        return stack_bytes(firmware, target, OPTIMIZE).bytes
    return None


def _compiler_text(core: str, compiler: str) -> str:
    """The compiler, its version and its optimization."""
    if compiler == "zig":
        return f"zig {importlib.metadata.version('ziglang')} {OPTIMIZE}"

    gcc = command(core, compiler)[0]
    version = subprocess.run([gcc, "-dumpversion"], capture_output=True, text=True, check=False).stdout.strip()
    return f"{Path(gcc).name} {version} {OPTIMIZE}"
