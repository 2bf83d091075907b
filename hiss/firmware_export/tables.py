"""Constant tables as C text: numbers that read back to the same bits, in a layout that does not depend on anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ExportError
from hiss.firmware_export.names import Names, comment

_PER_LINE = {"float": 6, "int64_t": 5, "int32_t": 9, "int16_t": 14, "uint16_t": 14, "int8_t": 20, "uint8_t": 20}
_BYTES = {"float": 4, "int64_t": 8, "int32_t": 4, "int16_t": 2, "uint16_t": 2, "int8_t": 1, "uint8_t": 1}


def float_text(value: float) -> str:
    """A float32 constant in C that reads back exactly: 9 significant digits are enough for that."""
    text = f"{np.float32(value):.9g}"
    return (text if any(mark in text for mark in ".e") else f"{text}.0") + "f"


def table_text(kind: str, name: str, values: NDArray[Any], said: str, words: bool = False) -> str:
    """One table: `static const <kind> name[n] HISS_TABLE = {...};  /* said */`.   words: aligned for words."""
    numbers = [float_text(v) if kind == "float" else str(int(v)) for v in np.ravel(values)]
    per_line = _PER_LINE[kind]
    lines = [", ".join(numbers[at : at + per_line]) for at in range(0, len(numbers), per_line)]
    body = ",\n    ".join(lines)
    how = "HISS_TABLE HISS_WORDS" if words else "HISS_TABLE"
    return f"{comment(said)}\nstatic const {kind} {name}[{len(numbers)}] {how} = {{\n    {body},\n}};\n"


@dataclass
class Tables:
    """The tables of one source file, in the order in which they were asked for; equal ones stand once."""

    names: Names
    texts: list[str] = field(default_factory=list)
    total: int = 0
    _known: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def floats(self, name: str, values: NDArray[Any], said: str) -> str:
        """Add a float32 table; returns its C name. Raises ExportError for a number that float32 cannot hold."""
        with np.errstate(over="ignore"):
            single = np.asarray(values).astype(np.float32)
        if not np.all(np.isfinite(single)):
            raise ExportError(f"{name}: a constant does not fit into float32 (largest {np.max(np.abs(values)):.3g})")
        single = single + np.float32(0)  # one zero, not two
        for value, plain in ((0, "zeros"), (1, "ones")):
            if np.all(single == value):
                name, said = f"{plain}_{single.size}", f"shared by all that need {plain}"
        return self._add("float", name, single, said)

    def uint16(self, name: str, values: NDArray[Any], said: str) -> str:
        """Add a table of indices; returns its C name. Raises ExportError above 65535."""
        if np.max(values) > 0xFFFF:
            raise ExportError(f"{name}: the index {int(np.max(values))} does not fit into 16 bits")
        return self._add("uint16_t", name, np.asarray(values).astype(np.uint16), said)

    def integers(self, kind: str, name: str, values: NDArray[Any], said: str, *, words: bool = False) -> str:
        """Add a table of a C integer type; returns its C name. Raises ExportError where a number does not fit."""
        limits = np.iinfo(np.dtype(kind.removesuffix("_t")))
        if np.min(values) < limits.min or np.max(values) > limits.max:
            raise ExportError(f"{name}: {np.min(values)} to {np.max(values)} do not fit {kind}; quantize again")
        return self._add(kind, name, np.asarray(values).astype(limits.dtype), said, words)

    def _add(self, kind: str, name: str, values: NDArray[Any], said: str, words: bool = False) -> str:
        key = (f"{kind} {words}", values.tobytes())
        if key not in self._known:
            self._known[key] = self.names.fresh(name)
            self.texts.append(table_text(kind, self._known[key], values, said, words))
            self.total += values.size * _BYTES[kind]
        return self._known[key]
