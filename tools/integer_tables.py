"""Write the tables of the integer definition into the runtime, between their two marks: python tools/integer_tables.py

They belong to the definition (hiss/program/tables.py); a test compares them number by number.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hiss.firmware_export.tables import table_text
from hiss.program import tables

RUNTIME = Path(__file__).parent.parent / "hiss" / "firmware_export" / "runtime" / "hiss_int.c"
BEGIN, END = "/* tables: written by tools/integer_tables.py */\n", "/* end of tables */\n"


def text() -> str:
    """All tables in C."""
    made = []
    for name in ("gelu", "silu", "softplus", "sigmoid", "tanh", "decay"):
        t = tables.table(name)
        guard = f"HISS_{name.upper()}"
        last = len(t.entries) - 1
        ends = f"{guard}_LAST {last}" if name == "decay" else f"{guard}_END {last >> t.segments_log2}"
        made.append(f"#define {ends}\n#define {guard}_LOG2 {t.segments_log2}\n")
        kind = "uint16_t" if name == "decay" else "int16_t"
        said = "(1 - exp(-v)) / v" if name == "decay" else f"T of {name}"
        entries = np.append(t.entries, t.entries[-1])  # what follows the last is it again
        made.append(table_text(kind, f"hiss_{name}_table", entries, f"{said}, {2**t.segments_log2} segments a unit"))
    made.append(table_text("uint16_t", "hiss_exp2_table", tables.powers_of_two(), "2^(i / 64), units of 2^-14"))
    guesses = "1 / sqrt((i + 16.5) / 64), units of 2^-15"
    made.append(table_text("uint16_t", "hiss_rsqrt_table", np.asarray(tables.rsqrt_guesses()), guesses))
    return "\n".join(made)


def main() -> None:
    """Replace what stands between the marks."""
    source = RUNTIME.read_text(encoding="utf-8")
    before, rest = source.split(BEGIN)
    _, after = rest.split(END)
    RUNTIME.write_text(before + BEGIN + text() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
