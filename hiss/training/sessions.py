"""Recordings as they are trained on: at one rate, across or between their gaps, with targets, inputs and tare."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from hiss.dataset import prepare
from hiss.errors import TrainingError
from hiss.gaps import Gaps, regular, tared
from hiss.quantum import common_steps
from hiss.recording import Recording, check_channels, choose_inputs, choose_targets
from hiss.training.run import Run


def rate_of(train: Seq[Recording], rate_hz: float | None, start: Run | None) -> float:
    """The rate to train at. Raises TrainingError."""
    rate_hz = rate_hz if start is None else start.rate_hz
    rate_hz = rate_hz or next((r.rate_hz for r in train if r.rate_hz), None)
    if rate_hz is None and train:
        raise TrainingError("the recordings have irregular stamps; give the rate to train at, such as rate_hz=50")
    return rate_hz or 1.0


def sessions_of(
    recordings: Seq[Recording],
    target: str | Seq[str],
    inputs: Seq[str],
    rate_hz: float,
    tare: int | None,
    gaps: Gaps,
    least: int,
) -> list[Recording]:
    """At the rate, with their targets and inputs; a session that is cut at its gaps is tared as a whole, and pieces
    of fewer than `least` samples are left out."""
    sessions = [regular(r, rate_hz, gaps) for r in recordings]  # before targets are chosen: NAME+K counts these samples
    sessions = [[choose_inputs(choose_targets(p, target), inputs) for p in pieces] for pieces in sessions]
    wanted = max((p.tared for pieces in sessions for p in pieces), default=0) if tare is None else tare
    made: list[Recording] = []
    for pieces in sessions:
        made += pieces if len(pieces) == 1 else [p for p in tared(pieces, wanted) if len(p) >= least]
    return made


def steps(train: Seq[Recording], used: Recording) -> list[float]:
    """The step of each input that was used, in the recordings as they came: it tells the sensor's gain."""
    columns = [[c.name for c in r.channels] for r in train]
    names = [c.name for c in used.channels]
    known = [[r.x[:, have.index(n)] for r, have in zip(train, columns, strict=True) if n in have] for n in names]
    return [common_steps(x) for x in known]


def prepared(
    train: Seq[Recording], target: str | Seq[str], rate_hz: float, tare: int | None, start: Run | None
) -> list[Recording]:
    """Tared, and with the columns of `start` where there is one. Raises RecordingError, TrainingError."""
    recordings = prepare(train, target, rate_hz, tare)
    if start is None:
        return recordings
    for r in recordings:
        check_channels(r, [c.name for c in start.channels])
        if [t.name for t in r.targets] != [t.name for t in start.targets]:
            raise TrainingError(f"{r.name}: targets differ from the run's ({', '.join(t.name for t in start.targets)})")
    return recordings
