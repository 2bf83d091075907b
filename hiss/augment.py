"""What a training window could have been as well: the sensor held otherwise, other gains and offsets, more noise.

B: windows of W samples;  C: channels;  D: targets;  R: (B, n, n) a rotation for each window.

    turned       v' = R v, for each vector NAME_x NAME_y NAME_z of the channels and of the targets, in their units
    disturbed    x' = g x + o + n, g and o per channel and window, n per sample; the target stays

Differences are made anew from what was changed, so they are those of a recording that was so.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiss.dataset import F32, F64, RANGE_MARGIN, Batch, Scaling
from hiss.errors import MissingExtraError, TrainingError
from hiss.recording import Channel, Recording
from hiss.scaling_rules import SMALLEST_STD

ROTATIONS = ("none", "yaw", "full", "yaw_inputs", "full_inputs")
"""yaw: about z, of what is given in a frame whose z is up; full: any. _inputs: targets, in another frame, stay."""

AXIS = re.compile(r"(.*)_([wxyz])(\)|\+\d+|-\d+)?$")
"""NAME_x, or a change or another time of it: d0.2(NAME_x), NAME_x+3."""

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Turns:
    """Columns that turn together: indices (x, y, z), or (x, y) where z stays, of the channels and of the targets."""

    kind: str
    channels: Groups
    targets: Groups
    said: str

    def draw(self, rng: np.random.Generator, count: int) -> F64:
        """(count, n, n) rotations: uniform over all of them, or over all yaws."""
        try:
            from scipy.spatial.transform import Rotation
        except ImportError as error:
            raise MissingExtraError("scipy", "train") from error
        if self.kind == "full":
            return np.asarray(Rotation.random(count, random_state=rng).as_matrix()).reshape(count, 3, 3)
        return np.asarray(Rotation.from_euler("z", rng.uniform(-np.pi, np.pi, (count, 1))).as_matrix()).reshape(
            count, 3, 3
        )[:, :2, :2]


def find_turns(rotate: str, channels: Seq[Channel], targets: Seq[Channel]) -> Turns | None:
    """What `rotate` turns; None for "none".

    Raises TrainingError where no channel is a vector, where one lacks an axis, or where one is a quaternion.
    """
    if rotate == "none":
        return None
    kind, _, inputs_only = rotate.partition("_")
    axes = "xyz" if kind == "full" else "xy"
    of_x = _vectors([c.name for c in channels], axes)
    of_y = () if inputs_only else _vectors([t.name for t in targets], axes)
    if not of_x:
        raise TrainingError(f"rotate={rotate}: no channel is a vector; their names are to end in _x, _y and _z")
    said = f"rotate={rotate}: turned are {_said(channels, of_x)}"
    said += f" and the targets {_said(targets, of_y)}" if of_y else " and no target"
    rest = [c.name for i, c in enumerate(channels) if not any(i in group for group in of_x)]
    return Turns(kind, of_x, of_y, said + (f"; as they are: {', '.join(rest)}" if rest else ""))


def _vectors(names: Seq[str], axes: str) -> Groups:
    """The columns of each vector that has these axes."""
    known: dict[tuple[str, str], dict[str, int]] = {}
    for i, name in enumerate(names):
        if match := AXIS.match(name.lower()):
            known.setdefault((match[1], match[3] or ""), {})[match[2]] = i
    groups = []
    for (stem, end), found in known.items():
        if "w" in found and len(found) == 4:
            raise TrainingError(f"{stem}_w, _x, _y, _z is a quaternion, which does not turn as a vector: leave it out")
        missing = [f"{stem}_{axis}{end}" for axis in axes if axis not in found]
        if axes == "xy" and len(missing) == 2:
            continue  # z alone stays what it is
        if missing:
            raise TrainingError(f"{stem} cannot be turned without {', '.join(missing)}: take all axes, or none")
        groups.append(tuple(found[axis] for axis in axes))
    return tuple(groups)


def _said(columns: Seq[Channel], groups: Groups) -> str:
    said = []
    for group in groups:
        first = columns[group[0]].name
        at = AXIS.match(first.lower())
        assert at is not None  # it was found by its axis
        letters = "".join(columns[i].name[at.start(2)] for i in group)
        said.append(first[: at.start(2)] + letters + first[at.end(2) :])
    return ", ".join(said)


def scaling_of_turned(scaling: Scaling, recordings: Seq[Recording], turns: Turns) -> Scaling:
    """With ranges, means and deviations of the channels as they are when they may lie any way; targets as they were."""
    lo, hi, mean, std = (np.array(a) for a in (scaling.lo, scaling.hi, scaling.mean, scaling.std))
    delta_mean, delta_std = np.array(scaling.delta_mean), np.array(scaling.delta_std)
    for group in turns.channels:
        g = list(group)
        peak = max(float(np.sqrt((r.x[:, g].astype(np.float64) ** 2).sum(1).max())) for r in recordings)
        most = np.float32(max(peak, SMALLEST_STD) * (1 + 2 * RANGE_MARGIN))
        lo[g], hi[g] = -most, most
        for m, s in ((mean, std), (delta_mean, delta_std)):
            s[g] = max(float(np.sqrt((m[g] ** 2 + s[g] ** 2).mean())), SMALLEST_STD)
            m[g] = 0
    return dataclasses.replace(scaling, lo=lo, hi=hi, mean=mean, std=std, delta_mean=delta_mean, delta_std=delta_std)


@dataclass(frozen=True, eq=False)
class Augmentation:
    """Changes windows as they are drawn; what it is given stays as it was.

    gain: deviation of a channel's gain from 1;  offset, noise: deviations, in the channel's own deviations.
    """

    scaling: Scaling
    turns: Turns | None = None
    gain: float = 0.0
    offset: float = 0.0
    noise: float = 0.0

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """The windows turned, and disturbed beside that."""
        if self.turns is not None:
            batch = self._turned(batch, self.turns.draw(rng, len(batch.x)))
        if not (self.gain or self.offset or self.noise):
            return batch
        return dataclasses.replace(batch, disturbed=self.scaling.inputs(self._disturbed(self._raw(batch.x), rng)))

    def _raw(self, x: F32) -> F64:
        """Scaled columns (B, W, F) -> channels (B, W, C) in their units."""
        raw: F64 = x[..., : self.scaling.n_channels] * self.scaling.std + self.scaling.mean
        return raw

    def _turned(self, batch: Batch, rotations: F64) -> Batch:
        assert self.turns is not None
        s = self.scaling
        x = s.inputs(_rotated(self._raw(batch.x), self.turns.channels, rotations))
        y = s.targets(_rotated(s.estimates(batch.y), self.turns.targets, rotations))
        shift = batch.shift
        if shift is not None:
            shift = (_rotated((shift * s.std)[:, None], self.turns.channels, rotations)[:, 0] / s.std).astype(
                np.float32
            )
        return dataclasses.replace(batch, x=x, y=y, shift=shift)

    def _disturbed(self, raw: F64, rng: np.random.Generator) -> F64:
        each = (len(raw), 1, self.scaling.n_channels)
        raw = raw * (1 + self.gain * rng.standard_normal(each))
        raw += self.offset * self.scaling.std * rng.standard_normal(each)
        raw += self.noise * self.scaling.std * rng.standard_normal(raw.shape)
        return raw


def _rotated(values: F64, groups: Groups, rotations: F64) -> F64:
    """values (B, W, n) with the columns of each group turned; a new array."""
    turned = np.array(values)
    for group in groups:
        g = list(group)
        turned[..., g] = values[..., g] @ rotations.transpose(0, 2, 1)
    return turned


def augmentation(options: Any, scaling: Scaling, turns: Turns | None) -> Augmentation | None:
    """What TrainOptions ask for; None where they ask for nothing."""
    if turns is None and not (options.gain or options.offset or options.input_noise):
        return None
    return Augmentation(scaling, turns, options.gain, options.offset, options.input_noise)
