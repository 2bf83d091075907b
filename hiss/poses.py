"""Orientations and poses: relative to a first one, into another frame, at other times. By scipy.

q: (n, 4) unit quaternions, x y z w as scipy has them unless scalar_first;  p: (n, 3) m;  t: (n,) s, increasing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiss.errors import MissingExtraError

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation as R

Floats = np.ndarray[Any, np.dtype[np.float64]]


def rotations(q: Floats, *, scalar_first: bool = False) -> R:
    """n rotations of quaternions of any length but 0. Raises ValueError for zeros, MissingExtraError without scipy."""
    try:
        from scipy.spatial.transform import Rotation
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    q = np.asarray(q, np.float64)
    return Rotation.from_quat(q[..., [1, 2, 3, 0]] if scalar_first else q)


def relative_to_first(p: Floats, turns: R) -> tuple[Floats, R]:
    """Poses as seen from the first one: T_0^-1 T_i, so the first is 0 and no turn."""
    back = turns[0].inv()
    return back.apply(p - p[0]), back * turns


def turned_since_first(turns: R) -> Floats:
    """(n, 3) rotation vectors in rad, in the frame that the poses are given in: of T_i T_0^-1."""
    vectors: Floats = (turns * turns[0].inv()).as_rotvec()
    return vectors


def orientations_at(t: Floats, turns: R, grid: Floats) -> R:
    """The orientations at the times `grid`, on the shortest arc between the two samples around each.

    Outside of t[0] .. t[-1] the nearest sample is held.
    """
    from scipy.spatial.transform import Slerp

    if len(t) == 1:
        return turns[np.zeros(len(grid), int)]
    return Slerp(t, turns)(np.clip(grid, t[0], t[-1]))


def two_columns(turns: R) -> Floats:
    """(n, 6): the first two columns of each rotation matrix, row by row; they never jump."""
    return np.asarray(turns.as_matrix()[:, :, :2]).reshape(-1, 6)
