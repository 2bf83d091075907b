"""Programs that float64 alone can run: the interpreter and the numpy stepper do, everything else refuses and says why.

Such a program says so itself (`Program.only_float64`); whoever writes, quantizes or runs programs in another arithmetic
asks here first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiss.errors import ProgramError

if TYPE_CHECKING:
    from hiss.program.program import Program


def refuse_float64_only(program: Program, what: str) -> None:
    """Raise ProgramError where `program` needs float64; what: who refuses, such as "C"."""
    if program.only_float64:
        raise ProgramError(f"{what} cannot hold this program, it runs in float64 only: {program.only_float64}")
