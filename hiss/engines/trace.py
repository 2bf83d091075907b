"""All that a model gave and remembers after every step, on one core; and where two cores first differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiss.engines.firmware import Firmware
from hiss.errors import ExportError
from hiss.firmware_export.layout import Member

NONE, RESET, TARE = 0, 1, 2
"""What is done before a step."""

DEAD = ("scratch", "unused")
"""Members of the struct that no later step reads."""

_WHOLE = {f"{u}int{bits}_t": f"<{u or 'i'}{bits // 8}" for u in ("", "u") for bits in (8, 16, 32, 64)}
_KINDS = {"float": "<f4", **_WHOLE}


@dataclass(frozen=True)
class Trace:
    """made: (n,) True where y is new;  y: (n, D) as it stands after each step;  state: (n, bytes of the struct).

    mismatches: of the self-test, run before;  counts: (n,) instructions or, where `cycles`, clock cycles of each step,
    or None;  stack: bytes used by the deepest call, or None where it is not measured.
    """

    made: NDArray[np.bool_]
    y: NDArray[np.generic]
    state: NDArray[np.uint8]
    mismatches: int = 0
    counts: NDArray[np.int64] | None = None
    cycles: bool = False
    stack: int | None = None

    @classmethod
    def read(cls, raw: bytes, firmware: Firmware, steps: int) -> Trace:
        """What drive.c wrote. Raises ExportError when steps are missing."""
        ram, wrong = (int(word) for word in np.frombuffer(raw[:8], "<i4")) if len(raw) >= 8 else (0, 0)
        x_bytes, y_bytes = firmware.x_bytes, firmware.y_bytes
        width = ram + x_bytes + y_bytes + 1
        if len(raw) != 8 + steps * width:
            raise ExportError(f"the core wrote {len(raw)} bytes; expected {steps} steps of {width} bytes and 8 before")
        table = np.frombuffer(raw, np.uint8, offset=8).reshape(steps, width)
        y = np.ascontiguousarray(table[:, ram + x_bytes : -1]).view(firmware.y_dtype)
        return cls(table[:, -1].astype(bool), y, table[:, :ram], wrong)


def each_action(steps: int, actions: NDArray[np.integer] | None) -> list[int]:  # type: ignore[type-arg]
    """One action per step; None: a tare before the first. Raises ValueError for another number of them."""
    if actions is None:
        return [TARE, *[NONE] * (steps - 1)][:steps]
    if len(actions) != steps or not np.isin(actions, (NONE, RESET, TARE)).all():
        raise ValueError(f"{len(actions)} actions for {steps} samples; expected 0, 1 (reset) or 2 (tare) for each")
    return [int(action) for action in actions]


def live_bytes(members: list[Member]) -> NDArray[np.bool_]:
    """(bytes of the struct,): True where a later step may read."""
    return np.concatenate([np.full(_size(m), m.name not in DEAD) for m in members])


def first_difference(
    trace: Trace, reference: Trace, members: list[Member], live: NDArray[np.bool_] | None = None
) -> str | None:
    """The first step at which two traces differ in made, y or a live byte, in words; None where they are equal.

    members: of the struct, Layout.members;  live: (bytes,) or (n, bytes), else all but DEAD.
    """
    if trace.state.shape != reference.state.shape:
        return f"states of shape {trace.state.shape} against {reference.state.shape}"
    alive = live_bytes(members) if live is None else live
    state = (trace.state != reference.state) & alive
    wrong = state.any(1) | (trace.made != reference.made) | (_raw(trace.y) != _raw(reference.y)).any(1)
    if not wrong.any():
        return None
    step = int(np.argmax(wrong))
    return f"step {step}: {_told(trace, reference, members, state[step], step)}"


def differing_bits(trace: Trace, reference: Trace, members: list[Member]) -> int:
    """Bits in which made, y and the live bytes differ, over all steps."""
    state = (trace.state ^ reference.state) & np.where(live_bytes(members), 255, 0).astype(np.uint8)
    outputs = _raw(trace.y) ^ _raw(reference.y)
    bits = np.unpackbits(state).sum(dtype=np.int64) + np.unpackbits(outputs).sum(dtype=np.int64)
    return int(bits + (trace.made != reference.made).sum())


def _told(trace: Trace, reference: Trace, members: list[Member], state: NDArray[np.bool_], step: int) -> str:
    if trace.made[step] != reference.made[step]:
        return f"made {bool(trace.made[step])}, expected {bool(reference.made[step])}"
    if state.any():
        return _member_told(trace.state[step], reference.state[step], members, int(np.argmax(state)))
    place = int(np.argmax(_raw(trace.y)[step] != _raw(reference.y)[step])) // trace.y.dtype.itemsize
    return f"y[{place}] = {trace.y[step, place]}, expected {reference.y[step, place]}"


def _member_told(got: NDArray[np.uint8], expected: NDArray[np.uint8], members: list[Member], byte: int) -> str:
    begin = 0
    for member in members:
        if byte < begin + _size(member):
            kind = np.dtype(_KINDS[member.kind])
            index = (byte - begin) // kind.itemsize
            both = (row[begin : begin + _size(member)].view(kind)[index] for row in (got, expected))
            return "{}[{}] = {}, expected {}".format(member.name, index, *both)
        begin += _size(member)
    raise ValueError(f"byte {byte} lies beyond the {begin} bytes of the members")


def _size(member: Member) -> int:
    return np.dtype(_KINDS[member.kind]).itemsize * max(member.count, 1)


def _raw(y: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(y).view(np.uint8)
