"""The measured part of a bill, for export and inspect: emulated cores, error beside floating point on a recording."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from hiss.cli.columns import model_inputs
from hiss.errors import ExportError, RecordingError
from hiss.firmware_export.bill import (
    Bill,
    CoreBill,
    OutputError,
    bill_of,
    errors_between,
    floating,
    usual_errors,
    usual_text,
)
from hiss.firmware_export.c import Model
from hiss.program import Program

if TYPE_CHECKING:
    from hiss.engines.firmware import Firmware

OPTIMIZE = "-O2"
"""Of the one image that flash, stack and instructions are taken from."""


def check_cores(cores: Sequence[str]) -> None:
    """Raise UsageError for a core that is not emulated."""
    from hiss.engines.cores import CORES

    emulated = [core for core in CORES if core != "host"]
    if unknown := [core for core in cores if core not in emulated]:
        raise click.UsageError(f"--emulate {unknown[0]}: there are {', '.join(emulated)}")


def measured_bill(
    model: Model,
    folder: Path,
    cores: Sequence[str],
    compiler: str = "zig",
    data: Path | None = None,
    rate_hz: float | None = None,
) -> Bill:
    """The bill of a model whose plain sources lie in `folder`. Raises HissError."""
    program = model.program
    errors, on = (usual_errors(program), usual_text(program)) if data is None else _data_errors(program, data, rate_hz)
    measured = []
    for core in dict.fromkeys(cores):
        click.echo(f"measuring {model.name} on an emulated {core} ...", err=True)
        measured.append(core_bill(program, folder, model.name, core, compiler))
    return bill_of(model, errors, on, measured)


def core_bill(program: Program, folder: Path, name: str, core: str, compiler: str) -> CoreBill:
    """What one core takes: the self-test, then one whole period of usual samples after the tare.

    m0 ... rv32imc run what either compiler makes, the others what gcc makes. Raises HissError.
    """
    from hiss.engines import emulator
    from hiss.engines.firmware import Firmware
    from hiss.engines.toolchains import linked_sizes

    firmware = Firmware.of(program, folder, name)
    before = program.tare + program.latency  # in the first chunk of a spread program there is no tail yet
    x = emulator.usual_input(program, before + program.period)
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
        average=float(np.mean(counts)),
        worst=int(max(counts)),
        mismatches=mismatches,
        stack_bytes=stack if bound is None else bound,
        stack_from="bound" if bound is not None else "measured" if stack is not None else "",
        unit=unit,
    )


Measured = tuple[Any, int, int | None, str]
"""Counts of each step of a period, mismatches of the self-test, bytes of stack, what was counted."""


def _by_unicorn(firmware: Firmware, core: str, compiler: str, x: Any, tare: int) -> Measured:
    from hiss.engines.emulator import Emulator

    run = Emulator.of(firmware, core, compiler=compiler, optimize=OPTIMIZE)
    mismatches = run.selftest()
    run.tare()
    for sample in x[:tare]:
        run.step(sample)
    counts = run.count_steps(x[tare:])
    return counts, mismatches, run.stack_bytes(x[tare:]), "instructions"


def _by_process(firmware: Firmware, core: str, x: Any, tare: int) -> Measured:
    from hiss.engines.batch import BatchCore
    from hiss.engines.cores import open_core
    from hiss.engines.trace import TARE

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
    from hiss.engines.stack import stack_bytes

    with contextlib.suppress(ExportError):
        return stack_bytes(firmware, target, OPTIMIZE).bytes
    return None


def _compiler_text(core: str, compiler: str) -> str:
    """The compiler, its version and its optimization."""
    if compiler == "zig":
        return f"zig {importlib.metadata.version('ziglang')} {OPTIMIZE}"
    from hiss.engines.toolchains import command

    gcc = command(core, compiler)[0]
    version = subprocess.run([gcc, "-dumpversion"], capture_output=True, text=True, check=False).stdout.strip()
    return f"{Path(gcc).name} {version} {OPTIMIZE}"


def _data_errors(program: Program, data: Path, rate_hz: float | None) -> tuple[tuple[OutputError, ...], str]:
    """Errors on windows spread over the recordings of a file, and what was measured in words."""
    from hiss.quantization.calibration import prepared
    from hiss.quantization.measure import windows
    from hiss.recording import read_recordings

    exact = floating(program)
    recordings = [prepared(exact, model_inputs(r, program)) for r in read_recordings(data, rate_hz=rate_hz)]
    longest = max((len(r) for r in recordings), default=0)
    if longest < program.period:
        raise RecordingError(f"{data}: {longest} samples after the tare; an estimate takes {program.period}")
    shown = windows(exact, recordings)
    said = f"{len(shown.x)} windows of {shown.x.shape[1] / program.rate_hz:g} s of {data.name}"
    if program.formats is not None:
        return errors_between(program, shown.estimates(program.plain), shown.exact), said
    return errors_between(program, shown.exact, _double(exact, shown.x)), said


def _double(program: Program, x: Any) -> Any:
    """Estimates (W, n, D) of tared samples in float64."""
    from hiss.scoring import estimator

    return estimator(program, np.float64)(x.astype(np.float64))
