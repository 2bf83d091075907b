"""What an integer or float32 program costs on every core: instructions or cycles per step, flash, RAM, stack.

    from bench_cores import bench_cores
    bench_cores(program)  ->  {"m4f": {"average": ..., "worst": ..., "code": ..., "tables": ..., "stack": ...}, ...}

One and the same image per core (in qemu: of the same objects), made by gcc at -O2 without the self-test: its flash, the
vectors and what calls the model not counted; its counts as it ran; its stack bound.
python tools/bench_cores.py MODEL.hiss prints the same as a table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.batch import BatchCore
from hiss.engines.cores import CORES, missing
from hiss.engines.elf import Elf
from hiss.engines.emulator import CORES as IN_UNICORN
from hiss.engines.emulator import Emulator, usual_input
from hiss.engines.firmware import Firmware
from hiss.engines.qemu import QemuCore
from hiss.engines.simavr import CORES as IN_SIMAVR
from hiss.engines.simavr import AvrCore
from hiss.engines.stack import stack_bytes
from hiss.engines.toolchains import linked_sizes
from hiss.errors import ExportError
from hiss.firmware_export import export_c
from hiss.program import Program, load_program


def bench_cores(
    program: Program, optimize: str = "-O2", cores: tuple[str, ...] = tuple(core for core in CORES if core != "host")
) -> dict[str, dict[str, Any]]:
    """Figures per core; {"missing": why} where this computer lacks its tools or the model does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        ram = export_c(program, folder, "bench").ram_bytes
        firmware = Firmware.of(program, folder, "bench")
        return {core: _figures(program, firmware, core, optimize, ram) for core in cores}


def _figures(program: Program, firmware: Firmware, core: str, optimize: str, ram: int) -> dict[str, Any]:
    reason = missing(core, "gcc")
    if reason is not None:
        return {"missing": reason}
    try:
        counts, sizes = measured(program, firmware, core, optimize)
    except ExportError as error:
        return {"missing": str(error).splitlines()[0]}
    return {
        "average": round(float(np.mean(counts[program.period :])), 1),
        "worst": int(np.max(counts)),
        "unit": "cycles" if core.startswith("atmega") else "instructions",
        **sizes,
        "ram": ram,
        "stack": stack_bytes(firmware, core.removesuffix("-qemu"), optimize).bytes,
    }


def measured(program: Program, firmware: Firmware, core: str, optimize: str) -> tuple[list[int], dict[str, int]]:
    """Instructions (AVR: cycles) of each step over two whole periods; flash of the image that ran."""
    before = program.tare + program.latency  # the first chunk of a spread program has no tail yet
    x = usual_input(program, before + 2 * program.period)
    if core in IN_UNICORN:
        run = Emulator.of(firmware, core, compiler="gcc", optimize=optimize, test=False)
        run.tare()
        return run.count_steps(x)[before:], _flash(run.elf)
    if core in IN_SIMAVR:
        avr = AvrCore(firmware, optimize=optimize, test=False)
        return _counts(avr, x, before), _flash(avr.elf)
    target = core.removesuffix("-qemu")
    qemu = QemuCore(firmware, target, optimize=optimize, test=False)
    return _counts(qemu, x, before), linked_sizes(firmware, target, "gcc", optimize)  # its own image reads files


def _counts(core: BatchCore, x: NDArray[Any], before: int) -> list[int]:
    counts = core.run(x, count=True).counts
    assert counts is not None
    return counts[before:].tolist()


def _flash(elf: Elf) -> dict[str, int]:
    return {"code": elf.code, "tables": elf.tables, "data": elf.data}


def table(found: dict[str, dict[str, Any]]) -> str:
    """One line per core."""
    lines = [f"{'core':14}{'average':>10}{'worst':>10}{'code':>8}{'tables':>8}{'RAM':>7}{'stack':>7}"]
    for core, f in found.items():
        if "missing" in f:
            lines.append(f"{core:14}{f['missing']}")
            continue
        lines.append(
            f"{core:14}{f['average']:10.0f}{f['worst']:10}{f['code']:8}{f['tables']:8}{f['ram']:7}{f['stack']:7}"
            + ("  (cycles)" if f["unit"] == "cycles" else "")
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a .hiss program")
    print(table(bench_cores(load_program(parser.parse_args().model))))
