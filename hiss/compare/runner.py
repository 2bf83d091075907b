"""Do one cell of a comparison: train, fold, quantize, score, and keep what was found.

Estimates are scored in the arithmetic that is deployed: float32 of the folded program, and int8 weights with int16
values. A model that cannot be folded is scored as it was trained, and its cell says why.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from hiss import scoring
from hiss.baselines import Ridge, ridge
from hiss.compare.cells import Cell, Found
from hiss.compare.plan import Data, RidgeSpec
from hiss.dataset import fit_scaling, hold_out, prepare
from hiss.errors import ExportError, FoldError, ProgramError, TrainingError
from hiss.files import write_text
from hiss.gaps import Gaps
from hiss.models.residual import Residual
from hiss.recording import Recording, choose_inputs, choose_targets, read_recordings, split
from hiss.training import Run, fit
from hiss.training.alone import VALIDATION_ERROR
from hiss.training.rival import WITHOUT_BASE
from hiss.training.run import LAST
from hiss.training.sessions import sessions_of

CORE = "m4f"


def run_cell(cell: Cell, progress: bool = True, device: str = "auto", integers: bool = True) -> Found:
    """Do a cell and keep what was found. Raises HissError."""
    began = time.perf_counter()
    train, test = _recordings(cell.data)
    made = _ridge(cell, train, test) if isinstance(cell.entry.spec, RidgeSpec) else None
    if made is None:
        made = _trained(cell, train, test, progress, device, integers)
    found = {
        "key": cell.key,
        "data": cell.data.name,
        "model": cell.entry.name,
        "seed": cell.seed,
        "lookahead_s": 0.0,
        "windows": None if cell.data.windows is None else f"{cell.data.windows[0]}x{cell.data.windows[1]:g}s",
        **made,
        "cell_s": time.perf_counter() - began,
    }
    write_text(cell.folder / "cell.json", json.dumps(found, indent=1) + "\n")
    return found


def _recordings(data: Data) -> tuple[list[Recording], list[Recording]]:
    """(to learn from, to test on), as they are in the files."""
    recordings = read_recordings(*data.files, targets=data.target, rate_hz=data.rate_hz)
    return split([choose_inputs(choose_targets(r, data.target), data.inputs) for r in recordings])


def _ready(data: Data, recordings: list[Recording], tare: int | None) -> list[Recording]:
    """Recordings as training takes them: at the rate, across or between their gaps, tared. Raises HissError."""
    gaps, least = Gaps.parse(data.gap), max(2, data.period)
    sessions = sessions_of(recordings, data.target, data.inputs, data.rate_hz, tare, gaps, least)
    return prepare(sessions, data.target, data.rate_hz, tare)


def _scored(cell: Cell, estimate: scoring.Estimator, ready: list[Recording]) -> scoring.Scored:
    data = cell.data
    if data.windows is None:
        return scoring.score_whole(estimate, ready, data.period)
    count, seconds = data.windows
    samples = round(seconds * data.rate_hz) // data.period * data.period
    windows = scoring.draw(ready, count, samples, data.windows_seed, data.period)
    return scoring.score_windows(estimate, windows, data.period)


def _figures(scored: scoring.Scored, y_std: Any, targets: Any) -> Found:
    errors = zip(targets, scored.rmse(), scored.r2(), strict=True)
    return {
        "nmse": scored.nmse(y_std),
        "outputs": {t.name: {"rmse": float(e), "r2": float(r), "unit": t.unit} for t, e, r in errors},
    }


def _trained(
    cell: Cell, train: list[Recording], test: list[Recording], progress: bool, device: str, integers: bool
) -> Found:
    run, trained_s = _run(cell, train, progress, device)
    found: Found = {
        "kind": "model",
        "parameters": sum(p.numel() for p in run.module.parameters()),
        "train_s": trained_s,
        "val_error": _validation(cell.folder / "run", run),
    }
    from hiss.folding import fold

    try:
        program = fold(run)
    except FoldError as error:
        ready = _ready(cell.data, test, run.scaling.tare)
        scored = _scored(cell, scoring.stacked(run.estimate), ready)
        return found | _figures(scored, run.target_std, run.targets) | {"arithmetic": "torch", "why": str(error)}
    ready = scoring.ready(program, test)
    scored = _scored(cell, scoring.estimator(program), ready)
    found |= _figures(scored, run.target_std, run.targets) | {"arithmetic": program.dtype.__name__}
    from hiss.program.cost import cost

    spent = cost(program)
    found |= {"macs": spent.macs, "worst_macs": spent.worst_macs}
    return found | (_integers(cell, run, program, train, ready) if integers else {})


def _run(cell: Cell, train: list[Recording], progress: bool, device: str) -> tuple[Run, float]:
    """The run of a cell and the seconds that its training took, all sittings together."""
    folder, clock = cell.folder / "run", cell.folder / "train_s.json"
    before = _clock(clock, cell.key)
    if before is None:  # of another plan: nothing of it may be resumed
        shutil.rmtree(folder, ignore_errors=True)
        before = 0.0
    write_text(clock, json.dumps([cell.key, before]))
    began = time.perf_counter()
    try:
        run = fit(
            _spec(cell, train),
            train,
            cell.data.target,
            rate_hz=cell.data.rate_hz,
            tare=cell.data.tare,
            gaps=Gaps.parse(cell.data.gap),
            options=cell.plan.options(cell.entry, cell.data),
            out=folder,
            seed=cell.seed,
            device=device,
            progress=progress,
            resume=any(folder.rglob(LAST)),
        )
    finally:
        write_text(clock, json.dumps([cell.key, before + time.perf_counter() - began]))
    return run, before + time.perf_counter() - began


def _spec(cell: Cell, train: list[Recording]) -> Any:
    """The model of a cell, of the size that the plan asks for. Raises TrainingError where there is none so small."""
    spec, parameters = cell.entry.spec_for(cell.data), cell.plan.parameters
    if parameters is None:
        return spec
    from hiss.compare.sizes import sized

    prepared = _ready(cell.data, train, cell.data.tare)
    scaling = fit_scaling(prepared, inertial=cell.plan.options(cell.entry, cell.data).inertial)
    try:
        return sized(spec, parameters, scaling.n_inputs, len(scaling.y_mean))
    except ValueError as error:
        raise TrainingError(f"{cell.entry.name} on {cell.data.name}: {error}") from error


def _clock(path: Path, key: str) -> float | None:
    """Seconds of training until now; None when what lies there is of another plan, or nothing."""
    try:
        of, seconds = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return None
    return float(seconds) if of == key else None


def _validation(folder: Path, run: Run) -> float | None:
    """The least validation error of a run, in deviations of the target."""
    if VALIDATION_ERROR in run.provenance:
        return float(run.provenance[VALIDATION_ERROR])
    if not isinstance(run.spec, Residual) and (folder / WITHOUT_BASE).exists():  # the rival has won
        folder /= WITHOUT_BASE
    try:
        last = (folder / "log.csv").read_text(encoding="utf-8").strip().splitlines()[-1]
        return float(last.rsplit(",", 1)[1])
    except (OSError, ValueError, IndexError):
        return None


def _integers(cell: Cell, run: Run, program: Any, train: list[Recording], ready: list[Recording]) -> Found:
    """int8 weights, int16 values: error, bytes and instructions; {"why_no_integers"} where there are none."""
    from hiss.quantization import quantize

    try:
        made, _ = quantize(program, train, weights="int8")
        scored = _scored(cell, scoring.estimator(made), ready)
        return {"int8": _figures(scored, run.target_std, run.targets) | _bill(made)}
    except (ProgramError, ExportError) as error:
        return {"why_no_integers": str(error)}


def _bill(program: Any) -> Found:
    """Flash, RAM and instructions of the integer C, where this machine can emulate the core; else only its tables."""
    try:
        from hiss.engines.core_bill import priced, usual_compiler

        model, core = priced(program, CORE, usual_compiler(CORE))
    except (ImportError, ExportError) as error:
        return _sizes(program) | {"why_no_bill": str(error)}
    return {
        "table_bytes": model.table_bytes,
        "ram_bytes": model.ram_bytes,
        "flash_bytes": core.flash_bytes,
        "instructions": core.average,
        "worst_instructions": core.worst,
        "core": f"{CORE}, {core.compiler}",
    }


def _sizes(program: Any) -> Found:
    from hiss.firmware_export.c import Model

    model = Model(program, "cell")
    return {"table_bytes": model.tables.total, "ram_bytes": model.layout.ram}


def _ridge(cell: Cell, train: list[Recording], test: list[Recording]) -> Found:
    spec, data = cell.entry.spec, cell.data
    assert isinstance(spec, RidgeSpec)
    began = time.perf_counter()
    prepared = _ready(data, train, data.tare)
    made = ridge(
        prepared,
        data.period,
        lags=spec.lags,
        features=spec.features,
        windows_s=data.ridge_windows_s,
        seed=cell.seed,
        name=cell.entry.name,
    )
    seconds = time.perf_counter() - began
    ready = _ready(data, test, made.scaling.tare)
    scored = _scored(cell, lambda recordings: [made.estimate(x, data.period) for x in recordings], ready)
    y_std = fit_scaling(hold_out(prepared)[0]).y_std
    return {
        "kind": "ridge",
        "arithmetic": "float64",
        "parameters": _ridge_numbers(made),
        "macs": (_ridge_numbers(made) - len(made.bias)) / data.period,
        "train_s": seconds,
        "window_s": max(made.ages) / data.rate_hz,
        **_figures(scored, y_std, ready[0].targets),
    }


def _ridge_numbers(made: Ridge) -> int:
    return made.weight.size + made.bias.size + made.rows.weight.size + made.rows.bias.size
