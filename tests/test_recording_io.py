"""Files: what is written is read back equal, and what is damaged is refused with the reason."""

import contextlib
import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hiss.errors import HissError, RecordingError
from hiss.recording import Channel, Recording, make_channels, read_recordings, write_csv, write_hdf5
from hiss.recording_hdf5 import spread_units

UGLY = ["acc_x", "force, normal", "µ θ", 'say "x"', "m0-z"]


def session(name: str = "run0", n: int = 50, rate_hz: float | None = 20.0, split: str | None = None) -> Recording:
    rng = np.random.default_rng(n)
    t = 3.25 + np.arange(n) / rate_hz if rate_hz else np.cumsum(rng.uniform(0.01, 0.1, n))
    return Recording(
        name,
        t,
        rng.normal(0, 1e3, (n, 3)),
        make_channels(UGLY[:3], ["m/s^2", "N", "µT"]),
        rng.normal(0, 1, (n, 1)),
        make_channels(["depth"], "mm"),
        rng.uniform(size=n) > 0.2,
        rate_hz=rate_hz,
        split=split,
        tared=20 if rate_hz else 0,
        attrs={"person": name, "sensor": "test"},
    )


def assert_equal(a: Recording, b: Recording) -> None:
    for key in ("name", "channels", "targets", "rate_hz", "split", "tared", "attrs"):
        assert getattr(a, key) == getattr(b, key), key
    for key in ("t", "x", "y", "valid"):
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key), err_msg=key)


def test_hdf5_is_read_back_equal_in_its_order(tmp_path: Path) -> None:
    recordings = [
        session("run10", split="train"),
        session("run2", 31, split="val"),
        session("irregular", 17, rate_hz=None, split="test"),
        session("slow", 17, rate_hz=95.23809523809524),
    ]
    write_hdf5(tmp_path / "a.h5", recordings, licence="MIT")
    for before, after in zip(recordings, read_recordings(tmp_path / "a.h5"), strict=True):
        assert after.attrs.pop("licence") == "MIT"
        assert_equal(before, after)


def test_recordings_without_targets_and_with_other_channels_share_a_file(tmp_path: Path) -> None:
    a = Recording("a", np.arange(5.0), np.zeros((5, 1)), make_channels(["v"]), rate_hz=1.0)
    write_hdf5(tmp_path / "a.h5", [a, session("b")])
    for before, after in zip([a, session("b")], read_recordings(tmp_path / "a.h5"), strict=True):
        assert_equal(before, after)


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="2 recordings with 1 names"):
        write_hdf5(tmp_path / "a.h5", [session(), session()])


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.tuples(finite, finite), min_size=1, max_size=20),
    steps=st.lists(st.floats(1e-4, 1e3), min_size=20, max_size=20),
    names=st.permutations(UGLY),
)
def test_csv_numbers_are_read_back_equal_in_every_bit(
    tmp_path: Path, values: list[tuple[float, float]], steps: list[float], names: list[str]
) -> None:
    t = np.cumsum([0.0, *steps])[: len(values)]
    before = Recording("a", t, np.array(values, np.float32), make_channels(names[:2], ["m/s^2", ""]))
    write_csv(tmp_path / "a.csv", before)
    (after,) = read_recordings(tmp_path / "a.csv")
    assert after.channels == before.channels
    np.testing.assert_array_equal(after.t, before.t)
    np.testing.assert_array_equal(after.x, before.x)


@pytest.mark.parametrize("rate_hz", [20.0, 100.0, 95.23809523809524, None])
def test_csv_keeps_rate_valid_and_targets_by_name(tmp_path: Path, rate_hz: float | None) -> None:
    before = session(rate_hz=rate_hz)
    write_csv(tmp_path / "run0.csv", before)
    (after,) = read_recordings(tmp_path / "run0.csv", targets="dep*")
    assert after.targets == (Channel("depth", "mm"),)
    # found again from the stamps
    assert after.rate_hz == (None if rate_hz is None else pytest.approx(rate_hz, rel=1e-6))
    for key in ("t", "x", "y", "valid"):
        np.testing.assert_array_equal(getattr(after, key), getattr(before, key))


def one(tmp_path: Path, text: str | bytes, **how: object) -> Recording:
    path = tmp_path / "walk_03.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (recording,) = read_recordings(path, **how)  # type: ignore[arg-type]
    return recording


