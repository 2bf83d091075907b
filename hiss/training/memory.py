"""Memory that a training step gives back is kept for the next one, where the C library can be asked to."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Ask glibc, for the whole process, to keep up to 1 GiB of freed memory; False where there is none to ask.

    A step makes and frees the same large arrays as the one before it. Handed back to the system and asked for again,
    every page of them is cleared anew, which at long sequences takes longer than the arithmetic.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(kind, KEPT_BYTES) for kind in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))
