"""Frames that begin with a sync word and have a known size, with or without a checksum. Pure and incremental."""

from __future__ import annotations

from collections.abc import Callable

from hiss.realtime.framing import Counts, Event

SizeOf = Callable[[bytes], int]  # the first bytes of a frame -> its whole size; 0 when no frame begins so


class SyncFramer:
    """Finds frames by their sync word, size and checksum, sliding one byte where none begins.

    Without a checksum (`sound` is None) a first frame, and one behind lost or extra bytes, is taken only when the
    next begins right behind it; in step, frames are given out at once, so that nothing waits for the next sample.
    A frame whose checksum is wrong, with the next one in its place, counts as `checksum`; if the next one is not in
    its place, bytes were lost or put between, and that is a resync.
    """

    def __init__(self, sync: bytes, header: int, size_of: SizeOf, sound: Callable[[bytes], bool] | None):
        """header: bytes that size_of needs, sync included."""
        self.sync = sync
        self.header = max(header, len(sync))
        self.size_of = size_of
        self.sound = sound
        self.counts = Counts()
        self.waiting = bytearray()  # the bytes that wait
        self.due: int | None = None  # where in them the next frame should begin
        self.lost = 0  # bytes skipped since the last frame
        self._unsound = 0  # frames in their place whose checksum is wrong, since the last frame
        self._frame = b""

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self.waiting)

    def feed(self, data: bytes) -> list[bytes | Event]:
        """The frames, from sync word to checksum, and events that these bytes complete."""
        self.counts.bytes += len(data)
        self.waiting += data
        found: list[bytes | Event] = []
        at = self._in_step(found)
        while (begins := self._begins(at)) is not None:
            if begins:
                if self.lost:
                    found.append(self._found_again(at))
                found.append(self._frame)
                at += len(self._frame)
                self.due = at
            else:
                after = self._candidate(at + 1)
                self.lost += after - at
                self.counts.skipped += after - at
                at = after
        del self.waiting[:at]
        self.due = None if self.due is None else self.due - at
        return found

    def _in_step(self, found: list[bytes | Event]) -> int:
        """The frames that follow each other without a fault, as fast as they can be cut; where they end."""
        if self.due != 0 or self.lost:
            return 0
        data, size_of, sound, sync, header = bytes(self.waiting), self.size_of, self.sound, self.sync, self.header
        at, end = 0, len(data)
        while at + header <= end and data.startswith(sync, at):
            size = size_of(data[at : at + header])
            frame = data[at : at + size]
            if not size or at + size > end or (sound and not sound(frame)):
                break
            found.append(frame)
            at += size
        self.due = at
        return at

    def _begins(self, at: int) -> bool | None:
        """Whether a frame begins here (it is kept in _frame); None when more bytes are needed to tell."""
        size = self._size(at)
        if not size:
            return None if size is None else False
        if len(self.waiting) < at + size:
            return None
        self._frame = bytes(self.waiting[at : at + size])
        in_place = at == self.due
        if self.sound is None:
            following = 1 if in_place else self._size(at + size)
            return None if following is None else bool(following)
        if self.sound(self._frame):
            return True
        if in_place:
            self._unsound += 1
            self.due = at + size
        return False

    def _size(self, at: int) -> int | None:
        """The size of the frame that begins here; 0 when none does, None when more bytes are needed to tell."""
        if len(self.waiting) < at + self.header:
            return None if self.sync.startswith(self.waiting[at : at + len(self.sync)]) else 0
        if not self.waiting.startswith(self.sync, at):
            return 0
        return self.size_of(bytes(self.waiting[at : at + self.header]))

    def _candidate(self, at: int) -> int:
        """Where a sync word begins next, or may begin with the bytes that come."""
        if not self.sync:
            return at
        sync_at = self.waiting.find(self.sync, at)
        return sync_at if sync_at >= 0 else max(at, len(self.waiting) - len(self.sync) + 1)

    def _found_again(self, at: int) -> Event:
        lost, self.lost = self.lost, 0
        unsound, self._unsound = self._unsound, 0
        if self.due is None:
            return Event("start", f"first frame after {lost} bytes of an incomplete one")
        if unsound and at == self.due:
            self.counts.checksum += unsound
            return Event("checksum", f"wrong checksum in {unsound} frames: {lost} bytes skipped")
        self.counts.resyncs += 1
        return Event("resync", f"frame boundary lost and found again: {lost} bytes skipped")
