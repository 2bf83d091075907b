"""All framers, fed with arbitrary bytes, cuts and damaged frames. HISS_EXAMPLES=20000 is the nightly setting."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiss.errors import RecordingError
from hiss.realtime.checksums import CHECKSUMS, crc16_ccitt, xor8
from hiss.realtime.devices import bno, make_decoder, skin_text, wit, ximu3, xsens
from hiss.realtime.devices.declared import DeclaredDecoder, declared_decoder, encode
from hiss.realtime.devices.declared_layout import Layout, layout_from
from hiss.realtime.framing import Decoder, Event, Frame
from hiss.realtime.guess import explain
from hiss.realtime.stuffing import cobs_decode, cobs_encode, slip_decode, slip_encode

EXAMPLES = int(os.environ.get("HISS_EXAMPLES", "60"))
FIELDS = [
    {"role": "sequence", "type": "u16"},
    {"role": "clock", "type": "u32", "unit": "us"},
    {"names": ["a", "b"], "type": "i16", "scale": 0.5, "unit": "uT"},
    {"name": "c", "type": "i24", "offset": 1},
    {"role": "skip", "bytes": 2},
    {"name": "d", "type": "f32"},
]
MARKS = {
    "sync": {"sync": "AA 55", "checksum": "crc16-ccitt"},
    "sync without checksum": {"framing": "sync", "sync": "AA 55"},
    "length": {"sync": "AA", "checksum": "sum8", "fields": [{"role": "length", "type": "u8", "adds": 2}, *FIELDS]},
    "fixed": {"framing": "fixed", "checksum": "crc32", "endian": "big"},
    "tail": {"framing": "fixed", "tail": "0D 0A"},
    "sync and tail": {"sync": "55", "tail": "0D 0A", "checksum": "xor8"},
    "cobs": {"framing": "cobs", "checksum": "sum16"},
    "slip": {"framing": "slip"},
}
LAYOUTS = {name: layout_from({"framing": "sync", "fields": FIELDS} | table) for name, table in MARKS.items()}


def values(layout: Layout, i: int) -> tuple[float, ...]:
    sizes = (layout.size - 2,) if layout.fields[0].role == "length" else ()
    return (*sizes, i & 0xFFFF, 10_000 * i & 0xFFFFFFFF, i % 1000, -(i % 500), -(i % 7), 0.25 * i)


def declared(name: str, n: int = 4, first: int = 0) -> list[bytes]:
    return [encode(LAYOUTS[name], values(LAYOUTS[name], i)) for i in range(first, first + n)]


def skin_line(last: bool) -> bytes:
    return skin_text.encode(np.arange(6, dtype=np.float32), np.full(2, 24.5, np.float32), last)


DEVICES = {
    "wit": [wit.encode(q, (1, 2, 3)) for _ in range(4) for q in (0x50, 0x51, 0x52)],
    "wit:ble": [wit.encode_ble((0x5561, 1, 2, 3, 4, 5, 6, 7, 8))] * 4,
    "bno-rvc": [bno.encode(np.array([3, -2, 8, 100, -20, 980]), i) for i in range(4)],
    "ximu3": [ximu3.encode("I", 10 * i, np.arange(6)) for i in range(2)],
    "xsens": [xsens.encode([(0x1020, bytes([0, i])), (0x4021, bytes(12)), (0x8022, bytes(18))]) for i in range(4)],
    "ximu3:i": [ximu3.encode_text("I", 10 * i, np.arange(6)) for i in range(2)],
    "anyskin-text:2": [skin_line(False)] * 4,
    "reskin-text:2": [skin_line(True)] * 4,
    "teleplot": [b">a:1\n", b">b:1:2\xc2\xa7N|g\n"] * 4,
    **{f"toml {name}": declared(name) for name in LAYOUTS},
}
PIECES = st.sampled_from(sorted({frame for frames in DEVICES.values() for frame in frames}))


def decoder_of(device: str) -> Decoder:
    kind, _, name = device.partition(" ")
    return DeclaredDecoder(LAYOUTS[name]) if kind == "toml" else make_decoder(device)


def frames_of(items: list[Frame | Event]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def described(decoder: Decoder, chunks: list[bytes]) -> tuple[object, ...]:
    items = [item for chunk in chunks for item in decoder.feed(chunk)]
    shown = [(i.x.tobytes(), i.t, i.seq) if isinstance(i, Frame) else (i.kind, i.text) for i in items]
    return shown, decoder.counts.as_dict(), decoder.pending, decoder.channels


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    noise=st.lists(st.one_of(st.binary(max_size=100), PIECES), max_size=6).map(b"".join),
    cuts=st.lists(st.integers(0, 10_000), max_size=20),
    spoilt=st.one_of(st.none(), st.tuples(st.integers(0, 10_000), st.integers(0, 255))),
)
def test_no_bytes_raise_and_cuts_change_nothing(
    device: str, noise: bytes, cuts: list[int], spoilt: tuple[int, int] | None
) -> None:
    """Noise, frames of all devices, own frames with a byte changed: the same however the bytes arrive."""
    own = bytearray(b"".join(DEVICES[device]))
    if spoilt:
        own[spoilt[0] % len(own)] = spoilt[1]
    data = noise + bytes(own) + noise
    whole = described(decoder_of(device), [data])
    assert described(decoder_of(device), cut(data, cuts)) == whole
    assert described(decoder_of(device), [bytes([byte]) for byte in data]) == whole
    counts = whole[1]
    assert isinstance(counts, dict)
    assert counts["bytes"] == len(data)
    assert 0 <= counts["skipped"] <= len(data)


CHECKED = ["bno-rvc", *(f"toml {name}" for name in LAYOUTS if LAYOUTS[name].checksum and "fixed" not in name)]


@pytest.mark.parametrize("device", [d for d in CHECKED if d != "toml cobs"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    garbage=st.lists(st.binary(max_size=60), min_size=4, max_size=4),
    lost=st.integers(0, 10_000),
)
def test_only_the_touched_frames_are_lost_and_every_byte_is_counted(
    device: str, garbage: list[bytes], lost: int
) -> None:
    """Garbage between frames costs none, a lost byte its own; what a frame's bytes did not become was skipped."""
    frames = DEVICES[device]
    clean = [g.translate(None, b"\xaa\x55") for g in garbage]  # garbage that is a frame would be one
    data = b"".join(g + f for g, f in zip(clean, frames, strict=True))
    decoder = decoder_of(device)
    assert len(frames_of(decoder.feed(data))) == 4
    assert decoder.counts.skipped == sum(map(len, clean))
    assert decoder.counts.resyncs == sum(map(bool, clean[1:]))
    assert decoder.counts.checksum == decoder.pending == 0
    size, at = len(frames[0]), lost % len(frames[0])
    decoder = decoder_of(device)
    found = frames_of(decoder.feed(frames[0] + frames[1][:at] + frames[1][at + 1 :] + frames[2] + frames[3]))
    assert [frame.seq for frame in found] == [0, 2, 3]
    assert (decoder.counts.skipped, decoder.counts.resyncs, decoder.counts.checksum) == (size - 1, 1, 0)


