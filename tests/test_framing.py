"""Bytes in, frames and events out: arbitrary cuts, arbitrary bytes, and what is lost when bytes are.

HISS_EXAMPLES=20000 is the nightly setting.
"""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiss.realtime.devices import make_decoder
from hiss.realtime.devices.anyskin import AnySkinDecoder, anyskin_channels, encode
from hiss.realtime.devices.csv import CsvDecoder, encode_header, encode_line
from hiss.realtime.framing import Decoder, Event, Frame
from hiss.realtime.guess import explain

EXAMPLES = int(os.environ.get("HISS_EXAMPLES", "100"))
DEVICES = ("anyskin:1", "anyskin:5", "csv")


def frames_of(items: list[Frame | Event]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def numbers(decoder: Decoder, data: bytes) -> list[list[float]]:
    return [frame.x.tolist() for frame in frames_of(decoder.feed(data))]


def samples(n: int, chips: int, seed: int) -> np.ndarray:
    """Fields of a board, none with a false tail inside: what is read must not depend on luck here."""
    x = np.random.default_rng(seed).normal(0, 800, (n, 3 * chips)).astype(np.float32)
    bits = x.view(np.uint32)
    return np.where((bits & 0xFFFF == 0x0A0D) | (bits >> 8 & 0xFFFF == 0x0A0D), np.float32(1), x)


def wire(x: np.ndarray) -> list[bytes]:
    """The frames of a board."""
    return [encode(row, np.full(len(row) // 3, 24.5, np.float32)) for row in x]


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


def described(decoder: Decoder, chunks: list[bytes]) -> tuple[object, ...]:
    items = [item for chunk in chunks for item in decoder.feed(chunk)]
    shown = [(i.x.tobytes(), i.t) if isinstance(i, Frame) else (i.kind, i.text) for i in items]
    return shown, decoder.counts.as_dict(), decoder.pending, decoder.channels


NOISE = st.one_of(
    st.binary(max_size=600),
    st.lists(st.sampled_from([b"\r\n", b"1.5,2,3\n", b"a:1 b:2\r\n", b"x,y\n", b"\r", b"\0" * 16, b"nan,inf,1\n"])).map(
        b"".join
    ),
)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=EXAMPLES, deadline=None)
@given(noise=NOISE, cuts=st.lists(st.integers(0, 10_000), max_size=30), good=st.booleans())
def test_arbitrary_bytes_never_raise_and_cuts_change_nothing(
    device: str, noise: bytes, cuts: list[int], good: bool
) -> None:
    """The same bytes give the same frames, events and counts however they arrive; no byte is counted twice or lost."""
    data = noise + b"".join(wire(samples(3, 5, 1))) + noise if good else noise
    whole = described(make_decoder(device), [data])
    assert described(make_decoder(device), chunked(data, cuts)) == whole
    assert described(make_decoder(device), [bytes([byte]) for byte in data]) == whole
    if device.startswith("anyskin"):
        counts, pending, size = whole[1], whole[2], 16 * int(device[-1]) + 2
        assert isinstance(counts, dict)
        assert counts["frames"] * size + counts["skipped"] + pending == counts["bytes"] == len(data)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    chips=st.integers(1, 10),
    garbage=st.lists(st.binary(max_size=200), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_garbage_between_frames_costs_no_good_frame(chips: int, garbage: list[bytes], seed: int) -> None:
    """Bytes put between whole frames are skipped and counted, every frame is read: sliding one byte loses none."""
    x = samples(len(garbage) + 1, chips, seed)
    frames = wire(x)
    clean = [g.replace(b"\r", b"?").replace(b"\n", b"?") for g in garbage]  # a tail in the garbage may end a frame
    data = b"".join(g + f for g, f in zip([*clean, b""], frames, strict=True))
    decoder = AnySkinDecoder(chips)
    assert numbers(decoder, data) == x.tolist()
    assert decoder.counts.skipped == sum(map(len, clean))
    assert decoder.counts.resyncs == sum(bool(g) for g in clean[1:])


@settings(max_examples=EXAMPLES, deadline=None)
@given(before=st.lists(st.integers(81, 200), min_size=1, max_size=4), after=st.integers(0, 200))
def test_a_false_tail_in_garbage_costs_no_good_frame(before: list[int], after: int) -> None:
    """What ends in a tail and cannot be fields is no frame, and the search goes on one byte further, not one frame."""
    x = samples(3, 5, after)
    first, *rest = wire(x)
    garbage = b"".join(b"\x7f" * n + b"\r\n" for n in before) + b"\x7f" * after  # floats of 3e38
    decoder = AnySkinDecoder(5)
    assert numbers(decoder, first + garbage + b"".join(rest)) == x.tolist()
    assert decoder.counts.skipped == len(garbage)


@settings(max_examples=50, deadline=None)
@given(garbage=st.integers(81, 300), channel=st.integers(0, 14))
def test_a_false_tail_inside_the_first_good_frame_does_not_cost_it(garbage: int, channel: int) -> None:
    """The window that ends there begins in the garbage; the frame that begins inside that window is still found."""
    x = samples(3, 5, 0)
    x[1, channel] = np.uint32(0x440A0D00).view(np.float32)  # 552.2 uT: bytes 00 0d 0a 44
    first, *rest = wire(x)
    decoder = AnySkinDecoder(5)
    assert numbers(decoder, first + b"\x7f" * garbage + b"".join(rest)) == x.tolist()
    assert decoder.counts.skipped == garbage


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 81), st.integers(1, 81), st.integers(0, 500))
def test_lost_bytes_cost_the_touched_frame_only(at: int, n: int, seed: int) -> None:
    """n bytes missing from frame 2 of 5 on: no frame that is whole is lost, and none is read out of step."""
    x = samples(6, 5, seed)
    data = b"".join(wire(x))
    lost_from = 2 * 82 + at
    data = data[:lost_from] + data[lost_from + n :]
    whole = [i for i in range(6) if (i + 1) * 82 <= lost_from or i * 82 >= lost_from + n]
    found = numbers(AnySkinDecoder(5), data)
    assert [row for row in found if row in x[whole].tolist()] == x[whole].tolist()
    assert len(found) - len(whole) <= 1  # bytes of two frames can look like one


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 81))
def test_a_reader_that_joins_in_the_middle_loses_the_torn_frame_only(start: int) -> None:
    x = samples(4, 5, start)
    decoder = AnySkinDecoder(5)
    assert numbers(decoder, b"".join(wire(x))[start:]) == x[1 if start else 0 :].tolist()
    assert decoder.counts.resyncs == 0


