"""Small folders in the layouts of the six sets of CSP-Bench, as published, with what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

START = 1.7e9  # epoch s


def smooth(rng: np.random.Generator, n: int, columns: int, scale: float = 1.0) -> np.ndarray:
    """A walk without jumps."""
    return scale * np.cumsum(rng.normal(size=(n, columns)), 0) / 10


def turns(rng: np.random.Generator, n: int) -> Rotation:
    return Rotation.from_rotvec(smooth(rng, n, 3, 0.2)) * Rotation.random(random_state=rng)


def stamps(rng: np.random.Generator, seconds: float, rate: float, late: float = 0.0) -> np.ndarray:
    """Jittered, with one stamp twice."""
    t = late + np.arange(round(seconds * rate)) / rate + rng.uniform(0, 0.3 / rate, round(seconds * rate))
    t[5] = t[4]
    return START + t


def write(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array


def reskin_demo(folder: Path, seed: int, seconds: float = 8.3, jump: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    t, at = stamps(rng, seconds, 110), stamps(rng, seconds, 60, late=0.11)
    values = 500 + smooth(rng, len(t), 30, 50)
    values[len(t) // 2 :, 3] += jump
    position, turn = smooth(rng, len(at), 3, 0.05), turns(rng, len(at))
    write(folder / "reskin_sensor_values.h5", timestamps=t, sensor_values=values, num_datapoints=len(t))
    write(folder / "kinova_cartesian_states.h5", timestamps=at, positions=position, orientations=turn.as_quat())
    return {"t": t, "x": values, "at": at, "p": position, "q": turn.as_quat()}


def marker_writing(folder: Path, count: int = 10) -> list[dict[str, np.ndarray]]:
    return [reskin_demo(folder / f"demonstration_{i:02}", i, jump=2000.0 * (i == 3)) for i in range(count)]


def intrinsic_slip(folder: Path, count: int = 10) -> list[dict[str, np.ndarray]]:
    return [reskin_demo(folder / f"box_{i % 2}" / f"demonstration_{i:02}", i) for i in range(count)]


def joystick_control(folder: Path, count: int = 5) -> list[dict[str, np.ndarray]]:
    demos = []
    for i in range(count):
        rng = np.random.default_rng(i)
        seconds = 10.0 if i == 1 else 16.0
        t, at = stamps(rng, seconds, 100), stamps(rng, seconds, 50)
        parts = {"finger": (2, 4, 3), "fingertip": (2, 5, 3), "palm": (3, 3)}
        skins = {k: (9000 + smooth(rng, len(t), int(np.prod(s)), 300)).reshape(len(t), *s) for k, s in parts.items()}
        axes = smooth(rng, len(at), 3)
        where = folder / f"demonstration_{i}"
        write(where / "touch_sensor_values.h5", timestamps=t, **{f"{k}_sensor_values": v for k, v in skins.items()})
        write(where / "extreme3d_values.h5", timestamps=at, axes=axes, buttons=np.zeros((len(at), 12)))
        demos.append({"t": t, "x": np.hstack([v.reshape(len(t), -1) for v in skins.values()]), "at": at, "p": axes})
    return demos


def ronin(folder: Path, seconds: float = 6.2) -> dict[str, dict[str, Any]]:
    """The IMU of a phone that turns any way: still in the world but for a known specific force and rate."""
    made = {}
    parts = ["train_dataset_1", "train_dataset_2", "seen_subjects_test_set", "unseen_subjects_test_set"]
    for i, part in enumerate(parts):
        rng = np.random.default_rng(i)
        n = round(seconds * 200)
        t, turn = 3.5 + np.arange(n) / 200, turns(rng, n)
        acc, gyr = smooth(rng, n, 3) + np.array([0, 0, 9.81]), smooth(rng, n, 3)
        own, mounted = Rotation.from_euler("z", 1.1) * turn, Rotation.random(random_state=rng)
        bias, scale = rng.normal(size=(2, 3)), rng.uniform(0.9, 1.1, 3)
        position, tracked = smooth(rng, n, 3, 0.3), turn * mounted.inv()
        name = f"a{i:03}_1"
        write(
            folder / part / name / "data.hdf5",
            synced__time=t,
            synced__gyro_uncalib=turn.inv().apply(gyr) + bias[0],
            synced__acce=turn.inv().apply(acc) / scale + bias[1],
            synced__game_rv=own.as_quat()[:, [3, 0, 1, 2]],
            pose__tango_pos=position,
            pose__tango_ori=tracked.as_quat()[:, [3, 0, 1, 2]],
            pose__ekf_ori=np.zeros((n, 4)),
        )
        info = {
            "imu_init_gyro_bias": bias[0].tolist(),
            "imu_acce_bias": bias[1].tolist(),
            "imu_acce_scale": scale.tolist(),
            "start_calibration": mounted.as_quat()[[3, 0, 1, 2]].tolist(),
            "start_frame": 40 * i,
        }
        (folder / part / name / "info.json").write_text(json.dumps(info))
        made[name] = {"t": t, "acc": acc, "gyr": gyr, "p": position, "start": 40 * i}
    return made


def vector(folder: Path, count: int = 5) -> dict[str, dict[str, np.ndarray]]:
    made = {}
    for i in range(count):
        rng = np.random.default_rng(i)
        t, at = stamps(rng, 7, 200), stamps(rng, 7, 120, late=0.05)
        imu, position, turn = smooth(rng, len(t), 6), smooth(rng, len(at), 3), turns(rng, len(at))
        name = f"desk-{'abcde'[i]}1"
        folder.mkdir(parents=True, exist_ok=True)
        rows = ["# imu", "# VECtor", "# timestamp gx gy gz ax ay az qx qy qz qw"]
        rows += [" ".join(f"{v:.9f}" for v in (s, *row, 0, 0, 0, 1)) for s, row in zip(t, imu, strict=True)]
        (folder / f"{name}.synced.imu.txt").write_text("\n".join(rows) + "\n")
        poses = np.hstack([position, turn.as_quat()])
        rows = ["# ground truth", "# timestamp px py pz qx qy qz qw"]
        rows += [" ".join(f"{v:.9f}" for v in (s, *row)) for s, row in zip(at, poses, strict=True)]
        (folder / f"{name}.synced.gt.txt").write_text("\n".join(rows) + "\n")
        made[name] = {"t": t, "imu": imu, "at": at, "p": position, "q": turn.as_quat()}
    return made


def total_capture(folder: Path, imus: tuple[str, ...], joints: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    made = {}
    for i, (subject, sequence) in enumerate([("S1", "rom1"), ("S2", "acting1"), ("S4", "walking2"), ("S4", "rom1")]):
        rng, n = np.random.default_rng(i), 190
        turn = {imu: turns(rng, n) for imu in imus}
        acc = {imu: smooth(rng, n, 3) for imu in imus}
        ref = {imu: Rotation.random(random_state=rng) for imu in imus}
        where = folder / f"{subject.lower()}_imu" / subject
        where.mkdir(parents=True, exist_ok=True)
        lines = [f"{len(imus)} {n}"]
        for f in range(n):
            lines.append(str(f + 1))
            for imu in imus:
                x, y, z, w = (ref[imu].inv() * turn[imu][f]).as_quat()
                local = turn[imu][f].inv().apply(acc[imu][f])
                lines.append(f"{imu} " + " ".join(f"{v:.9f}" for v in (w, x, y, z, *local)))
        (where / f"{subject.lower()}_{sequence}_Xsens.sensors").write_text("\n".join(lines) + "\n")
        rows = [str(len(imus)), *(f"{imu} " + " ".join(f"{v:.9f}" for v in ref[imu].as_quat()) for imu in imus)]
        (where / f"{subject.lower()}_{sequence}_calib_imu_ref.txt").write_text("\n".join(rows) + "\n")
        p, q = smooth(rng, n + 1, 3 * len(joints), 5), {j: turns(rng, n + 1) for j in joints}
        where = folder / f"{subject.lower()}_vicon_pos_ori" / subject / sequence
        where.mkdir(parents=True)
        head = "\t".join(joints)
        rows = [
            "\t".join(" ".join(f"{v:.9f}" for v in row[3 * j : 3 * j + 3]) for j in range(len(joints))) for row in p
        ]
        (where / "gt_skel_gbl_pos.txt").write_text("\n".join([head, *rows]) + "\n")
        wxyz = {j: q[j].as_quat()[:, [3, 0, 1, 2]] for j in joints}
        rows = ["\t".join(" ".join(f"{v:.9f}" for v in wxyz[j][f]) for j in joints) for f in range(n + 1)]
        (where / "gt_skel_gbl_ori.txt").write_text("\n".join([head, *rows]) + "\n")
        made[f"{subject.lower()}_{sequence}"] = {"turn": turn, "acc": acc, "p": p, "q": q}
    return made