@settings(max_examples=5 * EXAMPLES, deadline=None)
@given(st.binary(max_size=600))
def test_stuffing_takes_every_byte_string_and_gives_it_back(data: bytes) -> None:
    assert 0 not in cobs_encode(data)
    assert cobs_decode(cobs_encode(data)) == data
    assert len(cobs_encode(data)) <= len(data) + 1 + len(data) // 254
    for end in (0xC0, 0x0A):
        assert end not in slip_encode(data, end)
        assert slip_decode(slip_encode(data, end), end) == data
    cobs_decode(data)
    slip_decode(data)


def test_cobs_and_checksums_have_the_published_values() -> None:
    """Vectors of the COBS paper's examples, and of the catalogues of check values for 123456789."""
    assert cobs_encode(bytes.fromhex("11 22 00 33")) == bytes.fromhex("03 11 22 02 33")
    assert cobs_encode(bytes(1)) == b"\x01\x01"
    assert crc16_ccitt(b"123456789") == 0x29B1
    assert CHECKSUMS["crc32"][0](b"123456789") == 0xCBF43926
    assert xor8(b"123456789") == 0x31


@pytest.mark.parametrize("name", LAYOUTS)
def test_declared_frames_give_scaled_channels_clock_and_sequence(name: str) -> None:
    """From 65,534 on: the u16 sequence wraps, and the u32 clock in us keeps on."""
    decoder = DeclaredDecoder(LAYOUTS[name])
    frames = frames_of(decoder.feed(b"".join(declared(name, 6, 65_534))))
    x = np.array([frame.x for frame in frames])
    i = np.arange(65_534, 65_540)
    np.testing.assert_array_equal(x.T, [i % 1000 / 2, -(i % 500) / 2, 1.0 - i % 7, i / 4])
    assert [frame.seq for frame in frames] == i.tolist()
    assert [frame.t for frame in frames] == pytest.approx((i * 0.01).tolist())
    assert [(c.name, c.unit) for c in decoder.channels] == [("a", "uT"), ("b", "uT"), ("c", ""), ("d", "")]


