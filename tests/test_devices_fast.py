"""The short ways through the decoders give what the long ways give, for any bytes and any cuts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_devices_framers import DEVICES, PIECES, cut, decoder_of, described

from hiss.realtime.checksums import sum16
from hiss.realtime.devices import make_decoder, xsens
from hiss.realtime.devices.declared import DeclaredDecoder, encode
from hiss.realtime.devices.declared_layout import layout_from
from hiss.realtime.feeds import DecodedFeed
from hiss.realtime.framing import Event, Frame
from hiss.realtime.sources import REPLUGGED, CallableSource
from hiss.realtime.stuffing import cobs_decode, cobs_encode, slip_decode
from hiss.realtime.sync_framer import SyncFramer

EXAMPLES = int(os.environ.get("HISS_EXAMPLES", "60"))
SYNCED = [device for device in DEVICES if isinstance(getattr(decoder_of(device), "_framer", None), SyncFramer)]


def cobs_by_the_book(data: bytes) -> bytes | None:
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        if code == 0 or at + code > len(data) or 0 in data[at : at + code]:
            return None
        out += data[at + 1 : at + code] + (b"\0" if code < 255 else b"")
        at += code
    ended_by_a_zero = data and out[-1:] == b"\0"
    return bytes(out[:-1] if ended_by_a_zero else out)


def slip_by_the_book(data: bytes, end: int) -> bytes | None:
    out, rest = bytearray(), iter(data)
    for byte in rest:
        if byte != 0xDB:
            out.append(byte)
        elif (escaped := {0xDC: end, 0xDD: 0xDB}.get(next(rest, -1))) is None:
            return None
        else:
            out.append(escaped)
    return bytes(out)


STUFFED = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 0xDB, 0xDC, 0xDD, 0xC0, 0x0A, 255])).map(bytes),
    st.binary(max_size=300).map(cobs_encode),
    st.tuples(st.integers(250, 260), st.binary(max_size=9)).map(lambda n: cobs_encode(n[0] * b"x" + n[1])),
)


@settings(max_examples=max(600, EXAMPLES), deadline=None)
@given(STUFFED)
def test_unstuffing_in_one_go_equals_the_walk_byte_by_byte(data: bytes) -> None:
    assert cobs_decode(data) == cobs_by_the_book(data)
    for end in (0xC0, 0x0A):
        assert slip_decode(data, end) == slip_by_the_book(data, end)


@settings(max_examples=max(600, EXAMPLES), deadline=None)
@given(st.one_of(st.binary(max_size=400), st.integers(0, 400).map(lambda n: n * b"\xff")))
def test_the_sum_of_bytes_is_exact_at_any_length(data: bytes) -> None:
    assert sum16(data) == sum(data) & 0xFFFF


@pytest.mark.parametrize("device", SYNCED)
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    parts=st.lists(st.one_of(st.binary(max_size=40), PIECES, st.just(b"own"), st.just(b"own")), max_size=12),
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
    spoilt=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
)
def test_frames_in_step_are_cut_as_by_the_search(
    device: str, parts: list[bytes], cuts: list[int], spoilt: list[tuple[int, int]]
) -> None:
    own = b"".join(DEVICES[device])
    data = bytearray(own + b"".join(own if part == b"own" else part for part in parts))
    for at, byte in spoilt:
        data[at % len(data)] = byte
    slow = decoder_of(device)
    slow._framer._in_step = lambda found: 0  # type: ignore[attr-defined]
    slow.alone = None  # type: ignore[attr-defined]
    assert described(decoder_of(device), cut(bytes(data), cuts)) == described(slow, cut(bytes(data), cuts))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    kinds=st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=1, max_size=20),
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
)
def test_frames_of_another_kind_are_left_out_of_a_chunk_in_their_place(kinds: list[int], cuts: list[int]) -> None:
    """A chunk of frames, some with another constant, gives the samples of the others with their own sequence."""
    fields = [{"role": "constant", "type": "u8", "value": 1}, {"role": "sequence", "type": "u8"}]
    table = {"sync": "AA", "checksum": "sum8", "fields": [*fields, {"name": "a", "type": "i24", "scale": 0.5}]}
    layout = layout_from(table)
    data = b"".join(encode(layout, (kind, i, -7 * i)) for i, kind in enumerate(kinds))
    decoder = DeclaredDecoder(layout)
    found = [item for chunk in cut(data, cuts) for item in decoder.feed(chunk)]
    right = [i for i, kind in enumerate(kinds) if kind == 1]
    assert [(f.seq, f.x.tolist()) for f in found if isinstance(f, Frame)] == [(i, [-3.5 * i]) for i in right]
    assert decoder.counts.frames == len(right)
    assert decoder.counts.skipped == 0


PLAIN = [  # fields before, between and behind the channels
    [
        {"role": "sequence", "type": "u16"},
        {"role": "clock", "type": "u32", "unit": "us"},
        {"names": "ab", "type": "f32"},
    ],
    [{"name": "a", "type": "f32"}, {"name": "b", "type": "f32"}, {"role": "clock", "type": "u16", "unit": "ms"}],
    [{"role": "skip", "bytes": 3}, {"names": "ab", "type": "f32"}, {"role": "sequence", "type": "u8"}],
]


@pytest.mark.parametrize("fields", PLAIN)
@pytest.mark.parametrize("checksum", ["sum16", "crc16-ccitt", None])
@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(kinds=st.text("wwwwshtgl", max_size=12), length=st.booleans())
def test_a_chunk_that_is_one_frame_is_read_as_it_is_among_others(
    fields: list[dict[str, object]], checksum: str | None, kinds: str, length: bool
) -> None:
    """Whole frames, spoilt ones, heads, tails, garbage of a frame's size, others' lengths: alone as together."""
    own = [{"role": "length", "type": "u8"}, *fields] if length else fields
    table = {"sync": "AA", "fields": own} | ({"checksum": checksum} if checksum else {})
    layout, chunks = layout_from(table), []
    for i, kind in enumerate("w" + kinds):
        size = [layout.size + 3 * (kind == "l")] if length else []
        told = [300 + i if f.bits > 8 else i for f in layout.fields if f.role in ("sequence", "clock")]
        channels = [0.1 * i, -float(i)]
        whole = encode(layout, (*size, *(told + channels if fields[0].get("role") == "sequence" else channels + told)))
        whole += bytes(3) if kind == "l" and length else b""
        spoilt = whole[:4] + bytes([whole[4] ^ 1]) + whole[5:]
        garbage = bytes(range(7, 7 + len(whole)))
        chunks.append({"s": spoilt, "h": whole[:5], "t": whole[-5:], "g": garbage}.get(kind, whole))
    assert described(DeclaredDecoder(layout), chunks) == described(DeclaredDecoder(layout), [b"".join(chunks)])


ALIKE = [  # of one size
    [(0x4020, 12), (0x8020, 12)],
    [(0x4021, 12), (0x8020, 12)],
    [(0x8020, 12), (0x4020, 12)],
    [(0x4020, 12), (0xC020, 12)],
    [(0x4020, 12), (0x1020, 2), (0x1060, 4), (0xE020, 0)],
]
XSENS_ITEMS = st.sampled_from(ALIKE) | st.lists(
    st.sampled_from([(0x1020, 2), (0x1060, 4), (0x4020, 12), (0x4021, 12), (0x8020, 12), (0x8023, 24), (0x7010, 9)]),
    max_size=5,
)


@settings(max_examples=max(120, EXAMPLES), deadline=None)
@given(messages=st.lists(XSENS_ITEMS, min_size=1, max_size=12), seed=st.integers(0, 1 << 32))
def test_an_xsens_message_is_read_alike_behind_any_other(messages: list[list[tuple[int, int]]], seed: int) -> None:
    """What an earlier message of the same size held does not matter."""
    rng = np.random.default_rng(seed)
    made = [xsens.encode([(kind, rng.bytes(size)) for kind, size in items]) for items in messages]
    remembering, forgetting = make_decoder("xsens:acc+gyr"), make_decoder("xsens:acc+gyr")
    for message, items in zip(made, messages, strict=True):
        forgetting._plans.clear()  # type: ignore[attr-defined]
        one, other = remembering.feed(message), forgetting.feed(message)
        assert [repr(item) for item in one] == [repr(item) for item in other]
        whole = {0x4020, 0x8020} <= {kind & 0xFFF0 for kind, _ in items}
        assert len(one) == whole
    assert remembering.counts == forgetting.counts


def test_counters_of_lone_frames_wrap_as_those_of_many() -> None:
    """A u8 of the sequence and a u16 of the clock, past their ends and back to a new start."""
    fields = [{"role": "sequence", "type": "u8"}, {"role": "clock", "type": "u16", "unit": "ms"}]
    table = {"sync": "AA 55", "checksum": "sum16", "fields": [*fields, {"name": "a", "type": "f32"}]}
    layout = layout_from(table)
    numbers = [*range(250, 700), *range(20, 90), *range(3, 9)]
    frames = [encode(layout, (i & 0xFF, 300 * i & 0xFFFF, i / 8)) for i in numbers]
    lone, many = DeclaredDecoder(layout), DeclaredDecoder(layout)
    alone = [lone.feed(frame) for frame in frames]
    together = many.feed(b"".join(frames))
    assert [len(items) for items in alone] == [1] * len(frames)
    assert [(f.t, f.seq, *f.x) for (f,) in alone] == [(f.t, f.seq, *f.x) for f in together]
    assert lone.counts == many.counts


class _Back(CallableSource):
    """Gives these chunks."""

    def __init__(self, chunks: list[bytes | Event]):
        super().__init__(lambda: None)
        self.chunks = chunks

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return ((at, chunk) for at, chunk in enumerate(self.chunks))


def test_a_decoder_that_was_renewed_reads_lone_frames_too() -> None:
    """Behind a port that came back the new decoder counts anew, and nothing of the bytes goes uncounted."""
    table = {"sync": "AA 55", "checksum": "sum16", "fields": [{"role": "sequence", "type": "u8"}]}
    table["fields"] = [*table["fields"], *({"name": f"a{i}", "type": "f32"} for i in range(16))]
    layout = layout_from(table)
    frames = [encode(layout, (i & 0xFF, *range(16))) for i in range(300)]
    chunks = [*frames, Event(REPLUGGED, ""), *frames[:20]]
    made: list[DeclaredDecoder] = []

    def renew() -> DeclaredDecoder:
        made.append(DeclaredDecoder(layout))
        return made[-1]

    with DecodedFeed(_Back(chunks), renew(), renew) as feed:
        found = [frame.seq for _, given in feed for frame in given if isinstance(frame, Frame)]
        assert found == [*range(300), *range(20)]
        assert (made[0].counts.frames, made[1].counts.frames) == (320, 20)
        assert feed.counts.bytes == 320 * layout.size
