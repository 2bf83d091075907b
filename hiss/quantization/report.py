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
class Raised:
    """An op whose weights became int16: the bytes that this costs, and the error with all raised so far."""

    out: str
    bytes: int
    error: float


@dataclass(frozen=True)
class Choice:
    """What a budget led to. Errors are shares: 0.01 is 1 %."""

    budget: float
    measure: str  # what the errors are
    before: float  # with no weights raised
    error: float  # as it is
    raised: tuple[Raised, ...]

    @property
    def bytes(self) -> int:
        """Flash that the int16 weights cost more than int8."""
        return sum(r.bytes for r in self.raised)


@dataclass(frozen=True)
class Report:
    """The choices, the formats of values, the poles that moved, and a proof for every state and sum."""

    weights: dict[str, int]  # value -> bits of its weights
    states: dict[str, int]  # value -> bits of its state
    values: tuple[Value, ...]
    moved: tuple[Moved, ...]
    pole_max: float  # largest modulus of a rounded pole; 0 without poles
    proofs: tuple[Proof, ...]
    choice: Choice | None = None  # where a budget was given
    fed_back: tuple[str, ...] = ()  # values that come back to themselves: no bound holds them, they saturate

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        states = [p for p in self.proofs if p.what == "state"]
        sums = [p for p in self.proofs if p.what == "sum"]
        wide = [p.out for p in sums if p.bits > 32]
        lines = [
            *self._chosen(),
            f"values int16; {len(sums)} sums, {len(states)} states proven not to overflow",
            f"sums of more than 32 bits: {', '.join(wide) or 'none'}",
        ]
        if states:
            lines.append(f"all poles lie inside the circle after rounding, the largest at {self.pole_max:.6f}")
        held = {v.name: v for v in self.values}
        if self.fed_back:
            loops = [f"{n} at {held[n].holds:.4g} (calibration {held[n].largest:.4g})" for n in self.fed_back]
            lines.append(f"fed back without a bound, so they saturate: {', '.join(loops)}")
        lines += [
            f"moved inward: {m.out} [{m.channel}, {m.mode}] from {m.before:.6f} to {m.after:.6f}" for m in self.moved
        ]
        return "\n".join(lines)

    def _chosen(self) -> list[str]:
        """Widths of weights, and how a budget led to them."""
        wide = [name for name, bits in self.weights.items() if bits == 16]
        lines = [f"weights int16: {', '.join(wide) or 'none'}; of {len(self.weights) - len(wide)} other values int8"]
        if self.choice is None:
            return lines
        c = self.choice
        for r in c.raised:
            lines.append(f"raised to int16: {r.out}, {r.bytes} bytes; then {r.error:.3%}")
        total = f"{c.measure}: {c.error:.3%} (budget {c.budget:.3%}, {c.before:.3%} at first)"
        return [*lines, f"{total}; int16 costs {c.bytes} bytes of flash"]
