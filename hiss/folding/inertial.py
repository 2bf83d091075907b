"""hiss.inertial as ops: every filtered vector is kept in the sensor's frame and turned back by what the gyroscope says.

w (3,): rotation of a sample, rad;  a (3,): acceleration;  K: filtered vectors;  v (3 K,): x of all, then y, then z.

    v_t = lambda (v_{t-1} + a_t - a_{t-1} + e_t),   e_t = (R(w)^T - 1) p_{t-1},   p_t = v_t - a_t
    e = -s (w x p) + c (w x (w x p)),   s = sin|w| / |w|,   c = (1 - cos|w|) / |w|^2

the same as in the frame that does not turn, without an attitude: nothing is kept longer than lambda says. s and c by
their series up to |w|^4. The steps of a and the small e have filters of their own, so that fixed point rounds neither
at the size of the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hiss.folding.expressions import Builder, Expression, value
from hiss.inertial import Inertial
from hiss.program import ops as o

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def inertial_columns(b: Builder, spec: Inertial, z: str, unit: Array, offset: Array) -> Expression:
    """The columns as an expression. z * unit + offset: the samples in their units."""
    k, channels = len(spec.decay), np.diag(unit)
    all_axes = np.repeat(np.eye(3), k, 0)  # (3 K, 3): the same vector K times
    gyr, acc = list(spec.gyr), list(spec.acc)
    turn = b.affine("imu.turn", Expression({z: channels[gyr] * spec.angle}, offset[gyr] * spec.angle))
    seen = b.affine("imu.acc", Expression({z: channels[acc]}, offset[acc]))
    before = b.add(o.Delay("imu.acc_before", seen, np.ones(3, np.int64), np.arange(3), "first"))
    step = b.add(o.Add("imu.step", (seen, before), (1, -1)))
    steps = b.affine("imu.steps", value(step, 3).linear(all_axes, np.zeros(3 * k)))
    vectors = b.affine("imu.vectors", value(seen, 3).linear(all_axes, np.zeros(3 * k)))
    still = _filtered(b, "imu.still", steps, spec)
    turned = _filtered(b, "imu.turned", _turning(b, turn, k), spec)
    v = b.add(o.Add("imu.seen", (still, turned), (1, 1)))
    b.add(o.Add("imu.rest", (v, vectors), (1, -1)))
    return value(v, 3 * k).linear(np.kron(np.eye(3), spec.mix), np.zeros(3 * k))


def _filtered(b: Builder, name: str, u: str, spec: Inertial) -> str:
    """lambda (h + u) of each element: h' <- lambda h' + u, read as lambda h'."""
    decay = np.tile(spec.decay, 3)[:, None].astype(np.complex128)
    return b.add(o.Diagonal(name, u, decay, decay, np.zeros(len(decay))))


def _turning(b: Builder, w: str, k: int) -> str:
    """e (3 K,), made of imu.rest of the step before."""
    left, right, total = _cross(k)
    square = b.add(o.Mul("imu.square", (w, w)))
    n = b.affine("imu.angle2", value(square, 3).linear(np.ones((1, 3)), np.zeros(1)))
    n2 = b.add(o.Mul("imu.angle4", (n, n)))
    scaled = [
        b.add(o.Mul(f"imu.{name}", (b.affine(f"imu.{name}_of_angle", _series(n, n2, *terms)), w)))
        for name, terms in (("sine", (1.0, -1 / 6, 1 / 120)), ("cosine", (1 / 2, -1 / 24, 1 / 720)))
    ]
    past = b.add(o.Delay("imu.past", "imu.rest", np.ones(len(right), np.int64), right, "zero"))
    once, twice = (
        b.add(
            o.Mul(
                f"{v}_rest", (b.affine(f"{v}_each", value(v, 3).linear(_columns(left, 3), np.zeros(len(left)))), past)
            )
        )
        for v in scaled
    )
    inner = b.affine("imu.inner", value(twice, len(left)).linear(total[right], np.zeros(len(right))))
    each = b.affine("imu.turn_each", value(w, 3).linear(_columns(left, 3), np.zeros(len(left))))
    outer = b.add(o.Mul("imu.outer", (each, inner)))
    return b.affine("imu.bend", Expression({once: -total, outer: total}, np.zeros(3 * k)))


def _series(n: str, n2: str, constant: float, first: float, second: float) -> Expression:
    """The same polynomial of |w|^2 three times."""
    ones = np.ones((3, 1))
    return Expression({n: first * ones, n2: second * ones}, np.full(3, constant))


def _cross(k: int) -> tuple[Index, Index, Array]:
    """w x p of K vectors: which element of w (6 K,) and of p (6 K,) are multiplied, and (3 K, 6 K) what is added up."""
    left: list[int] = []
    right: list[int] = []
    total = np.zeros((3 * k, 6 * k))
    for axis in range(3):
        j, m = (axis + 1) % 3, (axis + 2) % 3
        for of_w, of_p, sign in ((j, m, 1), (m, j, -1)):
            for vector in range(k):
                total[axis * k + vector, len(left)] = sign
                left.append(of_w)
                right.append(of_p * k + vector)
    return np.array(left), np.array(right), total


def _columns(indices: Sequence[int] | Index, width: int) -> Array:
    """(n, width) with a one in the named column of each row."""
    return np.eye(width)[np.asarray(indices)]
