"""What a step takes in each engine: python tools/bench_engines.py (a part of make bench)."""

from __future__ import annotations

from typing import Any

from bench_models import small_program
from bench_steps import bench_steps

from hiss.engines import ENGINES, open_stepper
from hiss.errors import HissError
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Program


def bench_engines(program: Program, rounds: int = 15) -> dict[str, Any]:
    """{engine: bench_steps()}, and under "missing" why an engine is not there."""
    steppers, missing = {}, {}
    for engine in ENGINES:
        try:
            steppers[engine] = open_stepper(program, engine)
        except HissError as error:
            missing[engine] = str(error).splitlines()[0]
    found: dict[str, Any] = bench_steps(steppers, usual_samples(program, 1000), rounds)
    return found | ({"missing": missing} if missing else {})


def engines_table(found: dict[str, Any]) -> str:
    """Markdown; CPU time of the thread."""
    lines = ["| engine | a sample, p50 | one that completes a chunk, p50 | mean |", "|---|---|---|---|"]
    for engine, clocks in found.items():
        if engine != "missing":
            us = clocks["cpu"]
            lines.append(f"| {engine} | {us['p50']:.1f} us | {us['chunk']:.1f} us | {us['mean']:.1f} us |")
    return "\n".join(lines + [f"| {engine} | {why} | | |" for engine, why in found.get("missing", {}).items()])


if __name__ == "__main__":
    print(engines_table(bench_engines(small_program())))
