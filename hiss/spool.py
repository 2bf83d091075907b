"""Large arrays on disk instead of in memory: recordings larger than memory, of which each fits alone.

    with spooled_in("runs/skin"):
        train = read_recordings("huge.h5")  # each recording is read, put on disk and mapped
        fit(model, train, "force")          # so is what is made of it; windows are read as they are drawn

The files have no names; they are gone when the last array that maps them is. The system keeps in memory what is used
often, and lets go of it when memory runs short.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hiss.errors import HissError

LEAST_BYTES = 1 << 20
"""Smaller arrays stay in memory."""
_FOLDER: ContextVar[Path | None] = ContextVar("folder", default=None)
A = TypeVar("A", bound=NDArray[Any])


@contextmanager
def spooled_in(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Arrays of recordings and sequences that are made in this context lie in `folder`; None: in memory as ever."""
    token = _FOLDER.set(None if folder is None else Path(folder))
    try:
        yield
    finally:
        _FOLDER.reset(token)


def spooling() -> bool:
    """Whether a context puts arrays on disk."""
    return _FOLDER.get() is not None


def kept(array: A) -> A:
    """The array, mapped from a file where a context says so. Raises HissError when the disk is full or refuses."""
    folder = _FOLDER.get()
    if folder is None or array.nbytes < LEAST_BYTES or _mapped(array):
        return array
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            np.ascontiguousarray(array).tofile(file)
            file.flush()
            view = mmap.mmap(file.fileno(), array.nbytes)
    except OSError as error:
        raise HissError(f"{folder}: {array.nbytes >> 20} MB cannot be put there ({error.strerror or error})") from error
    return np.frombuffer(view, array.dtype).reshape(array.shape)  # type: ignore[return-value]


def _mapped(array: Any) -> bool:
    """Whether it is a view of a mapped file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap) or (isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap))
