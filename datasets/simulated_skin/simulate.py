"""A simulated magnetic skin: random presses -> five 3-axis magnetometers, as on an AnySkin board.

Computed, not measured.

press      F(t) normal and S(t) shear force, N, at a place p on the skin, mm          (`programme`)
layer      hysteresis (play operators), then creep (a Prony series), then stiffening  (`sink`)
magnets    dipoles in the layer that the indentation moves and tilts                  (`magnet_poses`)
field      B = mu0 / 4 pi (3 r (m . r) / r^5 - m / r^3) at each sensor                (`dipole_field`)
sensor     earth's field, temperature, drift, noise, steps of one LSB, jittered stamps (`sensed`)

Lengths in mm, forces in N, fields in uT, times in s. Same seed, same arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hiss.recording import Recording, make_channels

F64 = npt.NDArray[np.float64]

RATE_HZ = 50.0  # of the recordings
RAW_HZ = 71.0  # of the simulated device, with jitter
STEP_S = 0.01  # of the mechanics
RUN_MINUTES = 4.0

SENSORS = np.array([[0, 0, 0], [7, 0, 0], [0, 7, 0], [-7, 0, 0], [0, -7, 0]], float)  # mm
MAGNETS = np.array([[x, y, 5.0] for x in (-6, 0, 6) for y in (-6, 0, 6)], float)  # mm, the layer's middle
MOMENT = 2.5e-3  # A m^2, each magnet, upwards
SPREAD_MM = 4.0  # of the indentation around the probe

COMPLIANCE = 0.09  # mm/N at once
PRONY = np.array([[0.035, 0.15], [0.035, 1.2], [0.030, 9.0]])  # mm/N that creeps in, time constant s
PLAY = np.array([0.05, 0.2, 0.6])  # N that a force must turn back before each element follows
PLAY_SHARE = np.array([0.06, 0.06, 0.06])
DEEPEST_MM = 2.6  # the layer stiffens towards it

LSB = np.array([0.15, 0.15, 0.242])  # uT, MLX90393
NOISE = np.array([0.6, 0.6, 0.9])  # uT
REMANENCE_PER_K = -1.1e-3


def simulate(seed: int, minutes: float) -> tuple[list[Recording], dict[str, dict[str, Any]]]:
    """Runs of about 4 minutes (3 at least; last one: test, the one before: val) and their raw samples by run name."""
    runs = max(3, round(minutes / RUN_MINUTES))
    parts = ["train"] * (runs - 2) + ["val", "test"]
    made = [one_run(seed, i, 60 * minutes / runs, part) for i, part in enumerate(parts)]
    extra = {raw.name: {"raw_t": raw.t, "raw_x": raw.x} for raw in made}
    return [raw.resampled(RATE_HZ) for raw in made], extra


def one_run(seed: int, index: int, duration_s: float, part: str) -> Recording:
    """One run as the device would give it: jittered stamps, x in uT (not tared), y = force, shear_x, shear_y in N."""
    rng = np.random.default_rng([seed, index])
    skin = np.random.default_rng([seed])  # the same skin in all runs
    clock = np.arange(0.0, duration_s, STEP_S)
    forces, place = programme(rng, clock)
    sunk = sink(forces)
    t = stamps(rng, clock[-1])
    at = [np.stack([np.interp(t, clock, column) for column in array.T], axis=1) for array in (forces, place, sunk)]
    x = sensed(rng, skin, t, field(skin, at[1], at[2]))
    return Recording(
        f"sim{index}",
        t,
        x.reshape(len(t), -1).astype(np.float32),
        make_channels([f"m{i}_{axis}" for i in range(len(SENSORS)) for axis in "xyz"], "uT"),
        at[0].astype(np.float32),
        make_channels(["force", "shear_x", "shear_y"], "N"),
        split=part,
        attrs={"simulated": f"seed {seed}"},
    )


def programme(rng: np.random.Generator, clock: F64) -> tuple[F64, F64]:
    """Random presses with rests between them: (force, shear x, shear y) (n, 3) N and the probe's place (n, 2) mm."""
    forces, place = np.zeros((len(clock), 3)), np.zeros((len(clock), 2))
    home = rng.normal(0, 0.3, 2)
    start = 1.5 + rng.uniform(0, 1)  # rest at first, for the tare
    while start < clock[-1]:
        rise, hold, fall = rng.uniform(0.1, 1.5), rng.choice([0.0, rng.uniform(0.3, 4)]), rng.uniform(0.1, 1.5)
        rest = rng.choice([rng.uniform(0.2, 1.0), rng.uniform(1, 5)])
        s = clock - start
        envelope = np.minimum(smooth(s / rise), smooth((rise + hold + fall - s) / fall))
        wobble = 1 + rng.choice([0.0, 0.25]) * np.sin(2 * np.pi * rng.uniform(0.4, 2.5) * s)
        normal = rng.uniform(0.4, 10) * envelope * wobble
        direction, share = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
        rub = share * normal * np.sin(2 * np.pi * rng.uniform(0.1, 0.8) * s)
        forces += np.stack([normal, rub * np.cos(direction), rub * np.sin(direction)], axis=1)
        place[(s > -rest / 2)] = home + rng.normal(0, 1.0, 2)
        start += rise + hold + fall + rest
    return forces, place


