"""make demo: from recordings to estimates on a live stream and to C, in one go, with the commands a user would type.

Trains on eFlesh normal force (downloaded, or --data FILE; offline: the simulated skin), scores the held-out run against
two ridges, folds, prints equations and bill, exports C, compiles and self-tests it, then streams 60 s of the held-out
run's raw samples in real time through a fake sensor on a pseudo-terminal into `hiss live`.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hiss
from hiss import scoring
from hiss.baselines import baselines
from hiss.dataset import prepare
from hiss.plotting import plot_estimates
from hiss.recording import Recording

HISS = [sys.executable, "-m", "hiss"]
TARGET, RATE_HZ, PERIOD = "force", 20.0, 5
LIVE_S = 60.0
NAME = "fingertip_force"


@dataclass(frozen=True)
class Live:
    """What came over the wire: sample index, estimate and service time (us) of every estimate."""

    seq: np.ndarray
    y: np.ndarray
    latency_us: np.ndarray


def main() -> None:
    """The whole path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="HDF5 recordings instead of the download")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of everything that is made")
    args = parser.parse_args()
    began = time.monotonic()
    out: Path = args.out
    out.mkdir(exist_ok=True)

    say("1. Recordings")
    data = args.data or downloaded(out)
    say("2. Training")
    shutil.rmtree(out / "run", ignore_errors=True)  # of the last demo
    run = out / "run"
    hiss_command("train", data, "--target", TARGET, "--rate", f"{RATE_HZ:g}", "--period", PERIOD, "-o", run)
    say("3. Held-out run, whole, from fresh state")
    hiss_command("evaluate", run)
    compare(data, run)
    say("4. Folded: the update equations and their bill")
    model = out / "model.hiss"
    hiss_command("fold", run, "-o", model)
    hiss_command("inspect", model)
    say("5. Firmware: C99, compiled and self-tested")
    hiss_command("export", model, "--to", "c", "-o", out / "firmware", "--name", NAME, "--check")
    say(f"6. Live: {LIVE_S:g} s of the held-out run's raw samples, in real time")
    program = hiss.load_program(model)
    raw, truth = held_out(data)
    live = streamed(data, raw.name, model, program, out)
    say("7. Summary")
    summary(program, raw, truth, live, out)
    print(f"\nDone in {time.monotonic() - began:.0f} s.")


def say(title: str) -> None:
    """A heading."""
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)


def hiss_command(*words: object) -> None:
    """Run a hiss verb as a user would; the demo ends when it fails."""
    shown = shlex.join(["hiss", *map(str, words)])
    print(f"$ {shown}", flush=True)
    code = subprocess.run([*HISS, *map(str, words)], check=False).returncode
    if code:
        sys.exit(f"demo: `{shown}` ended with exit code {code}; its message stands above")


def downloaded(out: Path) -> Path:
    """eFlesh normal force from its publisher; offline, the simulated skin."""
    folder = out / "data"
    print(f"$ hiss datasets get eflesh -o {folder}", flush=True)
    if subprocess.run([*HISS, "datasets", "get", "eflesh", "-o", str(folder)], check=False).returncode == 0:
        return folder / "eflesh_normal_force.h5"
    print("\nThe download failed (no network?): going on with SIMULATED data, so its figures say nothing about skins.")
    simulated = folder / "simulated_skin.h5"
    hiss_command("datasets", "make", "simulated_skin", "-o", simulated, "--seed", 1, "--minutes", 20)
    return simulated


def compare(data: Path, run: Path) -> None:
    """The model beside two ridges, all fitted and scored on the same recordings."""
    train, test = (prepare(r, TARGET, RATE_HZ) for r in hiss.split(hiss.read_recordings(data)))
    program = hiss.fold(run)
    ready = scoring.ready(program, test)
    estimators = {f"hiss ({run})": scoring.estimator(program)}
    for ridge in baselines(train, PERIOD):
        estimators[ridge.name] = lambda recordings, ridge=ridge: [ridge.estimate(x, PERIOD) for x in recordings]
    print(f"\n{'model':<20} {'RMSE':>8}   on {', '.join(r.name for r in ready)}, look-ahead 0 s, period {PERIOD}")
    for name, estimate in estimators.items():
        print(f"{name:<20} {scoring.score_whole(estimate, ready, PERIOD).rmse()[0]:>8.3f}   N")


def held_out(data: Path) -> tuple[Recording, Recording]:
    """The first LIVE_S seconds of the test recording: raw samples as they came, and the target on a regular clock."""
    truth = hiss.split(hiss.read_recordings(data, targets=TARGET))[1][0].resampled(RATE_HZ)
    raw = next(r for r in hiss.read_recordings(data, raw=True) if r.name == truth.name)
    stop = int(np.searchsorted(raw.t, raw.t[0] + LIVE_S, side="right"))
    return raw.cut(0, stop), truth


