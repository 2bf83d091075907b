"""Frames and lines a second that the decoders read, in chunks of 4096 bytes, by this thread's CPU clock.

python tools/bench_decode.py [FOLDER OF XSENS CAPTURES]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hiss.realtime.devices import anyskin, bno, csv, make_decoder, wit, ximu3
from hiss.realtime.devices.declared import DeclaredDecoder, encode
from hiss.realtime.devices.declared_layout import layout_from
from hiss.realtime.framing import Decoder

FRAMES = 5000
CHUNK = 4096
ROUNDS = 3


def rate(make: Callable[[], Decoder], data: bytes) -> tuple[int, float]:
    """(samples, samples per CPU second), the best of some rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        decoder = make()
        start = time.thread_time()
        for at in range(0, len(data), CHUNK):
            decoder.feed(data[at : at + CHUNK])
        best = max(best, decoder.counts.frames / (time.thread_time() - start))
    return decoder.counts.frames, best


def declared(marks: dict[str, str], x: np.ndarray) -> tuple[Callable[[], Decoder], bytes]:
    """A device of 30 float32 with sequence and clock, and its bytes."""
    fields = [
        {"role": "sequence", "type": "u16"},
        {"role": "clock", "type": "u32", "unit": "us"},
        {"names": [f"c{i}" for i in range(x.shape[1])], "type": "f32"},
    ]
    layout = layout_from(marks | {"fields": fields})
    frames = (encode(layout, (i & 0xFFFF, 1000 * i, *row.tolist())) for i, row in enumerate(x))
    return lambda: DeclaredDecoder(layout), b"".join(frames)


def main() -> None:
    """Print the table."""
    x = np.random.default_rng(0).normal(0, 100, (FRAMES, 30)).clip(-300, 300).astype(np.float32)
    warm = np.full(10, 24.5, np.float32)
    streams: dict[str, tuple[Callable[[], Decoder], bytes]] = {
        "anyskin:5": (lambda: make_decoder("anyskin:5"), b"".join(anyskin.encode(r[:15], warm[:5]) for r in x)),
        "anyskin:10": (lambda: make_decoder("anyskin:10"), b"".join(anyskin.encode(r, warm) for r in x)),
        "bno-rvc": (lambda: make_decoder("bno-rvc"), b"".join(bno.encode(r[:6], i) for i, r in enumerate(x))),
        "wit, 3 frames a sample": (
            lambda: make_decoder("wit"),
            b"".join(wit.encode(q, (1, 2, 3, 4)) for _ in x for q in (0x51, 0x52, 0x53)),
        ),
        "ximu3": (lambda: make_decoder("ximu3"), b"".join(ximu3.encode("I", 1000 * i, r[:6]) for i, r in enumerate(x))),
    }
    for checksum in ("sum16", "xor8", "crc16-ccitt", "crc32"):
        marks = {"framing": "sync", "sync": "AA 55", "checksum": checksum}
        streams[f"toml, 30 float32, {checksum}"] = declared(marks, x)
    for framing in ("cobs", "slip"):
        streams[f"toml, 30 float32, {framing}, crc16"] = declared({"framing": framing, "checksum": "crc16-ccitt"}, x)
    for n in (6, 15, 30):
        lines = b"".join((",".join(f"{v:.3f}" for v in row[:n]) + "\r\n").encode() for row in x)
        streams[f"csv, {n} columns"] = (lambda: make_decoder("csv"), lines)
    channels = anyskin.anyskin_channels(5)
    lines = csv.encode_header(channels) + b"".join(csv.encode_line(i / 1000, r[:15]) for i, r in enumerate(x))
    streams["csv, time and 15 columns, exact"] = (lambda: make_decoder("csv"), lines)
    if len(sys.argv) > 1:
        data = b"".join(Path(sys.argv[1], f"output_{i}.bin").read_bytes() for i in range(1, 5))
        streams["xsens, captures"] = (lambda: make_decoder("xsens:acc+gyr"), 10 * data)
    for name, (make, data) in streams.items():
        samples, per_s = rate(make, data)
        print(f"{name:32} {samples:6} samples of {len(data) / samples:6.1f} bytes   {per_s:9,.0f} /s")


if __name__ == "__main__":
    main()
