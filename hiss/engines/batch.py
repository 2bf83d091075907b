"""Cores that take a file of samples and leave a file of all they remember: this computer, qemu, simavr."""

from __future__ import annotations

import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.firmware import Firmware
from hiss.engines.trace import Trace, each_action
from hiss.errors import ExportError

SECONDS = 600
"""How long a run may take: a core that hangs is an error."""


class BatchCore(ABC):
    """One exported model on one core, run as a process in a folder of its own."""

    def __init__(self, firmware: Firmware):
        self.firmware = firmware
        self._held = tempfile.TemporaryDirectory(prefix="hiss-core-", ignore_cleanup_errors=True)
        self.folder = Path(self._held.name)

    @abstractmethod
    def _command(self, *, count: bool) -> Sequence[str | Path]:
        """What reads in.bin and writes out.bin, run in self.folder; `count`: also counts.bin."""

    def run(self, x: NDArray[Any], actions: NDArray[Any] | None = None, *, count: bool = False) -> Trace:
        """The self-test; then, from a struct of zeros, x (n, C), each sample after its action (n,): 1 reset, 2 tare.

        count: instructions of each step, where the core can count them. Raises ExportError when the run fails.
        """
        samples = self.firmware.samples(x)
        before = np.array(each_action(len(samples), actions), np.uint8)
        rows = np.column_stack([before, samples.view(np.uint8).reshape(len(samples), self.firmware.x_bytes)])
        (self.folder / "in.bin").write_bytes(rows.tobytes())
        self._execute(self._command(count=count))
        trace = Trace.read((self.folder / "out.bin").read_bytes(), self.firmware, len(samples))
        return replace(trace, counts=self._counts(len(samples)) if count else None, **self._extras())

    def selftest(self) -> int:
        """The exported self-test on this core: the number of outputs that do not match."""
        return self.run(np.zeros((0, self.firmware.inputs), self.firmware.x_dtype)).mismatches

    def _extras(self) -> dict[str, Any]:
        return {}

    def _counts(self, steps: int) -> NDArray[np.int64]:
        counts = np.fromfile(self.folder / "counts.bin", "<u8").astype(np.int64)
        if len(counts) != steps:
            raise ExportError(f"{len(counts)} steps were counted; expected {steps}")
        return counts

    def _execute(self, command: Sequence[str | Path]) -> None:
        words = [str(word) for word in command]
        for old in ("out.bin", "counts.bin", "stack.bin"):
            (self.folder / old).unlink(missing_ok=True)
        try:
            done = subprocess.run(
                words, cwd=self.folder, capture_output=True, text=True, check=False, timeout=SECONDS, errors="replace"
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"{words[0]}: no end after {SECONDS} s; the firmware hangs on this core") from error
        except OSError as error:
            raise ExportError(f"{words[0]} does not start ({error.strerror})") from error
        if done.returncode != 0:
            said = "\n".join((done.stderr or done.stdout).strip().splitlines()[:20])
            raise ExportError(f"{words[0]} ended with {done.returncode}:\n{said}")
