"""A device that went away is waited for, and read on when the same one is there again."""

from __future__ import annotations

import time
from collections.abc import Iterator

from hiss.errors import DeviceLostError, PortError
from hiss.realtime.framing import Event
from hiss.realtime.sources import REPLUGGED, TICK_S, UNPLUGGED, Returning

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0


class PatientSource:
    """A source that is opened again after its device went away, for patience_s; then DeviceLostError.

    Only the same device is opened: the one of the same USB identity, or what the same text names. The waits between
    the attempts double from 0.1 s to 2 s. A port that is there and cannot be opened yet (its permissions are set a
    moment after it appears) is tried again too.
    """

    def __init__(self, source: Returning, patience_s: float):
        self.name = source.name
        self.torn_start = source.torn_start
        self.ends = source.ends
        self.source = source
        self.patience_s = patience_s

    def __enter__(self) -> PatientSource:
        self.source.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.source.__exit__(*error)

    def fileno(self) -> int:
        """What to wait on beside other sources; -1 where there is nothing."""
        fileno = getattr(self.source, "fileno", None)
        return -1 if fileno is None else int(fileno())

    def __iter__(self) -> Iterator[tuple[int, bytes | Event]]:
        while True:
            try:
                yield from self.source
                return
            except DeviceLostError as lost:
                if not self.source.may_return:
                    raise
                lost_ns = time.monotonic_ns()
                yield lost_ns, Event(UNPLUGGED, f"{lost}; it is waited for {self.patience_s:g} s")
                yield from self._wait(lost)
                now_ns = time.monotonic_ns()
                yield now_ns, Event(REPLUGGED, f"{self.name} is back after {(now_ns - lost_ns) * 1e-9:.1f} s")

    def _wait(self, lost: DeviceLostError) -> Iterator[tuple[int, bytes]]:
        """Ticks until the device is open again."""
        end_s, wait_s = time.monotonic() + self.patience_s, FIRST_WAIT_S
        while True:
            next_s = time.monotonic() + wait_s
            while time.monotonic() < next_s:
                time.sleep(min(TICK_S, wait_s))
                yield time.monotonic_ns(), b""
            try:
                return self.source.reopen()
            except PortError as error:
                if time.monotonic() > end_s:
                    raise DeviceLostError(f"{lost}, and it did not come back in {self.patience_s:g} s") from error
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