def streamed(data: Path, trial: str, model: Path, program: hiss.Program, out: Path) -> Live:
    """A fake sensor plays the raw samples at their recorded times; `hiss live` reads its port."""
    device = device_of([port.name for port in program.inputs])
    play = ["fake", "--device", device, "--play", str(data), "--trial", trial, "--print-port", "--hold", "5"]
    play += ["--duration", f"{LIVE_S + 2:g}"]
    print(f"$ {shlex.join(['hiss', *play])} &", flush=True)
    with subprocess.Popen([*HISS, *play], stdout=subprocess.PIPE, text=True) as fake:
        assert fake.stdout is not None
        port = fake.stdout.readline().strip()
        words = ["live", str(model), "--source", port, "--device", device, "--duration", f"{LIVE_S:g}"]
        words += ["--out", str(out / "live.csv")]
        print(f"$ {shlex.join(['hiss', *words])}", flush=True)
        with subprocess.Popen([*HISS, *words], stdout=subprocess.PIPE, text=True) as live:
            assert live.stdout is not None
            for line in live.stdout:
                show(json.loads(line))
        fake.terminate()
    if live.returncode:
        sys.exit(f"demo: hiss live ended with exit code {live.returncode}; its message stands above")
    with open(out / "live.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    column = next(key for key in rows[0] if key.split(" ")[0] == program.outputs[0].name)
    seq, y, latency = ([float(row[key]) for row in rows] for key in ("seq", column, "lat_us"))
    return Live(np.array(seq, int), np.array(y), np.array(latency))


def device_of(names: list[str]) -> str:
    """anyskin:N when the channels are those of N chips, else CSV lines."""
    chips = len(names) // 3
    skin = [f"m{i}_{axis}" for i in range(chips) for axis in "xyz"]
    return f"anyskin:{chips}" if names == skin else "csv"


def show(line: dict[str, object]) -> None:
    """An estimate a second, as a bar."""
    seq, y = line["seq"], line["y"]
    assert isinstance(seq, int)
    assert isinstance(y, dict)
    (value,) = list(y.values())[:1]
    if seq % int(RATE_HZ) == PERIOD - 1:
        print(f"  {seq / RATE_HZ:5.1f} s  {value:7.2f} N  {'#' * max(0, min(60, round(value * 2)))}", flush=True)


def summary(program: hiss.Program, raw: Recording, truth: Recording, live: Live, out: Path) -> None:
    """RMSE offline and live over the same seconds, latency, and where everything lies."""
    at_rate = raw.resampled(program.rate_hz)
    offline = program.predict(at_rate.x)[:, 0]
    seq = program.tare + PERIOD - 1 + PERIOD * np.arange(len(offline))
    t = truth.t - truth.t[0]
    common = np.intersect1d(seq, live.seq)
    common = common[common < len(t)]
    y, valid = truth.y[common, 0], truth.valid[common]
    estimates = {"offline": offline[np.isin(seq, common)], "live": live.y[np.isin(live.seq, common)]}
    unit = program.outputs[0].unit
    for name, estimate in estimates.items():
        error = float(np.sqrt(np.mean((estimate - y)[valid] ** 2)))
        print(f"RMSE {name:<8} {error:7.3f} {unit}   {valid.sum()} estimates in the same {LIVE_S:g} s of {raw.name}")
    apart = float(np.abs(estimates["live"] - estimates["offline"]).max())
    print(f"live - offline  {apart:7.3f} {unit}   at most (stamps are arrival times, off by what the scheduler takes)")
    p50, p99, worst = np.percentile(live.latency_us, [50, 99, 100])
    print(
        f"latency         p50 {p50:.0f} us, p99 {p99:.0f} us, max {worst:.0f} us from the read of the bytes to the line"
    )
    plot = out / "live.png"
    title = f"{raw.name} live: {LIVE_S:g} s through a pseudo-terminal, {RATE_HZ / PERIOD:g} estimates a second"
    plot_estimates(plot, t[common], y, estimates["live"], valid, name=program.outputs[0].name, unit=unit, title=title)
    scored = sorted(path for path in (out / "run").glob("*.png"))
    print(f"plots           {', '.join(map(str, [plot, *scored]))}")
    print(
        f"C               {out / 'firmware'}/: {', '.join(sorted(p.name for p in (out / 'firmware').glob('*.[ch]')))}"
    )
    print(f"model           {out / 'model.hiss'}, run {out / 'run'}")


if __name__ == "__main__":
    main()
