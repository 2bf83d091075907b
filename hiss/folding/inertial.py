"""hiss.inertial as ops: what the filters hold is kept in the sensor's frame and turned back by what the gyroscope says.

w (3,): rotation of a sample, rad;  a (3,): acceleration;  v_k (3,), k = 1 to K: the filtered vectors;  all of them of
this sample, or of the one before where a prime says so:

    v_1 = lambda_1 (v_1' + a - a' + e(v_1' - a'))           e(p) = (R(w)^T - 1) p
    D_k = lambda_k (D_k' + e(D_k')) + g_k v_{k-1}           g_k = (lambda_k - lambda_{k-1}) / lambda_{k-1}
    v_k = v_{k-1} + D_k
    e(p) = w x q,   q = c (w x p) - s p,   s = sin|w| / |w|,   c = (1 - cos|w|) / |w|^2

the same as in the frame that does not turn, without an attitude: nothing is kept longer than lambda says. s and c by
their series up to |w|^4.

For fixed point, where each value has 16 bits: the slow vectors are the fast one and small D, so what is summed up for
long is not rounded at the size of shocks and gravity. And w is a slow part, of elements up to SLOW, and the rest: no
noise hides how the turning of a sensor that hardly turns is rounded, so it has numbers and a filter of its own. So have
small steps of a.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiss.folding.expressions import Builder, Expression, stacked, sums, value
from hiss.inertial import SMALLEST, Inertial
from hiss.program import ops as o

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SLOW = 0.1
"""rad in the shortest of the filters' time constants."""
LARGEST = 8.0
"""Of the root mean square of v_1: what it becomes of small steps of a at the most."""
GAIN_BITS = 6
"""After the first, of a gain that integers say exactly."""


def inertial_columns(b: Builder, spec: Inertial, z: str, unit: Array, offset: Array) -> Expression:
    """The columns as an expression. z * unit + offset: the samples in their units."""
    acc, eye = list(spec.acc), np.eye(3)
    seen = b.affine("imu.acc", Expression({z: np.diag(unit)[acc]}, offset[acc]))
    gains, scale = _scales(spec)
    units = _units(spec, scale)
    slow, rest = _turned(b, spec, z, unit, offset)
    e_slow, e_rest = ([_of_vector(name, k, size, len(units)) for k, size in enumerate(units)] for name in (slow, rest))
    fast = _fast(b, spec, seen, units[0], e_slow[0], e_rest[0])
    first = v = sums([value(part, 3) for part in fast], [1] * len(fast))
    slower: list[Expression] = []
    for k in range(1, len(units)):
        drive = sums([e_slow[k], e_rest[k], v], [1, 1, gains[k]])
        slower.append(value(_filtered(b, f"imu.slower{k}", b.affine(f"imu.drive{k}", drive), spec.decay[k]), 3))
        v = sums([v, slower[-1]], [1, 1 / scale[k]])
    kept = [sums([first, value(seen, 3)], [1, -1]), *slower]
    b.affine("imu.kept", stacked([p.linear(eye / size, np.zeros(3)) for p, size in zip(kept, units, strict=True)]))
    whole = value(b.add(o.Add("imu.fast", fast, (1,) * len(fast))), 3)
    share = np.cumsum(spec.mix[:, ::-1], 1)[:, ::-1] / scale  # v_k holds every D up to its own
    columns = [p.linear(np.kron(eye, share[:, [k]]), np.zeros(spec.width)) for k, p in enumerate([whole, *slower])]
    return value(b.affine("imu.columns", sums(columns, [1] * len(columns))), spec.width)


def _fast(
    b: Builder, spec: Inertial, seen: str, unit: float, e_slow: Expression, e_rest: Expression
) -> tuple[str, ...]:
    """v_1 in parts: of small steps of a, of large ones, of slow turning, of fast."""
    before = b.add(o.Delay("imu.acc_before", seen, np.ones(3, np.int64), np.arange(3), "first"))
    step = b.add(o.Add("imu.step", (seen, before), (1, -1)))
    limit = _power_of_two(LARGEST * unit * (1 - spec.decay[0]))
    small, large = _parted(b, step, step, "imu.small_step", "imu.large_step", limit)
    drives = {
        "imu.small_still": small,
        "imu.large_still": large,
        "imu.slow_bent": b.affine("imu.slow_bend", e_slow),
        "imu.rest_bent": b.affine("imu.rest_bend", e_rest),
    }
    return tuple(_filtered(b, name, drive, spec.decay[0]) for name, drive in drives.items())


def _parted(b: Builder, coarse: str, fine: str, small: str, rest: str, limit: float) -> tuple[str, str]:
    """A value in two: what of it is within the limit, of another that says the same more finely; and what is not."""
    b.add(o.Map(small, fine, "clip", -limit, limit))
    within = small if fine == coarse else b.add(o.Map(f"{small}_coarse", coarse, "clip", -limit, limit))
    return small, b.add(o.Add(rest, (coarse, within), (1, -1)))


def _filtered(b: Builder, name: str, u: str, decay: float) -> str:
    """lambda (h + u) of three elements: h' <- lambda h' + u, read as lambda h'."""
    poles = np.full((3, 1), decay, np.complex128)
    return b.add(o.Diagonal(name, u, poles, poles, np.zeros(3)))


