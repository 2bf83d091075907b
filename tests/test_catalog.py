"""Data sets: a download is what the publisher has, also over a bad line; a conversion equals the reference."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import shared_path

from hiss import catalog, download
from hiss.cli.datasets import command
from hiss.errors import HissError, NetworkError

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


class Publisher(ThreadingHTTPServer):
    """A server on this machine whose next answers can be broken: 'break', 'wrong byte', 'no range', 'longer', 404."""

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.faults, self.asked = files, [], []  # type: ignore[var-annotated]
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Publisher = self.server  # type: ignore[assignment]
        fault = server.faults.pop(0) if server.faults else None
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and fault != "no range" else 0
        server.asked.append((self.path, start))
        data = server.files.get(self.path.lstrip("/"))
        if data is None or isinstance(fault, int):
            self.send_error(fault or 404)
            return
        body = (data + b"more" if fault == "longer" else data)[start:]
        if fault == "wrong byte":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "break" else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setattr(download, "WAIT_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Publisher({"a.bin": CONTENT})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetched(publisher: Publisher, folder: Path, **changes: object) -> int:
    """Fetch a.bin; give the bytes that the progress bar counted."""
    counted = 0

    def count(n: int) -> None:
        nonlocal counted
        counted += n

    how = {"size": len(CONTENT), "sha256": SHA, **changes}
    download.fetch(f"{publisher.url}/a.bin", folder / "a.bin", on_bytes=count, **how)  # type: ignore[arg-type]
    return counted


@pytest.mark.parametrize(
    ("faults", "starts"),
    [
        ([], [0]),
        (["break"], [0, 150_000]),
        (["break"] * 6, [0, 150_000, 225_000, 262_500, 281_250, 290_625, 295_312]),  # each attempt brings something
        (["wrong byte"], [0, 0]),
        (["longer"], [0, 0]),
        (["break", "no range"], [0, 0]),
        (["break", "wrong byte"], [0, 150_000, 0]),
        ([503, 503, "break"], [0, 0, 0, 150_000]),
    ],
)
def test_a_download_is_right_in_every_byte_whatever_the_line_does(
    publisher: Publisher, tmp_path: Path, faults: list[str | int], starts: list[int]
) -> None:
    publisher.faults = faults
    assert fetched(publisher, tmp_path) == len(CONTENT)  # the bar ends where it should
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert [start for _, start in publisher.asked] == starts


def test_what_is_there_is_not_downloaded_again(publisher: Publisher, tmp_path: Path) -> None:
    fetched(publisher, tmp_path)
    assert fetched(publisher, tmp_path) == len(CONTENT)
    assert len(publisher.asked) == 1
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1] + b"!")
    fetched(publisher, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_second_command_goes_on_where_the_first_stopped(publisher: Publisher, tmp_path: Path) -> None:
    publisher.faults = ["break", 503, 503, 503, 503]
    with pytest.raises(NetworkError, match="503"):
        fetched(publisher, tmp_path)
    assert not (tmp_path / "a.bin").exists()
    assert fetched(publisher, tmp_path) == len(CONTENT)
    assert publisher.asked[-1] == ("/a.bin", 150_000)


def test_another_file_at_the_publisher_is_refused(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="other bytes than expected"):
        fetched(publisher, tmp_path, sha256="0" * 64)
    assert not any(tmp_path.iterdir())


def test_an_absent_file_is_not_asked_for_twice(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files.clear()
    with pytest.raises(NetworkError, match=r"a\.bin: the server answers 404"):
        fetched(publisher, tmp_path)
    assert len(publisher.asked) == 1


def test_offline_is_said_with_what_to_do(publisher: Publisher, tmp_path: Path) -> None:
    publisher.url = "http://127.0.0.1:1"  # nobody listens there
    with pytest.raises(NetworkError, match=r"offline.*same command goes on.*hiss datasets make simulated_skin"):
        fetched(publisher, tmp_path)


def test_only_web_addresses_are_opened(tmp_path: Path) -> None:
    with pytest.raises(HissError, match="not a web address"):
        download.fetch(f"file://{__file__}", tmp_path / "a", size=1, sha256="")


def test_every_data_set_says_what_it_is_and_has_its_script() -> None:
    names = {dataset.name for dataset in catalog.datasets()}
    assert {"eflesh", "simulated_skin"} <= names
    for dataset in catalog.datasets():
        assert dataset.title
        assert dataset.licence
        assert (dataset.script.parent / "README.md").is_file()
        verbs = ("simulate",) if dataset.simulated else ("trials", "read") if dataset.expects else ("convert",)
        assert all(callable(getattr(catalog.load_script(dataset), verb)) for verb in verbs)
        assert dataset.simulated == ("simulated" in dataset.name)  # never mistaken for a measurement


def test_an_unknown_data_set_names_the_nearest() -> None:
    with pytest.raises(HissError, match=r"no data set is named 'eflush'; did you mean eflesh\?"):
        catalog.find("eflush")


def test_a_manifest_that_is_not_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "manifest.toml").write_text("name = 3\nsize = [")
    monkeypatch.setattr(catalog, "folders", lambda: tmp_path)
    with pytest.raises(HissError, match=r"manifest\.toml: not a manifest"):
        catalog.datasets()


def test_the_list_is_readable_by_programs() -> None:
    result = CliRunner().invoke(command, ["list", "--json"])
    listed = {entry["name"]: entry for entry in json.loads(result.stdout)}
    assert listed["eflesh"]["size"] == sum(file.size for file in catalog.find("eflesh").files)
    assert "eflesh" in CliRunner().invoke(command, ["list"]).stdout


def raw_files() -> Path:
    return shared_path("raw", "eflesh")


def test_the_converted_runs_equal_the_reference_in_every_bit(tmp_path: Path, shared: Path) -> None:
    """x, y, valid and the untouched samples of all five runs: not one float differs."""
    for path in catalog.load_script(catalog.find("eflesh")).convert(raw_files(), tmp_path):
        with h5py.File(path) as ours, h5py.File(shared / "data" / "eflesh" / path.name) as reference:
            assert list(ours) == list(reference)
            for key in ("x_names", "y_names"):
                assert json.loads(ours.attrs[key]) == json.loads(reference.attrs[key])
            assert {k: v for k, v in json.loads(ours.attrs["split"]).items() if v} == {
                k: v for k, v in json.loads(reference.attrs["split"]).items() if v
            }
            for run in reference:
                assert set(ours[run]) == set(reference[run])
                for key, data in reference[run].items():
                    np.testing.assert_array_equal(ours[run][key], data, err_msg=f"{path.name} {run} {key}")


def test_get_downloads_checks_and_converts_also_after_a_break_and_a_wrong_byte(
    tmp_path: Path, publisher: Publisher
) -> None:
    dataset = catalog.find("eflesh")
    publisher.files = {file.path: (raw_files() / file.path).read_bytes() for file in dataset.files}
    publisher.faults = ["break", None, "wrong byte"]
    arguments = ["get", "eflesh", "-o", str(tmp_path / "eflesh"), "--base-url", publisher.url]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    made = [Path(line) for line in result.stdout.splitlines()]
    assert [path.name for path in made] == ["eflesh_normal_force.h5", "eflesh_shear_force.h5"]
    assert all(path.stat().st_size > 1e6 for path in made)
    assert len(publisher.asked) == len(dataset.files) + 2


def test_get_and_make_send_each_other_what_they_cannot_do() -> None:
    got = CliRunner().invoke(command, ["get", "simulated_skin"])
    assert (got.exit_code, "hiss datasets make simulated_skin" in got.output) == (2, True)
    made = CliRunner().invoke(command, ["make", "eflesh"])
    assert (made.exit_code, "hiss datasets get eflesh" in made.output) == (2, True)
