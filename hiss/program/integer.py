"""The integer definition of a program, bit for bit: what every reader of formats computes.

Values are int16, states int32 (or int16), sums int32 where that is proven, else int64 (bounds.py). Arrays hold them in
int64, so nothing wraps here; `checked` proves on the run that nothing would in the stated widths either.
    round     x >> s rounds half up: (x + 2^(s-1)) >> s, floor for negatives too
    saturate  every value saturates to int16 when a sum is brought to its format; states never do: they cannot overflow
An integer of format f stands for integer 2^-f.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError
from hiss.program import ops as o
from hiss.program import schedule
from hiss.program.bounds import Proof, decay, prove, shifted
from hiss.program.constants import SAMPLE_LIMIT, STATE_SHIFT, WIDE_SPARE, Integers, constants
from hiss.program.formats import TARE_BITS, Formats
from hiss.program.ops import Index
from hiss.program.program import Program
from hiss.program.schedule import State, Values, primed, pushed
from hiss.program.tables import (
    EXP_SEGMENTS_LOG2,
    LOG2_E,
    TABLE_FRAC,
    powers_of_two,
    rsqrt_guesses,
    table,
)


def requantized(x: Index, shift: Index, bits: int = 16) -> Index:
    """x 2^-shift, rounded half up and saturated to `bits`."""
    top = 2 ** (bits - 1)
    x = np.where(shift < 0, np.clip(x, -top, top), x)  # beyond the limit it saturates anyway
    return np.clip(shifted(x, np.clip(shift, -30, 62)), -top, top - 1)


INT16 = 2**15 - 1


class Integer:
    """The arithmetic of one integer program, for schedule.step.

    Raises ProgramError where the program has no formats, or where a state or a sum could overflow. checked: raise
    OverflowError when a state or a sum leaves its proven bound.
    """

    dtype = np.int64

    def __init__(self, program: Program, *, checked: bool = False):
        if program.formats is None:
            raise ProgramError("the program has no number formats; make an integer program with: hiss quantize")
        self.formats: Formats = program.formats
        self.proofs: tuple[Proof, ...] = prove(program)
        self.checked = checked
        self._integers = {op.out: constants(op, program.formats) for _, _, op in program.ops()}
        self._reach = {(p.out, p.what): p.reach for p in self.proofs}

    def _frac(self, name: str) -> Index:
        return self.formats[name]["out"].frac_bits

    def _within(self, op: o.Op, what: str, x: Index) -> Index:
        if self.checked and x.size and np.abs(x).max() > self._reach[op.out, what]:
            raise OverflowError(f"{op.out!r}: a {what} reached {np.abs(x).max()}; proven {self._reach[op.out, what]}")
        return x

    # ---- the sample --------------------------------------------------------------------------------------------

    def input_value(self, op: o.Input, state: State, x: Index) -> Index:
        """clamp(x - tare, lo, hi) - offset, on the grid of the offset, then to z's format."""
        held, grid = self._integers[op.out], self.formats[op.out]["offset"].frac_bits
        t = np.clip((_sample(x) << TARE_BITS) - state["tare.mean"], held["lo"], held["hi"])
        return requantized(t - held["offset"], grid + op.shift - self._frac(op.out))

    def tare_step(self, op: o.Input, state: State, x: Index) -> State:
        """The sum of the samples so far; after the last one their mean, rounded half up on the grid of the offset."""
        total, left = state["tare.sum"] + _sample(x), int(state["tare.left"]) - 1
        mean = state["tare.mean"]
        if left == 0:
            mean = (2 * (total << TARE_BITS) + op.tare) // (2 * op.tare)
        return {**state, "tare.sum": total, "tare.mean": mean, "tare.left": np.array(left)}

    # ---- ops without memory ------------------------------------------------------------------------------------

    def evaluate(self, op: o.Op, values: Values) -> Index:
        """The value of an op without memory."""
        held, out = self._integers[op.out], self._frac(op.out)
        match op:
            case o.Affine():
                total = held["bias"]
                for i, name in enumerate(op.inputs):
                    total = total + _product(held[f"weights.{i}"], values[name])
                shift = self.formats[op.out]["weights"].frac_bits - out
                return requantized(self._within(op, "sum", total), shift)
            case o.Map():
                return _map(op.function, values[op.input], self._frac(op.input), out, held)
            case o.Norm():
                return self._norm(op, values[op.input])
            case o.Add():
                finest = np.max([self._frac(name) for name in op.inputs], axis=0)
                terms = [
                    sign * (values[name] << (finest - self._frac(name)))
                    for name, sign in zip(op.inputs, op.signs, strict=True)
                ]
                return requantized(self._within(op, "sum", np.sum(np.stack(terms), axis=0)), finest - out)
            case o.Mul():
                one, two = op.inputs
                product = np.asarray(values[one] * values[two], np.int64)
                return requantized(product, self._frac(one) + self._frac(two) - out)
        raise TypeError(f"{type(op).__name__} is not without memory")

    def _norm(self, op: o.Norm, u: Index) -> Index:
        """gain w + bias, w = v / sqrt(sum v^2 + eps): v = n u - sum u ("layer") or u ("rms"), both without rounding."""
        held, n = self._integers[op.out], len(op.gain)
        v = n * u - u.sum(-1, keepdims=True) if op.kind == "layer" else u
        root, s = rsqrt((v * v).sum(-1, keepdims=True) + held["eps"])
        w = ((v << (31 - s)) * np.minimum(root + 2**14 >> 15, INT16)) >> 16  # |v| < 2^s, so w has 29 bits
        total = self._within(op, "sum", (held["gain"] * w >> 16) + held["bias"])
        return requantized(total, self.formats[op.out]["gain"].frac_bits - self._frac(op.out))

    # ---- ops with memory ---------------------------------------------------------------------------------------

    def initial(self, op: o.Op, width: int, batch: tuple[int, ...]) -> State:
        """The state of one op after reset."""
        match op:
            case o.Diagonal():
                return {"h": np.zeros((*batch, *op.a.shape, 2), np.int64)}
            case o.Selective():
                return {"h": np.zeros((*batch, *op.a.shape), np.int64)}
            case o.Fir():
                return {"past": np.zeros((*batch, op.taps.shape[1] - 1, width), np.int64)}
            case o.Delay():
                past = {"past": np.zeros((*batch, int(op.ages.max()), width), np.int64)}
                return past if op.initial == "zero" else {**past, "primed": np.zeros(batch, bool)}
        return {}

    def update(self, op: o.Op, state: State, values: Values) -> State:
        """The state after a step."""
        match op:
            case o.Diagonal():
                return {"h": self._within(op, "state", self._rotated(op, state["h"], values[op.input]))}
            case o.Selective():
                return {"h": self._within(op, "state", self._decayed(op, state["h"], values))}
            case o.Fir():
                return {"past": pushed(state["past"], values[op.input])}
            case o.Delay():
                u = values[op.input]
                new = {"past": pushed(primed(op, state, u), u)}
                return new if op.initial == "zero" else {**new, "primed": np.ones_like(state["primed"])}
        raise TypeError(f"{type(op).__name__} has no state")

    def _rotated(self, op: o.Diagonal, h: Index, u: Index) -> Index:
        """h - d h + u, d = 1 - a: the real and the imaginary part of d h each rounded once, of 32 bit states down.

        h: (..., H, N, 2). Of 8 h d with 32 bit states the low 16 bits are dropped before the two products add up.
        """
        own, d = self.formats[op.out], self._integers[op.out]["a"]
        frac, wide = own["a"].frac_bits, own["h"].bits == 32
        drive = shifted(u[..., None], self._frac(op.input)[:, None] - own["h"].frac_bits)

        def product(part: int, x: Index) -> Index:
            return (x << WIDE_SPARE) * d[..., part] >> STATE_SHIFT if wide else x * d[..., part]

        def rounded(x: Index) -> Index:
            return x >> (frac - (STATE_SHIFT - WIDE_SPARE)) if wide else shifted(x, frac)

        re, im = h[..., 0], h[..., 1]
        turned_re, turned_im = product(0, re) - product(1, im), product(0, im) + product(1, re)
        return np.stack([re - rounded(turned_re) + drive, im - rounded(turned_im)], -1)

    def _decayed(self, op: o.Selective, h: Index, values: Values) -> Index:
        """h - (1 - exp(-D |A|)) h + D u B, a negative D as 0."""
        own, a = self.formats[op.out], self._integers[op.out]["a"]
        f_delta = self._frac(op.delta)[:, None]
        delta = np.maximum(values[op.delta], 0)[..., None]  # (..., H, 1)
        share = decay(delta * a, f_delta + own["a"].frac_bits)
        shift = f_delta + self._frac(op.input)[:, None] + self._frac(op.b) - own["h"].frac_bits[:, None]
        drive = shifted(delta * values[op.input][..., None] * values[op.b][..., None, :], shift)
        return h - shifted(h * share, 30) + drive

    def read(self, op: o.Op, before: State, after: State, values: Values) -> Index:
        """The value of a step, from the states before and after it."""
        own, held, out = self.formats[op.out], self._integers[op.out], self._frac(op.out)
        match op:
            case o.Diagonal():
                products = held["c"] * after["h"]
                if own["h"].bits == 32:
                    products = products >> STATE_SHIFT
                total = products.sum((-1, -2)) + held["d"] * values[op.input]
                return requantized(self._within(op, "sum", total), own["c"].frac_bits - out)
            case o.Selective():
                facc = own["h"].frac_bits + self._frac(op.c)[0] - STATE_SHIFT
                direct = shifted(held["d"] * values[op.input], own["d"].frac_bits + self._frac(op.input) - facc)
                total = (values[op.c][..., None, :] * after["h"] >> STATE_SHIFT).sum(-1) + direct
                return requantized(self._within(op, "sum", total), facc - out)
            case o.Fir():
                window = np.concatenate([values[op.input][..., None, :], before["past"]], -2)  # (..., K, H)
                total = (held["taps"].T * window).sum(-2) + held["bias"]
                return requantized(self._within(op, "sum", total), own["taps"].frac_bits - out)
            case o.Delay():
                past = primed(op, before, values[op.input]) if op.initial == "first" else before["past"]
                return past[..., op.ages - 1, op.channels]
        raise TypeError(f"{type(op).__name__} has no state")


