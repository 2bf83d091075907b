"""What an accelerometer and a gyroscope say together: acceleration in a frame that does not turn, filtered there.

a (T, 3): acceleration;  w (T, 3): rotation vector of each sample, rad;  K: time constants;  lambda_k = exp(-dt / tau_k)

    u_t = (cos |w|/2, sin(|w|/2) w / |w|)
    q_t = q_{t-1} u_t                                   the sensor's attitude, from an unknown start
    f_t = R(q_t) a_t                                    a where nothing turns: gravity is constant in it
    h_t = lambda (h_{t-1} + f_t - f_{t-1})              what f is beside its leaky average; (K, 3), from 0
    v_t = R(q_t)^T M h_t                                back in the sensor's frame; M (K, K) decorrelates the vectors

Gravity leaves each h once its time constant has passed, and sums of them are velocities with as long a memory: what no
linear map of past samples of a turning sensor can say. Any start of q gives the same v. (Strapdown integration with
forgetting; any textbook of inertial navigation.)
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.recording import Channel

F64 = NDArray[np.float64]

TIMES_S = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Time constants: of five per two decades each can stand for those between (BROAD: twelve gain nothing)."""
ACCELERATION = ("m/s^2", "m/s²", "m/s2", "g")
TURNING = {"rad/s": 1.0, "deg/s": np.pi / 180, "°/s": np.pi / 180, "dps": np.pi / 180}
SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Inertial:
    """Which channels, and how they are filtered.

    acc, gyr: channels of x, y, z; angle: what a unit of gyr turns in one sample, rad; decay: lambda (K,); mix: M.
    """

    acc: tuple[int, int, int]
    gyr: tuple[int, int, int]
    angle: float
    decay: F64  # (K,)
    mix: F64  # (K, K)

    @property
    def width(self) -> int:
        """Columns that it makes, 3 K: x of all vectors, then y, then z."""
        return 3 * len(self.decay)

    def columns(self, x: NDArray[np.floating[Any]]) -> F64:
        """Samples (..., T, C) from fresh state -> v (..., T, 3 K)."""
        h, r = self.filtered(x)
        v = np.einsum("...ji,km,...mj->...ik", r, self.mix, h)
        return np.asarray(v.reshape(*v.shape[:-2], self.width))

    def filtered(self, x: NDArray[np.floating[Any]]) -> tuple[F64, F64]:
        """h (..., T, K, 3) and R(q) (..., T, 3, 3)."""
        x = np.asarray(x, np.float64)
        r = rotations(attitude(x[..., self.gyr] * self.angle))
        f = np.einsum("...ij,...j->...i", r, x[..., self.acc])
        steps = np.diff(f, axis=-2, prepend=f[..., :1, :])
        return leaky(steps[..., None, :] * self.decay[:, None], self.decay), r

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        mix = {"decay": self.decay.tolist(), "mix": self.mix.tolist()}
        return {"acc": list(self.acc), "gyr": list(self.gyr), "angle": self.angle, **mix}

    @staticmethod
    def from_json(data: Any, channels: int) -> Inertial:
        """The reverse. Raises ValueError, TypeError, KeyError where it does not fit."""
        acc, gyr = (tuple(int(i) for i in data[key]) for key in ("acc", "gyr"))
        decay, mix = (np.array(data[key], np.float64) for key in ("decay", "mix"))
        if len(acc) != 3 or len(gyr) != 3 or not all(0 <= i < channels for i in acc + gyr):
            raise ValueError(f"inertial: acc and gyr are three of {channels} channels each")
        if decay.ndim != 1 or mix.shape != (len(decay), len(decay)) or not np.isfinite(mix).all():
            raise ValueError("inertial: decay (K,) and mix (K, K) are finite numbers")
        if not (len(decay) and (decay > 0).all() and (decay < 1).all() and np.isfinite(float(data["angle"]))):
            raise ValueError("inertial: every decay is between 0 and 1")
        return Inertial(acc, gyr, float(data["angle"]), decay, mix)  # type: ignore[arg-type]


def find_inertial(
    channels: Seq[Channel], recordings: Seq[NDArray[np.floating[Any]]], rate_hz: float
) -> Inertial | None:
    """Of channels with exactly three accelerations and three angular rates (by their units), each in a row.

    recordings: samples (T, C) that M is made of. None where the channels are others.
    """
    acc = [i for i, c in enumerate(channels) if c.unit in ACCELERATION]
    gyr = [i for i, c in enumerate(channels) if c.unit in TURNING]
    if len(acc) != 3 or len(gyr) != 3 or acc[2] - acc[0] != 2 or gyr[2] - gyr[0] != 2:
        return None
    angle = TURNING[channels[gyr[0]].unit] / rate_hz
    decay = np.exp(-1 / (rate_hz * np.array(TIMES_S)))
    plain = Inertial(tuple(acc), tuple(gyr), angle, decay, np.eye(len(decay)))  # type: ignore[arg-type]
    return Inertial(plain.acc, plain.gyr, angle, decay, uncorrelated([plain.filtered(x)[0] for x in recordings]))


def uncorrelated(filtered: Seq[F64]) -> F64:
    """M: the K vectors M h of all samples h (T, K, 3) have mean square 1 per axis, and no two of them move together."""
    rows = np.concatenate([h.transpose(0, 2, 1).reshape(-1, h.shape[1]) for h in filtered])
    mean = rows.T @ rows / len(rows)
    return np.linalg.inv(np.linalg.cholesky(mean + (1e-9 * np.trace(mean) + SMALLEST) * np.eye(len(mean))))


def attitude(w: F64) -> F64:
    """q (..., T, 4) from rotation vectors w (..., T, 3), scalar part first; products by doubling."""
    half = np.sqrt((w**2).sum(-1, keepdims=True)) / 2
    q = np.concatenate((np.cos(half), 0.5 * np.sinc(half / np.pi) * w), -1)
    reach = 1
    while reach < q.shape[-2]:
        q = _unit(np.concatenate((q[..., :reach, :], product(q[..., :-reach, :], q[..., reach:, :])), -2))
        reach *= 2
    return q


def product(p: F64, q: F64) -> F64:
    """Of quaternions (..., 4), scalar part first."""
    s, v, t, w = p[..., :1], p[..., 1:], q[..., :1], q[..., 1:]
    scalar = s * t - (v * w).sum(-1, keepdims=True)
    return np.concatenate((scalar, s * w + t * v + np.cross(v, w)), -1)


def rotations(q: F64) -> F64:
    """R(q) (..., 3, 3) of unit quaternions."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def leaky(u: F64, decay: F64) -> F64:
    """h_t = decay h_{t-1} + u_t along T, u (..., T, K, n), decay (K,); sums by doubling."""
    h, reach, factor = u.copy(), 1, decay[:, None]
    while reach < h.shape[-3]:
        h[..., reach:, :, :] += factor * h[..., :-reach, :, :].copy()
        reach, factor = 2 * reach, factor**2
    return h


def _unit(q: F64) -> F64:
    unit: F64 = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return unit
