"""A terminal's screen for a while: the alternate one, without echo; what was there comes back whatever happens.

Nothing waits: what the terminal does not take yet is sent later, and no new picture is drawn before.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from hiss.realtime.drain import Drain, descriptor_writer

BEGIN = "\x1b[?1049h\x1b[?25l\x1b[2J"  # alternate screen, no cursor, empty
END = "\x1b[0m\x1b[?25h\x1b[?1049l"
LEAVE_S = 0.5  # for a terminal that takes nothing


def why_no_screen(out: Any = None) -> str:
    """Why nothing can be drawn on stdout; "" where it can."""
    out = sys.stdout if out is None else out
    if os.name != "posix":
        return "it needs a terminal of Linux or macOS"
    if not out.isatty():
        return "stdout is no terminal"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "this terminal (TERM=dumb) cannot place text"
    return ""


class Screen:
    """A context manager; `draw` puts lines, `keys` gives what was typed."""

    def __init__(self, fd_out: int = 1, fd_in: int = 0):
        self._fd_out, self._fd_in = fd_out, fd_in
        self._own = -1
        self._drain: Drain | None = None
        self._shown: list[str] = []
        self._before: Any = None  # of the keyboard
        self._handlers: dict[int, Any] = {}
        self._size = (0, 0)

    def __enter__(self) -> Screen:
        # a description of its own can be made non-blocking without changing that of the shell
        try:
            self._own = os.open(os.ttyname(self._fd_out), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            self._own = os.dup(self._fd_out)
        self._drain = Drain(descriptor_writer(self._own), waiting=4)
        self._begin()
        for number in (signal.SIGTSTP, signal.SIGHUP, signal.SIGQUIT):
            if signal.getsignal(number) is signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self.restore()
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as they are now."""
        try:
            return tuple(os.get_terminal_size(self._fd_out))  # type: ignore[return-value]
        except OSError:
            return 80, 24

    def draw(self, lines: Sequence[str], size: tuple[int, int]) -> bool:
        """Put the lines, only those that changed; False where the terminal has not taken the last picture yet."""
        drain = self._drain
        if drain is None or self.busy:
            return False
        parts = []
        if size != self._size:
            self._size, self._shown = size, []
            parts.append("\x1b[2J")
        for row, line in enumerate(lines):
            if row >= len(self._shown) or self._shown[row] != line:
                parts.append(f"\x1b[{row + 1};1H\x1b[0m{line}\x1b[0m\x1b[K")
        parts += [f"\x1b[{row + 1};1H\x1b[K" for row in range(len(lines), len(self._shown))]
        self._shown = list(lines)
        if parts:
            drain.put("".join(parts).encode("utf-8", "replace"))
        return True

    @property
    def busy(self) -> bool:
        """Whether the terminal has not taken the last picture yet."""
        if self._drain is None:
            return True
        self._drain.push()
        return len(self._drain) > 0

    def keys(self) -> str:
        """What was typed since the last call."""
        if self._before is None or not select.select([self._fd_in], [], [], 0)[0]:
            return ""
        try:
            return os.read(self._fd_in, 64).decode("ascii", "replace")
        except OSError:
            return ""

    def restore(self) -> None:
        """The screen and the keyboard as they were. May be called again, and from a signal."""
        drain, self._drain = self._drain, None
        if drain is not None:
            with contextlib.suppress(OSError):
                drain.put(END.encode())
            drain.close(LEAVE_S)
        before, self._before = self._before, None
        if before is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd_in, termios.TCSANOW, before)

    def _begin(self) -> None:
        import termios

        self._shown, self._size = [], (0, 0)
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(self._fd_in)
            changed = termios.tcgetattr(self._fd_in)
            changed[3] &= ~(termios.ICANON | termios.ECHO)  # signals stay: Ctrl-C ends
            termios.tcsetattr(self._fd_in, termios.TCSANOW, changed)
        if self._drain is not None:
            self._drain.put(BEGIN.encode())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Restore, then let the signal do what it does; after a stop (Ctrl-Z) go on."""
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._on_signal)
        self._drain = Drain(descriptor_writer(self._own), waiting=4)
        self._begin()
