"""Recordings -> sequences: one rate, one set of columns, a tare, scaling from training recordings only, windows.

C: channels;  D: targets;  F: input columns (C, or 2 C with deltas);  T: samples;  B: windows of W;  k: period.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import ProgramError, TrainingError
from hiss.filters import Lowpass
from hiss.inertial import Inertial, find_inertial
from hiss.recording import Recording, check_channels, choose_targets
from hiss.scaling_rules import RULES, SMALLEST_STD
from hiss.spool import kept, spooling

MOST_VALUES = 2**21
"""Of recordings that lie on disk, statistics are made of so many values: every second, third ... sample."""
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

RANGE_MARGIN = 4.0
"""The declared range goes this many spans of the training data beyond its least and largest value."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """How samples become model inputs, and model outputs become targets; everything per column."""

    tare: int  # samples whose mean is taken off first; 0 = none
    lo: F64  # (C,) declared range after the tare
    hi: F64  # (C,)
    mean: F64  # (C,)
    std: F64  # (C,)
    deltas: bool
    delta_mean: F64  # (C,)
    delta_std: F64  # (C,)
    y_mean: F64  # (D,)
    y_std: F64  # (D,)
    lowpass: Lowpass | None = None  # run over the clipped samples before all that follows
    inertial: Inertial | None = None  # more columns of an accelerometer and a gyroscope

    @property
    def n_channels(self) -> int:
        """C."""
        return len(self.mean)

    @property
    def n_inputs(self) -> int:
        """F, the columns that the model sees."""
        return self.n_channels * (2 if self.deltas else 1) + (self.inertial.width if self.inertial else 0)

    @property
    def more_columns(self) -> tuple[int, ...]:
        """Those beside the channels and their differences."""
        return tuple(range(self.n_inputs - (self.inertial.width if self.inertial else 0), self.n_inputs))

    def lowpassed(self, x: NDArray[np.floating[Any]]) -> F64:
        """Tared samples (..., T, C) -> clipped, and filtered where there is a low-pass; from rest."""
        clipped = np.clip(x.astype(np.float64), self.lo, self.hi)
        return clipped if self.lowpass is None else self.lowpass.run(clipped)

    def inputs(self, x: NDArray[np.floating[Any]]) -> F32:
        """Tared, filtered (..., T, C) -> (..., T, F): clipped, scaled; differences, the first one 0; more columns."""
        x = np.clip(x.astype(np.float64), self.lo, self.hi)
        columns = [(x - self.mean) / self.std]
        if self.deltas:
            steps = np.diff(x, axis=-2, prepend=x[..., :1, :])
            columns.append((steps - self.delta_mean) / self.delta_std)
        if self.inertial:
            columns.append(self.inertial.columns(x))
        return np.concatenate(columns, axis=-1, dtype=np.float32)

    @property
    def resting_delta(self) -> F32:
        """(C,) what a difference of 0 becomes."""
        return (-self.delta_mean / self.delta_std).astype(np.float32)

    def targets(self, y: NDArray[np.floating[Any]]) -> F32:
        """Targets (..., D) in their units -> scaled."""
        return ((y - self.y_mean) / self.y_std).astype(np.float32)

    def estimates(self, y: NDArray[np.floating[Any]]) -> F64:
        """Model outputs (..., D) -> the units of the targets."""
        scaled: F64 = y * self.y_std + self.y_mean
        return scaled

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists; floats keep every bit."""
        left = ("lowpass", "inertial")
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left}
        more = {name: getattr(self, name).to_json() for name in left if getattr(self, name) is not None}
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()} | more

    @staticmethod
    def from_json(data: Any) -> Scaling:
        """The reverse; raises ProgramError when keys, sizes or numbers do not fit."""
        left = ("lowpass", "inertial")
        names = [f.name for f in dataclasses.fields(Scaling) if f.name not in left]
        if not isinstance(data, dict) or sorted(set(data) - set(left)) != sorted(names):
            raise ProgramError(f"scaling: expected the keys {', '.join(names)}")
        try:
            tare, deltas = int(data["tare"]), bool(data["deltas"])
            arrays = {n: np.array(data[n], np.float64) for n in names if n not in ("tare", "deltas")}
            more = Inertial.from_json(data["inertial"], arrays["mean"].size) if "inertial" in data else None
        except (TypeError, ValueError, KeyError) as error:
            raise ProgramError(f"scaling: {error}") from error
        lowpass = Lowpass.from_json(data["lowpass"]) if "lowpass" in data else None
        scaling = Scaling(tare=tare, deltas=deltas, lowpass=lowpass, inertial=more, **arrays)
        scaling._check()
        return scaling

    def _check(self) -> None:
        channels, outputs = self.mean.shape, self.y_mean.shape
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if not isinstance(value, np.ndarray):
                continue
            want = outputs if f.name.startswith("y_") else channels
            if value.ndim != 1 or value.shape != want or not np.isfinite(value).all():
                raise ProgramError(f"scaling: {f.name} must be {want[0] if want else 1} finite numbers")
        if self.lowpass is not None and self.lowpass.centre.shape != channels:
            raise ProgramError(f"scaling: the centre of the lowpass must be {channels[0]} numbers")
        if (
            self.tare < 0
            or min(self.std.min(), self.delta_std.min(), self.y_std.min()) <= 0
            or (self.hi < self.lo).any()
        ):
            raise ProgramError("scaling: tare must be 0 or more, deviations positive, lo at most hi")


