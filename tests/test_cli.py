"""What a person meets at the command line: whatever is wrong ends in one clear line, its exit code, and nothing lost.

Verbs run in this process where that says the same, and as processes of their own for signals, full disks and absent
packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from streaming import LAUNCH, ROOT

from hiss.cli import main
from hiss.cli.stream import exit_code
from hiss.errors import (
    DeviceLostError,
    ExportError,
    FoldError,
    FormatError,
    HissError,
    MismatchError,
    MissingExtraError,
    NetworkError,
    PortError,
    ProgramError,
    RecordingError,
    TrainingError,
)
from hiss.recording import Recording, make_channels, read_recordings, write_csv, write_hdf5

torch = pytest.importorskip("torch", reason="training is not installed: pip install 'hiss[train]'")

NAMES = ("a_x", "a_y", "a_z")
ASKED = ["--target", "force", "--rate", 20, "--period", 5, "--low", "4x1", "--high", "4x1", "--d-state", 4, "--no-base"]
ASKED += ["--set", "epoch_steps=3", "--set", "batch=2", "--set", "window_samples=60"]
SHORT = ["--set", "steps=6"]
Outcome = tuple[int, str, str]  # exit code, stdout, stderr


def recording(name: str = "a", n: int = 300, seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=(n, 3)), axis=0)
    channels, targets = make_channels(NAMES, "uT"), make_channels(["force"], "N")
    return Recording(name, np.arange(n) / 20, x, channels, x[:, :1] * 2, targets, rate_hz=20.0)


def hiss(*arguments: object) -> Outcome:
    """A verb in this process, as `run` runs it; what is not reported as an error gets through."""
    out, err, before, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["hiss", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main.run()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def start(*arguments: object, before: str = "") -> subprocess.Popen[str]:
    """A verb as a process, after the Python code `before`."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{before}\n{LAUNCH}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=heed_ctrl_c if os.name == "posix" else None,  # noqa: PLW1509 - one thread forks here
    )