def test_a_board_that_sends_odd_numbers_is_still_read() -> None:
    """NaN or 1e30 from a broken chip does not look right, but the tail that comes again tells the frame."""
    x = samples(4, 5, 1)
    x[:, 3], x[:, 7] = np.nan, 1e30
    np.testing.assert_array_equal([f.x for f in frames_of(AnySkinDecoder(5).feed(b"".join(wire(x))))], x)


def test_temperatures_stand_behind_the_fields_when_asked_for() -> None:
    decoder = make_decoder("reskin:2", ["m0_x", "m1_t"])
    frame = frames_of(decoder.feed(encode(np.arange(6, dtype=np.float32), np.array([20, 21], np.float32))))[0]
    assert [c.name for c in decoder.channels][4:] == ["m1_y", "m1_z", "m0_t", "m1_t"]
    assert frame.x.tolist() == [0, 1, 2, 3, 4, 5, 20, 21]


@pytest.mark.parametrize("device", ["anyskin:0", "anyskin:x", "anyskin:256", "csv:3", "with", ""])
def test_an_unknown_device_is_named_with_those_there_are(device: str) -> None:
    with pytest.raises(ValueError, match="anyskin:N"):
        make_decoder(device)


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", ", ",\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_with_any_separator_are_read(separator: str, end: str) -> None:
    text = end.join(
        ["time (ms)" + separator + "a (uT)" + separator + "b", separator.join(["1500", "-2.5e1", "+.5"]), ""]
    )
    if separator == " ":
        text = text.replace("time (ms)", "time_ms").replace("a (uT)", "a")
    decoder = CsvDecoder()
    frame = frames_of(decoder.feed(text.encode()))[0]
    assert frame.t == 1.5
    assert frame.x.tolist() == [-25.0, 0.5]
    assert [c.name for c in decoder.channels] == ["a", "b"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1e9))
