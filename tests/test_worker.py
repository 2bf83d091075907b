"""A process that trains beside others does not outlive whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

if os.name != "posix":
    pytest.skip("signals and processes of POSIX", allow_module_level=True)

SCRIPT = """
import multiprocessing, os, sys, time

def work():
    {begin}
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
"""
BEGIN = "from hiss.training.worker import become_worker; become_worker()"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to look at processes with")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_ends_with_its_parent(tmp_path: Path, number: int) -> None:
    (tmp_path / "start.py").write_text(SCRIPT.format(begin=BEGIN))
    parent = subprocess.Popen([sys.executable, str(tmp_path / "start.py")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.send_signal(number)
    parent.wait()
    end = time.monotonic() + 20
    while alive(worker) and time.monotonic() < end:
        time.sleep(0.05)
    left = alive(worker)
    if left:
        os.kill(worker, signal.SIGKILL)
    assert not left
