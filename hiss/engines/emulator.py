"""Exported C on an emulated Cortex-M or RISC-V: cross compiled by zig cc, run by unicorn. Needs no root.

    run = Emulator(folder, "fingertip_force", "m4f", inputs, outputs)
    run.selftest()                       # 0: every vector matches on that core
    run.count_steps(x)                   # instructions of each step, exactly as executed
    run.run(x, actions)                  # Trace: made, y and every byte of the struct after each step

An instruction is not a cycle: neither pipeline nor flash wait states are modelled.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.firmware import Firmware
from hiss.engines.toolchains import build, linked_sizes
from hiss.engines.trace import RESET, TARE, Trace, each_action
from hiss.engines.unicorn_machine import MODELS, Machine
from hiss.firmware_export.selftest import usual_samples
from hiss.program import Program, integer

CORES = tuple(MODELS)
"""The emulated cores. m0, m3 and rv32imc compute float32 in software."""


class Emulator:
    """One exported model on one emulated core.   folder: where export_c wrote it;  name: its C name.

    x_type, y_type: C types of the elements of x and y;  compiler: "zig" or "gcc" (the distribution's cross compiler);
    test: with the self-test. Without it, elf.code and elf.tables are the flash of the very image that runs.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        core: str,
        inputs: int,
        outputs: int,
        optimize: str = "-O2",
        *,
        x_type: str = "float",
        y_type: str = "float",
        compiler: str = "zig",
        test: bool = True,
    ):
        """Cross compile and load. Raises MissingExtraError without ziglang or unicorn, ExportError otherwise."""
        if core not in CORES:
            raise ValueError(f"no emulated core {core!r}; there are {', '.join(CORES)}")
        self.name, self.core = name, core
        self.firmware = Firmware(Path(folder), name, inputs, outputs, x_type, y_type)
        with tempfile.TemporaryDirectory() as built:
            self.elf = build(self.firmware, core, compiler, Path(built), optimize=optimize, test=test)
        self._machine = Machine(core, self.elf)
        self._self = self.elf.symbols["emu"]
        held = self.elf.sizes["emu"] - self.firmware.x_bytes - self.firmware.y_bytes
        self._ram = held & ~3  # the struct is made of whole words; what follows it may end in half of one
        self._x = self._self + self._ram
        self._y = self._x + self.firmware.x_bytes

    @classmethod
    def of(
        cls, firmware: Firmware, core: str, *, compiler: str = "zig", optimize: str = "-O2", test: bool = True
    ) -> Emulator:
        """The same, of what is known about the model."""
        f = firmware
        how: dict[str, Any] = {"x_type": f.x_type, "y_type": f.y_type, "compiler": compiler, "test": test}
        return cls(f.folder, f.name, core, f.inputs, f.outputs, optimize, **how)

    def selftest(self) -> int:
        """The exported self-test on this core: the number of outputs that do not match."""
        return _signed(self._machine.call(f"{self.name}_selftest", self._self))

    def reset(self) -> None:
        """<name>_reset."""
        self._machine.call(f"{self.name}_reset", self._self)

    def tare(self) -> None:
        """<name>_tare."""
        self._machine.call(f"{self.name}_tare", self._self)

    def step(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """<name>_step on one sample x: (C,); y: (D,) when it is new."""
        if not self._stepped(np.ascontiguousarray(x, self.firmware.x_dtype).tobytes()):
            return None
        raw = self._machine.read(self._y, self.firmware.y_bytes)
        return np.frombuffer(raw, self.firmware.y_dtype).copy()

    @property
    def state(self) -> bytes:
        """The bytes of the struct."""
        return self._machine.read(self._self, self._ram)

    def run(self, x: NDArray[Any], actions: NDArray[Any] | None = None) -> Trace:
        """From a struct of zeros over x (n, C), each sample after its action (n,): 1 reset, 2 tare."""
        samples = self.firmware.samples(x)
        todo = each_action(len(samples), actions)
        self._machine.write(self._self, bytes(self.elf.sizes["emu"]))
        y_at, size = self._ram + self.firmware.x_bytes, self.elf.sizes["emu"]
        made, rows = np.zeros(len(samples), bool), np.zeros((len(samples), size), np.uint8)
        for i, sample in enumerate(samples):
            self._act(todo[i])
            made[i] = self._stepped(sample.tobytes())
            rows[i] = np.frombuffer(self._machine.read(self._self, size), np.uint8)
        y = np.ascontiguousarray(rows[:, y_at : y_at + self.firmware.y_bytes]).view(self.firmware.y_dtype)
        return Trace(made, y, rows[:, : self._ram])

    def count_steps(self, x: NDArray[Any]) -> list[int]:
        """Instructions of each step over the samples x: (n, C), as executed; repeatable to the instruction."""
        self._machine.counting(True)
        try:
            return [self._counted_step(sample) for sample in x]
        finally:
            self._machine.counting(False)

    def stack_bytes(self, x: NDArray[Any]) -> int:
        """Most bytes of stack that a step over the samples x (n, C) has written to."""
        self._machine.paint_stack()
        for sample in x:
            self.step(sample)
        return self._machine.painted_over()

    def _counted_step(self, sample: NDArray[Any]) -> int:
        self._machine.count = 0
        self.step(sample)
        return self._machine.count

    def _stepped(self, x: bytes) -> bool:
        self._machine.write(self._x, x)
        return bool(self._machine.call(f"{self.name}_step", self._self, self._x, self._y) & 0xFF)

    def _act(self, action: int) -> None:
        if action == RESET:
            self.reset()
        elif action == TARE:
            self.tare()


def measure(program: Program, folder: str | Path, name: str, core: str) -> dict[str, Any]:
    """What export_c wrote into `folder`, on one emulated core.

    mismatches: of the self-test;  average, worst: instructions per step at -O2, over one whole period of usual samples;
    code_bytes: flash of the code alone at -Os, with the soft-float functions of cores that have no floating point unit.
    """
    firmware = Firmware.of(program, folder, name)
    run = Emulator.of(firmware, core)
    mismatches = run.selftest()
    run.tare()
    before = program.tare + program.latency  # in the first chunk of a spread program there is no tail yet
    x = usual_input(program, before + program.period)
    for sample in x[:before]:
        run.step(sample)
    counts = run.count_steps(x[before:])
    code = linked_sizes(firmware, core, optimize="-Os")["code"]
    return {"mismatches": mismatches, "average": float(np.mean(counts)), "worst": max(counts), "code_bytes": code}


def usual_input(program: Program, steps: int) -> NDArray[Any]:
    """(steps, C) samples of usual size, the same ones each time, as the exported step takes them."""
    x = usual_samples(program, steps)
    return x if program.formats is None else integer.samples(program, x)


def linked_bytes(
    folder: Path, name: str, core: str, inputs: int, outputs: int, optimize: str = "-Os"
) -> dict[str, int]:
    """Flash of a float32 program that only steps the model: {"code", "tables"} in bytes, with what zig brings in."""
    sizes = linked_sizes(Firmware(Path(folder), name, inputs, outputs), core, optimize=optimize)
    return {"code": sizes["code"], "tables": sizes["tables"]}


def _signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word