def heed_ctrl_c() -> None:
    """A test run that a shell put into the background hands down that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def process(*arguments: object, before: str = "") -> Outcome:
    running = start(*arguments, before=before)
    out, err = running.communicate(timeout=60)
    return running.returncode, out, err


def one_line(outcome: Outcome) -> str:
    """The error of an outcome: exactly one line says it, and no traceback stands beside it."""
    _, _, err = outcome
    assert "Traceback" not in err, err
    lines = [line for line in err.splitlines() if line.lower().startswith("error")]
    assert len(lines) == 1, err
    return lines[0]


def refused(outcome: Outcome, code: int, *words: str) -> None:
    assert outcome[0] == code, outcome
    line = one_line(outcome)
    assert all(word in line for word in words), (line, words)


def contents(*paths: Path) -> dict[str, str]:
    """Every file below the paths, hidden ones too, with its SHA-256."""
    files = [f for p in paths for f in ([p] if p.is_file() else sorted(p.rglob("*"))) if f.is_file()]
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes started here: tiny models are quickest so, and the same in every bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """skin.h5, skin.csv, a run and its program, model.hiss; nobody changes them."""
    folder = tmp_path_factory.mktemp("cli")
    write_hdf5(folder / "skin.h5", [recording("a"), recording("b", seed=1), recording("c", seed=2)])
    bare = recording("skin", seed=3)
    write_csv(folder / "skin.csv", Recording(bare.name, bare.t, bare.x, bare.channels, rate_hz=20.0))
    assert hiss("train", folder / "skin.h5", *ASKED, *SHORT, "-o", folder / "run")[0] == 0
    assert hiss("fold", folder / "run", "-o", folder / "model.hiss")[0] == 0
    return folder


# ---- help, codes, JSON ----


@pytest.mark.parametrize("verb", [[v] for v in main.VERBS] + [["datasets", v] for v in ("list", "get", "make")])
def test_help_has_an_example_and_the_exit_codes(verb: list[str]) -> None:
    code, out, _ = hiss(*verb, "--help")
    assert code == 0
    assert f"hiss {' '.join(verb)}" in out.split("Example:")[1]
    assert "Exit codes:" in out
    assert max(map(len, out.splitlines())) <= 120


def test_every_error_has_the_code_that_the_help_names() -> None:
    codes = {
        PortError: 3,
        FormatError: 4,
        MismatchError: 5,
        DeviceLostError: 6,
        ExportError: 7,
        HissError: 7,
        NetworkError: 8,
        **dict.fromkeys((ProgramError, RecordingError, TrainingError, FoldError), 2),
    }
    assert {kind: exit_code(kind("")) for kind in codes} == codes
    assert exit_code(MissingExtraError("torch", "train")) == 2


def test_json_is_json_and_nothing_else(made: Path, tmp_path: Path) -> None:
    for arguments in (
        ["evaluate", made / "run", "--windows", "2x5s"],
        ["fold", made / "run", "-o", tmp_path / "m.hiss"],
        ["inspect", made / "model.hiss"],
        ["export", made / "model.hiss", "-o", tmp_path / "c", "--no-check"],
        ["replay", made / "model.hiss", made / "skin.csv"],
        ["live", made / "model.hiss", "--source", f"file:{made / 'skin.csv'}", "--device", "csv"],
        ["record", "--source", f"file:{made / 'skin.csv'}", "--device", "csv", "-o", tmp_path / "r.h5"],
        ["train", made / "skin.h5", *ASKED, "--set", "steps=1", "-o", tmp_path / "t"],
        ["datasets", "list"],
    ):
        code, out, err = hiss(*arguments, "--json")
        assert code == 0, err
        json.loads(out)


# ---- recordings ----


def csv_lines(made: Path) -> list[str]:
    return (made / "skin.csv").read_text().splitlines()


def with_cell(lines: list[str], row: int, column: int, cell: str) -> list[str]:
    cells = lines[row].split(",")
    cells[column] = cell
    return [*lines[:row], ",".join(cells), *lines[row + 1 :]]


CSV: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "empty": (lambda lines: [], "empty"),
    "header": (lambda lines: lines[:1], "no rows"),
    "cut": (lambda lines: [*lines[:50], lines[50][:9]], "cut short"),
    "ragged": (lambda lines: [*lines[:50], lines[50] + ",3", *lines[51:]], "line 51"),
    "word": (lambda lines: with_cell(lines, 50, 2, "x"), "not a number"),
    "nan": (lambda lines: with_cell(lines, 50, 2, "nan"), "sample 49"),
    "inf": (lambda lines: with_cell(lines, 50, 3, "-inf"), "a_z is -inf"),
    "twice": (lambda lines: [*lines[:50], lines[49], *lines[50:]], "repeats"),
    "back": (lambda lines: [*lines[:50], lines[9], *lines[50:]], "goes back"),
    "untimed": (lambda lines: [line.split(",", 1)[1] for line in lines], "rate"),
    "names": (lambda lines: [lines[0].replace("a_y", "a_x"), *lines[1:]], "two columns"),
    "far": (lambda lines: with_cell(lines, len(lines) - 1, 0, "1e12"), "stamps in s?"),
}


@pytest.mark.parametrize("kind", CSV)
def test_a_csv_that_is_not_right_is_refused(made: Path, tmp_path: Path, kind: str) -> None:
    edit, words = CSV[kind]
    path = tmp_path / "bad.csv"
    path.write_text("".join(line + "\n" for line in edit(csv_lines(made))))
    refused(hiss("predict", made / "model.hiss", path, "-o", tmp_path / "y.csv"), 2, words)
    refused(hiss("replay", made / "model.hiss", path), 2, words)
    assert not (tmp_path / "y.csv").exists()


def _damaged(data: bytes, kind: str) -> bytes:
    half = len(data) // 2
    return {"empty": b"", "tiny": data[:100], "cut": data[:half], "text": b"hello\n"}[kind]


@pytest.mark.parametrize("kind", ["empty", "tiny", "cut", "text"])
def test_a_damaged_hdf5_is_refused_by_every_reader(made: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.h5"
    path.write_bytes(_damaged((made / "skin.h5").read_bytes(), kind))
    for arguments in (
        ["predict", made / "model.hiss", path],
        ["train", path, *ASKED, "-o", tmp_path / "no"],
        ["evaluate", made / "run", "--data", path],
        ["fake", "--device", "csv", "--play", path],
    ):
        refused(hiss(*arguments), 2, "bad.h5")
    assert not (tmp_path / "no").exists()


def test_an_hdf5_of_another_layout_is_refused(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["values"] = np.zeros(5)
    refused(hiss("predict", made / "model.hiss", path), 2, "no trials")
    with h5py.File(path, "w") as file:
        file["run/values"] = np.zeros(5)
    refused(hiss("predict", made / "model.hiss", path), 2, "no data set 'x'", "values")
    with h5py.File(path, "w") as file:
        file["run/x"] = ["a", "b"]
    refused(hiss("predict", made / "model.hiss", path), 2, "not numbers")


def test_channels_are_matched_by_name_and_others_refused(made: Path, tmp_path: Path) -> None:
    """In another order they give the same estimates; too few, too many or others are no sensor of the model."""

    def written(name: str, columns: list[int], names: list[str]) -> Path:
        r = recording("skin", seed=3)
        write_csv(tmp_path / name, Recording("skin", r.t, r.x[:, columns], make_channels(names, "uT"), rate_hz=20.0))
        return tmp_path / name

    (tmp_path / "turned").mkdir()
    turned = written("turned/skin.csv", [2, 0, 1], ["a_z", "a_x", "a_y"])
    _, want, _ = hiss("predict", made / "model.hiss", made / "skin.csv")
    assert hiss("predict", made / "model.hiss", turned)[:2] == (0, want)
    for path, words in (
        (written("few.csv", [0, 1], ["a_x", "a_y"]), "missing: a_z"),
        (written("other.csv", [0, 1, 2], ["b_x", "b_y", "b_z"]), "missing: a_x"),
        (written("more.csv", [0, 1, 2, 2], ["a_x", "a_y", "a_z", "b_x"]), "not expected: b_x"),
    ):
        refused(hiss("predict", made / "model.hiss", path), 5, words)
    r = recording("skin", seed=3)
    write_csv(tmp_path / "kilo.csv", Recording("skin", r.t, r.x, make_channels(NAMES, "mT"), rate_hz=20.0))
    refused(hiss("predict", made / "model.hiss", tmp_path / "kilo.csv"), 5, "mT", "uT")
    write_hdf5(tmp_path / "b.h5", [Recording("b", r.t, r.x[:, :2], r.channels[:2], r.y, r.targets, rate_hz=20.0)])
    refused(hiss("evaluate", made / "run", "--data", tmp_path / "b.h5"), 5, "a_z")


@pytest.mark.parametrize("verb", ["predict", "replay"])
def test_an_unknown_trial_is_named_with_those_there_are(made: Path, verb: str) -> None:
    refused(hiss(verb, made / "model.hiss", made / "skin.h5", "--trial", "run9"), 2, "run9", "a, b, c")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "froce"], "did you mean force?"),
        (["--target", "*"], "none is left"),
        (["--rate", "nan"], "above 0"),
        (["--rate", "1e12"], "at 1e+12 Hz"),
        (["--period", "99999"], "one takes 99999"),
        (["--low", "0x1"], "d_model"),
        (["--seed", "-1"], "-1"),
        (["--device", "gpu"], "try cpu"),
        (["--set", "lr=1e9"], "lower lr"),
        (["--rival", "4x1"], "without a base to rival"),
        (["--set", "window_samples=2"], "hold no estimate"),
        (["--set", "val_fraction=0"], "validate"),
    ],
)
def test_training_that_cannot_be_is_refused_and_leaves_nothing(
    made: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    asked = ["train", made / "skin.h5", *ASKED, *SHORT, *arguments, "-o", tmp_path / "no"]
    refused(hiss(*asked), 2, words)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("files = [", "c.toml"),
        ("files = 3", "files cannot be 3"),
        ("rate = -20.0", "rate is -20"),
        ("peroid = 5", "did you mean 'period'"),
        ('files = "gone.h5"', "gone.h5"),
    ],
)
def test_a_config_that_is_not_right_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "c.toml").write_text(f'target = "force"\n{text}\n')
    refused(hiss("train", tmp_path / "c.toml", "-o", tmp_path / "no"), 2, words)
    assert not (tmp_path / "no").exists()


# ---- programs and runs ----


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def other_format(data: bytes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["hiss"] = header["__metadata__"]["hiss"].replace('"format": "1"', '"format": "99"')
    return _packed(header, data[8 + size :])


def hostile(data: bytes) -> bytes:
    """A header that claims tensors of 2^50 numbers."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    next(entry for name, entry in header.items() if name != "__metadata__")["shape"] = [2**40, 2**10]
    return _packed(header, data[8 + size :])


