"""The bill of an exported model: flash, RAM, stack, work per sample, settling, error beside floating point.

What follows from the program stands in `Bill`; what depends on a compiler or an emulator in a `CoreBill` per core.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.firmware_export.c import Model
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Program
from hiss.program import ops as o
from hiss.program.cost import cost, settling_steps

_COMPARED = 40  # periods of usual samples


@dataclass(frozen=True)
class OutputError:
    """Estimates beside floating point, in `unit`: root mean square, largest; snr_db: beside the output's variation.

    snr_db is None where nothing differs, or where the output never changes.
    """

    name: str
    unit: str
    rms: float
    max: float
    snr_db: float | None


@dataclass(frozen=True)
class CoreBill:
    """On one core, from one and the same image: code and tables without the self-test; instructions per step.

    average, worst: over one whole period;  mismatches: of the self-test;  stack_bytes: of a step, stack_from says how
    it was found: "bound" (no step can take more) or "measured" (over that period); None where neither could be;
    unit: what average and worst count, instructions or cycles.
    """

    core: str
    compiler: str
    code_bytes: int
    table_bytes: int
    average: float
    worst: int
    mismatches: int
    stack_bytes: int | None = None
    stack_from: str = ""
    unit: str = "instructions"

    @property
    def flash_bytes(self) -> int:
        """Code and tables."""
        return self.code_bytes + self.table_bytes


@dataclass(frozen=True)
class Bill:
    """One model. settling_s: of the slowest mode to 1 %, inf where it never decays, None without such a mode."""

    name: str
    digest: str
    version: int
    numbers: str
    inputs: int
    outputs: int
    rate_hz: float
    period: int
    latency: int
    table_bytes: int
    ram_bytes: int
    scratch_bytes: int
    macs: float
    worst_macs: int
    settling_s: float | None
    errors: tuple[OutputError, ...] = ()
    errors_on: str = ""
    cores: tuple[CoreBill, ...] = ()

    @property
    def state_bytes(self) -> int:
        """RAM that must be kept between two steps."""
        return self.ram_bytes - self.scratch_bytes

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; a settling time that is infinite becomes null, with "settles": false."""
        made = dataclasses.asdict(self)
        made["state_bytes"] = self.state_bytes
        made["settles"] = self.settling_s is None or math.isfinite(self.settling_s)
        made["settling_s"] = self.settling_s if made["settles"] else None
        made["cores"] = [{**dataclasses.asdict(core), "flash_bytes": core.flash_bytes} for core in self.cores]
        return made

    def text(self) -> str:
        """A small table for people."""
        lines = [
            f"{self.name}: {self.numbers}, {self.inputs} inputs at {self.rate_hz:g} Hz, {_rhythm(self)}",
            f"  flash     {self.table_bytes:>9,} bytes of tables"
            + ("" if self.cores else ", and the code (--emulate)"),
            f"  RAM       {self.ram_bytes:>9,} bytes an instance: {self.state_bytes:,} of states, "
            f"{self.scratch_bytes:,} of scratch",
            f"  MAC       {self.macs:>9,.0f} per sample on average, {self.worst_macs:,} at worst",
            f"  settling  {_settling(self.settling_s)}",
        ]
        if self.errors:
            lines += ["", f"  error beside floating point, on {self.errors_on}", *_error_table(self.errors)]
        if self.cores:
            lines += ["", *_core_table(self.cores)]
        return "\n".join(lines)


def bill_of(
    model: Model, errors: Sequence[OutputError] = (), errors_on: str = "", cores: Sequence[CoreBill] = ()
) -> Bill:
    """The bill of a model, with what was measured of it."""
    program, spent = model.program, cost(model.program)
    layout = model.layout
    return Bill(
        name=model.name,
        digest=program.digest,
        version=model.version,
        numbers=model.numbers.name,
        inputs=len(program.inputs),
        outputs=len(program.outputs),
        rate_hz=program.rate_hz,
        period=program.period,
        latency=program.latency,
        table_bytes=model.tables.total,
        ram_bytes=layout.ram,
        scratch_bytes=layout.scratch_bytes,
        macs=spent.macs,
        worst_macs=spent.worst_macs,
        settling_s=settling_s(program),
        errors=tuple(errors),
        errors_on=errors_on,
        cores=tuple(cores),
    )


