"""Sensors decode as their makers say, and captures of real ones equal what was decoded elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import shared_path

from hiss.realtime.devices import bno, make_decoder, skin_text, wit, ximu3, xsens
from hiss.realtime.devices.csv import CsvDecoder
from hiss.realtime.devices.xsens_items import INTEGERS, integers, numbers, quantity_of, split_items, utc
from hiss.realtime.framing import Decoder, Event, Frame
from hiss.realtime.sync_framer import SyncFramer
from hiss.realtime.unwrap import DeviceClock, Unwrapped
from hiss.recording import Recording
from hiss.resample import Resampler

GOLDEN = {  # name in the decoded text -> id without precision
    "PacketCounter": 0x1020,
    "SampleTimeFine": 0x1060,
    "SampleTimeCoarse": 0x1070,
    "UTCTime": 0x1010,
    "StatusWord": 0xE020,
    "StatusByte": 0xE010,
    "Acceleration": 0x4020,
    "FreeAcceleration": 0x4030,
    "DeltaV": 0x4010,
    "RateOfTurn": 0x8020,
    "DeltaQ": 0x8030,
    "EulerAngles": 0x2030,
    "Quaternion": 0x2010,
    "RotationMatrix": 0x2020,
    "MagneticField": 0xC020,
    "Temperature": 0x0810,
    "BaroPressure": 0x3010,
    "AltitudeEllipsoid": 0x5020,
    "PositionECEF": 0x5030,
    "LatLon": 0x5040,
    "VelocityXYZ": 0xD010,
    "GNSSPVTData": 0x7010,
    "GNSSSatInfo": 0x7020,
}
PRECISIONS = {"Float32": 0, "FP1220": 1, "FP1632": 2, "Float64": 3}


def frames_of(items: list[Frame | Event]) -> list[Frame]:
    return [item for item in items if isinstance(item, Frame)]


def rows(decoder: Decoder, data: bytes) -> list[list[float]]:
    return [frame.x.tolist() for frame in frames_of(decoder.feed(data))]


def golden_messages(text: str) -> list[list[tuple[str, list[str]]]]:
    """Every message as (head of an item, its values as text)."""
    messages = []
    for block in text.strip().split("\n\n"):
        items: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith(" "):
                items[-1][1].append(line.strip())
            else:
                items.append((line.rstrip(":"), []))
        messages.append(items)
    return messages


def golden_values(name: str, values: list[str]) -> list[float] | str:
    if name == "UTCTime":
        return values[0]
    if name.startswith("Status"):
        return [int(values[0], 2)]
    return [float(value.rpartition(":")[2]) for value in values]


def our_values(kind: int, data: bytes) -> list[float] | str:
    if kind not in INTEGERS:
        return list(numbers(kind, data))
    values = integers(kind, data)
    if kind == 0x1010:
        fraction = f"{values[0]:09d}".rstrip("0")
        return f"{utc(values):%Y-%m-%dT%H:%M:%S}{'.' + fraction if fraction else ''}Z"
    return list(values)


@pytest.mark.parametrize("part", range(1, 6))
def test_xsens_captures_equal_what_was_decoded_elsewhere(part: int) -> None:
    """Every item of every message, number by number: 100 messages a capture, not one wrong checksum."""
    data = shared_path("captures", "xsens_go", f"output_{part}.bin").read_bytes()
    golden = golden_messages(shared_path("captures", "xsens_go", f"output_{part}.golden").read_text())
    framer = xsens.XsensDecoder()._framer
    messages = framer.feed(data)
    assert len(messages) == len(golden) == 100
    assert framer.counts.skipped == framer.counts.checksum == framer.pending == 0
    for message, expected in zip(messages, golden, strict=True):
        assert isinstance(message, bytes)
        items = list(split_items(message[4:-1]))
        assert len(items) == len(expected)
        for (kind, raw), (head, text) in zip(items, expected, strict=True):
            name, _, how = head.rstrip(")").partition("(")
            assert quantity_of(kind) == GOLDEN[name]
            if how:
                assert kind & 3 == PRECISIONS[how.split(",")[-1]]
            ours, theirs = our_values(kind, raw), golden_values(name, text)
            assert ours[: len(theirs)] == theirs, head


def test_xsens_samples_have_the_time_and_the_sequence_of_their_kind() -> None:
    """GNSS and pressure messages lie between, with stamps that jump: no sample is of another kind or goes back."""
    data = b"".join(shared_path("captures", "xsens_go", f"output_{i}.bin").read_bytes() for i in range(1, 5))
    decoder = make_decoder("xsens:acc+gyr")
    frames = frames_of(decoder.feed(data))
    assert len(frames) == 4 * 96
    assert [c.name for c in decoder.channels] == ["acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z"]
    steps = np.diff([f.t for f in frames if f.t is not None])
    assert (steps > 0).all()
    assert np.median(steps) == pytest.approx(0.01, abs=1e-9)
    assert [f.seq for f in frames] == list(range(len(frames)))  # no message is missing
    np.testing.assert_array_equal(frames[0].x[:3], np.float32([-0.017374228, -7.255744934, -1.209552526]))


def test_a_lost_xsens_message_is_seen_in_the_sequence() -> None:
    messages = [
        xsens.encode([(0x1020, (65534 + i & 0xFFFF).to_bytes(2, "big")), (0x4020, bytes(12))]) for i in range(6)
    ]
    frames = frames_of(make_decoder("xsens").feed(b"".join(messages[:2] + messages[4:])))
    assert [f.seq for f in frames] == [0, 1, 4, 5]


def test_a_long_xsens_message_is_read() -> None:
    items = [(0x7020, bytes(250)), (0x4020, bytes(12))]
    assert rows(make_decoder("xsens"), xsens.encode(items)) == [[0, 0, 0]]


def test_the_bno08x_frame_of_the_datasheet_is_read() -> None:
    text = shared_path("captures", "vectors", "bno08x_rvc.txt").read_text()
    data = bytes.fromhex(next(line for line in text.splitlines() if not line.startswith("#")))
    (frame,) = frames_of(make_decoder("bno-rvc").feed(data))
    np.testing.assert_allclose(frame.x, [0.01, -1.10, 20.85, -371, -20, 977], rtol=1e-6)
    assert frame.seq == 222
    assert bno.encode(frame.x, 222) == data


def test_a_bno08x_out_of_step_by_one_byte_finds_its_frames_again() -> None:
    """AA may be a datum too; the checksum tells."""
    x = np.array([1.7, -1.7, 0, -21846, 170, 1], np.float32)  # 00AA, AAAA ... in the data
    data = b"".join(bno.encode(x, i) for i in range(165, 180))
    decoder = make_decoder("bno-rvc")
    found = frames_of(decoder.feed(data[1:100] + data[101:]))
    assert [f.seq for f in found] == [i for i in range(166, 180) if i != 170]
    assert decoder.counts.resyncs == 1


def test_the_ximu3_log_resamples_across_its_real_gaps() -> None:
    """13,514 samples with 10 gaps at about 100 Hz: live's resampler gives the grid that training uses, bit for bit."""
    data = shared_path("captures", "xio_fusion", "sensor_data.csv").read_bytes()
    decoder = CsvDecoder(torn_start=False)
    frames = [f for i in range(0, len(data), 4096) for f in frames_of(decoder.feed(data[i : i + 4096]))]
    assert len(frames) == data.count(b"\n") - 1 == 13514
    assert decoder.channels[0].unit == "deg/s"
    t, x = np.array([f.t for f in frames]), np.array([f.x for f in frames])
    assert (np.diff(t) > 1.9 * np.median(np.diff(t))).sum() == 10  # samples are missing in the log
    resampler = Resampler(100.0, 9)
    live = np.array([sample for f in frames for _, sample in resampler.push(f.t, f.x)])
    np.testing.assert_array_equal(live, Recording("log", t, x, decoder.channels).resampled(100.0).x)