def test_written_lines_are_read_back_in_every_bit(seed: int, t: float) -> None:
    x = samples(1, 2, seed)[0]
    decoder = CsvDecoder()
    (frame,) = frames_of(decoder.feed(encode_header(anyskin_channels(2)) + encode_line(t, x)))
    assert frame.t == t
    assert frame.x.tolist() == x.tolist()
    assert decoder.channels == anyskin_channels(2)


@pytest.mark.parametrize("line", ["a:1,b:2", "a:1 b:2", "a: 1\tb: 2", "a:1;b:2;"])
def test_labels_name_the_channels(line: str) -> None:
    decoder = CsvDecoder()
    first, second = frames_of(decoder.feed(f"b:7,junk\n{line}\n{line}\n".encode()))
    assert first.x.tolist() == second.x.tolist() == [1, 2]
    assert [c.name for c in decoder.channels] == ["a", "b"]
    assert decoder.counts.malformed == 0


def test_a_torn_first_line_is_dropped_and_a_whole_header_is_not() -> None:
    torn = CsvDecoder(["a", "b"])
    assert numbers(torn, b"2.5,3\n1,2\n") == [[1, 2]]
    header = CsvDecoder(["a", "b"])
    assert numbers(header, b"time,b,a\n0.5,1,2\n") == [[1, 2]]
    assert [c.name for c in header.channels] == ["b", "a"]
    cut = CsvDecoder(["a", "b"])
    assert numbers(cut, b"me,a,b\n0.5,1,2\n") == [[1, 2]]
    assert [c.name for c in cut.channels] == ["a", "b"]
    file = CsvDecoder(["a", "b"], torn_start=False)
    assert numbers(file, b"1,2\n3,4\n") == [[1, 2], [3, 4]]


def test_malformed_lines_are_counted_and_skipped() -> None:
    """Too few or too many values, words, empty cells, 1_000, bytes that are no text: each is one line lost."""
    bad = [b"1,2", b"1,2,3,4", b"ERR sensor,1,2", b"1,,3", b"1_0,2,3", b"\xff\xfe,1,2", b"0x10,1,2", b"1,2,3 4"]
    decoder = CsvDecoder(torn_start=False)
    good = b"1,2,3\n"
    found = numbers(decoder, good + b"".join(line + b"\r\n" + good for line in bad))
    assert found == [[1, 2, 3]] * (len(bad) + 1)
    assert decoder.counts.malformed == len(bad)


def test_a_line_without_an_end_takes_no_memory_and_the_next_line_is_read() -> None:
    decoder = CsvDecoder(torn_start=False)
    decoder.feed(b"1,2\n")
    for _ in range(20):
        decoder.feed(b"9" * 10_000)
    assert decoder.pending <= 75_536
    assert numbers(decoder, b"\n3,4\n") == [[3, 4]]
    assert decoder.counts.malformed == 1


@pytest.mark.parametrize(
    ("head", "guess"),
    [
        (b"", "no bytes came at all"),
        (b"time,x\n1,2\n2,3\n", "--device csv"),
        (b"".join(wire(samples(5, 3, 2)))[7:], "--device anyskin:3"),
        (bytes([0x55, 0x51, *range(9)]) * 20, "WitMotion"),
        (bytes([0xF8, 0x80, 0x00, 0xFE]) * 100, "--baud"),
    ],
)
def test_what_is_no_frame_is_explained(head: bytes, guess: str) -> None:
    assert guess in explain(head)
    assert head[:32].hex(" ") in explain(head)
