"""What the forms of TensorFlow Lite and ONNX cost on real recordings: train, fold, quantize, export and score.

    python tools/tflite_figures.py eflesh_normal eflesh_normal_force.h5 --out figures
    python tools/tflite_figures.py broad_velocity broad_95hz.h5 --out figures

The model is the one that `hiss train` makes by default; a run that stands in OUT already is not trained again. RMSE on
the test recordings: the float interpreter, the integers of generated C, and .tflite and .onnx files as
their runtimes compute them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from quantization_figures import SETTINGS, hiss, trained

from hiss import scoring
from hiss.engines.onnx_engine import OnnxStepper
from hiss.engines.step_stepper import StagedStepper
from hiss.engines.tflite_engine import TfliteStepper, runtime
from hiss.firmware_export.step_model import step_model
from hiss.program import Program, load_program
from hiss.recording import Recording, choose_targets, read_recordings, split


def main() -> None:
    """A line per arithmetic and output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETTINGS)
    parser.add_argument("data", type=Path, help="recordings (HDF5) whose split names test recordings")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of runs and programs [figures]")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = args.out / f"{args.name}-{args.seed}"
    run = trained(args.name, args.data, args.seed, folder)
    real, whole = programs(run, args.data, folder)
    outputs = [port.name for port in real.outputs]
    _, tests = split([choose_targets(r, outputs) for r in read_recordings(args.data, targets=outputs)])
    print(f"{args.name}, seed {args.seed}, {runtime()}")
    before = errors(scoring.estimator(real), real, tests)
    arithmetics = {
        "float32 interpreter": scoring.estimator(real),
        "integers of C": scoring.estimator(whole),
        "tflite float32": by_steps(TfliteStepper(real)),
        "tflite int8 x int16": by_steps(TfliteStepper(whole)),
        "onnx float32": by_steps(OnnxStepper(real)),
        "onnx int8 weights": by_steps(OnnxStepper(real, step_model(real, "onnx", weights="int8"))),
        "onnx of the integers": by_steps(OnnxStepper(whole, step_model(whole, "onnx"))),
    }
    for said, estimate in arithmetics.items():
        found = errors(estimate, real, tests)
        parts = [f"{n} {e:.5f} ({e / b - 1:+.2%})" for n, e, b in zip(outputs, found, before, strict=True)]
        print(f"{said:20} RMSE {', '.join(parts)}", flush=True)


def programs(run: Path, data: Path, folder: Path) -> tuple[Program, Program]:
    """The folded program, and the integer program that `hiss quantize` makes by default."""
    real, whole = folder / "float.hiss", folder / "int8.hiss"
    hiss("fold", run, "-o", real)
    hiss("quantize", real, "--calibrate", data, "-o", whole)
    return load_program(real), load_program(whole)


def errors(estimate: scoring.Estimator, program: Program, recordings: list[Recording]) -> np.ndarray[Any, Any]:
    """(D,) RMSE over whole recordings, each from fresh state."""
    return scoring.score_whole(estimate, scoring.ready(program, recordings), program.period).rmse()


def by_steps(stepper: StagedStepper) -> scoring.Estimator:
    """Exported files over samples that are tared already."""

    def estimate(recordings: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        made = []
        for recording in recordings:
            stepper.tare()
            stepper.state = {**stepper.state, "tare.left": np.array(0)}
            made.append(np.array([y for sample in recording if (y := stepper.step(sample)) is not None]))
        return made

    return estimate


if __name__ == "__main__":
    main()
