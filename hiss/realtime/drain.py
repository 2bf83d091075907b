"""Messages out to a reader that may be slow, without ever waiting for it: the oldest are dropped, and counted."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections import deque
from collections.abc import Callable

PIECE = 4096  # bytes that a pipe which says it is ready takes without blocking (PIPE_BUF)
WAITING = 1000  # messages kept for a slow reader
LEAVE_S = 1.0  # for the rest, at the end


class Drain:
    """A queue before `write`, which takes bytes and returns how many it took: 0 where it would have to wait.

    A message of which a part is out already is always finished, so that a reader never sees half a line.
    """

    def __init__(self, write: Callable[[bytes], int], waiting: int = WAITING):
        self.dropped = 0
        self._write = write
        self._waiting = waiting
        self._queue: deque[bytes] = deque()
        self._rest = b""  # of the message that is partly out

    def __len__(self) -> int:
        return len(self._queue) + bool(self._rest)

    def put(self, message: bytes) -> None:
        """Send a message as soon as the reader takes it; raises what `write` raises."""
        if not (self._queue or self._rest) and len(message) <= PIECE:  # the usual case: nothing waits
            taken = self._write(message)
            if taken == len(message):
                return
            if taken:
                self._rest = message[taken:]
                return
        self._queue.append(message)
        self.push()
        if len(self._queue) > self._waiting:
            self._queue.popleft()
            self.dropped += 1

    def push(self) -> None:
        """Send what the reader takes now."""
        while self._rest or self._queue:
            if not self._rest:
                self._rest = self._queue.popleft()
            taken = self._write(self._rest[:PIECE])
            self._rest = self._rest[taken:]
            if taken == 0:
                return

    def close(self, leave_s: float = LEAVE_S) -> None:
        """Wait for the reader for so long; what is left then is dropped."""
        end_s = time.monotonic() + leave_s
        with contextlib.suppress(OSError):
            self.push()
            while len(self) and time.monotonic() < end_s:
                time.sleep(0.005)
                self.push()
        self.dropped += len(self)
        self._queue.clear()
        self._rest = b""


def descriptor_writer(fd: int) -> Callable[[bytes], int]:
    """os.write on a descriptor that need not be non-blocking: a shared terminal stays as it is."""
    if os.name != "posix":
        return lambda data: os.write(fd, data)
    poll = select.poll()
    poll.register(fd, select.POLLOUT)

    def write(data: bytes) -> int:
        if not poll.poll(0):
            return 0
        try:
            return os.write(fd, data)
        except BlockingIOError:
            return 0

    return write
