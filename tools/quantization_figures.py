"""What quantization costs on real recordings: train, fold, quantize and evaluate, with the commands a user would type.

    python tools/quantization_figures.py eflesh_normal eflesh_normal_force.h5 --out figures
    python tools/quantization_figures.py broad_velocity broad_95hz.h5 --out figures --seeds 0 1 2

For every seed: the model that `hiss train` makes by default, its RMSE on the test recordings in float32, and with int8
and int16 weights (values int16, states int32). Formats come from the other recordings alone. A run that stands in OUT
already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

HISS = [sys.executable, "-m", "hiss"]
SETTINGS = {  # data set -> target, rate in Hz, samples per estimate
    "eflesh_normal": ("force", 20, 5),
    "eflesh_shear": ("force", 20, 5),
    "broad_velocity": ("vel_*", 50, 10),
    "running_grf": ("grf", 250, 10),
}


def main() -> None:
    """A line per seed, output and width of weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETTINGS)
    parser.add_argument("data", type=Path, help="recordings (HDF5) whose split names test recordings")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of runs and programs [figures]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    for seed in args.seeds:
        folder = args.out / f"{args.name}-{seed}"
        run = trained(args.name, args.data, seed, folder)
        measured(run, args.data, folder, f"{args.name} seed {seed}")


def trained(name: str, data: Path, seed: int, folder: Path) -> Path:
    """The run of this seed."""
    run, (target, rate_hz, period) = folder / "run", SETTINGS[name]
    if not (run / "best.safetensors").exists():
        hiss("train", data, "--target", target, "--rate", rate_hz, "--period", period, "--seed", seed, "-o", run)
    return run


def measured(run: Path, data: Path, folder: Path, title: str) -> None:
    """Print what the widths of weights cost this run."""
    hiss("fold", run, "-o", folder / "float.hiss")
    before = errors(run)
    print(f"{title:24} float32  {row(before, before)}")
    for width in ("int8", "int16"):
        path = folder / f"{width}.hiss"
        hiss("quantize", folder / "float.hiss", "--calibrate", data, "-o", path, "--weights", width)
        print(f"{title:24} {width:8} {row(errors(run, '--program', path), before)}", flush=True)


def errors(run: Path, *options: object) -> dict[str, tuple[float, str]]:
    """Output -> RMSE and unit on the whole test recordings."""
    outputs = json.loads(hiss("evaluate", run, "--json", *options))["outputs"]
    return {name: (facts["rmse"], facts["unit"]) for name, facts in outputs.items()}


def row(now: dict[str, tuple[float, str]], before: dict[str, tuple[float, str]]) -> str:
    """RMSE and its growth, output by output."""
    parts = [f"{name} {e:.5f} {unit} ({e / before[name][0] - 1:+.3%})" for name, (e, unit) in now.items()]
    return ", ".join(parts)


def hiss(*words: Any) -> str:
    """What a hiss verb prints on stdout; the figures end when it fails."""
    done = subprocess.run([*HISS, *map(str, words)], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"`{shlex.join(['hiss', *map(str, words)])}` ended with exit code {done.returncode}; see above")
    return done.stdout


if __name__ == "__main__":
    main()