@pytest.mark.parametrize("encode", [ximu3.encode, ximu3.encode_text])
def test_ximu3_messages_are_read_as_text_and_binary(encode: object) -> None:
    """Bytes 0A and DB in a stamp or a number are written in two; commands and other kinds are passed over."""
    x = np.array([10.5, -0.25, 2.5, 0, 0.5, 1], np.float32)
    other = b'{"ping":null}\r\n^X' + encode("M", 5, np.ones(3, np.float32)) + b"W,5,99.0,-50.0\r\n"
    data = other + b"".join(encode("I", stamp, x) for stamp in (0x0A, 0xDB, 0x0ADB0A, 0xDC_0000_0000))
    decoder = make_decoder("ximu3")
    frames = frames_of(decoder.feed(data))
    assert [round(f.t * 1e6) for f in frames] == [0x0A, 0xDB, 0x0ADB0A, 0xDC_0000_0000]
    assert all(f.x.tolist() == x.tolist() for f in frames)
    assert decoder.counts.malformed == 0
    both = make_decoder("ximu3:i+m")
    assert rows(both, data) == [[*x.tolist(), 1, 1, 1]] * 4


def test_ximu3_accelerations_are_read_with_and_without_a_quaternion() -> None:
    for before in (0, 4):
        x = np.arange(before + 3, dtype=np.float32)
        assert rows(make_decoder("ximu3:L"), ximu3.encode("L", 1, x)) == [x[-3:].tolist()]


