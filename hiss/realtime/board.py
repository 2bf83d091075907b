"""Board in the loop: every sample of the model also goes to a board, and the board's estimates are compared with ours.

The answer to a sample is looked at before the next one is sent: no sample waits for the board, and a board never has
more than one to hold. A lost answer is asked for again; the board does not step the same sample twice.
"""

from __future__ import annotations

import json
import math
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines import AnyStepper
from hiss.engines.board_host import Contract
from hiss.errors import DeviceLostError, FormatError, MismatchError
from hiss.program import Program, integer
from hiss.realtime import board_wire as wire
from hiss.realtime.bins import LogBins
from hiss.realtime.board_link import Link
from hiss.realtime.board_wire import Message
from hiss.realtime.framing import Event
from hiss.realtime.guess import explain

HELLO_S = 5.0  # many boards start anew when their port is opened
ANSWER_S = 1.0  # of one command, all tries together
TRY_S = 0.25
_ANSWER = struct.Struct("<BI")
_PIECE = struct.Struct("<HH")


@dataclass(slots=True)
class BoardReport:
    """What the comparison found. first: of the first difference, as a sentence; "" where there is none.

    states: how many states could be compared, and how many of them were equal.
    waited: for an answer, before the next sample was sent; without a pause between samples that is the round trip.
    """

    name: str = ""
    samples: int = 0
    estimates: int = 0
    differing: int = 0
    largest: float = 0.0  # difference of an output, in its unit
    first: str = ""
    states: int = 0
    equal_states: int = 0
    retries: int = 0
    damaged: int = 0
    waited: LogBins = field(default_factory=LogBins)

    @property
    def agrees(self) -> bool:
        """Whether every estimate (and of integers every state) was as it must be."""
        return not self.first

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "board": self.name,
            "samples": self.samples,
            "estimates": self.estimates,
            "differing": self.differing,
            "largest_difference": self.largest,
            "first_difference": self.first or None,
            "states": self.states,
            "equal_states": self.equal_states,
            "retries": self.retries,
            "damaged_frames": self.damaged,
            "waited": self.waited.as_dict(),
        }

    def as_text(self) -> str:
        """A line for people."""
        states = f" · {self.equal_states} of {self.states} states equal" if self.states else ""
        waited = self.waited.as_dict()
        return (
            f"board     {self.name}: {self.samples} samples, {self.estimates} estimates, {self.differing} differ"
            f" (largest difference {self.largest:.3g}){states} · {self.retries} retries · "
            f"waited for it p50 {waited['p50_us']} us, p99 {waited['p99_us']} us"
        )


@dataclass(slots=True)
class _Sent:
    """A sample on its way, and what must come back."""

    frame: bytes
    seq: int
    sample: int
    y: NDArray[Any] | None
    taring: bool
    state: int | None


