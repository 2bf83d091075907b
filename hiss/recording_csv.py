"""stub"""

from __future__ import annotations
import os
from hiss.recording import Recording


def read_csv(path: str | os.PathLike[str], *, rate_hz: float | None = None) -> Recording:
    raise NotImplementedError


def write_csv(path: str | os.PathLike[str], recording: Recording) -> None:
    raise NotImplementedError