def fit_scaling(
    recordings: Seq[Recording], *, deltas: bool = True, rule: str = "standard", inertial: bool = False
) -> Scaling:
    """Statistics of training recordings (tared, regular); targets are counted where they are valid.

    rule: a name of `hiss.scaling_rules`. inertial: with the columns of hiss.inertial where there is an accelerometer
    and a gyroscope, not tared.
    """
    chosen = RULES[rule]
    lo, hi = _ranges(recordings, chosen.limit)
    every = max(1, -(-sum(r.x.size for r in recordings) // MOST_VALUES)) if spooling() else 1
    rows = [_rows(r, lo, hi, every) for r in recordings]
    y = np.concatenate([r.y[r.valid][::every] for r in recordings]).astype(np.float64)
    if not len(y):
        raise TrainingError("no sample of the training recordings is valid: there is nothing to learn from")
    first = recordings[0]
    mean, std = chosen.channels(np.concatenate([x for x, _ in rows]), [c.name for c in first.channels])
    delta_mean, delta_std = chosen.columns(np.concatenate([delta for _, delta in rows]))
    y_mean, y_std = chosen.targets(y)
    wanted = inertial and first.rate_hz and not first.tared  # a tare would take gravity away, in one attitude only
    return Scaling(
        tare=first.tared,
        lo=lo,
        hi=hi,
        mean=mean,
        std=std,
        deltas=deltas,
        delta_mean=delta_mean,
        delta_std=delta_std,
        y_mean=y_mean,
        y_std=y_std,
        inertial=find_inertial(first.channels, _first(recordings, lo, hi), first.rate_hz or 1.0) if wanted else None,
    )


def _rows(r: Recording, lo: F64, hi: F64, every: int) -> tuple[F64, F64]:
    """Every so many-th sample within the range, and its difference to the sample before it."""
    x = np.clip(r.x.astype(np.float64), lo, hi)
    delta = np.diff(x, axis=0, prepend=x[:1])
    return (x, delta) if every == 1 else (x[::every].copy(), delta[::every].copy())


def _first(recordings: Seq[Recording], lo: F64, hi: F64) -> list[F64]:
    """All samples of as many recordings as statistics are made of."""
    enough = np.cumsum([r.x.size for r in recordings]) > MOST_VALUES if spooling() else np.zeros(len(recordings), bool)
    return [np.clip(r.x.astype(np.float64), lo, hi) for r in recordings[: len(recordings) - enough.sum() + 1]]


def _ranges(recordings: Seq[Recording], limit: float | None) -> tuple[F64, F64]:
    """The declared range of each channel."""
    lo = np.min([r.x.min(0) for r in recordings], axis=0).astype(np.float64)
    hi = np.max([r.x.max(0) for r in recordings], axis=0).astype(np.float64)
    if limit is not None:
        return np.full_like(lo, -limit), np.full_like(hi, limit)
    margin = RANGE_MARGIN * np.maximum(hi - lo, SMALLEST_STD)
    return _single(lo - margin), _single(hi + margin)


def target_deviation(recordings: Seq[Recording]) -> F64:
    """(D,) deviation of the valid targets: what errors are measured by, whatever the scaling."""
    y = np.concatenate([r.y[r.valid] for r in recordings]).astype(np.float64)
    return np.maximum(y.std(0), SMALLEST_STD)


def _single(values: F64) -> F64:
    """Rounded to float32, so that a float32 reader clips at the same sample values."""
    return values.astype(np.float32).astype(np.float64)


def prepare(
    recordings: Seq[Recording], target: str | Seq[str], rate_hz: float, tare: int | None = None
) -> list[Recording]:
    """The recordings at rate_hz with y = the targets, tared alike.

    tare: samples at rate_hz, None = as many as the recordings are tared by already. Raises RecordingError for unknown
    targets, other channels than the first recording has, or a tare that some have and others have not.
    """
    if not recordings:
        raise TrainingError("no recordings are left to train on")
    chosen = [choose_targets(r, target).resampled(rate_hz) for r in recordings]
    for r in chosen[1:]:
        check_channels(r, [c.name for c in chosen[0].channels])
    wanted = max(r.tared for r in chosen) if tare is None else tare
    return [r.tare(wanted) for r in chosen]


def hold_out(
    recordings: Seq[Recording], val: Seq[Recording] | None = None, fraction: float = 0.2, *, lead: bool = False
) -> tuple[list[Recording], list[Recording]]:
    """(to fit on, to validate on): `val`, else those marked "val", else the last `fraction` of each recording.

    lead: such an end keeps what came before it, not valid, so that a state can be carried into it.
    """
    if val:
        return list(recordings), list(val)
    marked = [r for r in recordings if r.split == "val"]
    rest = [r for r in recordings if r.split != "val"]
    if marked and rest:
        return rest, marked
    cuts = [int(len(r) * (1 - fraction)) for r in recordings]
    for r, cut in zip(recordings, cuts, strict=True):
        if not 0 < cut < len(r):
            raise TrainingError(
                f"{r.name}: of {len(r)} samples, {len(r) - cut} are left to validate on and {cut} to fit on; "
                "record longer, mark a recording as val, or choose another val_fraction"
            )
    return [r.cut(0, c) for r, c in zip(recordings, cuts, strict=True)], [
        _valid_from(r, c) if lead else r.cut(c) for r, c in zip(recordings, cuts, strict=True)
    ]


def _valid_from(recording: Recording, first: int) -> Recording:
    valid = recording.valid.copy()
    valid[:first] = False
    return dataclasses.replace(recording, valid=valid)


@dataclass(frozen=True, eq=False)
class Sequence:
    """One recording as a model sees it: x (T, F) scaled inputs, y (T, D) scaled targets, valid (T,)."""

    x: F32
    y: F32
    valid: Bools


def sequences(recordings: Iterable[Recording], scaling: Scaling) -> list[Sequence]:
    """Tared, regular recordings as sequences."""
    return [Sequence(kept(scaling.inputs(r.x)), kept(scaling.targets(r.y)), r.valid) for r in recordings]


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows: x (B, W, F), y (B, W / k, D), valid (B, W / k) or (B, W / k, D), read at the last sample of each chunk.

    which (B,): the sequence that each is from. shift (B, C): what another tare would take off the channels.
    disturbed (B, W, F): x of other gains, offsets, noise.
    """

    x: F32
    y: F32
    valid: Bools
    which: NDArray[np.int64]
    shift: F32 | None = None
    disturbed: F32 | None = None

    @property
    def shown(self) -> F32:
        """What the model is to see: x, disturbed, with the shift taken off."""
        x = self.x if self.disturbed is None else self.disturbed
        if self.shift is None:
            return x
        x = x.copy()
        x[:, :, : self.shift.shape[1]] -= self.shift[:, None]
        return x

    def rows(self, chosen: NDArray[np.int64]) -> Batch:
        """These windows alone."""
        shift, disturbed = (None if a is None else a[chosen] for a in (self.shift, self.disturbed))
        return Batch(self.x[chosen], self.y[chosen], self.valid[chosen], self.which[chosen], shift, disturbed)


ELSEWHERE = 0.25
"""Part of the offset between two tares that an estimate should bear."""
REST = 0.02
"""A moment is like the tare's where every target is within this many deviations of what it was then."""


@dataclass(frozen=True, eq=False)
class Retare:
    """What the channels read at moments when a tare could have been taken as well: offsets (n, C), scaled.

    A skin that was pressed recovers slowly, so another moment of no load gives another tare. A recording shows only
    one; windows shifted by a part of these offsets show the model others.
    """

    offsets: F32
    share: float  # of the windows

    def draw(self, rng: np.random.Generator, count: int) -> F32:
        """(count, C) shifts, 0 for the rest of the windows."""
        part = rng.uniform(0, 1, (count, 1)) * (rng.random((count, 1)) < self.share)
        return (self.offsets[rng.integers(len(self.offsets), size=count)] * part).astype(np.float32)

    def products(self, share: float) -> NDArray[np.float64]:
        """(C, C) expected products of two channels' shifts, were it `share` of the windows: 1/3 is a part's square."""
        offsets = self.offsets.astype(np.float64)
        return offsets.T @ offsets * (share / 3 / len(offsets))

    def elsewhere(self, batch: Batch) -> Batch:
        """Every window as tared elsewhere, by `ELSEWHERE` of an offset; the same ones every time."""
        chosen = np.random.default_rng(0).integers(len(self.offsets), size=len(batch.x))
        return dataclasses.replace(batch, shift=self.offsets[chosen] * np.float32(ELSEWHERE))


def find_retare(recordings: Seq[Recording], scaling: Scaling, share: float) -> Retare | None:
    """Offsets of tared recordings; None when they are not tared or no such moment is found."""
    n, found = scaling.tare, []
    if n == 0 or share == 0:
        return None
    for r in recordings:
        near = np.abs(r.y - r.y[:n].mean(0)) < REST * scaling.y_std
        calm = np.concatenate(([0], np.cumsum(near.all(1) & r.valid)))
        starts = np.arange(0, len(r) - n + 1, max(1, n // 2))
        starts = starts[calm[starts + n] - calm[starts] == n]
        found += [(r.x[i : i + n].mean(0) - r.x[:n].mean(0)) / scaling.std for i in starts]
    return Retare(np.array(found, np.float32), share) if found else None


class Windows:
    """Windows of `length` samples (a multiple of the period) at uniform offsets in sequences, from fresh state.

    A sequence is drawn in proportion to its number of offsets; one that is shorter is drawn like one offset and filled
    up with its last sample, not valid there. `resting` (C,) is what the first row's deltas become; the columns of
    hiss.inertial keep what they remember from before the window.
    """

    def __init__(
        self,
        parts: Seq[Sequence],
        length: int,
        period: int,
        resting: F32 | None = None,
        retare: Retare | None = None,
        augment: Callable[[Batch, np.random.Generator], Batch] | None = None,
    ):
        if not parts or length < period or length % period:
            raise ValueError(f"windows of {length} samples with period {period} over {len(parts)} sequences")
        self.parts, self.length, self.period, self.resting, self.retare = parts, length, period, resting, retare
        self.augment = augment
        self.offsets = np.array([max(1, len(p.x) - length + 1) for p in parts])

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """`count` windows, with shifts to other tares where `retare` says so, changed as `augment` does."""
        ends = np.cumsum(self.offsets)
        places = rng.integers(ends[-1], size=count)
        which = np.searchsorted(ends, places, side="right")
        batch = self.stack([(int(w), int(p - ends[w] + self.offsets[w])) for w, p in zip(which, places, strict=True)])
        if self.retare is not None:
            batch = dataclasses.replace(batch, shift=self.retare.draw(rng, count))
        return batch if self.augment is None else self.augment(batch, rng)

    def spread(self, count: int) -> Batch:
        """About `count` windows that cover all sequences evenly; the same ones every time."""
        places: list[tuple[int, int]] = []
        for w, n in enumerate(self.offsets):
            share = max(1, round(count * n / self.offsets.sum()))
            places += [(w, int(o)) for o in np.unique(np.linspace(0, n - 1, share).round())]
        return self.stack(places)

    def stack(self, places: Seq[tuple[int, int]]) -> Batch:
        """The windows at (sequence, first sample)."""
        steps = np.arange(self.length)
        ends = slice(self.period - 1, None, self.period)
        xs, ys, valids = [], [], []
        for which, start in places:
            part = self.parts[which]
            inside = np.minimum(start + steps, len(part.x) - 1)
            xs.append(part.x[inside])
            ys.append(part.y[inside[ends]])
            valids.append(part.valid[inside[ends]] & (start + steps < len(part.x))[ends])
        x = np.stack(xs)
        if self.resting is not None:
            x[:, 0, len(self.resting) : 2 * len(self.resting)] = self.resting
        return Batch(x, np.stack(ys), np.stack(valids), np.array([which for which, _ in places]))


def window_length(recordings: Seq[Recording], wanted: int, rate_hz: float, period: int) -> int:
    """Samples of a training window: `wanted`, or the longest recording where that is shorter; whole chunks."""
    if wanted < period:
        raise TrainingError(f"windows of {wanted} samples hold no estimate: one takes {period} samples")
    longest = max((len(r) for r in recordings), default=0)
    length = min(wanted, longest) // period * period
    if length < period:
        raise TrainingError(
            f"the longest recording has {longest} samples at {rate_hz:g} Hz, less than one period of {period}: "
            "record longer, or choose a smaller period"
        )
    return length
