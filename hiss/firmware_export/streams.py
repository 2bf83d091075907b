"""Constants of an integer op as one table in the order in which its kernel reads them: weights, and what ends rows.

Rows come four at a time. What ends four of them: the halves of each (its bias in halves of y's unit, the half that
rounds included), then how many places each sum shifts before its halves are added and one more place is left. In int8
tables halves take two bytes, low first; in int16 tables two shifts share a number, the first one in its low byte: the
same bytes. Rows that make no four follow one by one: weights, halves, shift.
R: rows;  C: columns;  H: channels;  N: modes;  K: taps.
"""

from __future__ import annotations

import numpy as np

from hiss.program.ops import Index

ENDS = {8: 12, 16: 6}
"""Bits of a table -> how many of its numbers end four rows."""
DRIVE = 32
"""Added to the shift of a channel's input, 6 bits of both signs."""


def affine_stream(w: Index, halves: Index, shift: Index, bits: int) -> Index:
    """(R, C) weights, (R,) halves and shifts. Of four rows two columns at a time, then an odd last column.

    8 bits: (0, 0) (1, 0) (0, 1) (1, 1), then the same of rows 2 and 3: two bytes apart are neighbours of a row.
    16 bits: (0, 0) (0, 1) (1, 0) (1, 1) and so on.
    """
    even, order = w.shape[1] // 2 * 2, (2, 0, 3, 1) if bits == 8 else (2, 0, 1, 3)

    def four(rows: Index) -> list[Index]:
        pairs = rows[:, :even].reshape(2, 2, -1, 2)  # (upper or lower, row, pair, column)
        return [pairs.transpose(order).ravel(), rows[:, even:].ravel()]

    made: list[Index] = []
    for at in range(0, len(w) // 4 * 4, 4):
        made += [*four(w[at : at + 4]), _ends(halves[at : at + 4], shift[at : at + 4], bits)]
    for at in range(len(w) // 4 * 4, len(w)):
        made += [w[at], *_end(halves[at], shift[at], bits)]
    return np.concatenate(made)


def fir_stream(taps: Index, halves: Index, shift: Index, bits: int) -> Index:
    """(H, K) taps, (H,) halves and shifts: of four channels what ends them, then each tap's four; then one by one."""
    full, made = len(taps) // 4 * 4, []
    for at in range(0, full, 4):
        made += [_ends(halves[at : at + 4], shift[at : at + 4], bits), taps[at : at + 4].T.ravel()]
    for at in range(full, len(taps)):
        made += [*_end(halves[at], shift[at], bits), taps[at]]
    return np.concatenate(made)


def _ends(halves: Index, shift: Index, bits: int) -> Index:
    """What ends four rows."""
    if bits == 8:
        return np.concatenate([_bytes(halves), shift])
    return np.concatenate([halves, shift[0::2] + 256 * shift[1::2]])


def _end(halves: Index, shift: Index, bits: int) -> tuple[Index, Index]:
    """What ends a row that stands alone."""
    return (_bytes(halves[None]) if bits == 8 else halves[None]), shift[None]


def _bytes(x: Index) -> Index:
    """16 bit numbers as signed bytes, low first."""
    return x.astype("<i2").view(np.int8).astype(np.int64)


def channel_stream(d: Index, c: Index, feed: Index, shifts: tuple[Index, Index, Index]) -> Index:
    """A recurrence channel by channel: feed, its three shifts in one number, then d and c of each mode.

    d, c: (H, N, 2), or of real poles (H, N, 1);  feed: (H,);  shifts: of the products (5 bits), of the sum (5 bits), of
    the input (6, + DRIVE).
    """
    product, total, drive = shifts
    packed = (product + (total << 5) + ((drive + DRIVE) << 10)).astype(np.uint16).astype(np.int16).astype(np.int64)
    heads = np.stack([feed, packed], -1)
    modes = np.concatenate([d, c], -1).reshape(len(feed), -1)
    return np.concatenate([heads, modes], -1).ravel()


def packs(shifts: tuple[Index, Index, Index]) -> bool:
    """Whether channel_stream has room for these shifts."""
    product, total, drive = shifts
    least, most = min(product.min(), total.min()), max(product.max(), total.max())
    return bool(least >= 0 and most < 32 and drive.min() >= -DRIVE and drive.max() < DRIVE)
