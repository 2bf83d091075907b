"""The sensor of `hiss bench-live`: a process of its own that sends frames on a pseudo-terminal at a steady rate.

Frame: AA 55 | sequence u16 | clock u32 us | channels f32 | sum16 of all behind AA 55.
python -m hiss.realtime.bench_board CHANNELS RATE FRAMES prints the port, then what it sent as JSON, and leaves with
its reader.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hiss.realtime.devices.declared import DeclaredDecoder
from hiss.realtime.devices.declared_layout import layout_from

BLOCK = 500  # frames made at a time
SWING = 300.0  # of a channel about 0


def declaration(names: Sequence[str], units: Sequence[str]) -> dict[str, Any]:
    """The frame as a device file says it."""
    channels = [{"name": n, "type": "f32", "unit": u} for n, u in zip(names, units, strict=True)]
    clock = {"role": "clock", "type": "u32", "unit": "us"}
    fields = [{"role": "sequence", "type": "u16"}, clock, *channels]
    return {"framing": "sync", "sync": "AA 55", "checksum": "sum16", "fields": fields}


def bench_decoder(names: Sequence[str], units: Sequence[str]) -> DeclaredDecoder:
    """What reads the frames."""
    return DeclaredDecoder(layout_from(declaration(names, units)))


def blocks(channels: int, rate_hz: float, frames: int) -> Iterator[npt.NDArray[np.uint8]]:
    """The bytes of all frames, some at a time: (n, bytes of a frame)."""
    kind = np.dtype([("sync", "S2"), ("i", "<u2"), ("us", "<u4"), ("x", "<f4", (channels,)), ("sum", "<u2")])
    phases = 2.3 * np.arange(channels)
    for begin in range(0, frames, BLOCK):
        i = np.arange(begin, min(begin + BLOCK, frames))
        made = np.zeros(len(i), kind)
        made["sync"], made["i"], made["us"] = b"\xaa\x55", i & 0xFFFF, np.round(i * 1e6 / rate_hz).astype(np.uint64)
        made["x"] = SWING * np.sin(i[:, None] / rate_hz * (2 + phases) + phases)
        raw = made.view(np.uint8).reshape(len(i), kind.itemsize)
        made["sum"] = raw[:, 2:-2].sum(1, dtype=np.uint32) & 0xFFFF
        yield raw


@dataclass
class Sent:
    """What came of it: frames, and how late the latest of them was, s."""

    frames: int = 0
    late_max_s: float = 0.0


def send(port: Any, channels: int, rate_hz: float, frames: int) -> Sent:
    """Send all frames, each when it is due; those that are due by then go together. Ends when the reader leaves."""
    sent, start_ns, period_ns = Sent(), time.monotonic_ns(), 1e9 / rate_hz
    for block in blocks(channels, rate_hz, frames):
        at = 0
        while at < len(block):
            due_ns = start_ns + round((sent.frames) * period_ns)
            if (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(left_ns * 1e-9)
            due = int((time.monotonic_ns() - start_ns) / period_ns) + 1 - sent.frames
            some = block[at : at + max(1, due)]
            if not port.write(some.tobytes(), lambda: False):
                return sent
            at += len(some)
            sent.frames += len(some)
            sent.late_max_s = max(sent.late_max_s, (time.monotonic_ns() - due_ns) * 1e-9)
    return sent


def main(channels: int, rate_hz: float, frames: int) -> None:
    """The process: port and result on stdout, a line each."""
    from hiss.realtime.fake import Pty

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    with Pty() as port:
        say(port.path)
        while not port.open:
            time.sleep(0.01)
        time.sleep(0.3)  # a port empties its buffer after it was opened
        sent = send(port, channels, rate_hz, frames)
        say(json.dumps({"frames": sent.frames, "late_max_ms": round(sent.late_max_s * 1e3, 3)}))
        while port.open:
            time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
