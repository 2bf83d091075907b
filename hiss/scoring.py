"""How good a program is on recordings: whole recordings from fresh state, or windows drawn by a seed.

The program's own arithmetic is measured, float32 as deployed. x: (T, C) samples;  y: (n, D) estimates at chunk ends.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import MismatchError, RecordingError
from hiss.gaps import Gaps, behind, regular, tared
from hiss.metrics import cumulative, distance, mae, nmse, r2, rmse
from hiss.program import Program, integer_sequence, interpreter, sequence
from hiss.recording import Recording, check_channels, choose_inputs, choose_targets

Floats = NDArray[np.floating[Any]]
Estimator = Callable[[Seq[Floats]], Seq[Floats]]
"""Tared recordings (T, C), each from fresh state -> estimates (T // period, D), or fewer: those that came out."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Targets and estimates at chunk ends, pooled; `t` counts seconds of chunk ends, recording after recording."""

    t: NDArray[np.float64]  # (n,)
    y: Floats  # (n, D)
    estimate: Floats  # (n, D)
    valid: NDArray[np.bool_]  # (n,)
    starts: tuple[int, ...] = (0,)  # where recordings begin

    def rmse(self) -> NDArray[np.float64]:
        """(D,) in the units of the targets."""
        return rmse(self.y[self.valid], self.estimate[self.valid])

    def mae(self) -> NDArray[np.float64]:
        """(D,) mean absolute errors, in the units of the targets."""
        return mae(self.y[self.valid], self.estimate[self.valid])

    def distance(self) -> float:
        """Mean norm of the error over all outputs."""
        return distance(self.y[self.valid], self.estimate[self.valid])

    def r2(self) -> NDArray[np.float64]:
        """(D,) share of variance explained."""
        return r2(self.y[self.valid], self.estimate[self.valid])

    def position_error(self) -> float:
        """Mean over all valid points of how far off the summed estimates are, in the unit of the targets."""
        return float(cumulative(self.y, self.estimate, self.valid, self.starts)[self.valid].mean())

    def nmse(self, train_std: Floats) -> float:
        """Mean over outputs of MSE / variance of the training target."""
        return nmse(self.y[self.valid], self.estimate[self.valid], train_std)


def estimator(program: Program, dtype: Any = None) -> Estimator:
    """A program as it is deployed, in integers where it has formats; dtype: floating point of another precision."""
    if program.formats is not None and dtype is None:
        return lambda recordings: integer_sequence.predict_together(program, recordings)
    cast = interpreter.cast(program, dtype or program.dtype)
    return lambda recordings: sequence.run_together(cast, recordings)


def stacked(estimate: Callable[[Floats], Floats]) -> Estimator:
    """Of a function of windows (W, T, C) -> (W, n, D): recordings of one length at once, others one by one."""

    def together(recordings: Seq[Floats]) -> Seq[Floats]:
        if len({len(x) for x in recordings}) == 1:
            return list(estimate(np.stack(recordings)))
        return [estimate(x[None])[0] for x in recordings]

    return together


def ready(program: Program, recordings: Seq[Recording]) -> list[Recording]:
    """The recordings as the program takes them: its rate, its channels, its targets, tared, gaps as in training.

    A raw recording loses the samples that its tare is measured on, as it does live; one that was tared before keeps
    its first samples. Of a program that starts anew behind gaps the pieces between them come. Raises RecordingError
    when a target is missing, MismatchError when the channels do not fit.
    """
    prepared: list[Recording] = []
    outputs, gaps = [port.name for port in program.outputs], Gaps.trained(program.provenance)
    for recording in recordings:
        pieces = [choose_targets(piece, outputs) for piece in regular(recording, program.rate_hz, gaps)]
        pieces = [choose_inputs(piece, program.provenance.get("inputs", ())) for piece in pieces]
        try:
            check_channels(pieces[0], [port.name for port in program.inputs])
        except RecordingError as error:
            raise MismatchError(str(error)) from error
        if program.tare and not pieces[0].tared:
            pieces = behind(tared(pieces, program.tare), program.tare)
        prepared += pieces
    return prepared


def score_whole(estimate: Estimator, recordings: Seq[Recording], period: int) -> Scored:
    """Each recording from its first sample to its last, from fresh state. Raises RecordingError when none is valid."""
    return _scored(estimate, [r for r in recordings if len(r) >= period], period)


def draw(recordings: Seq[Recording], count: int, samples: int, seed: int, period: int) -> list[Recording]:
    """`count` windows: per window a recording and an offset, each uniform, of numpy's default_rng(seed).

    Recordings are cut to a multiple of `period` before. Raises RecordingError where one is too short, ValueError for
    windows without an estimate.
    """
    if samples < period:
        raise ValueError(f"windows of {samples} samples hold no estimate: one takes {period} samples")
    whole = [len(r) // period * period for r in recordings]
    short = [r.name for r, n in zip(recordings, whole, strict=True) if n < samples]
    if short or not recordings:
        raise RecordingError(f"windows of {samples} samples, but {', '.join(short) or 'all there is'} is shorter")
    recordings = [r.cut(0, n) for r, n in zip(recordings, whole, strict=True)]
    rng, windows = np.random.default_rng(seed), []
    for _ in range(count):
        r = recordings[int(rng.integers(len(recordings)))]
        first = int(rng.integers(0, len(r) - samples + 1))
        windows.append(r.cut(first, first + samples))
    return windows


def score_windows(estimate: Estimator, windows: Seq[Recording], period: int) -> Scored:
    """Windows of one length, each from fresh state."""
    return _scored(estimate, windows, period)


def _scored(estimate: Estimator, pieces: Seq[Recording], period: int) -> Scored:
    estimates = estimate([r.x for r in pieces])
    return _pooled([(r, *_read(r, period), e) for r, e in zip(pieces, estimates, strict=True)])


def _read(r: Recording, period: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Targets and validity at chunk ends."""
    ends = slice(period - 1, None, period)
    return r.y[ends], r.valid[ends]


def _pooled(pieces: Seq[tuple[Recording, Floats, NDArray[np.bool_], Floats]]) -> Scored:
    if not any(valid[: len(e)].any() for _, _, valid, e in pieces):
        raise RecordingError("no estimate falls on a valid sample: nothing to score")
    times, offset = [], 0.0
    for r, y, _, estimates in pieces:
        step = r.duration_s / max(1, len(r) - 1) * (len(r) / max(1, len(y)))
        times.append(offset + step * (1 + np.arange(len(estimates))))
        offset += step * len(y)
    # what a spread program would say of the last chunks has not come out yet
    out = [(y[: len(e)], valid[: len(e)], e) for _, y, valid, e in pieces]
    ys, valids, estimates = zip(*out, strict=True)
    starts = tuple(np.cumsum([0, *map(len, ys[:-1])]).tolist())
    return Scored(np.concatenate(times), np.concatenate(ys), np.concatenate(estimates), np.concatenate(valids), starts)
