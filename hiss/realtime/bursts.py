"""Samples that come in parts: one frame or line per quantity, and the parts of one sample right behind each other."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Part = TypeVar("Part")


class Bursts(Generic[Key, Part]):
    """Parts with a key each -> whole samples, given out with their last part: nothing waits for the next sample.

    Which parts make a sample is learned: when two bursts in a row have had the same keys in the same order, those are
    the sample's `keys`; what came until then belongs to no sample. A burst ends where a key comes again, or where
    whoever puts the parts knows that a new one begins. Later, a burst with a part missing is no sample and is counted
    in `broken`; parts with other keys, which a device sends now and then, are passed over.
    """

    def __init__(self) -> None:
        self.keys: tuple[Key, ...] = ()
        self.broken = 0
        self._burst: dict[Key, Part] = {}
        self._before: tuple[Key, ...] = ()
        self._place = -1  # of the last part in keys

    def put(self, key: Key, part: Part, begins: bool = False) -> dict[Key, Part] | None:
        """The whole sample that this part completes, in the order of `keys`. begins: known to be a sample's first."""
        if not self.keys:
            self._learn(key, begins)
        if not self.keys:
            self._burst[key] = part
            return None
        if key not in self.keys:
            return None
        place = self.keys.index(key)
        if begins or place <= self._place:
            self._close()
        self._place = place
        self._burst[key] = part
        return self._close() if place == len(self.keys) - 1 else None

    def _learn(self, key: Key, begins: bool) -> None:
        if key not in self._burst and not begins:
            return
        keys = tuple(self._burst)
        if keys and keys == self._before:
            self.keys = keys
        self._before = keys
        self._burst = {}

    def _close(self) -> dict[Key, Part] | None:
        burst, self._burst, self._place = self._burst, {}, -1
        if len(burst) == len(self.keys):
            return burst
        self.broken += bool(burst)
        return None
