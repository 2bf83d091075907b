"""Downloads that go on where they broke off and are what they should be (size and SHA-256)."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from hiss.errors import HissError, NetworkError

ATTEMPTS = 4  # in a row without a new byte
WAIT_S = 0.3  # before the second attempt; doubled each time
TIMEOUT_S = 20.0
BLOCK = 1 << 16
FAILURES = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


def fetch(url: str, path: Path, *, size: int, sha256: str, on_bytes: Callable[[int], None] = lambda n: None) -> None:
    """Make `path` the file at `url`. A file that is there already and right is kept; PATH.part is continued.

    on_bytes is told how many bytes have come, negative when some had to be thrown away.
    Raises NetworkError when the server cannot be reached or its file is another one, HissError when the disk refuses.
    """
    if path.is_file() and path.stat().st_size == size and _sha256(path) == sha256:
        on_bytes(size)
        return
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() else 0
        on_bytes(have)
        _until_right(url, part, size, sha256, on_bytes)
        part.replace(path)
    except FAILURES as error:
        raise NetworkError(_advice(url, error)) from error
    except OSError as error:
        raise HissError(f"{path}: cannot be written ({error.strerror or error})") from error


def _until_right(url: str, part: Path, size: int, sha256: str, on_bytes: Callable[[int], None]) -> None:
    failed = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if before < size:
                _continue(url, part, before, on_bytes)
            _check(url, part, size, sha256, on_bytes)
            return
        except FAILURES as error:
            if (
                isinstance(error, urllib.error.HTTPError)
                and 400 <= error.code < 500
                and error.code not in (408, 416, 429)
            ):
                raise  # asking again changes nothing
            failed = 0 if part.exists() and part.stat().st_size > before else failed + 1
            if failed == ATTEMPTS:
                raise
            time.sleep(WAIT_S * 2 ** max(0, failed - 1))


def _continue(url: str, part: Path, start: int, on_bytes: Callable[[int], None]) -> None:
    """Append what is missing; start over when the server does not know how to go on."""
    if not url.startswith(("http://", "https://")):
        raise HissError(f"{url}: not a web address")
    headers = {"User-Agent": "hiss", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        goes_on = response.status == 206
        if start and not goes_on:
            on_bytes(-start)
        with open(part, "ab" if goes_on else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                on_bytes(len(block))


def _check(url: str, part: Path, size: int, sha256: str, on_bytes: Callable[[int], None]) -> None:
    have = part.stat().st_size
    if have < size:
        raise http.client.IncompleteRead(b"", size - have)
    if have == size and _sha256(part) == sha256:
        return
    on_bytes(-have)
    part.unlink()  # nothing of it can be trusted
    raise http.client.HTTPException(f"the file has other bytes than expected ({have} of {size}, SHA-256 differs)")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _advice(url: str, error: BaseException) -> str:
    host = urllib.parse.urlsplit(url).hostname
    if isinstance(error, urllib.error.HTTPError):
        with contextlib.closing(error):
            return f"{url}: the server answers {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return (
        f"{url}: cannot be downloaded ({reason or type(error).__name__}). Is this machine offline, or {host} blocked? "
        "What has come is kept, and the same command goes on from there; without a network, "
        "'hiss datasets make simulated_skin' gives simulated recordings"
    )
