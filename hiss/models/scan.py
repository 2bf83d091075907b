"""Mamba's selective scan over whole sequences, block by block, with its own backward.

T: steps;  B: sequences;  D: channels;  N: states per channel;  R: steps that are read.
u, delta: (T, B, D);  a: (N, D), negative;  b: (T, B, N);  c: (R, B, N).

    h_t = exp(delta_t a) h_{t-1} + delta_t b_t u_t        # (B, N, D), from zero
    y_t = sum_n c_t h_t                                   # (B, D), at the steps that are read

A decay never exceeds 1 and is never divided by, so nothing overflows however long the sequence is. The states of one
block are held at a time, few enough for a cache; backward makes them again from the state that each block began with.
Time and memory are linear in T. Formulas: Gu and Dao 2023, Mamba, arXiv 2312.00752.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hiss.models.stack import full_precision

BLOCK = 1 << 17
"""States (steps x sequences x N x D) of a block, about."""
FEWEST = 8
"""Steps that a block should hold at least; sequences are split before it gets shorter."""


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, read: slice = slice(None)) -> Tensor:
    """y (R, B, D) at the steps `read` of T. Gradients of all five arguments, once."""
    first, _, every = read.indices(len(u))
    with full_precision(u.device):  # a sum over all steps keeps its digits
        given = (each.to(a.dtype) for each in (u, delta, a, b, c))
        y: Tensor = _Scan.apply(*given, first, every)  # type: ignore[no-untyped-call]
    return y


@dataclass(frozen=True)
class _Block:
    """Steps and sequences that are done together, and the reads among them."""

    steps: slice
    rows: slice
    reads: slice  # of y and c
    inner: slice  # of the block's steps

    @property
    def at(self) -> tuple[slice, slice]:
        """Its place in (T, B, ...)."""
        return self.steps, self.rows

    @property
    def read_at(self) -> tuple[slice, slice]:
        """Its place in (R, B, ...)."""
        return self.reads, self.rows


class _Room:
    """Buffers of a block, used again and again, as fresh memory costs more than what is done in it."""

    def __init__(self, like: Tensor, steps: int, rows: int, a: Tensor, names: tuple[str, ...]):
        self.rows = rows
        self.whole = {name: like.new_empty((steps, rows, *a.shape)) for name in names}
        self.step = {name: buffer.unbind(0) for name, buffer in self.whole.items()}

    def buffer(self, name: str, steps: int) -> Tensor:
        """(steps, rows, N, D)"""
        return self.whole[name][:steps]

    def states(self, block: _Block, given: _Given, h: Tensor) -> tuple[Tensor, Tensor]:
        """(decay, h), each (steps, rows, N, D), of a block that begins after state h."""
        count = block.steps.stop - block.steps.start
        decay, states = self.buffer("decay", count), self.buffer("states", count)
        torch.mul(given.delta[block.at][:, :, None], given.a, out=decay).exp_()
        torch.mul(given.b[block.at][..., None], given.drive[block.at][:, :, None], out=states)
        for decay_t, h_t in zip(self.step["decay"][:count], self.step["states"], strict=False):
            h = h_t.addcmul_(decay_t, h)
        return decay, states

    def gradients(self, block: _Block, c: Tensor, dy: Tensor, carried: Tensor) -> Tensor:
        """dL/dh (steps, rows, N, D): what each step's read says, and what comes back from the step after it."""
        count = block.steps.stop - block.steps.start
        grads = self.buffer("grads", count)
        c, dy = c[block.read_at][..., None], dy[block.read_at][:, :, None]
        if len(c) == count:
            torch.mul(c, dy, out=grads)
        else:
            grads.zero_()[block.inner] = c * dy
        last = self.step["grads"][count - 1].add_(carried)
        for t in range(count - 2, -1, -1):
            last = self.step["grads"][t].addcmul_(self.step["decay"][t + 1], last)
        return grads


@dataclass(frozen=True)
class _Given:
    delta: Tensor
    a: Tensor
    b: Tensor
    drive: Tensor  # delta u


def _groups(shape: torch.Size, states: int, first: int, every: int) -> Iterator[list[_Block]]:
    """Some sequences after the other: their blocks, in order."""
    steps, batch = shape[:2]
    few = max(1, min(batch, BLOCK // (states * min(FEWEST, steps))))
    for low in range(0, batch, few):
        rows = slice(low, min(batch, low + few))
        length = min(steps, max(1, BLOCK // (states * (rows.stop - low))))
        yield [_block(t, min(steps, t + length), rows, first, every) for t in range(0, steps, length)]


def _block(begin: int, end: int, rows: slice, first: int, every: int) -> _Block:
    low, high = (max(0, -(-(t - first) // every)) for t in (begin, end))
    return _Block(slice(begin, end), rows, slice(low, high), slice(first + low * every - begin, None, every))


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, first: int, every: int) -> Tensor:
        """y (R, B, D)."""
        given, starts, room = _Given(delta, a, b, delta * u), [], None
        y = u.new_empty((len(range(first, len(u), every)), *u.shape[1:]))
        for group in _groups(u.shape, a.numel(), first, every):
            room = _room(room, u, a, group, ("decay", "states"))
            h = u.new_zeros((room.rows, *a.shape))
            for block in group:
                starts.append(h)
                states = room.states(block, given, h)[1]
                y[block.read_at] = (c[block.read_at][..., None, :] @ states[block.inner])[..., 0, :]
                h = states[-1].clone()
        ctx.save_for_backward(u, delta, a, b, c, *starts)
        ctx.first, ctx.every = first, every
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of u, delta, a, b, c."""
        u, delta, a, b, c, *starts = ctx.saved_tensors
        given, room, at = _Given(delta, a, b, delta * u), None, 0
        d_drive, d_delta, d_a, d_b, d_c = (torch.zeros_like(like) for like in (u, delta, a, b, c))
        for group in _groups(u.shape, a.numel(), ctx.first, ctx.every):
            room = _room(room, u, a, group, ("decay", "states", "grads"))
            carried = u.new_zeros((room.rows, *a.shape))  # decay of the step after the block times its gradient
            for block, start in reversed(list(zip(group, starts[at:], strict=False))):
                flow, states = room.states(block, given, start)
                grads = room.gradients(block, c, dy, carried)
                d_c[block.read_at] = (states[block.inner] @ dy[block.read_at][..., None])[..., 0]
                d_b[block.at] = (grads @ given.drive[block.at][..., None])[..., 0]
                d_drive[block.at] = (b[block.at][..., None, :] @ grads)[..., 0, :]
                flow.mul_(grads)
                carried = flow[0].clone()
                flow[0].mul_(start)  # now flow = d(delta a): decay x gradient x state before the step
                flow[1:].mul_(states[:-1])
                d_a += torch.mul(flow, delta[block.at][:, :, None], out=states).sum((0, 1))
                d_delta[block.at] = flow.mul_(a).sum(2)
            at += len(group)
        return d_drive * delta, d_delta.addcmul_(d_drive, u), d_a, d_b, d_c, None, None


def _room(before: _Room | None, like: Tensor, a: Tensor, group: list[_Block], names: tuple[str, ...]) -> _Room:
    steps, rows = (part.stop - part.start for part in (group[0].steps, group[0].rows))
    return before if before is not None and before.rows == rows else _Room(like, steps, rows, a, names)