def _sample(x: Index) -> Index:
    return np.clip(x, -SAMPLE_LIMIT, SAMPLE_LIMIT - 1)


def _product(weights: Index, x: Index) -> Index:
    """W x exactly: below 2^53 the float product is, and it is the fast one."""
    return (x.astype(np.float64) @ weights.T.astype(np.float64)).astype(np.int64)


# ---- functions ---------------------------------------------------------------------------------------------------


def _map(function: str, x: Index, frac: Index, out: Index, held: Integers) -> Index:
    """y in the format `out` of x in the format `frac`."""
    if function == "relu":
        return requantized(np.maximum(x, 0), frac - out)
    if function == "clip":
        return requantized(np.clip(x, held["lo"], held["hi"]), frac - out)
    if function == "exp":
        return _exp(x, frac, out)
    t = table(function)
    value = interpolated(function, np.abs(x), frac)
    if t.odd:
        return requantized(t.centre + np.sign(x) * value, TABLE_FRAC - out)
    finest = np.maximum(frac, TABLE_FRAC)
    total = (np.maximum(x, 0) << (finest - frac)) + (value << (finest - TABLE_FRAC))
    return requantized(total, finest - out)


def interpolated(function: str, v: Index, frac: Index) -> Index:
    """T(v) in units of 2^-15, v >= 0: entry i and, by the bits below, its way to entry i + 1; past the end the last."""
    t = table(function)
    last, below = len(t.entries) - 1, frac - t.segments_log2
    bits = np.maximum(below, 0)
    place = np.minimum(v << np.maximum(-below, 0), np.int64(last) << bits)
    index = place >> bits
    low = t.entries[index]
    slope = t.entries[np.minimum(index + 1, last)] - low
    return low + shifted(slope * (place - (index << bits)), bits)


