"""The Diagonal in the numpy stepper.  h: (H, N) complex, kept as (N, H);  u, y: (H,)."""

from __future__ import annotations

import numpy as np

from hiss.engines.numpy_part import Action, Array, Part, Values
from hiss.engines.numpy_plan import Buffers
from hiss.program import ops as o


def diagonal(op: o.Diagonal, v: Buffers) -> Part:
    """The state of now, and what it gives; or, where it can, all but one product beforehand."""
    if op.out in v.ahead:
        return _ahead(op, v)
    u, y, modes = v[op.input], v[op.out], op.a.shape[1]
    # one mode more with the pole 0 is u itself: d u is its part of the sum
    a = np.ascontiguousarray(np.vstack([op.a.T, np.zeros(len(y))]), op.a.dtype)  # (N + 1, H)
    reads = np.ascontiguousarray(np.vstack([op.c.T, op.d]).conj(), op.a.dtype)
    c = reads.view(y.dtype)  # Re(c h) = re c re h - im c im h
    h = np.zeros(a.shape, a.dtype)
    driven = h.real  # (N + 1, H)

    def advance() -> None:
        np.multiply(a, h, h)
        np.add(driven, u, driven)

    def clear() -> None:
        h.fill(0)

    def put(given: Values) -> None:
        h[:modes], h[modes] = given["h"].T, 0

    return Part(_modes_sum(c, h, y, v), advance, clear=clear, get=lambda: {"h": h[:modes].T.copy()}, put=put)


def _modes_sum(c: Array, h: Array, y: Array, v: Buffers) -> Action:
    """What makes y (H,) = Re(sum over modes of c h).  h: (M, H) complex;  c: (M, 2 H), re, -im of each channel."""
    pairs = h.view(y.dtype)  # (M, 2 H): re, im of each channel
    terms, sums = v.scratch(c.size).reshape(c.shape), v.scratch(2 * len(y), "sums")
    total = sums.reshape(-1, 2)
    dot, both = v.full(len(c), 1).dot, v.full(2, 1)

    def make() -> None:
        np.multiply(c, pairs, terms)
        dot(terms, sums)
        total.dot(both, y)

    return make


def _ahead(op: o.Diagonal, v: Buffers) -> Part:
    """y = Re(sum c a h) + (Re(sum c) + d) u: the first term is made as soon as h is known, in settle(), so that a step
    is a product and a sum. What settle() has not done yet, the next step, or who asks for the state, has done first.
    """
    u, y = v[op.input], v[op.out]
    a = np.ascontiguousarray(op.a.T)  # (N, H)
    c = np.ascontiguousarray((op.c * op.a).T.conj()).view(y.dtype)  # Re(c h) = re c re h - im c im h
    now = (op.c.sum(1).real + op.d).astype(y.dtype)
    h = np.zeros(a.shape, a.dtype)
    driven, base = h.real, np.zeros_like(y)  # (N, H), (H,)
    foresee = _modes_sum(c, h, base, v)

    def read() -> None:
        np.multiply(now, u, y)
        np.add(y, base, y)

    def settle() -> None:
        np.multiply(a, h, h)
        np.add(driven, u, driven)
        foresee()

    def clear() -> None:
        h.fill(0)
        base.fill(0)

    def put(given: Values) -> None:
        h[:] = given["h"].T
        foresee()

    return Part(read, settle=settle, clear=clear, get=lambda: {"h": h.T.copy()}, put=put)
