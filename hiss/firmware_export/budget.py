"""A budget for an export: flash=32k,ram=4k,insn=20k,stack=1k. What is over it is named, with what would help."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hiss.firmware_export.bill import Bill
from hiss.program import Program

ITEMS = {
    "flash": ("bytes", 1024, "code and tables"),
    "ram": ("bytes", 1024, "one instance of each model"),
    "insn": ("instructions", 1000, "the worst sample"),
    "stack": ("bytes", 1024, "the deepest call of a step"),
}
"""item -> unit, what k multiplies by, what it means."""

MEASURED = ("flash", "insn", "stack")
"""Items that need a compiler and an emulated core."""


@dataclass(frozen=True)
class Budget:
    """limits: item -> the most that is allowed, in its unit."""

    limits: Mapping[str, int]

    @property
    def needs_core(self) -> bool:
        """True where an item depends on a core."""
        return any(item in MEASURED for item in self.limits)

    def over(self, found: Mapping[str, int | None]) -> dict[str, int | None]:
        """The items of `found` that are over their limit; None, not measured, is."""
        return {
            item: found[item] for item, most in self.limits.items() if (value := found[item]) is None or value > most
        }


def parse_budget(text: str) -> Budget:
    """`flash=32k,ram=4k`: k is 1024 bytes or 1000 instructions, m a k of k. Raises ValueError naming the bad item."""
    limits: dict[str, int] = {}
    for part in text.split(","):
        item, _, number = (piece.strip().lower() for piece in part.partition("="))
        if item not in ITEMS:
            raise ValueError(f"budget {part.strip()!r}: there are {', '.join(ITEMS)}; for example flash=32k,ram=4k")
        if item in limits:
            raise ValueError(f"budget {part.strip()!r}: {item} stands there twice")
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([km]?)", number)
        if found is None or float(found.group(1)) == 0:
            raise ValueError(f"budget {part.strip()!r}: expected a number above 0, as in {item}=20k")
        limits[item] = int(float(found.group(1)) * ITEMS[item][1] ** " km".index(found.group(2) or " "))
    return Budget(limits)


def found_in(bills: Sequence[Bill], core: str | None) -> dict[str, int | None]:
    """What models take together, on a core: an upper bound where several share the runtime's code."""
    on = [next((c for c in bill.cores if c.core == core), None) for bill in bills]
    known = [c for c in on if c is not None]
    if len(known) < len(bills):
        return {"flash": None, "ram": sum(b.ram_bytes for b in bills), "insn": None, "stack": None}
    stacks = [c.stack_bytes for c in known if c.stack_bytes is not None]
    return {
        "flash": sum(c.flash_bytes for c in known),
        "ram": sum(bill.ram_bytes for bill in bills),
        "insn": sum(c.worst for c in known),
        "stack": max(stacks) if len(stacks) == len(known) else None,
    }


def complaint(
    budget: Budget,
    over: Mapping[str, int | None],
    programs: Sequence[Program],
    core: str | None,
    counted: str = "instructions",
) -> str:
    """One line per item that is over: found, allowed, and what would help.   counted: what the core counts."""
    lines = []
    for item, value in over.items():
        _, _, what = ITEMS[item]
        unit = counted if item == "insn" else "bytes"
        where = f" on {core}" if core and item in MEASURED else ""
        found = "not measured" if value is None else f"{value:,} {unit}"
        lines.append(f"{item}: {found}{where} ({what}), allowed {budget.limits[item]:,}; {_advice(item, programs)}")
    return "\n".join(lines)


def _advice(item: str, programs: Sequence[Program]) -> str:
    helps = [advice for program in programs for advice in _advices(item, program)]
    return "what helps: " + "; ".join(dict.fromkeys([*helps, _SMALLER[item]]))


_SMALLER = {
    "flash": "fewer layers, channels (d_model) or inputs",
    "ram": "fewer modes (d_state), channels or layers",
    "insn": "fewer modes, channels or layers, or a faster core",
    "stack": "no large arrays of your own on the stack beside it",
}


def _advices(item: str, program: Program) -> list[str]:
    found, formats = [], program.formats
    if formats is None and item != "stack":
        found.append("integers (hiss quantize)")
    bits = {parts["weights"].bits for parts in (formats or {}).values() if "weights" in parts}
    states = {parts["h"].bits for parts in (formats or {}).values() if "h" in parts}
    if item in ("flash", "insn") and bits == {16}:
        found.append("int8 weights (hiss quantize --weights int8)")
    if item == "ram" and 32 in states:
        found.append("int16 states (hiss quantize --states int16)")
    if item == "insn" and program.slots is None and program.stages[0].period > 1:
        found.append("--spread (even work per sample, one chunk more latency)")
    return found