def _exp(x: Index, frac: Index, out: Index) -> Index:
    """2^(x log2 e): the whole part shifts, the rest interpolates in a table of 2^f."""
    unit = frac + 14  # log2 e has 14 bits
    power = np.clip(shifted(x * LOG2_E, unit - 15), -(2**20), 2**20)  # in units of 2^-15
    whole, rest = power >> 15, power & 32767
    below = 15 - EXP_SEGMENTS_LOG2
    low = powers_of_two()[rest >> below]
    slope = powers_of_two()[(rest >> below) + 1] - low
    mantissa = low + shifted(slope * (rest & (2**below - 1)), below)  # units of 2^-14
    return requantized(mantissa, 14 - out - whole)


def rsqrt(p: Index) -> tuple[Index, Index]:
    """1 / sqrt(p) = r 2^-(29 + s), 2^(s-1) <= sqrt(p) < 2^s, for 1 <= p < 2^62; error below 2e-5 of it.

    p = m 4^s; a guess y out of a table, then twice y <- y (3 - m y^2) / 2.
    """
    s = (_bit_length(p) + 1) // 2
    m = np.where(s > 16, p >> np.maximum(2 * s - 32, 0), p << np.maximum(32 - 2 * s, 0))  # units of 2^-32
    y = rsqrt_guesses()[(m >> 26) - 16]  # units of 2^-15
    y = y * (3 * 2**30 - (y * y * (m >> 2) >> 30)) >> 31
    return y * (3 * 2**30 - (y * y * (m >> 2) >> 30)) >> 17, s  # units of 2^-29


