"""What makes a program valid, checked whenever one is made: names, order, widths, constants."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hiss.errors import ProgramError
from hiss.program import ops as o

if TYPE_CHECKING:
    from hiss.program.program import Program, Stage


def validate(program: Program) -> None:
    """Raise ProgramError with what was found and what was expected."""
    if not (math.isfinite(program.rate_hz) and program.rate_hz > 0):
        raise ProgramError(f"rate_hz is {program.rate_hz}; expected a positive number of samples per second")
    if not program.stages or any(stage.period < 1 for stage in program.stages):
        raise ProgramError("a program needs at least one stage, each with a period of at least 1 step")
    _check_ports(program)
    _check_input(program)
    made = widths(program)
    _check_order(program)
    found = sum(made[name] for name in program.stages[-1].hands)
    if found != len(program.outputs):
        raise ProgramError(f"the last stage hands {found} numbers; expected one per output, {len(program.outputs)}")


def widths(program: Program) -> dict[str, int]:
    """The length of every value by name; raises ProgramError where ops do not fit together."""
    made: dict[str, int] = {}
    for stage in program.stages:
        for op in stage.ops:
            if op.out in made:
                raise ProgramError(f"two ops make the value {op.out!r}; every name stands once")
            width = made_width(op)
            made[op.out] = _shared_width(op, made) if width is None else width
    for stage in program.stages:
        for op in stage.ops:
            _check_op(op, made)
        if len(set(stage.hands)) != len(stage.hands):
            raise ProgramError(f"a stage hands {list(stage.hands)}; expected every value once")
        for name in stage.hands:
            _width(made, name, "a hand-over")
    return made


def _check_ports(program: Program) -> None:
    for kind, ports in (("input", program.inputs), ("output", program.outputs)):
        names = [port.name for port in ports]
        if not names or len(set(names)) != len(names):
            raise ProgramError(f"the {kind}s are {names}; expected at least one, every name once")


def _check_input(program: Program) -> None:
    first = program.stages[0].every[:1]
    inputs = [op for _, _, op in program.ops() if isinstance(op, o.Input)]
    if len(inputs) != 1 or not first or first[0] is not inputs[0]:
        raise ProgramError(f"found {len(inputs)} Input ops; expected exactly one, as the first op of stage 0")
    if len(inputs[0].offset) != len(program.inputs):
        raise ProgramError(f"Input is {len(inputs[0].offset)} wide; the program names {len(program.inputs)} inputs")


def _check_order(program: Program) -> None:
    handed: tuple[str, ...] = ()
    for i, stage in enumerate(program.stages):
        _check_stage_order(i, stage, set(handed))
        handed = stage.hands


def _check_stage_order(index: int, stage: Stage, known: set[str]) -> None:
    each_step = known | {op.out for op in stage.every}
    ready = set(known)
    for op in stage.ops:
        for name in op.reads:
            late = isinstance(op, o.Delay) and op.initial == "zero" and name in each_step
            if name not in ready and not late:
                raise ProgramError(f"stage {index}: {op.out!r} reads {name!r} before it is made (only a Delay may)")
            if op.remembers and name not in each_step and not (isinstance(op, o.Selective) and name == op.c):
                raise ProgramError(
                    f"stage {index}: {op.out!r} updates on every step, but {name!r} is made on the last one alone"
                )
        ready.add(op.out)
    for name in stage.hands:
        if name not in ready:
            raise ProgramError(f"stage {index} hands {name!r}, which it neither makes nor receives")


def made_width(op: o.Op) -> int | None:
    """The length that the constants give; None: as long as what it reads."""
    match op:
        case o.Input():
            return len(op.offset)
        case o.Affine() | o.Norm():
            return len(op.bias)
        case o.Diagonal() | o.Selective():
            return len(op.d)
        case o.Fir():
            return len(op.bias)
        case o.Delay():
            return len(op.ages)
    return None


def _shared_width(op: o.Op, made: dict[str, int]) -> int:
    read = [_width(made, name, f"{op.out!r}") for name in op.reads]
    if len(set(read)) != 1:
        raise ProgramError(f"{op.out!r} ({type(op).__name__}) reads values of lengths {read}; expected all equal")
    return read[0]


def _width(made: dict[str, int], name: str, reader: str) -> int:
    if name not in made:
        raise ProgramError(f"{reader} reads {name!r}, which no op makes")
    return made[name]


def _check_op(op: o.Op, made: dict[str, int]) -> None:
    read = [_width(made, name, f"{op.out!r}") for name in op.reads]
    expected = _shapes(op, read)
    for name, shape in expected.items():
        held = getattr(op, name)
        for array in held if isinstance(held, tuple) else (held,):
            wanted = shape.pop(0) if isinstance(shape, list) else shape
            if np.shape(array) != wanted:
                raise ProgramError(f"{op.out!r}: {name} has shape {np.shape(array)}; expected {wanted}")
            if name not in ("lo", "hi") and not np.all(np.isfinite(array)):
                raise ProgramError(f"{op.out!r}: {name} has a number that is not finite")
    _check_values(op, read)


def _shapes(op: o.Op, read: list[int]) -> dict[str, tuple[int, ...] | list[tuple[int, ...]]]:
    """Expected shapes of an op's constants, given the lengths of the values it reads."""
    match op:
        case o.Input():
            n = (len(op.offset),)
            return {"offset": n, "shift": n, "lo": n, "hi": n}
        case o.Affine():
            return {"bias": (len(op.bias),), "weights": [(len(op.bias), n) for n in read]}
        case o.Diagonal():
            modes = (read[0], op.a.shape[-1])
            return {"d": (read[0],), "a": modes, "c": modes}
        case o.Fir():
            return {"bias": (read[0],), "taps": (read[0], op.taps.shape[-1])}
        case o.Delay():
            return {"ages": (len(op.ages),), "channels": (len(op.ages),)}
        case o.Selective():
            return {"d": (read[0],), "a": (read[0], read[2])}
        case o.Norm():
            return {"gain": (read[0],), "bias": (read[0],)}
    return {}


