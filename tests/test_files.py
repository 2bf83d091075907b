"""A file is written wholly or not at all."""

import errno
import os
from pathlib import Path

import pytest

from hiss.errors import HissError
from hiss.files import atomic_path, write_text, write_together


def write_half(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_written_file_is_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "one\n")
    write_text(tmp_path / "new" / "a.txt", "two\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"two\n"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ValueError])
def test_a_broken_block_keeps_the_old_file(tmp_path: Path, exception: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(exception):
        write_half(path, exception())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(HissError, match=r"a\.txt.*No space left.*unchanged"):
        write_half(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_device_that_is_full_gives_the_same_error() -> None:
    with pytest.raises(HissError, match="No space left"):
        write_text("/dev/full", "x")


def test_the_temporary_file_has_the_suffix_and_the_new_file_the_old_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("old")
    path.chmod(0o640)
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == path.parent
        temporary.write_text("new")
    assert path.stat().st_mode & 0o777 == 0o640


def test_files_that_belong_together_are_replaced_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_text("old")
    with pytest.raises(HissError, match="nothing was written"):
        write_together({tmp_path / "a": b"new", tmp_path / "b" / "c": b"new", tmp_path / "a" / "d": b"new"})
    assert (tmp_path / "a").read_text() == (tmp_path / "b" / "c").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    write_together({tmp_path / "a": b"new", tmp_path / "b" / "c": b"new"})
    assert (tmp_path / "a").read_text() == (tmp_path / "b" / "c").read_text() == "new"
