"""The tare while live: at rest it is taken, while the sensor moves it begins again; commands renew it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from streaming import Kept, Timed, fake_board, run, small_program, start, wait_for_line, wait_until

from hiss.engines import Stepper
from hiss.program import Port, Program
from hiss.realtime.devices.anyskin import anyskin_channels
from hiss.realtime.framing import Event, Frame
from hiss.realtime.live import Limits, Loop
from hiss.realtime.log_source import LogSource
from hiss.realtime.still import StillWatch

START_NS = 10**13
CHANNELS = anyskin_channels(5)
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and pseudo-terminals")


def items(x: np.ndarray) -> list[tuple[int, Frame | Event]]:
    """20 Hz, on the model's grid."""
    return [(START_NS + i * 50_000_000, Frame(row, i * 0.05)) for i, row in enumerate(x.astype(np.float32))]


def skin(n: int, seed: int = 0) -> np.ndarray:
    """A sensor at rest: offsets, noise of 5 uT."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 5, (n, 15)) + np.linspace(-900, 900, 15)


def program() -> Program:
    """Ranges of 2000 uT on both sides: more than 40 uT within a tare is movement."""
    made = small_program(tare=20)
    return dataclasses.replace(made, inputs=tuple(Port(p.name, p.unit, -2000, 2000) for p in made.inputs))


def test_a_tare_at_rest_is_taken_at_once() -> None:
    kept, stepper = Kept(), Stepper(program())
    x = skin(60)
    summary = Loop(Timed(items(x), CHANNELS), stepper, [kept]).run()
    assert summary.tares_refused == 0
    assert kept.texts("tare")[-1].startswith("done: the mean at rest is taken off")
    np.testing.assert_allclose(stepper.state["tare.mean"], x[:20].mean(0), rtol=1e-5, atol=1e-3)
    assert kept.estimates[0].seq == 24


def test_while_the_sensor_moves_no_tare_is_taken_and_no_estimate_made() -> None:
    """Pressed for 3 s: the tare is that of the first second of rest behind it."""
    x = skin(200)
    x[5:60, 3] += 800 * np.sin(np.arange(55) / 8)
    kept, stepper = Kept(), Stepper(program())
    summary = Loop(Timed(items(x), CHANNELS), stepper, [kept]).run()
    assert summary.tares_refused == 3  # of 60 samples
    assert all("m1_x moved by" in text and "keep the sensor untouched" in text for text in kept.texts("tare-refused"))
    np.testing.assert_allclose(stepper.state["tare.mean"], x[60:80].mean(0), rtol=1e-5, atol=1e-3)
    assert kept.estimates[0].seq == 84
    assert "tare" in kept.estimates[0].flags


def test_it_is_not_waited_for_longer_than_asked() -> None:
    x = skin(400)
    x[:, 3] += 800 * np.sin(np.arange(400) / 8)
    for limits, refused in ((Limits(tare_s=3.0), 3), (Limits(tare_anyway=True), 0)):
        kept = Kept()
        summary = Loop(Timed(items(x), CHANNELS), Stepper(program()), [kept], limits).run()
        assert summary.tares_refused == refused
        assert "moved by" in kept.texts("tare")[-1]
        assert "estimates may be off" in kept.texts("tare")[-1]
        assert len(kept.estimates) == (400 - 20 * (refused + 1)) // 5


@pytest.mark.parametrize("noise", [0.0, 5.0, 300.0])
def test_noise_is_no_movement(noise: float) -> None:
    rng = np.random.default_rng(1)
    watch, moved = StillWatch(program().inputs, 20), 0
    for _ in range(300):
        for row in rng.normal(0, noise, (20, 15)):
            watch.put(row.astype(np.float32))
        moved += bool(watch.moved())
    assert moved <= 9  # 3 %


@pytest.mark.parametrize("shape", ["ramp", "step", "bump"])
def test_a_movement_of_a_twentieth_of_the_range_is_seen_in_noise(shape: str) -> None:
    rng, t = np.random.default_rng(2), np.linspace(0, 1, 20)
    curve = {"ramp": t, "step": np.where(t > 0.5, 1.0, 0.0), "bump": np.sin(np.pi * t)}[shape]
    seen = 0
    for _ in range(100):
        watch = StillWatch(program().inputs, 20)
        for row, at in zip(rng.normal(0, 10, (20, 15)), curve, strict=True):
            row[7] += 200 * at
            watch.put(row.astype(np.float32))
        seen += watch.moved().startswith("m2_y moved by")
    assert seen >= 98


# ---- commands ----


def test_commands_renew_the_tare_or_the_state() -> None:
    """The stepper is where one is that was told the same at the same sample; an unknown word changes nothing."""
    x, words = skin(300), {100: ["tare"], 200: ["reset"], 250: ["dance"]}
    x[100:] += 50
    model, kept = program(), Kept()
    asked = iter(range(300))
    stepper = Stepper(model)
    loop = Loop(Timed(items(x), CHANNELS), stepper, [kept], commands=lambda: words.get(next(asked), []))
    loop.run()
    other, made = Stepper(model), []
    for i, row in enumerate(x.astype(np.float32)):
        if (y := other.step(row)) is not None:
            made.append(y)
        if i == 100:
            other.tare()
        elif i == 200:
            other.reset()
    np.testing.assert_array_equal(kept.y, np.array(made))
    assert "tare-asked" in kept.kinds or "tare-asked" in [f for e in kept.estimates for f in e.flags]
    assert "reset-asked" in [f for e in kept.estimates for f in e.flags]
    (unknown,) = kept.texts("unknown-command")
    assert unknown == "'dance': expected tare or reset"


def test_a_tare_by_command_waits_for_rest_too() -> None:
    x, asked = skin(300), iter(range(300))
    x[100:150, 0] += 700 * np.sin(np.arange(50) / 6)
    kept, stepper = Kept(), Stepper(program())
    loop = Loop(Timed(items(x), CHANNELS), stepper, [kept], commands=lambda: ["tare"] if next(asked) == 99 else [])
    assert loop.run().tares_refused == 3
    np.testing.assert_allclose(stepper.state["tare.mean"], x[160:180].mean(0), rtol=1e-5, atol=1e-3)


@POSIX
def test_a_signal_and_lines_on_stdin_are_commands_and_a_replay_obeys_them_again(tmp_path: Path) -> None:
    small_program().save(tmp_path / "m.hiss")
    log = tmp_path / "kept.hlog"
    with fake_board("--device", "anyskin:5", "--rate", 100) as (port, _):
        live = start(
            "live", tmp_path / "m.hiss", "--source", port, "--device", "anyskin:5", "--record", tmp_path / "kept.h5",
            "--commands", "--tare-anyway", stdin=True,
        )  # fmt: skip
        lines = [wait_for_line(live.stdout)]
        live.send_signal(signal.SIGUSR1)
        wait_until(lambda: log.read_bytes().count(b"tare-asked") == 1)
        time.sleep(0.8)
        assert live.stdin is not None
        live.stdin.write("res")
        live.stdin.flush()
        time.sleep(0.1)
        live.stdin.write("et\nfly\n")
        live.stdin.flush()
        wait_until(lambda: log.read_bytes().count(b"reset-asked") == 1)
        time.sleep(0.8)
        live.send_signal(signal.SIGINT)
        out, err = live.communicate(timeout=10)
    assert live.returncode == 0, err
    assert "'fly': expected tare or reset" in err
    lines += out.splitlines()
    asked = [d.kind for _, d in LogSource(str(log)).__enter__() if isinstance(d, Event)]
    assert asked == ["tare-asked", "reset-asked"]
    again = run("replay", tmp_path / "m.hiss", log)  # the log says how it was handled
    assert again.returncode == 0, again.stderr
    said, same = (
        [{k: json.loads(e)[k] for k in ("t", "seq", "y")} for e in es] for es in (lines, again.stdout.splitlines())
    )
    assert same == said
    assert len(said) > 3
