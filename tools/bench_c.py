"""What exported C costs: nanoseconds per sample on this computer, instructions per step on an emulated Cortex-M.

    from bench_c import bench_c
    bench_c(program)  ->  {"host_ns_per_sample": ..., "table_bytes": ..., "m4f": {"average": ..., "worst": ...}, ...}

python tools/bench_c.py MODEL.hiss prints the same as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from typing import Any

import numpy as np

from hiss.engines.c_engine import CStepper
from hiss.engines.emulator import measure
from hiss.errors import ExportError, MissingExtraError
from hiss.firmware_export import export_c
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Program, load_program
from hiss.program.cost import cost

SECONDS = 0.2
"""How long one of the timed rounds takes at least; the fastest of five counts."""


def bench_c(program: Program, cores: tuple[str, ...] = ("m4f",)) -> dict[str, Any]:
    """Figures of one program; a part that this computer cannot measure is left out and named under "missing"."""
    spent = cost(program)
    found: dict[str, Any] = {"macs": spent.macs, "worst_macs": spent.worst_macs}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = export_c(program, folder, "bench")
        found |= {"table_bytes": made.table_bytes, "ram_bytes": made.ram_bytes, "scratch_bytes": made.scratch_bytes}
        try:
            found["host_ns_per_sample"] = host_ns_per_sample(program)
        except ExportError as error:
            missing["host_ns_per_sample"] = str(error)
        for core in cores:
            try:
                found[core] = measure(program, folder, "bench", core)
            except (ExportError, MissingExtraError) as error:
                missing[core] = str(error)
    return {**found, "missing": missing} if missing else found


def host_ns_per_sample(program: Program) -> float:
    """Nanoseconds per sample of the compiled C (-O2), the loop over samples in C too."""
    stepper = CStepper(program)
    x = np.tile(usual_samples(program, 500), (4, 1))
    stepper.run(x)
    best = float("inf")
    for _ in range(5):
        rounds, begin = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < SECONDS:
            stepper.run(x)
            rounds += 1
        best = min(best, elapsed / (rounds * len(x)))
    return best * 1e9


if __name__ == "__main__":
    print(json.dumps(bench_c(load_program(sys.argv[1]), ("m0", "m4f", "m33")), indent=2))