def _scales(spec: Inertial) -> tuple[Array, Array]:
    """g_k / lambda_k as an odd integer and a power of two (K,), and how many times D_k is kept as large for that (K,).

    Integers say it exactly: the parts of v_1 cancel, so all of them must have the same weight. Odd: what a power of two
    takes from a coarse value lies on the grid of the sum, and hides nothing of how the rest is rounded.
    """
    before = np.concatenate([spec.decay[:1], spec.decay[:-1]])
    gains = (spec.decay / before - 1) / spec.decay
    unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(gains), SMALLEST))) - GAIN_BITS)
    exact = (2 * np.floor(gains / unit / 2) + 1) * unit
    alike = np.abs(gains) > SMALLEST  # else D_k is 0 always
    return np.where(alike, exact, 0), np.divide(exact, gains, out=np.ones_like(gains), where=alike)


def _units(spec: Inertial, scale: Array) -> Array:
    """(K,) powers of two: root mean squares of v_1 and of D_k as it is kept, which M says."""
    inverse = np.linalg.pinv(spec.mix)
    steps = np.diff(inverse, axis=0, prepend=0) * scale[:, None]
    return np.array([_power_of_two(size) for size in np.sqrt((steps**2).sum(1))])


def _power_of_two(size: float) -> float:
    """The nearest."""
    return float(np.exp2(np.round(np.log2(max(size, SMALLEST)))))


def _of_vector(turned: str, k: int, unit: float, count: int) -> Expression:
    """e (3,) of one of the vectors, of their products (6 K,)."""
    rows = np.zeros((3, 6 * count))
    rows[:, 6 * k : 6 * (k + 1)] = unit * _DIFFERENCE
    return Expression({turned: rows}, np.zeros(3))


def _turned(b: Builder, spec: Inertial, z: str, unit: Array, offset: Array) -> tuple[str, str]:
    """The products (6 K,) of w x q, of the slow part of w and of the rest; q of what imu.kept held one step before."""
    gyr = list(spec.gyr)
    w = Expression({z: np.diag(unit * spec.angle)[gyr]}, offset[gyr] * spec.angle)
    turn, fine = b.affine("imu.turn", w), b.affine("imu.turn_fine", w)
    slow, rest = _parted(b, turn, fine, "imu.slow", "imu.rest", _power_of_two(-SLOW * np.log(spec.decay[0])))
    left, right = _crossed(len(spec.decay))
    q = _across(b, turn, left, right)
    return (
        b.add(o.Mul("imu.slow_turned", (_each(b, "imu.slow_each", slow, left), q))),
        b.add(o.Mul("imu.rest_turned", (_each(b, "imu.rest_each", rest, left), q))),
    )


def _across(b: Builder, turn: str, left: Index, right: Index) -> str:
    """q of the vectors that imu.kept held, its elements as w x q takes them (6 K,)."""
    count = len(right)
    square = b.add(o.Mul("imu.square", (turn, turn)))
    n = b.affine("imu.angle2", value(square, 3).linear(np.ones((1, 3)), np.zeros(1)))
    n2 = b.add(o.Mul("imu.angle4", (n, n)))
    past = b.add(o.Delay("imu.past", "imu.kept", np.ones(count, np.int64), right, "zero"))
    product = b.add(o.Mul("imu.turn_past", (_each(b, "imu.turn_each", turn, left), past)))
    total = np.kron(np.eye(count // 6), _DIFFERENCE)[right]
    cross = b.affine("imu.cross", value(product, count).linear(total, np.zeros(count)))
    cosine = b.affine("imu.cosine", _series(n, n2, count, 1 / 2, -1 / 24, 1 / 720))
    sine = b.affine("imu.sine", _series(n, n2, count, 1.0, -1 / 6, 1 / 120))
    outward, along = b.add(o.Mul("imu.outward", (cosine, cross))), b.add(o.Mul("imu.along", (sine, past)))
    return b.add(o.Add("imu.across", (outward, along), (1, -1)))


def _each(b: Builder, name: str, w: str, left: Index) -> str:
    """The elements of w (3,) that are named."""
    return b.affine(name, Expression({w: np.eye(3)[left]}, np.zeros(len(left))))


def _series(n: str, n2: str, width: int, constant: float, first: float, second: float) -> Expression:
    """The same polynomial of |w|^2 so many times."""
    ones = np.ones((width, 1))
    return Expression({n: first * ones, n2: second * ones}, np.full(width, constant))


def _crossed(count: int) -> tuple[Index, Index]:
    """w x p of K vectors: which element of w (6 K,) and of p (6 K,) are multiplied."""
    axis = np.arange(3)
    left = np.stack([axis + 1, axis + 2], 1).reshape(-1) % 3
    right = np.stack([axis + 2, axis + 1], 1).reshape(-1) % 3
    return np.tile(left, count), (np.arange(count)[:, None] * 3 + right).reshape(-1)


_DIFFERENCE = np.kron(np.eye(3), np.array([[1.0, -1.0]]))
"""(3, 6): of each two products, the second is taken from the first."""
