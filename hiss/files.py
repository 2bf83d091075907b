"""Files that are never half written: all that hiss saves goes through `atomic_path`."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from hiss.errors import HissError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; when the block ends well, it becomes `path`.

    The temporary file has the suffix of `path`. If the block fails (a full disk, Ctrl-C, an error of any kind) it is
    removed and the file that was at `path` before stays as it was. Folders on the way are made.

    Raises HissError when the system refuses to write; other exceptions of the block pass through unchanged.
    """
    goal = Path(os.path.realpath(path))  # a symbolic link keeps pointing where it did
    device = goal.exists() and not goal.is_file() and not goal.is_dir()  # /dev/stdout: nothing to rename over
    temporary = goal.with_name(f".{goal.stem}.{secrets.token_hex(4)}{goal.suffix}")
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        yield goal if device else temporary
        if not device:
            _replace(temporary, goal)
    except OSError as error:
        kept = "the file that was there is unchanged" if goal.is_file() else "nothing was written"
        raise HissError(f"{path}: cannot be written ({error.strerror or error}); {kept}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 with \\n line ends, wholly or not at all. Raises HissError."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` wholly or not at all. Raises HissError."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_together(files: Mapping[str | os.PathLike[str], bytes]) -> None:
    """Write files that belong together: none is replaced before all are written. Raises HissError."""
    with contextlib.ExitStack() as stack:
        for path, data in files.items():
            stack.enter_context(atomic_path(path)).write_bytes(data)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Make the folder where there is none, and see that files can be made in it. Raises HissError."""
    try:
        os.makedirs(path, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise HissError(f"{path}: nothing can be written there ({error.strerror or error})") from error


def _replace(temporary: Path, goal: Path) -> None:
    if goal.is_file():
        shutil.copymode(goal, temporary)
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())  # the content must be on the disk before the name points at it
    os.replace(temporary, goal)
    with contextlib.suppress(OSError):  # a folder cannot be opened on Windows
        folder = os.open(goal.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