def wit_bursts(n: int, ids: tuple[int, ...]) -> list[bytes]:
    return [wit.encode(quantity, (i, -i, 100 * k, 7)) for i in range(n) for k, quantity in enumerate(ids)]


def test_wit_samples_come_with_the_last_of_their_quantities() -> None:
    """Two rounds to learn; then each sample is whole with its last frame, not with the first of the next."""
    frames = wit_bursts(6, (0x51, 0x52, 0x53))
    decoder = make_decoder("wit")
    found = [len(frames_of(decoder.feed(frame))) for frame in frames[1:]]  # it joins in the middle of a sample
    assert found == [0] * 10 + [1, 0, 0, 1, 0, 0, 1]
    assert decoder.counts.frames == 3
    assert [c.name for c in decoder.channels][:4] == ["acc_x", "acc_y", "acc_z", "gyr_x"]


def test_a_wit_sample_with_a_quantity_missing_is_no_sample_and_is_counted() -> None:
    frames = wit_bursts(8, (0x51, 0x52, 0x53))
    lost = 3 * 5 + 1
    decoder = make_decoder("wit")
    x = rows(decoder, b"".join(frames[:lost] + frames[lost + 1 :]))
    np.testing.assert_allclose([row[0] / wit.ACC_LSB for row in x], [2, 3, 4, 6, 7], rtol=1e-6)
    assert decoder.counts.malformed == 1


def test_the_date_of_a_wit_sensor_is_its_samples_time() -> None:
    clock = [wit.encode(0x50, (1 << 8 | 26, 13 << 8 | 5, 59 << 8 | 30, 10 * i)) for i in range(4)]
    data = b"".join(c + wit.encode(0x51, (1, 2, 3, 4)) for c in clock)
    frames = frames_of(make_decoder("wit").feed(data))
    np.testing.assert_allclose(np.diff([f.t for f in frames]), 0.01, atol=1e-6)


def test_wit_ble_frames_are_read() -> None:
    data = b"".join(wit.encode_ble((16384, 0, -16384, 0x5561, 0, 0, 0, 0, i)) for i in range(5))
    x = rows(make_decoder("wit:ble"), data[3:] + data[:20] + data[:20])
    assert len(x) == 6
    assert x[0][:3] == [8, 0, -8]


