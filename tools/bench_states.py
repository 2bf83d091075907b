"""What 16 bit states save: RAM and instructions of 32x2|32x2, N = 16, with states of 32 and of 16 bits.

16 bits are given only to states whose dead zone is under 0.1 % of the range, so the slowest mode of the high level may
take no longer than about 60 chunks to forget: dt_min = 0.033 instead of the usual 0.001.
python tools/bench_states.py prints a line per choice: sizeof, bits of the states, instructions on an M4F (gcc -O2).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from bench_cores import measured
from bench_models import small_program

from hiss.engines.cores import missing
from hiss.engines.firmware import Firmware
from hiss.firmware_export import export_c
from hiss.firmware_export.selftest import usual_samples
from hiss.program import ops as o
from hiss.quantization import quantized

CORE = "m4f"
CHOICES = ((1e-3, "int32"), (1e-3, "int16"), (0.033, "int32"), (0.033, "int16"))


def line(dt_min: float, states: str) -> str:
    """Quantize with int8 weights, export, build, count."""
    whole = small_program(dt_min=dt_min)
    program, _ = quantized(whole, [usual_samples(whole, 3000).astype(float)], states=states)
    assert program.formats is not None
    bits = [program.formats[op.out]["h"].bits for _, _, op in program.ops() if isinstance(op, o.Diagonal)]
    with tempfile.TemporaryDirectory() as folder:
        ram = export_c(program, folder, "model").ram_bytes
        counts, flash = measured(program, Firmware.of(program, folder, "model"), CORE, "-O2")
    given = f"{', '.join(map(str, bits))} bits"
    average = np.mean(counts[program.period :])
    return f"{dt_min:<8}{states:8}{given:14}{ram:6}{average:10.0f}{max(counts):8}{sum(flash.values()):8}"


if __name__ == "__main__":
    reason = missing(CORE, "gcc")
    if reason is not None:
        sys.exit(f"{Path(__file__).name}: {reason}")
    print(f"{'dt_min':8}{'asked':8}{'states have':14}{'RAM':>6}{'average':>10}{'worst':>8}{'flash':>8}")
    for choice in CHOICES:
        print(line(*choice))