def _packed(header: Any, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "length": lambda data: (2**62).to_bytes(8, "little") + data[8:],
    "hostile": hostile,
    "format": other_format,
    "header": lambda data: flipped(data, 60),
    "middle": lambda data: flipped(data, len(data) // 2),
    "end": lambda data: flipped(data, len(data) - 1),
    "half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"this is no model at all",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_program_is_refused_by_every_verb(made: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.hiss"
    path.write_bytes(DAMAGE[kind]((made / "model.hiss").read_bytes()))
    words = ("bad.hiss", "format 99", "reads format 1") if kind == "format" else ("bad.hiss",)
    for arguments in (
        ["inspect", path],
        ["predict", path, made / "skin.csv", "-o", tmp_path / "y.csv"],
        ["replay", path, made / "skin.csv"],
        ["export", path, "-o", tmp_path / "c"],
        ["live", path, "--source", f"file:{made / 'skin.csv'}", "--device", "csv"],
    ):
        refused(hiss(*arguments), 2, *words)
    assert list(contents(tmp_path)) == [str(path)]


@pytest.mark.parametrize("name", ["best.safetensors", "run.json", "last.safetensors"])
@pytest.mark.parametrize("kind", ["header", "middle", "half", "empty", "gone"])
def test_a_damaged_run_is_refused(made: Path, tmp_path: Path, name: str, kind: str) -> None:
    """What reads the file says so; last.safetensors is read by --resume alone, the model by all others."""
    run = tmp_path / "run"
    shutil.copytree(made / "run", run)
    if kind == "gone":
        (run / name).unlink()
    else:
        (run / name).write_bytes(DAMAGE[kind]((run / name).read_bytes()))
    before = contents(run)
    if name != "last.safetensors":
        refused(hiss("fold", run), 2, name)
        refused(hiss("predict", run, made / "skin.csv"), 2, name)
    if name != "best.safetensors":
        refused(hiss("train", "--resume", run), 2, "nothing to resume" if kind == "gone" else name)
    assert contents(run) == before


def test_data_that_changed_or_is_gone_is_noticed(made: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "mine.h5", tmp_path / "run"
    shutil.copy(made / "skin.h5", data)
    assert hiss("train", data, *ASKED, *SHORT, "-o", run)[0] == 0
    with h5py.File(data, "a") as file:
        file["a/x"][0, 0] += 1
    refused(hiss("evaluate", run), 2, "has changed", "--data")
    refused(hiss("train", "--resume", run), 2, "has changed")
    assert hiss("evaluate", run, "--data", data)[0] == 0
    data.unlink()
    refused(hiss("evaluate", run), 2, "it is gone", "--data")


def test_resume_takes_no_other_wish(made: Path) -> None:
    refused(hiss("train", "--resume", made / "run", "--set", "lr=1"), 2, "--resume")


# ---- a disk that is full, a folder that is closed ----

FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""


@pytest.mark.skipif(os.name != "posix", reason="RLIMIT_FSIZE")
def test_a_full_disk_leaves_what_was_there(made: Path, tmp_path: Path) -> None:
    """As limits on a file's size, which fail in the middle of it: before anything is replaced, and nothing is left."""
    shutil.copytree(made / "run", tmp_path / "run")
    shutil.copy(made / "model.hiss", tmp_path / "run" / "model.hiss")
    source, csv = f"file:{made / 'skin.csv'}", tmp_path / "y.csv"
    assert hiss("predict", made / "model.hiss", made / "skin.csv", "-o", csv)[0] == 0
    assert hiss("export", made / "model.hiss", "-o", tmp_path / "c", "--no-check")[0] == 0
    assert hiss("record", "--source", source, "--device", "csv", "-o", tmp_path / "r.h5")[0] == 0
    for file in (tmp_path / "c").iterdir():  # of an older model
        file.write_text("old")
    before = contents(tmp_path)
    for limit, arguments in (
        (500, ["fold", tmp_path / "run"]),
        (500, ["predict", made / "model.hiss", made / "skin.csv", "-o", csv]),
        (6000, ["export", made / "model.hiss", "--name", "model", "-o", tmp_path / "c", "--no-check"]),
        (500, ["record", "--source", source, "--device", "csv", "-o", tmp_path / "r.h5", "--overwrite"]),
        (500, ["train", made / "skin.h5", *ASKED, *SHORT, "--seed", "5", "-o", tmp_path / "run"]),
    ):
        refused(process(*arguments, before=FULL.format(limit)), 7, "too large")
        assert contents(tmp_path) == before, arguments[0]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("verb", ["predict", "inspect"])
def test_a_full_standard_output_is_an_error(made: Path, verb: str) -> None:
    arguments = [verb, made / "model.hiss"] + ([made / "skin.csv"] if verb == "predict" else [])
    command = [sys.executable, "-c", LAUNCH, *map(str, arguments)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    refused((done.returncode, "", done.stderr), 7, "No space left")


def test_a_place_where_nothing_can_be_written(made: Path, tmp_path: Path) -> None:
    """A file stands where a folder should: so for root too. Training says it before it begins."""
    (tmp_path / "file").write_text("x")
    place = tmp_path / "file" / "x"
    for arguments in (
        ["train", made / "skin.h5", *ASKED, *SHORT, "-o", place],
        ["fold", made / "run", "-o", place],
        ["predict", made / "model.hiss", made / "skin.csv", "-o", place],
        ["export", made / "model.hiss", "-o", place],
        ["replay", made / "model.hiss", made / "skin.csv", "--out", f"csv:{place}"],
        ["record", "--source", f"file:{made / 'skin.csv'}", "--device", "csv", "-o", place],
        ["datasets", "make", "simulated_skin", "--minutes", "1", "-o", place],
    ):
        outcome = hiss(*arguments)
        refused(outcome, 7, str(place))
        assert "training" not in outcome[2].splitlines()


# ---- Ctrl-C ----


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_ctrl_c_keeps_the_checkpoint_and_resume_goes_on_as_if_nothing_had_been(made: Path, tmp_path: Path) -> None:
    asked = ["train", made / "skin.h5", *ASKED, "--set", "steps=90", "--set", "patience=1000"]
    running = start(*asked, "-o", tmp_path / "cut")
    end = time.monotonic() + 40
    while not (tmp_path / "cut" / "last.safetensors").exists() and time.monotonic() < end and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert (running.returncode, "Traceback" in err) == (130, False), err
    assert f"hiss train --resume {tmp_path / 'cut'}" in err
    done = (tmp_path / "cut" / "log.csv").read_text().splitlines()
    assert 2 <= len(done) < 31  # in the middle
    assert hiss("evaluate", tmp_path / "cut", "--json")[0] == 0
    assert hiss("train", "--resume", tmp_path / "cut")[0] == 0
    assert hiss(*asked, "-o", tmp_path / "whole")[0] == 0
    for name in ("log.csv", "best.safetensors", "last.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


# ---- streams ----


@pytest.mark.parametrize("verb", ["live", "record"])
@pytest.mark.parametrize(
    ("source", "device", "code", "words"),
    [
        ("/dev/no_such_port", "csv", 3, "does not exist"),
        ("{csv}", "csv", 3, "file:"),
        ("file:{gone}", "csv", 3, "No such file"),
        ("file:{folder}", "csv", 3, "folder"),
        ("py:no_such_module:f", "csv", 2, "no_such_module"),
        ("py:os:getcwd", "csv", 4, "expected bytes"),
        ("file:{csv}", "thing:5", 2, "there are: anyskin"),
        ("file:{csv}", "anyskin:1", 4, "try --device csv"),
    ],
)
def test_a_stream_that_cannot_be_read(
    made: Path, tmp_path: Path, verb: str, source: str, device: str, code: int, words: str
) -> None:
    text = source.format(csv=made / "skin.csv", gone=tmp_path / "gone", folder=tmp_path)
    arguments = ["live", made / "model.hiss"] if verb == "live" else ["record", "-o", tmp_path / "r.h5"]
    refused(hiss(*arguments, "--source", text, "--device", device), code, words)
    assert contents(tmp_path) == {}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may open everything")
def test_a_port_without_permission(made: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "port", 0)
    refused(hiss("live", made / "model.hiss", "--source", tmp_path / "port", "--device", "csv"), 3, "permission")


def test_a_recording_is_replaced_only_when_asked(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    arguments = ["record", "--source", f"file:{made / 'skin.csv'}", "--device", "csv", "-o", path]
    assert hiss(*arguments)[0] == 0
    before = contents(path)
    refused(hiss(*arguments), 7, "--overwrite")
    assert contents(path) == before
    assert hiss(*arguments, "--overwrite")[0] == 0
    assert len(read_recordings(path)[0]) == 300


# ---- other arguments, other networks, absent packages ----


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["evaluate", "{run}", "--windows", "three"], 2, "32x60s"),
        (["evaluate", "{run}", "--windows", "2x0.01s"], 2, "hold no estimate"),
        (["evaluate", "{run}", "--windows", "2x9999s"], 2, "shorter"),
        (["export", "{model}", "-o", "{new}", "--name", "int"], 2, "a word of C"),
        (["export", "{model}", "-o", "{new}", "--emulate", "m99"], 2, "m4f"),
        (["replay", "{model}", "{csv}", "--speed", "nan"], 2, "above 0"),
        (["predict", "{model}", "{csv}", "--rate", "inf"], 2, "above 0"),
        (["fake", "--device", "anyskin:999"], 2, "1 to 255"),
        (["fake", "--device", "csv", "--play", "{csv}", "--start", "9999"], 2, "nothing from"),
        (["datasets", "get", "eflush"], 2, "did you mean eflesh?"),
        (["datasets", "make", "simulated_skin", "--minutes", "nan", "-o", "{new}"], 2, "above 0"),
        (["nosuch"], 2, "nosuch"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(
    made: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    new = {"run": made / "run", "model": made / "model.hiss", "csv": made / "skin.csv", "new": tmp_path / "new"}
    refused(hiss(*(text.format(**new) for text in arguments)), code, words)
    assert contents(tmp_path) == {}


def test_a_download_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hiss.download.WAIT_S", 0.0)
    address = "http://127.0.0.1:9"  # the discard port: nobody answers
    outcome = hiss("datasets", "get", "eflesh", "-o", tmp_path, "--base-url", address)
    refused(outcome, 8, "offline", "simulated_skin")


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {0}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def test_without_torch_the_verbs_that_need_it_name_the_extra(made: Path, tmp_path: Path) -> None:
    before = WITHOUT.format(("torch", "scipy", "matplotlib"))
    for arguments in (
        ["train", made / "skin.h5", *ASKED, "-o", tmp_path / "no"],
        ["fold", made / "run"],
        ["predict", made / "run", made / "skin.csv"],
    ):
        refused(process(*arguments, before=before), 2, "torch", "hiss[train]")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("verb", ["predict", "replay", "inspect", "export", "live"])
def test_a_program_needs_no_torch(made: Path, tmp_path: Path, verb: str) -> None:
    rest = {
        "predict": [made / "skin.csv"],
        "replay": [made / "skin.csv"],
        "inspect": [],
        "export": ["-o", tmp_path / "c", "--no-check"],
        "live": ["--source", f"file:{made / 'skin.csv'}", "--device", "csv"],
    }[verb]
    code, out, err = process(verb, made / "model.hiss", *rest, before=WITHOUT.format(("torch", "scipy", "matplotlib")))
    assert code == 0, err
    assert out


def test_evaluate_without_matplotlib_draws_nothing_and_says_so(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "run", tmp_path / "run", ignore=shutil.ignore_patterns("*.png"))
    code, out, err = process("evaluate", tmp_path / "run", "--json", before=WITHOUT.format(("matplotlib",)))
    assert code == 0, err
    assert "hiss[plot]" in err
    assert json.loads(out)["outputs"]["force"]["rmse"] > 0