def _bit_length(p: Index) -> Index:
    return np.vectorize(int.bit_length, otypes=[np.int64])(p)


# ---- a program ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def arithmetic(program: Program) -> Integer:
    """The arithmetic of a program, made and proven once."""
    return Integer(program)


def samples(program: Program, x: NDArray[np.floating]) -> Index:  # type: ignore[type-arg]
    """Raw samples (..., C) in the units of the inputs as the integers that a program takes; a NaN is the least one."""
    own = arithmetic(program).formats[schedule.input_op(program).out]["x"]
    whole = np.floor(np.ldexp(np.asarray(x, np.float64), own.frac_bits) + 0.5)
    return np.nan_to_num(np.clip(whole, -own.limit - 1, own.limit), nan=-own.limit - 1).astype(np.int64)


def estimates(program: Program, y: Index) -> NDArray[np.float64]:
    """Integer estimates (..., D) in the units of the outputs."""
    formats = arithmetic(program).formats
    frac = np.concatenate([formats[name]["out"].frac_bits for name in program.stages[-1].hands])
    return np.ldexp(y.astype(np.float64), -frac)


def init_state(program: Program, batch: tuple[int, ...] = ()) -> State:
    """Fresh state, the tare not yet measured."""
    op = schedule.input_op(program)
    zero = np.zeros((*batch, len(op.offset)), np.int64)
    tare = {"tare.mean": zero, "tare.sum": zero, "tare.left": np.array(op.tare)}
    return {**tare, **schedule.fresh(program, arithmetic(program), batch)}


def reset(program: Program, state: State) -> State:
    """Fresh state that keeps the tare."""
    kept = {key: array for key, array in state.items() if key.startswith("tare.")}
    return {**kept, **schedule.fresh(program, arithmetic(program), state["tare.mean"].shape[:-1])}


def step(program: Program, state: State, x: Index) -> tuple[Index | None, State]:
    """One sample x (..., C) of integers -> (integer estimate (..., D) or None, next state). No argument is changed."""
    return schedule.step(program, arithmetic(program), state, x)


def run(program: Program, state: State, x: Index, by: Integer | None = None) -> tuple[Index, State]:
    """step() over x (..., T, C): estimates (..., n, D) and the state after the last sample. by: another arithmetic."""
    made = []
    for t in range(x.shape[-2]):
        y, state = schedule.step(program, by or arithmetic(program), state, x[..., t, :])
        if y is not None:
            made.append(y)
    empty = np.zeros((*x.shape[:-2], 0, len(program.outputs)), np.int64)
    return (np.stack(made, -2) if made else empty), state


def predict(program: Program, x: NDArray[np.floating], *, tared: bool = False) -> NDArray[np.float64]:  # type: ignore[type-arg]
    """x (..., T, C) raw samples from fresh state -> estimates (..., n, D) in their units.

    tared: the samples are tared already, so no tare is measured.
    """
    whole = samples(program, x)
    state = init_state(program, whole.shape[:-2])
    if tared:
        state["tare.left"] = np.array(0)
    return estimates(program, run(program, state, whole)[0])
