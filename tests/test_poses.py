"""Orientations: poses relative to the first, resampling on arcs, quaternions of either order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hiss.poses import orientations_at, relative_to_first, rotations, turned_since_first, two_columns


def test_a_relative_pose_is_the_same_wherever_the_world_stands() -> None:
    rng = np.random.default_rng(0)
    p, turns = rng.normal(size=(20, 3)), Rotation.random(20, random_state=rng)
    world, shift = Rotation.random(random_state=rng), rng.normal(size=3)
    got, how = relative_to_first(p, turns)
    again, how_again = relative_to_first(world.apply(p) + shift, world * turns)
    np.testing.assert_allclose(got, again, atol=1e-12)
    np.testing.assert_allclose(how.as_matrix(), how_again.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(got[0], 0, atol=1e-12)
    np.testing.assert_allclose(turns[0].apply(got) + p[0], p, atol=1e-12)


def test_orientations_between_samples_lie_on_the_arc() -> None:
    """A steady turn is steady at any rate; a quaternion and its negative are one orientation."""
    t, grid = np.arange(0, 5, 0.2), np.arange(0, 4.8, 0.07)
    q = Rotation.from_rotvec(np.outer(t, [0.3, -0.5, 0.9])).as_quat()
    q[1::2] *= -1
    got = orientations_at(t, rotations(q), grid)
    want = Rotation.from_rotvec(np.outer(grid, [0.3, -0.5, 0.9]))
    assert (got * want.inv()).magnitude().max() < 1e-7
    held = orientations_at(t, rotations(q), np.array([-1.0, 99.0]))
    np.testing.assert_allclose(two_columns(held)[0], two_columns(rotations(q))[0], atol=1e-12)
    assert len(orientations_at(t[:1], rotations(q[:1]), grid)) == len(grid)


def test_either_order_of_a_quaternion_and_the_turn_since_the_first() -> None:
    turns = Rotation.random(5, random_state=1)
    again = rotations(turns.as_quat()[:, [3, 0, 1, 2]] * 3, scalar_first=True)
    np.testing.assert_allclose(again.as_matrix(), turns.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(turned_since_first(turns)[0], 0, atol=1e-12)
    np.testing.assert_allclose(
        Rotation.from_rotvec(turned_since_first(turns)[3]).as_matrix() @ turns[0].as_matrix(),
        turns[3].as_matrix(),
        atol=1e-12,
    )
    with pytest.raises(ValueError, match="zero"):
        rotations(np.zeros((1, 4)))
