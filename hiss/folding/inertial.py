"""hiss.inertial as ops: attitude by feedback, acceleration in the frame that does not turn, filters, and back.

q: kept as SIZE q;  R: 9 entries of R(q), row by row;  K: filtered vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hiss.folding.expressions import Builder, Expression, value
from hiss.inertial import Inertial
from hiss.program import ops as o

Array = NDArray[np.float64]
SIZE = 0.75
"""Of the attitude as it is kept: below 0.8 it has 15 fractional bits of 16, and a quarter more than it needs."""


def inertial_columns(b: Builder, spec: Inertial, z: str, unit: Array, offset: Array) -> Expression:
    """The columns as an expression. z * unit + offset: the samples in their units."""
    channels = np.diag(unit)
    angle = Expression({z: channels[list(spec.gyr)] * spec.angle}, offset[list(spec.gyr)] * spec.angle)
    acc = Expression({z: channels[list(spec.acc)]}, offset[list(spec.acc)])
    r = _rotation(b, _attitude(b, b.affine("imu.turn", angle)))
    fixed = _turned(b, "imu.fixed", r, acc, 1, back=False)
    before = b.add(o.Delay("imu.fixed_before", fixed, np.ones(3, np.int64), np.arange(3), "first"))
    step = b.add(o.Add("imu.step", (fixed, before), (1, -1)))
    k = len(spec.decay)
    spread = b.affine("imu.steps", value(step, 3).linear(np.repeat(np.eye(3), k, 0), np.zeros(3 * k)))
    # h = lambda (h + u) is lambda times h' = lambda h' + u, and M and lambda go to the read-out
    modes = np.tile(spec.decay, (3 * k, 1)).astype(np.complex128)
    read = np.tile(spec.mix * spec.decay, (3, 1)).astype(np.complex128)
    held = b.add(o.Diagonal("imu.held", spread, modes, read, np.zeros(3 * k)))
    return value(_turned(b, "imu.seen", r, value(held, 3 * k), k, back=True), 3 * k)


def _attitude(b: Builder, turn: str) -> str:
    """SIZE q (4,) after the turn w (3,): q_{t-1} u_t, one Newton step from unit length.

    Written as small changes of what was, which a fixed-point reader keeps with more digits than their sum has.
    """
    square = b.add(o.Mul("imu.square", (turn, turn)))
    ones = np.ones((1, 3))
    half = b.affine("imu.half", value(square, 3).linear(np.repeat(-ones / 48, 3, 0), np.full(3, 0.5)))
    vector = b.add(o.Mul("imu.vector", (half, turn)))
    one = b.affine("imu.one", Expression({turn: np.zeros((1, 3))}, np.ones(1)))
    began = b.add(o.Delay("imu.began", one, np.ones(1, np.int64), np.zeros(1, np.int64), "zero"))
    past = b.add(o.Delay("imu.past", "imu.attitude", np.ones(4, np.int64), np.arange(4), "zero"))
    start = np.array([SIZE, 0.0, 0.0, 0.0])
    before = b.affine("imu.before", Expression({past: np.eye(4), began: -start[:, None]}, start))
    scalar = value(square, 3).linear(-ones / 8, np.zeros(1)).terms[square]
    u = {square: np.vstack([scalar, np.zeros((3, 3))]), vector: _columns([None, 0, 1, 2], 3)}
    change = _products(b, "imu.change", value(before, 4), Expression(u, np.zeros(4)))
    moved = b.add(o.Add("imu.moved", (before, change), (1, 1)))
    length = b.add(o.Mul("imu.length", (moved, moved)))
    short = b.affine("imu.short", value(length, 4).linear(np.full((4, 4), -0.5 / SIZE**2), np.full(4, 0.5)))
    trim = b.add(o.Mul("imu.trim", (moved, short)))
    return b.add(o.Add("imu.attitude", (moved, trim), (1, 1)))


def _products(b: Builder, name: str, p: Expression, q: Expression) -> str:
    """The quaternion p q of two expressions."""
    # rows: which elements of p and q, and the sign, that each element of the product is the sum of
    table = [
        [(0, 0, 1), (1, 1, -1), (2, 2, -1), (3, 3, -1)],
        [(0, 1, 1), (1, 0, 1), (2, 3, 1), (3, 2, -1)],
        [(0, 2, 1), (2, 0, 1), (3, 1, 1), (1, 3, -1)],
        [(0, 3, 1), (3, 0, 1), (1, 2, 1), (2, 1, -1)],
    ]
    every = [entry for row in table for entry in row]
    left = b.affine(f"{name}.left", p.linear(_columns([i for i, _, _ in every], 4), np.zeros(16)))
    right = b.affine(f"{name}.right", q.linear(_columns([j for _, j, _ in every], 4), np.zeros(16)))
    each = b.add(o.Mul(f"{name}.each", (left, right)))
    signs = np.array([sign for _, _, sign in every], np.float64)
    return b.affine(name, value(each, 16).linear(np.kron(np.eye(4), np.ones(4)) * signs, np.zeros(4)))


def _rotation(b: Builder, q: str) -> str:
    """R(q), 9 entries row by row."""
    pairs = [(1, 1), (2, 2), (3, 3), (1, 2), (1, 3), (2, 3), (0, 1), (0, 2), (0, 3)]
    left = b.affine("imu.left", value(q, 4).linear(_columns([i for i, _ in pairs], 4), np.zeros(9)))
    right = b.affine("imu.right", value(q, 4).linear(_columns([j for _, j in pairs], 4), np.zeros(9)))
    each = b.add(o.Mul("imu.pairs", (left, right)))
    xx, yy, zz, xy, xz, yz, wx, wy, wz = 2 / SIZE**2 * np.eye(9)
    rows = [-yy - zz, xy - wz, xz + wy, xy + wz, -xx - zz, yz - wx, xz - wy, yz + wx, -xx - yy]
    return b.affine("imu.rotation", value(each, 9).linear(np.array(rows), np.eye(3).ravel()))


def _turned(b: Builder, name: str, r: str, v: Expression, k: int, back: bool) -> str:
    """R v, or R^T v with `back`, of k vectors: v (3 k,) holds x of all of them, then y, then z."""
    grid = [(i, j, n) for i in range(3) for j in range(3) for n in range(k)]  # output axis, summed axis, vector
    entries = _columns([3 * j + i if back else 3 * i + j for i, j, _ in grid], 9)
    parts = _columns([j * k + n for _, j, n in grid], 3 * k)
    left = b.affine(f"{name}.left", value(r, 9).linear(entries, np.zeros(9 * k)))
    right = b.affine(f"{name}.right", v.linear(parts, np.zeros(9 * k)))
    each = b.add(o.Mul(f"{name}.each", (left, right)))
    total = np.zeros((3 * k, 9 * k))
    for at, (i, _, n) in enumerate(grid):
        total[i * k + n, at] = 1.0
    return b.affine(name, value(each, 9 * k).linear(total, np.zeros(3 * k)))


def _columns(indices: Sequence[int | None], width: int) -> Array:
    """(n, width) with a one in the named column of each row, none where it is None."""
    rows = np.zeros((len(indices), width))
    for row, index in enumerate(indices):
        if index is not None:
            rows[row, index] = 1.0
    return rows