def test_frames_of_another_kind_are_passed_over() -> None:
    """A constant tells message types apart, a length tells their sizes: both have right checksums."""
    kinds = [{"role": "constant", "type": "u8", "value": 1}, {"name": "a", "type": "u8"}]
    layout = layout_from({"sync": "AA", "checksum": "sum8", "fields": kinds})
    decoder = DeclaredDecoder(layout)
    data = encode(layout, (1, 5)) + encode(layout, (2, 6)) + encode(layout, (1, 7))
    assert [f.x.tolist() for f in frames_of(decoder.feed(data))] == [[5], [7]]
    assert decoder.counts.skipped == decoder.counts.malformed == decoder.counts.resyncs == 0


def test_a_device_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "my_board.toml"
    path.write_text('framing = "sync"\nsync = "AA 55"\nchecksum = "xor8"\nfields = [{ name = "a", type = "u16" }]\n')
    decoder = make_decoder(str(path))
    assert isinstance(decoder, DeclaredDecoder)
    assert [f.x.tolist() for f in frames_of(decoder.feed(encode(decoder.layout, (513,))))] == [[513]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('sync = "AA"\nfields = []', "no field is a channel"),
        ('sync = "AA"\nfields = [{name = "a", tipe = "u8"}]', "type meant"),
        ('sync = "AA"\nfields = [{name = "a", type = "u12"}]', "u12"),
        ('sync = "AA"\nchecksum = "md5"\nfields = [{name = "a"}]', "crc16-ccitt"),
        ('framing = "cobs"\nsync = "AA"\nfields = [{name = "a"}]', "delimiter"),
        ('framing = "fixed"\nfields = [{name = "a"}]', "nothing marks a frame"),
        ('sync = "AA"\nfields = [{name = "a"}, {name = "a"}]', "two channels are named a"),
        ('sync = "XY"\nfields = [{name = "a"}]', "hex"),
        ('sync = "AA"\nfields = [{role = "clock", type = "u32", unit = "h"}, {name = "a"}]', "unit is one of"),
        ('sync = 5\nfields = [{name = "a"}]', "my.toml"),
        ('sync = "AA"\nfields = 3', "my.toml"),
        ('sync = "AA"\nchecksum = 3\nfields = [{name = "a"}]', "my.toml"),
    ],
)
def test_a_device_file_that_makes_no_sense_is_explained(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        declared_decoder(path)


def test_a_device_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("= 3")
    for name in ("a.toml", "absent.toml"):
        with pytest.raises(RecordingError, match=name):
            declared_decoder(tmp_path / name)


@pytest.mark.parametrize(
    "device", ["wit", "wit:ble", "bno-rvc", "ximu3", "ximu3:i", "xsens", "teleplot", "anyskin-text:2"]
)
def test_a_stream_of_a_known_sensor_is_guessed(device: str) -> None:
    assert f"--device {device.removesuffix(':i')}" in explain(b"".join(10 * DEVICES[device])[3:600])
