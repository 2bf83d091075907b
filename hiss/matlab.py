"""Numbers and texts of a MATLAB file, of any version: scipy reads those up to 7.2, 7.3 is HDF5.

A field F of a struct S is named "S/F". An array has MATLAB's shape, vectors (n,); cells and objects are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hiss.errors import MissingExtraError, RecordingError
from hiss.recording_hdf5 import HDF5_SIGNATURE, hdf5_arrays

V73_HEADER = 512  # bytes that MATLAB puts before HDF5's own signature


def read_mat(path: str | os.PathLike[str]) -> dict[str, Any]:
    """{name: array, or text}. Raises RecordingError when it is no MATLAB file or is damaged."""
    try:
        with open(path, "rb") as file:
            head = file.read(V73_HEADER + len(HDF5_SIGNATURE))
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from error
    if HDF5_SIGNATURE in (head[: len(HDF5_SIGNATURE)], head[V73_HEADER:]):
        return {name: _turned(array) for name, array in hdf5_arrays(path).items()}
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError("scipy", "train") from error
    try:
        return dict(_flat(loadmat(path, simplify_cells=True)))
    except Exception as error:  # scipy raises what it happens to meet in a damaged file
        raise RecordingError(f"{path}: not a MATLAB file, or a damaged one ({error})") from error


def fields(found: Mapping[str, Any], path: str | os.PathLike[str], *names: str) -> list[Any]:
    """The values of these names. Raises RecordingError naming those that are missing, and what is there."""
    missing = [name for name in names if name not in found]
    if missing:
        raise RecordingError(f"{path}: no {', '.join(missing)} in the file; there are: {', '.join(found) or 'none'}")
    return [found[name] for name in names]


def _flat(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}/")
        elif not name.startswith("__") and (isinstance(value, str) or np.asarray(value).dtype.kind in "biuf"):
            yield before + name, value if isinstance(value, str) else np.asarray(value)


def _turned(array: Any) -> Any:
    """MATLAB writes HDF5 column by column, texts as uint16, and a vector as a matrix."""
    if array.dtype == np.uint16 and 1 in array.shape:
        return "".join(map(chr, array.ravel()))
    array = array.T
    return array.ravel() if array.ndim == 2 and 1 in array.shape else array
