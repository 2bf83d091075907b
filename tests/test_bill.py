"""Laws of the bill and the budget: what is stated is what is found; over budget nothing is written."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from c_programs import every_position
from conftest import absent
from test_packages import fingertip, readings

from hiss.cli import main
from hiss.cli.export import PACKAGES
from hiss.engines import cores
from hiss.engines.core_bill import core_bill
from hiss.firmware_export import export_c
from hiss.firmware_export.bill import CoreBill, bill_of, errors_between, floating, settling_s, usual_errors
from hiss.firmware_export.budget import Budget, complaint, found_in, parse_budget
from hiss.firmware_export.c import Model
from hiss.firmware_export.packages import KINDS
from hiss.program import Port, Program
from hiss.program import ops as o
from hiss.program.passes import spread
from hiss.quantization import quantized
from hiss.recording import Recording, make_channels, write_hdf5


@pytest.fixture(scope="module")
def emulated():
    """The package that runs emulated cores."""
    missing = [package for package in ("ziglang", "unicorn") if importlib.util.find_spec(package) is None]
    if missing:
        absent(f"{' and '.join(missing)} not installed: pip install 'hiss[firmware]'")


def named() -> Program:
    """The program with names that a recording may have."""
    inputs = tuple(Port(name, "uT", -1000, 1000) for name in ("m0_x", "m0_y"))
    return dataclasses.replace(fingertip(), inputs=inputs, outputs=(Port("force", "N"), Port("twice", "N")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Models and a recording of the first one's channels."""
    folder = tmp_path_factory.mktemp("bill")
    program = named()
    x = np.cumsum(readings(program, 3000), axis=0) % 300.0
    made, _ = quantized(program, [x.astype(np.float32) - 150])
    program.save(folder / "force.hiss")
    made.save(folder / "force.int.hiss")
    every_position().save(folder / "grip.hiss")
    t = np.arange(len(x)) / program.rate_hz
    names = [port.name for port in program.inputs]
    channels, nothing = make_channels(names, "uT"), np.zeros((len(x), 0))
    write_hdf5(folder / "walk.h5", [Recording("walk", t, x, channels, nothing, (), rate_hz=program.rate_hz)])
    return folder