@pytest.mark.parametrize(
    ("head", "rows", "stamps"),
    [
        ("time,a", "0,1\n0.5,2\n1.25,3", [0, 0.5, 1.25]),
        ("a;Timestamp (us)", "1;0\n2;500000\n3;1250000", [0, 0.5, 1.25]),
        ("time_ms\ta", "0\t1\n500\t2\n1250\t3", [0, 0.5, 1.25]),
        ("# a remark\n\nt [ms], a ", "\n0, 1\n500, 2\n1250, 3\n\n", [0, 0.5, 1.25]),
        ("millis,a", "0,1\r\n500,2\r\n1250,3\r\n", [0, 0.5, 1.25]),
        ("timestamp,a", "1743471820000,1\n1743471820500,2\n1743471821250,3", [1743471820, 1743471820.5, 1743471821.25]),
        ("\ufefftime,a", "1743471820,1\n1743471820.5,2\n1743471821.25,3", [1743471820, 1743471820.5, 1743471821.25]),
        ("", "0,1\n0.5,2\n1.25,3", [0, 0.5, 1.25]),
    ],
)
def test_stamps_are_found_by_name_and_unit(tmp_path: Path, head: str, rows: str, stamps: list[float]) -> None:
    r = one(tmp_path, f"{head}\n{rows}")
    np.testing.assert_allclose(r.t, stamps, rtol=0, atol=1e-9)
    assert r.x[:, 0].tolist() == [1, 2, 3]
    assert [c.name for c in r.channels] == (["a"] if head else ["x1"])


