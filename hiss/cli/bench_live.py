"""hiss bench-live: what the live loop costs on this computer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiss.cli.stream import Positive, errors_reported, open_model
from hiss.errors import ExportError

if TYPE_CHECKING:
    from hiss.engines import AnyStepper
    from hiss.program import Program
    from hiss.realtime.bench import Run

SUSTAINED_S = 3.0  # of each rate that is tried


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--seconds", type=Positive(), default=10.0, show_default=True, metavar="S", help="Of each engine.")
@click.option("--rate", type=Positive(), metavar="HZ", help="Of the stream.  [default: the model's]")
@click.option("--awake", is_flag=True, help="Keep the cores awake meanwhile, by processes of the lowest priority.")
@click.option("--rates/--no-rates", default=True, show_default=True, help="Look for the highest rate, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(model: Path | None, seconds: float, rate: float | None, awake: bool, rates: bool, as_json: bool) -> None:
    """Measure the loop of hiss live on this computer, with a fake sensor on a pseudo-terminal.

    The model is the one given, or a built-in one: 30 float32 channels at 1 kHz, low 32x2 | high 32x2, period 10, with
    random weights, in floating point and in integers. Service time, from the read of a frame to the last sink, is
    of the thread's own clock, so other work on the computer does not enter; "no model" is the same loop with
    reading and unpacking only. p99 is the sample that completes the model's period.

    A core that sleeps between two frames wakes with cold caches, which costs some times what the computing does: a
    computer without other work shows larger figures than one that is kept --awake.

    \b
    Example:
      hiss bench-live --seconds 60

    Exit codes: 0 done, 2 usage or a model that cannot be read, 3 no pseudo-terminal.
    """
    from hiss.realtime.bench import kept_awake, run_once, sustained

    with errors_reported(), kept_awake() if awake else contextlib.nullcontext():
        programs = _programs(model, rate)
        first = next(iter(programs.values()))
        runs = [run_once("no model", first, None, first.rate_hz, seconds)]
        missing: dict[str, str] = {}
        makers = _makers(programs, missing)
        runs += [run_once(name, p, make, p.rate_hz, seconds) for name, p, make in makers]
        best = {name: sustained(name, p, make, SUSTAINED_S) for name, p, make in makers} if rates else {}
    if as_json:
        click.echo(json.dumps(_figures(runs, best, missing), indent=2))
    else:
        click.echo(_table(runs, best, missing))


Maker = tuple[str, "Program", "Callable[[Program], AnyStepper]"]


def _programs(model: Path | None, rate: float | None) -> dict[str, Program]:
    """What is measured, by what to call it."""
    if model is None:
        from hiss.quantization import quantized
        from hiss.realtime.bench_model import bench_program, bench_samples

        program = bench_program(rate_hz=rate or 1000.0)
        whole, _ = quantized(program, [bench_samples(program, 2000)])
        return {"": program, "int8 ": whole}
    program = open_model(model)
    return {"": program if rate is None else dataclasses.replace(program, rate_hz=rate)}


def _makers(programs: dict[str, Program], missing: dict[str, str]) -> list[Maker]:
    """Each program with each engine that can run it at a sensor's rate; those that cannot be had are `missing`."""
    from hiss.engines import open_stepper

    found: list[Maker] = []
    for label, program in programs.items():
        for engine in ("numpy", "c"):
            if engine == "numpy" and program.formats is not None and len(programs) > 1:
                continue  # the integers' definition, exact and slow; the C gives the same numbers
            try:
                open_stepper(program, engine)
            except ExportError as error:
                missing[f"{label}{engine}"] = str(error).splitlines()[0]
                continue
            found.append((f"{label}{engine}", program, functools.partial(open_stepper, engine=engine)))
    return found


def _figures(runs: list[Run], best: dict[str, list[Run]], missing: dict[str, str]) -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "runs": [dataclasses.asdict(run) for run in runs],
        "highest_rate_hz": {name: _highest(tried) for name, tried in best.items()},
        "rates": {name: [dataclasses.asdict(run) for run in tried] for name, tried in best.items()},
        "missing": missing,
    }


def _highest(tried: list[Run]) -> float:
    return max((run.rate_hz for run in tried if run.kept_up), default=0.0)


def _table(runs: list[Run], best: dict[str, list[Run]], missing: dict[str, str]) -> str:
    """Markdown."""
    head = ("engine", "frames", "drops", "service p50", "p99", "p99.9", "max", "queue age p50", "p99", "highest rate")
    rows = [
        (
            run.name,
            f"{run.frames} at {run.rate_hz:g} Hz",
            f"{run.drops}",
            *(f"{us:.0f} us" for us in (run.p50_us, run.p99_us, run.p999_us, run.max_us)),
            *(f"{us:.0f} us" for us in (run.queue_p50_us, run.queue_p99_us)),
            f"{_highest(best[run.name]):g} Hz" if run.name in best else "",
        )
        for run in runs
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]
    lines += [f"{name}: not measured: {why}" for name, why in missing.items()]
    load = f", load {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    told = ("read_us", "behind_us", "behind_p99_us", "whole_us")
    wait, behind, behind_p99, whole = (", ".join(f"{getattr(run, of):.0f}" for run in runs) for of in told)
    lines += [
        "",
        f"service: CPU time, read to sink; before it, waiting and reading took {wait} us; behind it, counting, "
        f"watching and what the next step needs {behind} us (p99 {behind_p99}). A whole frame, service and what is "
        f"behind it, took {whole} us in the mean. {os.cpu_count()} cores{load}.",
    ]
    return "\n".join(lines)