def hiss(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a verb."""
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


# ---- the bill ----


def test_what_follows_from_the_program_is_stated():
    program = every_position()
    bill = bill_of(Model(program, "grip"))
    assert bill.state_bytes + bill.scratch_bytes == bill.ram_bytes
    assert bill.worst_macs > bill.macs > 0
    assert json.loads(json.dumps(bill.to_json()))["numbers"] == "float32"
    assert f"{bill.ram_bytes:,} bytes an instance" in bill.text()


def test_settling_is_that_of_the_slowest_mode_that_is_carried_on():
    """After that time its impulse response is below 1 %, one step earlier it is not."""
    program = every_position()
    modes = [(op, stage) for stage in program.stages for op in stage.ops if isinstance(op, o.Diagonal)]
    slowest = max(float(np.abs(op.a).max()) for op, _ in modes if not op.restart)
    steps = settling_s(program) * program.rate_hz
    assert slowest ** (steps + 1) < 0.01 < slowest ** (steps - 1)
    assert settling_s(fingertip()) is None
    assert "none, no mode" in bill_of(Model(fingertip(), "force")).text()


def test_a_mode_that_never_decays_is_said_and_is_json():
    stages = tuple(
        dataclasses.replace(
            stage, every=tuple(_lossless(op) for op in stage.every), last=tuple(map(_lossless, stage.last))
        )
        for stage in every_position().stages
    )
    bill = bill_of(Model(dataclasses.replace(every_position(), stages=stages), "grip"))
    assert math.isinf(bill.settling_s)
    assert (bill.to_json()["settling_s"], bill.to_json()["settles"]) == (None, False)
    json.dumps(bill.to_json(), allow_nan=False)
    assert "never" in bill.text()


def _lossless(op):
    return dataclasses.replace(op, a=np.ones_like(op.a)) if isinstance(op, o.Diagonal) else op


def test_errors_are_rms_largest_and_snr():
    program = fingertip()
    exact = np.stack([np.tile([1.0, -1.0], 50), np.full(100, 3.0)], axis=1)
    off = exact + np.stack([np.tile([0.1, 0.1, -0.1, -0.1], 25), np.zeros(100)], axis=1)
    first, second = errors_between(program, off, exact)
    assert (first.name, first.unit) == ("force", "N")
    assert first.rms == pytest.approx(0.1)
    assert first.max == pytest.approx(0.1)
    assert first.snr_db == pytest.approx(20.0)
    assert (second.rms, second.max, second.snr_db) == (0.0, 0.0, None)


def test_integers_are_compared_with_their_floating_point_program():
    program = fingertip()
    made, _ = quantized(program, [readings(program, 600).astype(np.float32)])
    assert floating(made).formats is None
    (before, _), (after, _) = usual_errors(program), usual_errors(made)
    assert before.snr_db > 100 > after.snr_db > 20


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("kind", ["float", "integers"])
def test_a_core_is_billed_from_what_it_runs(kind, tmp_path):
    """Instructions are those of every step of a period; the tables are those of the program and its functions."""
    from hiss.engines.emulator import Emulator, usual_input
    from hiss.engines.firmware import Firmware

    program = fingertip() if kind == "float" else quantized(fingertip(), [readings(fingertip(), 600) * 1.0])[0]
    made = export_c(program, tmp_path, "force")
    bill = core_bill(program, tmp_path, "force", "m4f", "zig")
    run = Emulator.of(Firmware.of(program, tmp_path, "force"), "m4f")
    run.tare()
    steps = run.count_steps(usual_input(program, program.tare + 2 * program.period))[program.tare :]
    assert (bill.average, bill.worst) == (np.mean(steps[program.period :]), max(steps))
    assert bill.mismatches == 0
    assert bill.table_bytes >= made.table_bytes
    assert bill.flash_bytes == bill.code_bytes + bill.table_bytes
    assert 0 < bill.stack_bytes < 1000
    assert bill.stack_from == "measured"
    assert "-O2" in bill.compiler


@pytest.mark.parametrize("name", ["m55", "rv32imc-qemu", "atmega328p"])
def test_cores_of_other_emulators_are_billed_too(name, tmp_path):
    """gcc gives a bound of the stack; the ATmega counts cycles."""
    if reason := cores.missing(name):
        absent(reason)
    program = fingertip()
    export_c(program, tmp_path, "force")
    bill = core_bill(program, tmp_path, "force", name, "zig")
    assert bill.mismatches == 0
    assert bill.worst > bill.average > 100
    assert bill.stack_from == "bound"
    assert 50 < bill.stack_bytes < 400
    assert bill.unit == ("cycles" if name == "atmega328p" else "instructions")
    assert "gcc" in bill.compiler


# ---- the budget ----


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("flash=32k,ram=4k,insn=20k", {"flash": 32768, "ram": 4096, "insn": 20000}),
        ("stack=1.5k", {"stack": 1536}),
        (" RAM = 900 , insn=1M", {"ram": 900, "insn": 1_000_000}),
    ],
)
def test_budgets_are_bytes_and_instructions(text, limits):
    assert parse_budget(text).limits == limits


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rom=4k", "'rom=4k': there are flash, ram, insn, stack"),
        ("flash=32k,ram", "'ram': expected a number"),
        ("flash=32k,ram=4kb", "'ram=4kb': expected a number"),
        ("ram=-4k", "'ram=-4k': expected a number"),
        ("ram=0", "'ram=0': expected a number above 0"),
        ("ram=4k,ram=5k", "'ram=5k': ram stands there twice"),
        ("", "'': there are flash"),
    ],
)
def test_a_budget_that_cannot_be_read_names_the_item(text, words):
    with pytest.raises(ValueError, match=words):
        parse_budget(text)


def core(worst=100, code=1000, stack=64):
    return CoreBill("m4f", "cc -O2", code, 500, 50.0, worst, 0, stack, "bound")


def test_exactly_the_budget_is_within_it_and_one_more_is_over():
    program = fingertip()
    bill = bill_of(Model(program, "force"), cores=[core()])
    found = found_in([bill], "m4f")
    assert found == {"flash": 1500, "ram": bill.ram_bytes, "insn": 100, "stack": 64}
    assert Budget(found).over(found) == {}
    for item, value in found.items():
        over = Budget({**found, item: value - 1}).over(found)
        assert over == {item: value}
        said = complaint(Budget({item: value - 1}), over, [program], "m4f")
        assert f"{item}: {value:,} " in said
        assert f"allowed {value - 1:,}" in said
        assert "what helps: " in said


def test_several_models_are_added_up():
    one = bill_of(Model(fingertip(), "force"), cores=[core(100, 1000, 64)])
    two = bill_of(Model(every_position(), "grip"), cores=[core(300, 2000, 96)])
    assert found_in([one, two], "m4f") == {
        "flash": 4000,
        "ram": one.ram_bytes + two.ram_bytes,
        "insn": 400,
        "stack": 96,
    }


def test_what_was_not_measured_is_over_budget():
    bill = bill_of(Model(fingertip(), "force"))
    over = Budget({"insn": 10**9, "ram": 10**9}).over(found_in([bill], "m4f"))
    assert over == {"insn": None}
    assert "not measured" in complaint(Budget({"insn": 10**9}), over, [fingertip()], "m4f")


def helped(item: str, program: Program) -> str:
    return complaint(Budget({item: 1}), {item: 2}, [program], "m4f")


def test_advice_is_only_what_the_program_does_not_do_yet():
    program = every_position()
    x = [readings(program, 600).astype(np.float32)]
    large, _ = quantized(program, x, weights="int16")
    small, _ = quantized(program, x, weights="int8")
    assert "hiss quantize)" in helped("flash", program)
    assert "--weights int8" in helped("flash", large)
    assert "quantize" not in helped("flash", small)
    assert "--states int16" in helped("ram", small)
    assert "--spread" in helped("insn", program)
    assert "--spread" not in helped("insn", spread(program))


# ---- the verbs ----


def test_the_verb_knows_every_kind_of_package():
    assert PACKAGES == KINDS


@pytest.mark.usefixtures("emulated")
def test_the_bill_stands_beside_the_files_and_in_json(folder, tmp_path):
    code, out, err = hiss(
        *("export", folder / "force.int.hiss", "-o", tmp_path / "new", "--name", "force", "--package", "arduino"),
        *("--emulate", "m4f", "--data", folder / "walk.h5", "--json"),
    )
    assert code == 0, err
    facts = json.loads(out)
    (bill,) = facts["bill"]
    assert json.loads((tmp_path / "new/bill.json").read_text())["models"] == [bill]
    assert set(facts["files"]) == {str(p) for p in (tmp_path / "new").rglob("*") if p.is_file()}
    assert "walk.h5" in bill["errors_on"]
    assert bill["cores"][0]["core"] == "m4f"
    assert facts["emulated"]["m4f"]["worst"] == bill["cores"][0]["worst"]
    assert "zig" not in (tmp_path / "new/src/force.h").read_text()


@pytest.mark.usefixtures("emulated")
def test_over_budget_nothing_is_written_and_every_item_is_named(folder, tmp_path):
    arguments = ["export", folder / "force.hiss", "-o", tmp_path / "new", "--budget"]
    code, out, err = hiss(*arguments, "flash=100,ram=10,insn=10,stack=1")
    assert (code, out) == (8, "")
    for item in ("flash: ", "ram: ", "insn: ", "stack: "):
        assert item in err
    assert "on m4f" in err
    assert not (tmp_path / "new").exists()
    assert hiss(*arguments, "flash=100k,ram=10k,insn=10k,stack=1k")[0] == 0
    assert (tmp_path / "new/bill.json").is_file()


def test_a_budget_of_ram_needs_no_core(folder, tmp_path):
    code, _, err = hiss("export", folder / "grip.hiss", "-o", tmp_path / "new", "--no-check", "--budget", "ram=1k")
    assert code == 8
    assert "measuring" not in err
    assert "ram: 1,5" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--package", "snap"], "zephyr"),
        (["--budget", "flash=32k,ram=lots"], "'ram=lots'"),
        (["--name", "force", "--with", "force={grip}"], "'force' and 'force'"),
        (["--name", "Grip", "--with", "grip={grip}"], "'Grip' and 'grip'"),
        (["--with", "grip"], "NAME=MODEL"),
        (["--with", "grip=nowhere.hiss"], "NAME=MODEL"),
        (["--with", "int={grip}"], "a word of C"),
        (["--package", "arduino", "--name", "Wire"], "Arduino cores"),
        (["--package", "cmake", "--name", "test"], "target of CMake"),
        (["--package", "cmake", "--package-version", "1"], "1.2.3"),
        (["--emulate", "m99"], "m4f"),
        (["--data", "{walk}", "--rate", "0"], "above 0"),
    ],
)
def test_a_mistake_writes_nothing(folder, tmp_path, arguments, words):
    names = {"grip": folder / "grip.hiss", "walk": folder / "walk.h5"}
    more = [text.format(**names) for text in arguments]
    code, out, err = hiss("export", folder / "force.hiss", "-o", tmp_path / "new", "--no-check", *more)
    assert (code, out) == (2, "")
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_a_recording_of_other_channels_and_a_short_one_are_refused(folder, tmp_path):
    arguments = ["-o", tmp_path / "new", "--no-check", "--data"]
    code, _, err = hiss("export", folder / "grip.hiss", *arguments, folder / "walk.h5")
    assert code == 5
    assert "walk" in err
    short = tmp_path / "short.csv"
    for samples, words in ((3, "tare over 10 samples"), (12, "short.csv: 2 samples after the tare")):
        short.write_text("m0_x,m0_y\n" + "1,2\n" * samples)
        code, _, err = hiss("export", folder / "force.hiss", *arguments, short, "--rate", "50")
        assert code == 2
        assert words in err
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("emulated")
def test_inspect_shows_the_bill_as_c(folder):
    code, out, err = hiss("inspect", folder / "force.int.hiss", "--emulate", "m0", "--data", folder / "walk.h5")
    assert code == 0, err
    for words in ("as C: integers", "bytes an instance", "windows of", "dB", "m0 ", "0 mismatches"):
        assert words in out
    code, out, _ = hiss("inspect", folder / "grip.hiss", "--json")
    facts = json.loads(out)
    assert facts["c"]["ram_bytes"] == bill_of(Model(every_position(), "model")).ram_bytes
    assert facts["c_refused"] is None


def test_inspect_says_why_c_cannot_hold_a_program(tmp_path):
    stages = fingertip().stages
    long = dataclasses.replace(fingertip(), stages=(dataclasses.replace(stages[0], period=70000),))
    long.save(tmp_path / "long.hiss")
    code, out, _ = hiss("inspect", tmp_path / "long.hiss", "--no-equations")
    assert code == 0
    assert "as C: the period of stage 0 is 70000" in out
