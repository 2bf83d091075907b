"""The numbers of exported C: float32, or the integers of a program with formats."""

from __future__ import annotations

from dataclasses import dataclass

from hiss.errors import ExportError
from hiss.program import Program
from hiss.program import ops as o
from hiss.program.bounds import prove
from hiss.program.constants import Integers, constants
from hiss.program.interpreter import input_op

BYTES = {"float": 4, "uint32_t": 4, "int32_t": 4, "uint16_t": 2, "int16_t": 2}
"""Of the C types that a model's struct may hold."""

_MAY_BE_WIDE = (o.Affine, o.Add, o.Selective)


@dataclass(frozen=True)
class Numbers:
    """The C types of a model.

    name: what the header calls them;  suffix: of the kernels;  x, value: types of raw samples and of values;
    runtime: the files beside hiss_base.h, the header first;  integers: of each op;  wide: ops whose sums need 64 bits.
    """

    name: str
    suffix: str
    x: str
    value: str
    runtime: tuple[str, ...]
    integers: dict[str, Integers]
    wide: frozenset[str] = frozenset()

    @property
    def whole(self) -> bool:
        """True for integers."""
        return self.value != "float"


FLOAT32 = Numbers("float32", "f32", "float", "float", ("hiss_ops.h", "hiss_ops.c"), {})


def numbers_of(program: Program) -> Numbers:
    """float32, or integers by the program's formats. Raises ProgramError where a state or a sum could overflow."""
    if program.formats is None:
        return FLOAT32
    bits = program.formats[input_op(program).out]["x"].bits
    wide = frozenset(proof.out for proof in prove(program) if proof.bits > 32)
    for _, _, op in program.ops():
        if op.out in wide and not isinstance(op, _MAY_BE_WIDE):
            raise ExportError(f"{op.out!r}: its sum may need more than 32 bits; quantize the program again")
    integers = {op.out: constants(op, program.formats) for _, _, op in program.ops()}
    weights = {parts["weights"].bits for parts in program.formats.values() if "weights" in parts}
    name = f"integers (weights {' and '.join(f'int{b}' for b in sorted(weights)) or 'none'}, values int16)"
    return Numbers(name, "s16", f"int{bits}_t", "int16_t", ("hiss_int.h", "hiss_int.c"), integers, wide)