def test_a_given_rate_takes_the_place_of_stamps(tmp_path: Path) -> None:
    r = one(tmp_path, "1,10\n2,20\n3,30\n", rate_hz=4)
    assert (r.t.tolist(), r.rate_hz, r.x.shape) == ([0, 0.25, 0.5], 4, (3, 2))
    assert [c.name for c in one(tmp_path, "a (g),b\n1,10\n2,20\n", rate_hz=4).channels] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("time,a\n", "a header, but no rows"),
        ("time,a\n0,1\n1\n2,3\n", "line 3 has 1 cells, but 2 are expected$"),
        ("time,a\n0,1\n1,2\n2", r"line 4 has 1 cells.*cut short\?"),
        ("time,a\n0,1\n1,2,3\n", "line 3 has 3 cells"),
        ("time,a\n0,1,7\n1,2,3\n", "line 2 has 3 cells"),
        ("time,acc_x (g)\n0,1\n1,\n", "line 3, column acc_x: '' is not a number"),
        ("time,a\n0,1\n1,two\n", "line 3, column a: 'two' is not a number"),
        ("time,a\n0,1\n1,nan\n", r"a is nan at sample 1 .*1 such"),
        ("time,a\n0,1\n1,inf\n", r"a is inf at sample 1"),
        ("time,a\n0,1\nnan,2\n", r"stamp of sample 1 is not a finite"),
        ("time,a\n0,1\n2,2\n1,3\n", r"sample 2 \(1 s\) goes back"),
        ("time,a\n0,1\n2,2\n2,3\n", r"sample 2 \(2 s\) repeats"),
        ("time (fortnights),a\n0,1\n2,2\n", "unknown unit of time 'fortnights'"),
        ("time,a,a\n0,1,2\n1,2,3\n", "two columns are named 'a'"),
        ("a,b\n0,1\n2,2\n", r"no column named time, t or timestamp \(there are: a, b\)"),
        ("1,2\n1,3\n", "no header, and the first column does not increase"),
        (b"\x80\x81\x82\x83", "neither HDF5 nor text"),
    ],
)
def test_a_damaged_csv_is_refused_with_the_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=f"^walk_03.csv: .*{message}"):
        one(tmp_path, text)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere\.h5: cannot be read \(No such file"):
        read_recordings(tmp_path / "nowhere.h5")


def damaged(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r"^a\.h5: "):
        read_recordings(path)


def test_an_hdf5_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_hdf5(path, [session(), session("run1")])
    data = path.read_bytes()
    for size in [*range(0, len(data) - 1, max(1, len(data) // 60)), len(data) - 1]:
        damaged(path, data[:size])


def test_a_changed_byte_never_gives_another_kind_of_error(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_hdf5(path, [session()])
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(8, len(data), 150):
        path.write_bytes(data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :])
        with contextlib.suppress(RecordingError):
            read_recordings(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["run0"].pop("x"), "run0: no data set 'x'"),
        (lambda f: f["run0"].create_dataset("valid2", data=1) and f["run0"].pop("valid"), None),
        (lambda f: f.attrs.__delitem__("rate_hz"), "run0: neither an attribute rate_hz nor stamps"),
        (lambda f: f.attrs.__setitem__("rate_hz", -1), "rate_hz is .*-1"),
        (lambda f: f.attrs.__setitem__("x_names", '["a"]'), "x has 3 columns, but x_names has 1 names"),
        (lambda f: f.attrs.__setitem__("x_names", "["), "x_names is not a list"),
        (lambda f: f.attrs.__setitem__("tared", "many"), "tared is 'many'"),
        (lambda f: f.attrs.__setitem__("split", "[1, 2]"), "attribute split is not JSON"),
        (lambda f: f.attrs.__setitem__("split", json.dumps({"train": ["run7"]})), "split names 'run7'"),
        (lambda f: (f["run0"].pop("x"), f["run0"].create_dataset("x", data=np.zeros((2, 2, 2)))), "run0: x has shape"),
        (lambda f: (f["run0"].pop("x"), f["run0"].create_dataset("x", data=[b"a"])), "x holds .*, not numbers"),
        (lambda f: (f["run0"].pop("y"), f["run0"].create_dataset("y", data=np.zeros((9, 1)))), "run0: y has shape"),
        (lambda f: (f["run0"].pop("x"), f["run0"].create_dataset("x", data=np.zeros((0, 3)))), "no samples"),
        (lambda f: f.pop("run0"), "no trials in the file"),
    ],
)
def test_a_trial_that_is_not_one_is_refused(tmp_path: Path, change: object, message: str | None) -> None:
    path = tmp_path / "a.h5"
    write_hdf5(path, [session()])
    with h5py.File(path, "a") as file:
        change(file)  # type: ignore[operator]
    if message is None:
        assert len(read_recordings(path)) == 1
        return
    with pytest.raises(RecordingError, match=rf"^a\.h5: .*{message}"):
        read_recordings(path)


def test_a_text_file_named_h5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("time,a\n0,1\n")
    with pytest.raises(RecordingError, match="not an HDF5 file"):
        read_recordings(tmp_path / "a.h5")


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 4 KiB, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["a.h5", "a.csv"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, small_disk: None, name: str) -> None:
    path = tmp_path / name
    path.write_text("the old file")
    with pytest.raises(HissError, match=rf"{name}: cannot be written .*unchanged"):
        write_hdf5(path, [session(n=5000)]) if name == "a.h5" else write_csv(path, session(n=5000))
    assert path.read_text() == "the old file"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("names", "units", "each"),
    [
        (["a_x", "a_y"], "g", ["g", "g"]),
        (["acc_x", "acc_y", "gyr_x", "mag_x"], "m/s^2, rad/s, uT", ["m/s^2", "m/s^2", "rad/s", "uT"]),
        (["up_x", "vel_x", "vel_y"], "unit vector, m/s (in the sensor frame)", ["unit vector", "m/s", "m/s"]),
        (["force", "px"], "N, mm", ["N", "mm"]),
        (["force", "px"], '["N", "mm"]', ["N", "mm"]),
        (["a", "b", "c"], "g, V", ["g, V", "g, V", "g, V"]),
    ],
)
def test_units_are_given_to_columns_as_the_text_means_it(names: list[str], units: str, each: list[str]) -> None:
    assert spread_units(names, units) == each


def test_the_published_recordings_are_read_as_described(shared: Path) -> None:
    runs = read_recordings(shared / "data" / "eflesh" / "eflesh_normal_force.h5")
    assert [(r.name, r.split, r.tared, r.rate_hz) for r in runs] == [
        ("run0", "train", 20, 20.0),
        ("run1", "train", 20, 20.0),
        ("run2", "test", 20, 20.0),
    ]
    assert runs[0].targets == tuple(make_channels(["force", "px", "py", "pz"], ["N", "mm", "mm", "mm"]))
    assert {c.unit for c in runs[0].channels} == {"uT"}
    broad = read_recordings(shared / "data" / "broad" / "broad_95hz.h5", targets="vel_*")
    assert len(broad) == 30
    assert [(c.name, c.unit) for c in broad[0].channels][::3] == [
        ("acc_x", "m/s^2"),
        ("gyr_x", "rad/s"),
        ("mag_x", "uT"),
    ]
    assert [(c.name, c.unit) for c in broad[0].targets] == [("vel_x", "m/s"), ("vel_y", "m/s"), ("vel_z", "m/s")]


def test_raw_samples_are_the_prepared_ones_before_resampling_and_tare(eflesh_normal: Path) -> None:
    raw, made = read_recordings(eflesh_normal, raw=True)[2], read_recordings(eflesh_normal)[2]
    assert (raw.rate_hz, raw.tared, len(raw.targets)) == (None, 0, 0)
    again = raw.resampled(20.0).tare(20)
    n = min(len(again), len(made))
    # raw stamps are float32 (up to 15 us off at 380 s) and samples within 50 us of a grid point are taken as on it
    np.testing.assert_allclose(again.x[:n], made.x[:n], atol=0.002 * np.abs(made.x).max())
