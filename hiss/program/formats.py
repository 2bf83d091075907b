"""How an integer program says its number formats: powers of two.   number = integer 2^-frac_bits.

Formats lie beside the ops of a Program, by value and part: formats["low.embed"]["weights"]. A part is a field of the op
("out" is its value) or a state. The constants themselves stay floating point numbers; their integers follow by
rounding half up, and every shift is the difference of two formats.   H: channels;  N: modes per channel.

    Input      x (C,) raw sample, 16 or 32 bits (of which 27 count); offset (C,) 4 bits finer: of offset, range and tare
    Affine     weights (n_out,), 8 or 16 bits: frac_bits of the ROW'S SUM, so W_ij has frac_bits[i] - (those of x_j)
    Diagonal   a (H, N), 16 bits: of 1 - a, 13 to 26;  c (H,), 8 or 16 bits: of the channel's sum
               h (H, N), 16 bits, or 32 (of which 29 are used) with one format for the modes of a channel
    Fir        taps (H,), 8 or 16 bits: of the channel's sum, in 32 bits
    Selective  a (H, N) of |a|;  h (H,) 32 bits;  d (H,)
    Norm       gain (n,), 16 bits: of the sum, the same for all channels
    all        out (n,), 16 bits, the same for all channels; a Delay's is that of what it delays; what a Map
               reads into a table has 0 to 15 (exp: 1)

What an op computes has at least as many frac_bits as its value, 29 more at most: it only ever shifts right. Where it
has a bias (Affine, Fir, Norm) it has one more at least: biases are whole halves of the value's unit, and fit 16 bits.
Formats of sums instead of weights: what is added up has one format, so no term is ever shifted on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hiss.errors import ProgramError
from hiss.program import ops as o
from hiss.program.ops import Index

if TYPE_CHECKING:
    from hiss.program.program import Program

LARGEST_FRAC_BITS = 62
TARE_BITS = 4
"""Bits that the offset, the declared range and the tare have below a raw sample."""
POLE_FRAC = (13, 26)
"""Least and largest frac_bits of 1 - a, which is at most 2."""
DOWN = 29
"""Bits at most that what an op computes has below its value."""
SUMS = {o.Affine: "weights", o.Fir: "taps", o.Diagonal: "c", o.Norm: "gain"}
"""The part that holds the format of an op's sum."""
BIASED = (o.Affine, o.Fir, o.Norm)
"""The ops whose sum begins with a bias."""


@dataclass(frozen=True, eq=False)
class Format:
    """`bits` wide, signed; frac_bits per channel (row, mode: see the table above)."""

    bits: int
    frac_bits: Index

    @property
    def limit(self) -> int:
        """The largest integer; the least is -limit - 1."""
        return int(2 ** (self.bits - 1) - 1)


TABLES = {"gelu": (0, 15), "silu": (0, 15), "softplus": (0, 15), "sigmoid": (0, 15), "tanh": (0, 15), "exp": (1, 15)}
"""Functions out of tables; least and most frac_bits that they read: no finer than a table says."""

Formats = Mapping[str, Mapping[str, Format]]

STATE_BITS = (16, 32)
_PARTS: dict[type[o.Op], dict[str, tuple[int, ...]]] = {  # part -> widths that it may have
    o.Input: {"x": (16, 32), "offset": (32,)},
    o.Affine: {"weights": (8, 16)},
    o.Diagonal: {"a": (16,), "h": STATE_BITS, "c": (8, 16)},
    o.Fir: {"taps": (8, 16)},
    o.Selective: {"a": (16,), "h": (32,), "d": (16,)},
    o.Norm: {"gain": (16,)},
}


def check_formats(program: Program) -> None:
    """Raise ProgramError where formats are missing, too many, or of the wrong shape or width."""
    formats, width = program.formats, program.widths
    if formats is None:
        return
    names = {op.out for _, _, op in program.ops()}
    if set(formats) != names:
        raise ProgramError(f"formats of {sorted(set(formats) ^ names)[:3]} do not fit the ops; expected one per value")
    for _, _, op in program.ops():
        held, shapes = formats[op.out], _shapes(op, width[op.out])
        if set(held) != set(shapes):
            raise ProgramError(f"{op.out!r}: formats for {sorted(held)}; expected {sorted(shapes)}")
        for part, shape in shapes.items():
            _check(f"{op.out}: format of {part}", held[part], shape, {"out": (16,), **_PARTS.get(type(op), {})}[part])
    _check_related(program, formats)