class BoardStepper:
    """A stepper and a board beside it, with the interface of a stepper: the estimates given out are the stepper's own.

    link: to the board, open;  say: takes the events (the first difference, a lost answer).
    Raises FormatError where nobody answers, MismatchError for a board with another model.
    """

    def __init__(
        self,
        stepper: AnyStepper,
        contract: Contract,
        link: Link,
        say: Callable[[Event], None] = lambda event: None,
    ):
        self.stepper = stepper
        self.program: Program = stepper.program
        self.contract = contract
        self.link = link
        self.say = say
        self.report = BoardReport(link.name)
        self._receiver = wire.Receiver()
        self._head = b""
        self._seq = 0
        self._sent: _Sent | None = None
        self._scale = _y_scale(self.program)
        self._same_c = isinstance(getattr(stepper, "state", None), bytes)
        self.info = self._hello()
        self._command(wire.TARE)

    def step(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """x: (C,) raw sample -> the stepper's own estimate; the board gets the sample too."""
        x = np.asarray(x)
        self.settle()
        if self.contract.tolerance is None and not np.isfinite(x).all():
            return self._uncounted(x)
        seq = self._next_seq()
        frame = wire.encode(Message(wire.SAMPLE, seq, _us(time.monotonic_ns()), self._payload(x)))
        self.link.write(frame)
        y = self.stepper.step(x)
        self._sent = _Sent(frame, seq, self.report.samples, y, self.stepper.taring, self._state())
        self.report.samples += 1
        return y

    def reset(self) -> None:
        """Fresh state on both sides; the tare is kept."""
        self.settle()
        self.stepper.reset()
        self._command(wire.RESET)

    def tare(self) -> None:
        """Fresh state on both sides, and the tare is measured anew."""
        self.settle()
        self.stepper.tare()
        self._command(wire.TARE)

    @property
    def taring(self) -> bool:
        """True while the tare is being measured."""
        return self.stepper.taring

    def settle(self) -> BoardReport:
        """Wait for the answer that is on its way, if one is, and compare it."""
        sent, self._sent = self._sent, None
        if sent is not None:
            from_ns = time.monotonic_ns()
            answer = self._answer(sent.frame, sent.seq, f"sample {sent.sample}")
            self.report.waited.add(time.monotonic_ns() - from_ns)
            self._compare(sent, answer)
        self.report.damaged = self._receiver.damaged
        return self.report

    # ---- comparing ----

    def _compare(self, sent: _Sent, answer: Message) -> None:
        flags, state = _ANSWER.unpack_from(answer.payload)
        y = np.frombuffer(answer.payload, self.contract.y, offset=_ANSWER.size)
        made = bool(flags & wire.NEW)
        if len(y) != (len(self.program.outputs) if made else 0):
            raise FormatError(f"{self.link.name}: an answer with {len(y)} outputs; is its program damaged?")
        self._compare_states(sent, state)
        if made != (sent.y is not None) or bool(flags & wire.TARING) != sent.taring:
            here = _moment(sent.y is not None, wire.TARING * sent.taring)
            self._differs(sent, f"the board {_moment(made, flags)}, here it {here}")
            return
        if sent.y is not None:
            self.report.estimates += 1
            self._compare_values(sent, sent.y, y.astype(np.float64) * self._scale)

    def _compare_values(self, sent: _Sent, here: NDArray[Any], board: NDArray[np.float64]) -> None:
        """Of integers the numbers in their units are exact in float32, so equal numbers are equal bits."""
        difference = np.abs(here.astype(np.float64) - board)
        difference[np.isnan(here) & np.isnan(board)] = 0
        allowed = 0.0 if self.contract.tolerance is None else self.contract.tolerance
        self.report.largest = max(self.report.largest, float(np.nan_to_num(difference, nan=math.inf).max(initial=0)))
        wrong = np.flatnonzero(~(difference <= allowed))
        if len(wrong):
            k = int(wrong[0])
            port = self.program.outputs[k]
            self._differs(sent, f"{port.name}: board {board[k]:.9g}, here {here[k]:.9g} {port.unit}".rstrip())

    def _compare_states(self, sent: _Sent, state: int) -> None:
        """States of floating point may differ in their last bits, so there they are only counted."""
        if sent.state is None:
            return
        self.report.states += 1
        self.report.equal_states += state == sent.state
        if state != sent.state and self.contract.tolerance is None and not self.report.first:
            self._first(sent, f"the states differ (board 0x{state:08x}, here 0x{sent.state:08x})")

    def _differs(self, sent: _Sent, what: str) -> None:
        self.report.differing += 1
        self._first(sent, what)

    def _first(self, sent: _Sent, what: str) -> None:
        if not self.report.first:
            self.report.first = f"sample {sent.sample}: {what}"
            self.say(Event("board-differs", self.report.first))

    def _state(self) -> int | None:
        """The CRC-32 that the board tells too, where the stepper is the same C."""
        if not self._same_c:
            return None
        state: bytes = self.stepper.state  # type: ignore[attr-defined]
        start, end = self.contract.scratch
        return zlib.crc32(state[end:], zlib.crc32(state[:start]))

    def _uncounted(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """A sample that is not finite has no integers: while taring it does not count, later nobody may send it."""
        if not self.taring:
            raise ValueError("a sample that is not finite cannot go to a board that computes in integers")
        return self.stepper.step(x)

    def _payload(self, x: NDArray[Any]) -> bytes:
        whole = self.contract.tolerance is None
        return (integer.samples(self.program, x) if whole else x).astype(self.contract.x).tobytes()

    # ---- talking ----

    def _next_seq(self) -> int:
        self._seq = (self._seq + 1) & 0xFFFF
        return self._seq

    def _command(self, kind: int) -> None:
        seq = self._next_seq()
        frame = wire.encode(Message(kind, seq, _us(time.monotonic_ns())))
        self.link.write(frame)
        self._answer(frame, seq, "a command")

    def _answer(self, frame: bytes, seq: int, what: str) -> Message:
        """The answer to a frame that was sent; after TRY_S without one it is sent again."""
        end_s = time.monotonic() + ANSWER_S
        while True:
            try_end_s = min(end_s, time.monotonic() + TRY_S)
            while (now_s := time.monotonic()) < try_end_s:
                for message in self._receiver.feed(self.link.read()):
                    if message.kind == wire.REFUSED and message.seq == seq:
                        raise MismatchError(
                            f"{self.link.name} refuses {what} (reason {message.payload.hex()}): it was built from "
                            "other sources than this model's; export and flash it again"
                        )
                    if message.kind == wire.ANSWER and message.seq == seq and len(message.payload) >= _ANSWER.size:
                        return message
            if now_s >= end_s:
                raise DeviceLostError(f"{self.link.name}: no answer to {what} in {ANSWER_S:g} s; did the board hang?")
            self.report.retries += 1
            self.link.write(b"\0" + frame)

    def _hello(self) -> dict[str, Any]:
        """The board's info, checked against the model."""
        end_s, text = time.monotonic() + HELLO_S, b""
        while (piece := self._piece(len(text), end_s)) is not None:
            text += piece
            if not piece:
                return self._checked(text)
        raise FormatError(
            f"{self.link.name}: no answer of a board in {HELLO_S:g} s; {explain(self._head)}. Does it run a program "
            "exported with --board?"
        )

    def _piece(self, offset: int, end_s: float) -> bytes | None:
        """Some bytes of the info from offset on, b"" at its end; None when it is too late."""
        while time.monotonic() < end_s:
            self.link.write(b"\0" + wire.encode(Message(wire.INFO, self._next_seq(), 0, struct.pack("<H", offset))))
            try_end_s = time.monotonic() + TRY_S
            while time.monotonic() < try_end_s:
                data = self.link.read()
                self._head = (self._head + data)[:512]
                for message in self._receiver.feed(data):
                    if message.kind == wire.INFO_IS and len(message.payload) >= _PIECE.size:
                        at, _ = _PIECE.unpack_from(message.payload)
                        if at == offset:
                            return message.payload[_PIECE.size :]
        return None

    def _checked(self, text: bytes) -> dict[str, Any]:
        try:
            info: dict[str, Any] = json.loads(text)
            version, name = int(str(info["version"]), 16), str(info["name"])
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{self.link.name}: what the board says of itself cannot be read ({error})") from error
        if version != self.contract.version:
            raise MismatchError(
                f"{self.link.name}: the board runs {name!r} of version 0x{version:08x}, but this model is "
                f"0x{self.contract.version:08x}; export this model and flash it (or was it exported with --spread?)"
            )
        self.report.name = f"{name} on {self.link.name}"
        return info


def _y_scale(program: Program) -> NDArray[np.float64]:
    """(D,): an estimate on the wire times this is in its unit."""
    count = len(program.outputs)
    return np.ones(count) if program.formats is None else integer.estimates(program, np.ones(count, np.int64))


def _moment(made: bool, flags: int) -> str:
    return "made an estimate" if made else "measures the tare" if flags & wire.TARING else "made none"


def _us(ns: int) -> int:
    return ns // 1000 & 0xFFFFFFFF