def _check_values(op: o.Op, read: list[int]) -> None:
    match op:
        case o.Input():
            if op.tare < 0 or np.any(op.lo > op.hi):
                raise ProgramError(f"{op.out!r}: tare {op.tare} and the range lo..hi must not be negative or empty")
        case o.Affine():
            if not op.inputs or len(op.inputs) != len(op.weights):
                raise ProgramError(f"{op.out!r}: {len(op.inputs)} values but {len(op.weights)} weights")
        case o.Diagonal():
            if np.any(np.abs(op.a) > 1):
                raise ProgramError(f"{op.out!r}: a pole lies outside the unit circle ({np.abs(op.a).max():.6f})")
        case o.Delay():
            if len(op.ages) == 0 or op.ages.min() < 1 or op.channels.min() < 0 or op.channels.max() >= read[0]:
                raise ProgramError(f"{op.out!r}: ages must be at least 1 and channels within 0..{read[0] - 1}")
            if op.initial not in ("zero", "first"):
                raise ProgramError(f"{op.out!r}: initial is {op.initial!r}; known: zero, first")
        case o.Selective():
            if read[1] != read[0] or read[2] != read[3]:
                raise ProgramError(f"{op.out!r}: u, D, B, C have lengths {read}; expected H, H, N, N")
        case o.Map():
            if op.function not in o.FUNCTIONS:
                raise ProgramError(f"{op.out!r}: function is {op.function!r}; known: {', '.join(o.FUNCTIONS)}")
        case o.Norm():
            if op.kind not in ("layer", "rms") or not op.eps > 0:
                raise ProgramError(f"{op.out!r}: kind {op.kind!r}, eps {op.eps}; known: layer, rms, with eps above 0")
        case o.Add():
            if len(op.inputs) != len(op.signs) or not op.inputs or set(op.signs) - {1, -1}:
                raise ProgramError(f"{op.out!r}: signs {op.signs} for {len(op.inputs)} values; expected +1 or -1 each")
