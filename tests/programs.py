"""Random valid programs over every op, for the laws that hold for all of them."""

from __future__ import annotations

import numpy as np

from hiss.program import Port, Program, Stage
from hiss.program import ops as o


class Maker:
    """Draws ops with their constants; every value has the width n."""

    def __init__(self, rng: np.random.Generator, n: int):
        self.rng, self.n, self.count = rng, n, 0

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape) / np.sqrt(shape[-1])

    def affine(self, known: list[str]) -> o.Op:
        reads = tuple(self.rng.choice(known, size=min(2, len(known)), replace=False).tolist())
        return o.Affine(self.name(), reads, tuple(self.normal(self.n, self.n) for _ in reads), self.normal(self.n))

    def diagonal(self, known: list[str]) -> o.Op:
        modes = (self.n, 3)
        a = self.rng.uniform(0.3, 0.99, modes) * np.exp(1j * self.rng.uniform(0, 3, modes))
        c = self.normal(*modes) + 1j * self.normal(*modes)
        return o.Diagonal(self.name(), self.any(known), a, c, self.normal(self.n), self.flag())

    def fir(self, known: list[str]) -> o.Op:
        taps = self.normal(self.n, int(self.rng.integers(1, 6)))
        return o.Fir(self.name(), self.any(known), taps, self.normal(self.n), self.flag())

    def delay(self, known: list[str], feedback: str | None = None) -> o.Op:
        initial = "zero" if feedback else str(self.rng.choice(["zero", "first"]))
        ages, channels = self.rng.integers(1, 7, self.n), self.rng.integers(0, self.n, self.n)
        return o.Delay(self.name(), feedback or self.any(known), ages, channels, initial, self.flag())

    def selective(self, known: list[str]) -> list[o.Op]:
        width = 2
        step = o.Affine(self.name(), (self.any(known),), (self.normal(self.n, self.n),), self.normal(self.n))
        delta = o.Map(self.name(), step.out, "softplus")
        b, c = (
            o.Affine(self.name(), (self.any(known),), (self.normal(width, self.n),), self.normal(width)) for _ in "bc"
        )
        a = -self.rng.uniform(0.5, 4, (self.n, width))
        scan = o.Selective(self.name(), self.any(known), delta.out, b.out, c.out, a, self.normal(self.n), self.flag())
        return [step, delta, b, c, scan]

    def map(self, known: list[str]) -> list[o.Op]:
        bounded = o.Map(self.name(), self.any(known), "clip", -1.0, 2.5)  # exp of what is not bounded overflows
        return [bounded, o.Map(self.name(), bounded.out, str(self.rng.choice(o.FUNCTIONS)), -1.0, 1.5)]

    def norm(self, known: list[str]) -> o.Op:
        kind = str(self.rng.choice(["layer", "rms"]))
        return o.Norm(self.name(), self.any(known), kind, self.normal(self.n), self.normal(self.n))

    def add(self, known: list[str]) -> o.Op:
        return o.Add(self.name(), (self.any(known), self.any(known)), (1, int(self.rng.choice([-1, 1]))))

    def mul(self, known: list[str]) -> o.Op:
        squash = self.any(known)
        return o.Mul(self.name(), (squash, self.any(known)))

    def any(self, known: list[str]) -> str:
        return str(self.rng.choice(known))

    def flag(self) -> bool:
        return bool(self.rng.integers(2))

    def ops(self, known: list[str], count: int, memory_reads: list[str] | None = None) -> list[o.Op]:
        """`count` draws; what remembers reads only `memory_reads` where that is given (the ops of `last`)."""
        made: list[o.Op] = []
        for _ in range(count):
            kind = str(
                self.rng.choice(["affine", "diagonal", "fir", "delay", "map", "norm", "add", "mul", "selective"])
            )
            remembers = kind in ("diagonal", "fir", "delay", "selective")
            reads = memory_reads if remembers and memory_reads is not None else known
            if kind == "selective" and memory_reads is not None:
                continue  # its D and B are made by ops of its own, which must stand in `every`
            drawn = getattr(self, kind)(reads)
            for op in drawn if isinstance(drawn, list) else [drawn]:
                made.append(op)
                if getattr(op, "bias", np.zeros(self.n)).shape == (self.n,):
                    known = [*known, op.out]
        return made


def random_program(seed: int, *, feedback: bool = False, tare: int | None = None) -> Program:
    """A valid program of two stages with every kind of op somewhere over the seeds."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 5))
    make = Maker(rng, n)
    offset, shift = rng.normal(size=n) * 50, rng.integers(3, 6, n)
    first = o.Input(
        "z", offset, shift, offset - 200.0, offset + 200.0, int(rng.integers(0, 4)) if tare is None else tare
    )
    stages, known = [], ["z"]
    for index in range(2):
        period = int(rng.integers(1, 5)) if index == 0 else int(rng.integers(1, 3))
        every = make.ops(known, int(rng.integers(2, 6)))
        if feedback and index == 0:
            loop = make.delay([], feedback="loop")
            every = [loop, *every, o.Map("loop", every[-1].out if _wide(every[-1], n) else "z", "tanh")]
        wide = known + [op.out for op in every if _wide(op, n)]
        last = make.ops(wide, int(rng.integers(1, 4)), memory_reads=wide)
        ready = wide + [op.out for op in last if _wide(op, n)]
        hands = tuple(dict.fromkeys(rng.choice(ready, size=2).tolist()))
        if index == 0:
            every = [first, *every]
        stages.append(Stage(period, tuple(every), tuple(last), hands))
        known = list(hands)
    width = n * len(stages[-1].hands)
    inputs = tuple(Port(f"x{i}", "uT") for i in range(n))
    return Program(inputs, tuple(Port(f"y{i}", "N") for i in range(width)), 100.0, tuple(stages), {"seed": seed})


def _wide(op: o.Op, n: int) -> bool:
    return not (isinstance(op, o.Affine) and len(op.bias) != n)


def random_samples(program: Program, steps: int, seed: int = 0) -> np.ndarray:
    """(steps, C) raw samples around the declared range of the program's Input, some beyond it."""
    first = program.stages[0].every[0]
    assert isinstance(first, o.Input)
    rng = np.random.default_rng(seed)
    scale = np.exp2(first.shift)
    return (first.offset + scale * rng.standard_normal((steps, len(scale))) * 2).astype(np.float32)