def smooth(s: F64) -> F64:
    """0 up to s = 0, 1 from s = 1, without corners."""
    s = np.clip(s, 0, 1)
    return s * s * (3 - 2 * s)


def sink(forces: F64) -> F64:
    """How far the layer gives way under the probe, (n, 3) mm: inwards and sideways x, y.

    play     p <- clip(p, F - r, F + r)                          rate-independent hysteresis
    creep    e_i <- e_i + (J_i f - e_i) dt / tau_i, exactly       standard linear solids in series
    """
    decay = np.exp(-STEP_S / PRONY[:, 1])[:, None]  # (terms, 1)
    gain = (1 - decay) * PRONY[:, :1]
    play, creep = np.zeros((len(PLAY), 3)), np.zeros((len(PRONY), 3))
    given = np.empty_like(forces)
    for i, force in enumerate(forces):
        play = np.minimum(np.maximum(play, force - PLAY[:, None]), force + PLAY[:, None])
        felt = (1 - PLAY_SHARE.sum()) * force + PLAY_SHARE @ play
        creep = decay * creep + gain * felt
        given[i] = COMPLIANCE * felt + creep.sum(axis=0)
    depth: F64 = DEEPEST_MM * np.tanh(given / DEEPEST_MM)
    return depth


def field(skin: np.random.Generator, place: F64, sunk: F64) -> F64:
    """What the magnets alone give at each sensor, (n, 5, 3) uT. No two magnets of a skin are quite alike."""
    home = MAGNETS + skin.normal(0, 0.25, MAGNETS.shape)
    moments = MOMENT * (1 + skin.normal(0, 0.05, len(MAGNETS)))
    total = np.zeros((len(place), len(SENSORS), 3))
    for rest, moment in zip(home, moments, strict=True):
        position, axis = magnet_poses(rest, place, sunk)
        total += dipole_field(SENSORS - position[:, None, :], (moment * axis)[:, None, :])
    return total


def magnet_poses(rest: F64, place: F64, sunk: F64) -> tuple[F64, F64]:
    """Where a magnet at `rest` (3,) goes, (n, 3) mm, and where it points, (n, 3).

    A Gaussian dent: magnets go down with it, outwards from its axis, sideways with the shear, and tilt with its slope.
    """
    away = rest[:2] - place  # (n, 2)
    near = np.exp(-(away**2).sum(axis=1, keepdims=True) / (2 * SPREAD_MM**2))
    down, aside = sunk[:, :1] * near, sunk[:, 1:] * near
    outwards = 0.3 * down * away / SPREAD_MM
    slope = down * away / SPREAD_MM**2  # of the dent, rising outwards
    position = np.hstack([rest[:2] + outwards + aside, rest[2] - down])
    axis = np.hstack([-0.6 * slope + 0.08 * aside, np.ones((len(place), 1))])
    return position, axis / np.linalg.norm(axis, axis=1, keepdims=True)


def dipole_field(r: F64, m: F64) -> F64:
    """Field in uT of a dipole m (..., 3) A m^2 at r (..., 3) mm from it."""
    distance = np.linalg.norm(r, axis=-1, keepdims=True)
    along = (m * r).sum(axis=-1, keepdims=True)
    b: F64 = 1e8 * (3 * r * along / distance**5 - m / distance**3)  # mu0 / 4 pi = 1e-7 T m/A, with mm^-3 and uT
    return b


def sensed(rng: np.random.Generator, skin: np.random.Generator, t: F64, magnets: F64) -> F64:
    """What the chips report, (n, 5, 3) uT: warmer magnets are weaker; offsets drift; steps of one LSB."""
    offset_per_k = skin.normal(0, 0.3, (len(SENSORS), 3))
    warm = rng.uniform(1, 4) * (1 - np.exp(-t / rng.uniform(100, 300)))  # K, after switching on
    earth = rng.normal(0, 1, 3)
    earth = 48 * earth / np.linalg.norm(earth) + wander(rng, t, 3, 0.4)
    value = magnets * (1 + REMANENCE_PER_K * warm)[:, None, None]
    value = value + earth[:, None, :] + warm[:, None, None] * offset_per_k
    value = value + wander(rng, t, value[0].size, 0.15).reshape(value.shape) + rng.normal(0, NOISE, value.shape)
    reported: F64 = np.round(value / LSB) * LSB
    return reported


def wander(rng: np.random.Generator, t: F64, width: int, per_root_s: float) -> F64:
    """Random walks (n, width) that start at 0 and go `per_root_s` in the root of a second."""
    steps = rng.normal(0, per_root_s, (len(t), width)) * np.sqrt(np.diff(t, prepend=t[0]))[:, None]
    return np.cumsum(steps, axis=0)


def stamps(rng: np.random.Generator, end_s: float) -> F64:
    """Stamps of a device at RAW_HZ whose host is sometimes late: strictly increasing, up to end_s."""
    nominal = np.arange(0.0, end_s - 0.1, 1 / RAW_HZ)
    late = np.where(rng.uniform(size=len(nominal)) < 0.01, rng.uniform(0, 0.03, len(nominal)), 0)
    t = nominal + np.abs(rng.normal(0, 5e-4, len(nominal))) + late
    t = np.maximum.accumulate(t - t[0]) + 1e-6 * np.arange(len(t))  # what waited arrives in a burst
    rounded: F64 = np.round(t, 7)
    return rounded
