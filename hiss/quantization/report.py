"""What a quantization did and proved."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from hiss.program.bounds import Proof


@dataclass(frozen=True)
class Value:
    """The format of a value: the largest magnitude in calibration, and the largest that its int16 holds."""

    name: str
    largest: float
    holds: float
    frac_bits: int


@dataclass(frozen=True)
class Moved:
    """A pole that rounding put on or outside the unit circle, and how far inward it was moved."""

    out: str
    channel: int
    mode: int
    before: float  # its modulus in floating point
    after: float  # in integers
    steps: int


@dataclass(frozen=True)
class Report:
    """The choices, the formats of values, the poles that moved, and a proof for every state and sum."""

    weights: str
    states: dict[str, int]  # value -> bits of its state
    values: tuple[Value, ...]
    moved: tuple[Moved, ...]
    pole_max: float  # largest modulus of a rounded pole; 0 without poles
    proofs: tuple[Proof, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        states = [p for p in self.proofs if p.what == "state"]
        sums = [p for p in self.proofs if p.what == "sum"]
        wide = [p.out for p in sums if p.bits > 32]
        lines = [
            f"weights {self.weights}, values int16; {len(sums)} sums, {len(states)} states proven not to overflow",
            f"sums of more than 32 bits: {', '.join(wide) or 'none'}",
        ]
        if states:
            lines.append(f"all poles lie inside the circle after rounding, the largest at {self.pole_max:.6f}")
        lines += [
            f"moved inward: {m.out} [{m.channel}, {m.mode}] from {m.before:.6f} to {m.after:.6f}" for m in self.moved
        ]
        return "\n".join(lines)
