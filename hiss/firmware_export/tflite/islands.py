"""What an int16 form computes in float32 for want of kernels, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence

from hiss.firmware_export.tflite.lowering import Lowering
from hiss.firmware_export.tflite.settings import Settings, island
from hiss.program import Program


def islands(program: Program, settings: Settings, lowered: Sequence[Lowering]) -> tuple[str, ...]:
    """A line for each such op: why, and the float32 operators and numbers of a step; then the conversions."""
    lines = []
    for low, stage in zip(lowered, program.stages, strict=True):
        for op in stage.ops:
            reason = island(op, settings)
            if reason:
                operators, numbers = low.taken[op.out]
                lines.append(f"{op.out}: float32 ({reason}), {operators} operators, {numbers} numbers a step")
    converted = sum(sum(low.conversions.values()) for low in lowered)
    return (*lines, f"conversions between int16 and float32: {converted} numbers a step of every stage")
