"""The step operations of a recurrent program, as frozen dataclasses.

u, x: input value, (n_in,);  y: output value, (n_out,);  H: channels;  N: modes or states per channel;  K: taps.

An op names the value it makes (`out`) and the values it reads (`reads`). Constants are numpy arrays in float64
(complex128 for modes); a reader casts them to its own arithmetic. The step semantics stand in each docstring;
interpreter.py is their definition in floating point.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Modes = NDArray[np.complex128]
Index = NDArray[np.int64]

FUNCTIONS = ("gelu", "silu", "sigmoid", "tanh", "relu", "softplus", "exp", "clip")
"""The names that Map knows. gelu is the erf form; clip takes lo and hi."""


@dataclass(frozen=True, eq=False)
class Op:
    """What all ops share: the value they make."""

    out: str
    remembers: ClassVar[bool] = False

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the values this op reads, in order."""
        raise TypeError(f"{type(self).__name__} does not say what it reads")


@dataclass(frozen=True, eq=False)
class Input(Op):
    """z = (min(max(x - tare, lo), hi) - offset) * 2^-shift, per channel.

    x is the raw sample in the units of the program's inputs; lo and hi, the declared range, bound it after the tare.
    A NaN becomes lo, so no state is lost to one bad sample; while the tare is measured, a sample with a channel that
    is not finite does not count.
    `tare` is the number of samples whose mean is taken off (0: none); that mean is a state, set by tare(), kept by
    reset(), and while it is being measured the program does not step.
    """

    offset: Array  # (n,)
    shift: Index  # (n,)
    lo: Array  # (n,)
    hi: Array  # (n,)
    tare: int = 0
    remembers: ClassVar[bool] = True

    @property
    def reads(self) -> tuple[str, ...]:
        """Nothing but the sample itself."""
        return ()


@dataclass(frozen=True, eq=False)
class Affine(Op):
    """y = sum_i W_i x_i + b over one or several values."""

    inputs: tuple[str, ...]
    weights: tuple[Array, ...]  # each (n_out, n_in_i)
    bias: Array  # (n_out,)

    @property
    def reads(self) -> tuple[str, ...]:
        """The values that are multiplied."""
        return self.inputs


@dataclass(frozen=True, eq=False)
class Diagonal(Op):
    """h <- a h + u;  y = Re(sum_n c h) + d u.   h: (H, N) complex, the new h is read.

    `restart`: h returns to 0 after the last step of the stage's period.
    """

    input: str
    a: Modes  # (H, N)
    c: Modes  # (H, N)
    d: Array  # (H,)
    restart: bool = False
    remembers: ClassVar[bool] = True

    @property
    def reads(self) -> tuple[str, ...]:
        """The driving value u."""
        return (self.input,)


@dataclass(frozen=True, eq=False)
class Fir(Op):
    """y = b + sum_k t_k u_{-k}, present sample first, per channel.   past: (K-1, H), newest first, 0 at the start."""

    input: str
    taps: Array  # (H, K)
    bias: Array  # (H,)
    restart: bool = False
    remembers: ClassVar[bool] = True

    @property
    def reads(self) -> tuple[str, ...]:
        """The filtered value u."""
        return (self.input,)


@dataclass(frozen=True, eq=False)
class Delay(Op):
    """y_i = u[channels_i] as it was ages_i steps ago, every age at least 1.

    It reads its state before the step, so its input may be made later in the list (feedback). `initial`: "zero", or
    "first", where the past before the first sample equals the first sample (so a first difference starts at 0).
    """

    input: str
    ages: Index  # (n_out,)
    channels: Index  # (n_out,)
    initial: str = "zero"
    restart: bool = False
    remembers: ClassVar[bool] = True

    @property
    def reads(self) -> tuple[str, ...]:
        """The delayed value u."""
        return (self.input,)


@dataclass(frozen=True, eq=False)
class Selective(Op):
    """h <- exp(D A) h + D B u;  y = C h + d u.   h: (H, N) real.

    D (H,), B (N,) and C (N,) arrive as values: Mamba's selective scan (A by zero-order hold, B by Euler).
    """

    input: str  # u (H,)
    delta: str  # D (H,), after softplus
    b: str  # B (N,)
    c: str  # C (N,)
    a: Array  # (H, N), negative
    d: Array  # (H,)
    restart: bool = False
    remembers: ClassVar[bool] = True

    @property
    def reads(self) -> tuple[str, ...]:
        """u, D, B and C."""
        return (self.input, self.delta, self.b, self.c)


@dataclass(frozen=True, eq=False)
class Map(Op):
    """y = function(u), elementwise; `lo` and `hi` are read by clip alone."""

    input: str
    function: str
    lo: float = 0.0
    hi: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        """The mapped value."""
        return (self.input,)


@dataclass(frozen=True, eq=False)
class Norm(Op):
    """y = gain (u - mean) / sqrt(var + eps) + bias ("layer"), or gain u / sqrt(mean(u^2) + eps) + bias ("rms")."""

    input: str
    kind: str
    gain: Array  # (n,)
    bias: Array  # (n,)
    eps: float = 1e-5

    @property
    def reads(self) -> tuple[str, ...]:
        """The normalised value."""
        return (self.input,)


@dataclass(frozen=True, eq=False)
class Add(Op):
    """y = sum_i sign_i x_i, signs +1 or -1: residuals and first differences."""

    inputs: tuple[str, ...]
    signs: tuple[int, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        """The summands."""
        return self.inputs


@dataclass(frozen=True, eq=False)
class Mul(Op):
    """y = x_1 x_2, elementwise: a gate."""

    inputs: tuple[str, str]

    @property
    def reads(self) -> tuple[str, ...]:
        """Both factors."""
        return self.inputs


OPS: dict[str, type[Op]] = {
    kind.__name__: kind for kind in (Input, Affine, Diagonal, Fir, Delay, Selective, Map, Norm, Add, Mul)
}
"""Every op by name: the list in this file is the ceiling."""


def renamed(op: Op, names: dict[str, str]) -> Op:
    """The same op reading other values: each name in `names` is replaced by what it maps to."""

    def of(name: str) -> str:
        return names.get(name, name)

    changes: dict[str, object] = {}
    for field in dataclasses.fields(op):
        held = getattr(op, field.name)
        if field.name == "inputs":
            changes["inputs"] = tuple(of(n) for n in held)
        elif field.name in ("input", "delta") or (isinstance(op, Selective) and field.name in ("b", "c")):
            changes[field.name] = of(held)
    return dataclasses.replace(op, **changes)  # type: ignore[arg-type]
