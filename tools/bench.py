"""make bench: what hiss costs on this computer, measured in one go. Markdown on stdout, JSON where --out says.

    python tools/bench.py --out bench.json            # about 6 minutes; --quick leaves the large models away

The program is 32x2|32x2, N = 16, period 10, 3 channels with deltas, 2 outputs (tools/bench_models.py).
Rounds of what is compared alternate in one process, so that other work on the computer meets all alike; the medians of
the rounds are given. A figure that cannot be measured here is named under "missing".
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_c import bench_c
from bench_cores import bench_cores
from bench_engines import bench_engines, engines_table
from bench_group import bench_group, group_rows
from bench_linear import bench_linear, linear_rows
from bench_models import small_integer_program, small_program
from bench_steps import bench_steps
from bench_training import BATCH, COLUMNS, STEPS, bench_training, gpu_row, training_rows

import hiss
from hiss.errors import HissError
from hiss.files import write_text
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Program
from hiss.program.cost import cost
from hiss.program.passes import spread

CORES = {"m0": "Cortex-M0 (soft float)", "m4f": "Cortex-M4F", "m33": "Cortex-M33"}


def main() -> None:
    """All parts, in order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    parser.add_argument("--quick", action="store_true", help="without the training step of the large models")
    parser.add_argument("--threads", type=int, default=1, help="of torch, for the training step (default 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.monotonic()
    found: dict[str, Any] = {"machine": machine()}
    program = small_program()
    plain = small_program(optimize=False)
    say("numpy stepper")
    found["stepper"] = bench_stepper({"passes": program, "no_passes": plain})
    say("every engine")
    found["engines"] = bench_engines(program)
    say("C: this computer, emulated cores")
    found["c"] = bench_c(program, tuple(CORES))
    say("integers: every core with its gcc")
    found["integer"] = bench_integers(program)
    say("training step, small")
    found["training"] = {"small": bench_training("small", rounds=41)}
    if not args.quick:
        say("training step, large")
        found["training"]["large"] = bench_training("large", rounds=11)
        say("training step against length and batch")
        found["linear"] = bench_linear(rounds=5)
        say("training in two processes")
        found["group"] = bench_group()
    found["macs"] = {"passes": cost(program).macs, "no_passes": cost(plain).macs, "worst": cost(program).worst_macs}
    found["machine"]["load_after"] = load()
    found["seconds"] = round(time.monotonic() - began, 1)
    if args.out:
        write_text(args.out, json.dumps(found, indent=2) + "\n")
    say(f"done in {found['seconds']:.0f} s")
    print(table(found))


def say(what: str) -> None:
    """Progress."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


# ---- the computer ----------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that names the computer or its user."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": load(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "hiss": hiss.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def cpu_model() -> str:
    """As Linux names it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "hardware"))]
    return names[0] if names else platform.processor() or platform.machine()


def load() -> float | None:
    """Load average of the last minute, where the system keeps one."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


# ---- the numpy stepper -----------------------------------------------------------------------------------------------


def bench_integers(program: Program) -> dict[str, dict[str, Any]]:
    """The same model in integers on every core; variants, and float32 by the same compiler, on a Cortex-M4F."""
    int8 = small_integer_program()
    made = {
        "int8": bench_cores(int8),
        "int8, spread": bench_cores(spread(int8), cores=("m4f",)),
        "int16": bench_cores(small_integer_program("int16"), cores=("m4f",)),
        "float32": bench_cores(program, cores=("m4f",)),
    }
    return {f"{name}, {core}": figures for name, cores in made.items() for core, figures in cores.items()}


def bench_stepper(programs: dict[str, Program]) -> dict[str, Any]:
    """The numpy stepper on each program."""
    steppers = {name: hiss.Stepper(program) for name, program in programs.items()}
    return bench_steps(steppers, usual_samples(next(iter(programs.values())), 1000))


# ---- the table -------------------------------------------------------------------------------------------------------


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    rows = [*stepper_rows(found["stepper"]), *c_rows(found["c"])]
    rows += integer_rows(found["integer"])
    macs = found["macs"]
    rows += [("MAC per sample", f"{macs['passes']:,.0f}", f"{macs['no_passes']:,.0f} without the passes")]
    rows += [row for part in found["training"].values() for row in training_rows(part)]
    rows += [gpu_row(size) for size in found["training"]]
    rows += (linear_rows(found["linear"]) + group_rows(found["group"])) if "linear" in found else []
    lines = ["| what | measured | beside it |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join([*lines, "", engines_table(found["engines"]), "", footnote(found["machine"])])


def stepper_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """CPU beside wall, with and without the passes."""

    def figures(name: str, clock: str) -> str:
        each = found[name][clock]
        return f"{clock} p50 {each['p50']:.0f} us, p99 {each['p99']:.0f}, mean {each['mean']:.0f}"

    what = {"passes": "numpy `Stepper`, per sample", "no_passes": "the same without the passes"}
    return [(what[name], figures(name, "cpu"), figures(name, "wall")) for name in found]


def c_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """This computer, then the emulated cores."""
    sizes = f"{found['table_bytes']:,} bytes of tables, {found['ram_bytes']:,} of RAM"
    missing = found.get("missing", {})
    rows = []
    if "host_ns_per_sample" in found:
        rows.append(("C on this computer, per sample", f"{found['host_ns_per_sample']:,.0f} ns (fastest of 5)", sizes))
    for core, name in CORES.items():
        if core in found:
            each = found[core]
            steps = f"average {each['average']:,.0f}, worst {each['worst']:,}"
            checked = f"{each['code_bytes']:,} bytes of code, {each['mismatches']} mismatches in the self-test"
            rows.append((f"instructions per step, {name}", steps, checked))
    return rows + [(f"C, {part}", "not measured", reason.splitlines()[0]) for part, reason in missing.items()]


def integer_rows(found: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Per program and core: steps, and what it takes."""
    rows = []
    for name, f in found.items():
        if "missing" in f:
            rows.append((f"C by gcc: {name}", "not measured", f["missing"]))
            continue
        steps = f"{f['unit']} per step: average {f['average']:,.0f}, worst {f['worst']:,}"
        flash = f"flash {f['code'] + f['tables']:,} bytes ({f['code']:,} code, {f['tables']:,} tables)"
        rows.append((f"C by gcc -O2: {name}", steps, f"{flash}, RAM {f['ram']:,}, stack {f['stack']:,}"))
    return rows


def footnote(found: dict[str, Any]) -> str:
    """The computer in a line."""
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['system']}, load {found['load_before']} before and "
        f"{found['load_after']} after; Python {found['python']}, numpy {found['numpy']}, torch {found['torch']}, "
        f"torch threads: {found['torch_threads']} (the reference's ratio: 2). Training step: forward and backward of "
        f"{BATCH} x {STEPS} x {COLUMNS}, period 10. "
        "Instructions as executed in an emulator; an instruction is not a cycle."
    )


if __name__ == "__main__":
    try:
        main()
    except HissError as error:
        sys.exit(f"bench: {error}")