def _shapes(op: o.Op, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("out", *_PARTS.get(type(op), {})), (width,))
    if isinstance(op, o.Diagonal):
        shapes |= {"a": op.a.shape, "h": op.a.shape}
    if isinstance(op, o.Selective):
        shapes |= {"a": op.a.shape}
    return shapes


def _check(name: str, held: Format, shape: tuple[int, ...], widths: tuple[int, ...]) -> None:
    frac = held.frac_bits
    if held.bits not in widths:
        raise ProgramError(f"{name} has {held.bits} bits; expected {' or '.join(map(str, widths))}")
    if np.shape(frac) != shape or frac.dtype.kind != "i":
        raise ProgramError(f"{name} has shape {np.shape(frac)}, {frac.dtype}; expected integers of shape {shape}")
    if np.any(np.abs(frac) > LARGEST_FRAC_BITS):
        raise ProgramError(f"{name} has frac_bits beyond {LARGEST_FRAC_BITS}")


def _check_related(program: Program, formats: Formats) -> None:
    """Formats that must be the same, or lie a fixed number of bits apart."""
    for _, _, op in program.ops():
        own = formats[op.out]
        _expect(np.ptp(own["out"].frac_bits) == 0, f"{op.out}: its channels have different formats; expected one")
        down, least = computed(op, formats) - own["out"].frac_bits, int(isinstance(op, BIASED))
        _expect(
            bool((down >= least).all() and (down <= DOWN).all()), f"{op.out}: it shifts by {down.min()} to {down.max()}"
        )
        match op:
            case o.Input():
                apart = own["offset"].frac_bits - own["x"].frac_bits
                _expect(np.all(apart == TARE_BITS), f"{op.out}: offset must be {TARE_BITS} bits finer than x")
            case o.Delay():
                same = formats[op.input]["out"].frac_bits[0] == own["out"].frac_bits[0]
                _expect(bool(same), f"{op.out}: another format than what it delays, {op.input!r}")
            case o.Map() if op.function in TABLES:
                read = int(formats[op.input]["out"].frac_bits[0])
                least, most = TABLES[op.function]
                _expect(least <= read <= most, f"{op.out}: {op.function} reads {read} frac_bits")
                made = int(own["out"].frac_bits[0])
                _expect(op.function == "exp" or made >= 0, f"{op.out}: {op.function} makes {made} frac_bits")
            case o.Norm():
                _expect(np.ptp(own["gain"].frac_bits) == 0, f"{op.out}: its gains have different formats")
            case o.Diagonal():
                least, most = POLE_FRAC
                inside = (own["a"].frac_bits >= least) & (own["a"].frac_bits <= most)
                _expect(bool(inside.all()), f"{op.out}: poles need {least} to {most} frac_bits")
                shared = own["h"].bits == 16 or not np.ptp(own["h"].frac_bits, axis=1).any()
                _expect(bool(shared), f"{op.out}: 32 bit states of one channel need one format")


def _expect(holds: bool | np.bool_, problem: str) -> None:
    if not holds:
        raise ProgramError(f"formats of {problem}; quantize the program again")


def computed(op: o.Op, formats: Formats) -> Index:
    """frac_bits of what an op computes before it becomes a value; of ops that saturate on their own, the value's."""

    def frac(name: str) -> Index:
        return formats[name]["out"].frac_bits

    match op:
        case o.Affine() | o.Fir() | o.Diagonal() | o.Norm():
            return formats[op.out][SUMS[type(op)]].frac_bits
        case o.Mul():
            return frac(op.inputs[0]) + frac(op.inputs[1])
        case o.Add():
            return np.max([frac(name) for name in op.inputs], axis=0)
        case o.Map() if op.function in TABLES and op.function != "exp":
            return 0 * frac(op.input) + 15
    return frac(op.out)


def to_json(formats: Formats) -> dict[str, Any]:
    """Plain numbers and lists."""
    return {
        name: {part: {"bits": f.bits, "frac_bits": f.frac_bits.tolist()} for part, f in parts.items()}
        for name, parts in formats.items()
    }


def from_json(data: Any) -> dict[str, dict[str, Format]]:
    """The reverse; raises ValueError, TypeError or KeyError for what is not formats."""

    def made(entry: dict[str, Any]) -> Format:
        frac = np.asarray(entry["frac_bits"])
        if frac.dtype.kind != "i":
            raise ValueError("frac_bits that are not integers")
        return Format(int(entry["bits"]), frac.astype(np.int64))

    return {name: {part: made(entry) for part, entry in parts.items()} for name, parts in data.items()}


def uniform(frac_bits: int, width: int, bits: int = 16) -> Format:
    """One format for all channels of a value."""
    return Format(bits, np.full(width, frac_bits, np.int64))