def settling_s(program: Program) -> float | None:
    """Seconds until the slowest mode that no restart cuts off has decayed to 1 %; None without such a mode."""
    found, steps_s = [], 1.0 / program.rate_hz
    for stage in program.stages:
        found += [steps_s * settling_steps(op) for op in stage.ops if isinstance(op, o.Diagonal) and not op.restart]
        steps_s *= stage.period
    return max(found, default=None)


# ---- error beside floating point ----


def floating(program: Program) -> Program:
    """The same program without number formats and slots: what an integer program is compared with."""
    return dataclasses.replace(program.plain, formats=None)


def errors_between(program: Program, estimates: NDArray[Any], exact: NDArray[Any]) -> tuple[OutputError, ...]:
    """Estimates (..., D) beside exact ones, per output."""
    off = (np.asarray(estimates, np.float64) - exact).reshape(-1, len(program.outputs))
    spread = np.asarray(exact, np.float64).reshape(off.shape).std(axis=0)
    rows = []
    for port, e, s in zip(program.outputs, off.T, spread, strict=True):
        rms = float(np.sqrt(np.mean(e**2)))
        snr_db = 20 * math.log10(s / rms) if rms > 0 and s > 0 else None
        rows.append(OutputError(port.name, port.unit, rms, float(np.abs(e).max()), snr_db))
    return tuple(rows)


def usual_errors(program: Program) -> tuple[OutputError, ...]:
    """On samples of usual size (noise within the declared ranges): a check, not what a recording would say."""
    x = usual_samples(program, program.tare + _COMPARED * program.period)
    return errors_between(program, program.plain.predict(x), floating(program).predict(x, np.float64))


def usual_text(program: Program) -> str:
    """What `usual_errors` measures on, in words."""
    if program.formats is None:
        return "noise of usual size (--data FILE takes a recording of yours)"
    return "noise, which formats calibrated on recordings may not hold (--data FILE is what counts)"


# ---- text ----


def _rhythm(bill: Bill) -> str:
    made = "an estimate each sample" if bill.period == 1 else f"an estimate every {bill.period} samples"
    return made + (f", {bill.latency} samples late" if bill.latency else "")


def _settling(seconds: float | None) -> str:
    if seconds is None:
        return "     none, no mode is carried on"
    if math.isinf(seconds):
        return "    never, a mode does not decay"
    shown = f"{seconds:,.3g}" if seconds < 1000 else f"{seconds:,.0f}"
    return f"{shown:>9} s to 1 %, the slowest mode that is carried on"


def _error_table(errors: tuple[OutputError, ...]) -> list[str]:
    width = max(len(e.name) for e in errors)
    return [
        f"    {e.name:<{width}}  {e.rms:>9.3g} {e.unit} rms  {e.max:>9.3g} {e.unit} at most  "
        + (f"{e.snr_db:>6.1f} dB" if e.snr_db is not None else "     - dB")
        for e in errors
    ]


def _core_table(cores: tuple[CoreBill, ...]) -> list[str]:
    head = f"  {'core':<13}{'code':>8}{'flash':>9}{'stack':>7}{'insn/sample':>13}{'worst':>10}  self-test"
    rows = [
        f"  {c.core:<13}{c.code_bytes:>8,}{c.flash_bytes:>9,}{_stack(c):>7}{c.average:>13,.0f}{c.worst:>10,}"
        f"  {c.mismatches} mismatches{'  (cycles)' if c.unit == 'cycles' else ''}"
        for c in cores
    ]
    return [head, *rows, f"  ({', '.join(dict.fromkeys(c.compiler for c in cores))}; bytes)"]


def _stack(core: CoreBill) -> str:
    return "-" if core.stack_bytes is None else f"{core.stack_bytes:,}"