@pytest.mark.parametrize("kind", ["anyskin-text", "reskin-text"])
def test_skin_text_gives_the_channels_of_the_binary(kind: str) -> None:
    """AnySkin glues its chips, ReSkin has the temperature last: the columns come out alike, the torn line does not."""
    x = np.array([-12.34, 5.5, -0.25, 1000.75, -2.5, 0], np.float32)
    degrees = np.array([25.11, 24.5], np.float32)
    line = skin_text.encode(x, degrees, temperature_last=kind == "reskin-text")
    decoder = make_decoder(f"{kind}:2", temperature=True)
    found = rows(decoder, line[9:] + 3 * line + line[:20] + b"\r\n" + line)
    np.testing.assert_allclose(found, [[*x, *degrees]] * 4, rtol=1e-6)
    assert [c.name for c in decoder.channels] == [f"m{i}_{a}" for i in "01" for a in "xyz"] + ["m0_t", "m1_t"]
    assert decoder.counts.malformed == 1


def test_teleplot_lines_make_samples() -> None:
    lines = [f">{name}:{ms}:{value + ms}§N|g\n" for ms in (10, 20, 30, 40) for name, value in (("a", 1), ("b", 2.5))]
    decoder = make_decoder("teleplot")
    log = "booting\n>text:hello|t\n"
    frames = frames_of(decoder.feed(("x:1\n" + log + "".join(lines[1:])).encode()))
    assert [f.t for f in frames] == pytest.approx([0.04])
    assert frames[0].x.tolist() == [41, 42.5]
    assert [(c.name, c.unit) for c in decoder.channels] == [("a", "N"), ("b", "N")]


def test_several_teleplot_points_are_several_samples() -> None:
    text = ">a:1:10;2:20\n>b:1:11;2:21\n"
    frames = frames_of(make_decoder("teleplot", torn_start=False).feed(3 * text.encode()))
    assert [f.x.tolist() for f in frames] == [[10, 11], [20, 21]]
    assert [f.t for f in frames] == [0.001, 0.002]


def test_an_error_line_of_a_board_is_told() -> None:
    """The Edge Impulse forwarder's convention: a line that begins with ERR is the board's error."""
    decoder = CsvDecoder(torn_start=False)
    items = decoder.feed(b"1,2\nERR: no sensor\n<ERR 5\n3,4\n")
    assert [item.kind for item in items if isinstance(item, Event) and "ERR" in item.text] == ["device-error"] * 2
    assert len(frames_of(items)) == 2


def test_counters_unwrap_and_go_back_only_when_the_device_starts_again() -> None:
    assert [*map(Unwrapped(256), [250, 255, 3, 3, 100, 250, 4])] == [250, 255, 259, 259, 356, 506, 516]
    clock = DeviceClock(32, 1e-6)
    stamps = [clock(raw) for raw in (2**32 - 1000, 500, 1500, 2**31, 10)]
    assert np.diff(stamps[:4]) == pytest.approx([1.5e-3, 1e-3, 2**31 * 1e-6 - 1.5e-3])
    assert stamps[4] == pytest.approx(1e-5)


def test_a_wrong_checksum_is_no_resync_and_a_lost_byte_is_no_wrong_checksum() -> None:
    """The counts equal what was done to the stream: 3 corrupted frames, 2 lost bytes, 1 burst of garbage."""
    x = np.array([1, 2, 3, 4, 5, 6], np.float32)
    frames = [bno.encode(x, i) for i in range(40)]
    for i in (5, 20, 21):
        frames[i] = frames[i][:9] + bytes([frames[i][9] ^ 1]) + frames[i][10:]
    for i in (10, 30):
        frames[i] = frames[i][:7] + frames[i][8:]
    frames[35] = b"\xaa\xaagarbage" + frames[35]
    decoder = make_decoder("bno-rvc")
    found = frames_of(decoder.feed(b"".join(frames)))
    assert [f.seq for f in found] == [i for i in range(40) if i not in (5, 10, 20, 21, 30)]
    assert (decoder.counts.checksum, decoder.counts.resyncs) == (3, 3)
    assert decoder.counts.skipped == 3 * 19 + 2 * 18 + 9
    assert isinstance(decoder._framer, SyncFramer)
