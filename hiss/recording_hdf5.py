"""HDF5 recordings: /<trial>/x (T, C) and /<trial>/y (T, D) float32, optional valid (T,), optional t (T,) s.

Attributes, of the trial or else of the file: rate_hz, x_names, x_units, y_names, y_units, tared (samples), t0 (s);
of the file: split = JSON {"train": [trial, ...], "val": [...], "test": [...]}. All others are kept as text in `attrs`.
raw_t (R,) and raw_x (R, C): the samples as they came.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hiss.errors import RecordingError
from hiss.files import write_bytes
from hiss.recording import Channel, Recording, make_channels

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
STRUCTURE = ("rate_hz", "x_names", "x_units", "y_names", "y_units", "split", "tared", "t0")
TARE_TEXT = re.compile(r",?\s*mean of the first ([\d.]+) s removed")
REMARK = re.compile(r"\s*\([^()]*\)$")


def read_hdf5(path: str | os.PathLike[str], *, raw: bool = False) -> list[Recording]:
    """All trials of a file. Raises RecordingError when the file is damaged or a trial is not what it should be."""
    try:
        with h5py.File(path, "r") as file:
            trials = [name for name in file if isinstance(file.get(name), h5py.Group)]
            if not trials:
                raise RecordingError("no trials in the file (a trial is a group with data sets x and y)")
            splits = _splits(file, trials)
            return [_read_trial(file, name, splits.get(name), raw) for name in trials]
    except (OSError, RuntimeError, KeyError) as error:  # what h5py raises on damaged files
        if isinstance(error, OSError) and not Path(path).is_file():
            raise
        raise RecordingError(f"damaged HDF5 file ({error}); was it cut short?") from error


def hdf5_arrays(path: str | os.PathLike[str], *names: str) -> dict[str, Any]:
    """The arrays of numbers in an HDF5 file of any layout, by their paths in it, such as "pose/ekf_ori".

    names: only these, as far as they are there.

    Raises RecordingError when the file cannot be read or is damaged.
    """
    found: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub" and (not names or name in names):
            found[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except (OSError, RuntimeError, KeyError) as error:
        raise RecordingError(f"{path}: cannot be read as HDF5 ({error}); was it cut short?") from error
    return found


def write_hdf5(
    path: str | os.PathLike[str],
    recordings: Sequence[Recording],
    *,
    extra: Mapping[str, Mapping[str, Any]] | None = None,
    **file_attrs: str,
) -> None:
    """Write recordings into one file that `read_hdf5` reads back equal; file_attrs are added as file attributes.

    extra: further data sets of a trial by its name, such as {"run0": {"raw_t": ..., "raw_x": ...}}.

    Raises RecordingError for recordings of one name, HissError when the system refuses to write (the old file stays).
    """
    names = [r.name for r in recordings]
    if len(set(names)) != len(names) or not names:
        raise RecordingError(f"{path}: {len(names)} recordings with {len(set(names))} names; each needs its own")
    per_trial = [_attributes(r) for r in recordings]
    common = {k: v for k, v in per_trial[0].items() if all(k in other and other[k] == v for other in per_trial)}
    image = io.BytesIO()  # in memory first: HDF5 cannot be stopped halfway through a full disk
    with h5py.File(image, "w", track_order=True) as file:
        file.attrs.update({**common, **file_attrs, **_split_attribute(recordings)})
        for recording, attributes in zip(recordings, per_trial, strict=True):
            rest = {k: v for k, v in attributes.items() if k not in common}
            group = file.create_group(recording.name)
            group.attrs.update(rest)
            _write_trial(group, recording)
            for key, array in (extra or {}).get(recording.name, {}).items():
                group.create_dataset(key, data=array, compression="gzip", shuffle=True)
    write_bytes(path, image.getvalue())


def _read_trial(file: h5py.File, name: str, split: str | None, raw: bool) -> Recording:
    group = file[name]
    attrs = {**file.attrs, **group.attrs}
    x = _array(group, "raw_x" if raw else "x")
    rate = None if raw else _number(name, attrs, "rate_hz")
    if rate is not None and rate <= 0:
        raise RecordingError(f"{name}: rate_hz is {rate:g}; it must be positive")
    x_units, tared_s = _tare_text(_text(attrs.get("x_units", "")))
    t = _array(group, "raw_t", ndim=1) if raw else _stamps(group, attrs, rate, len(x))
    y = np.zeros((len(x), 0), np.float32) if raw or "y" not in group else _array(group, "y")
    tared = _number(name, attrs, "tared")
    if tared is None:
        tared = round(tared_s * (rate or 0.0))
    return Recording(
        name,
        t,
        x,
        _columns(name, attrs, "x", x.shape[1], x_units),
        y,
        _columns(name, attrs, "y", y.shape[1], _text(attrs.get("y_units", ""))) if y.shape[1] else (),
        np.asarray(group["valid"], np.bool_) if "valid" in group and not raw else np.ones(len(x), np.bool_),
        rate_hz=rate,
        split=split,
        tared=0 if raw else int(tared),
        attrs={k: _text(v) for k, v in attrs.items() if k not in STRUCTURE},
    )


def _array(group: h5py.Group, key: str, ndim: int = 2) -> Any:
    name = group.name.lstrip("/")
    data = group.get(key)
    if not isinstance(data, h5py.Dataset):
        raise RecordingError(f"{name}: no data set {key!r} (there are: {', '.join(group) or 'none'})")
    if data.dtype.kind not in "fiub":
        raise RecordingError(f"{name}: {key} holds {data.dtype}, not numbers")
    array = np.asarray(data[...])
    if ndim == 2 and array.ndim == 1:
        array = array[:, None]
    if array.ndim != ndim:
        raise RecordingError(f"{name}: {key} has shape {array.shape}; {ndim} dimensions are expected")
    return array


def _stamps(group: h5py.Group, attrs: dict[str, Any], rate: float | None, n: int) -> Any:
    if "t" in group:
        return _array(group, "t", ndim=1)
    name = group.name.lstrip("/")
    if rate is None:
        raise RecordingError(f"{name}: neither an attribute rate_hz nor stamps t: when were the samples taken?")
    return (_number(name, attrs, "t0") or 0.0) + np.arange(n) / rate


def _number(name: str, attrs: dict[str, Any], key: str) -> float | None:
    if key not in attrs:
        return None
    try:
        value = float(attrs[key])
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise RecordingError(f"{name}: {key} is {attrs[key]!r}, not a number")
    return value


def _columns(name: str, attrs: dict[str, Any], axis: str, width: int, units: str) -> tuple[Channel, ...]:
    if f"{axis}_names" in attrs:
        names = _list(name, f"{axis}_names", attrs[f"{axis}_names"])
    else:
        names = [f"{axis}{i}" for i in range(width)]
    if len(names) != width:
        raise RecordingError(f"{name}: {axis} has {width} columns, but {axis}_names has {len(names)} names")
    return make_channels(names, spread_units(names, units))


def spread_units(names: Sequence[str], units: str) -> list[str]:
    """One unit for each name, from one text for all, a list with one for each, or one for each group of names.

    Names are of one group when they are equal up to the last underscore: acc_x and acc_y.
    """
    try:
        parts = [str(part) for part in json.loads(units)] if units.startswith("[") else []
    except ValueError:
        parts = []
    if not parts:
        parts = [part.strip() for part in REMARK.sub("", units).split(",")]
    groups = list(dict.fromkeys(name.rpartition("_")[0] for name in names))
    if len(parts) == len(names):
        return parts
    if len(parts) == len(groups):
        return [parts[groups.index(name.rpartition("_")[0])] for name in names]
    return [units.strip()] * len(names)


def _tare_text(units: str) -> tuple[str, float]:
    """Units without the words 'mean of the first 1 s removed', and the seconds they name (0 without them)."""
    found = TARE_TEXT.search(units)
    return (TARE_TEXT.sub("", units), float(found[1])) if found else (units, 0.0)


def _splits(file: h5py.File, trials: list[str]) -> dict[str, str]:
    text = _text(file.attrs.get("split", "{}"))
    try:
        parts = {str(trial): str(part) for part, members in json.loads(text).items() for trial in members}
    except (ValueError, AttributeError, TypeError) as error:
        form = '{"train": [...], "val": [...], "test": [...]}'
        raise RecordingError(f"the attribute split is not JSON of the form {form}: {text[:60]}") from error
    absent = [trial for trial in parts if trial not in trials]
    if absent:
        raise RecordingError(f"the attribute split names {absent[0]!r}, but the file has no such trial")
    return parts


def _list(name: str, key: str, value: Any) -> list[str]:
    if isinstance(value, np.ndarray):
        return [_text(part) for part in value.ravel()]
    text = _text(value).strip()
    if not text.startswith("["):
        return [part.strip() for part in text.split(",")]
    try:
        return [str(part) for part in json.loads(text)]
    except ValueError as error:
        raise RecordingError(f"{name}: {key} is not a list of names: {text[:60]}") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _attributes(r: Recording) -> dict[str, Any]:
    attributes: dict[str, Any] = {**r.attrs, "x_names": _names(r.channels), "x_units": _units(r.channels)}
    if r.targets:
        attributes |= {"y_names": _names(r.targets), "y_units": _units(r.targets)}
    if r.rate_hz is not None:
        attributes["rate_hz"] = r.rate_hz
    return attributes | {"tared": r.tared}


def _names(columns: Sequence[Channel]) -> str:
    return json.dumps([c.name for c in columns])


def _units(columns: Sequence[Channel]) -> str:
    return json.dumps([c.unit for c in columns], ensure_ascii=False)


def _split_attribute(recordings: Sequence[Recording]) -> dict[str, str]:
    if not any(r.split for r in recordings):
        return {}
    return {"split": json.dumps({p: [r.name for r in recordings if r.split == p] for p in ("train", "val", "test")})}


def _write_trial(group: h5py.Group, r: Recording) -> None:
    for key, array in (("x", r.x), ("y", r.y), ("valid", r.valid.astype(np.uint8))):
        group.create_dataset(key, data=array, compression="gzip", shuffle=True)
    exact = r.rate_hz is not None and np.array_equal(r.t, r.t[0] + np.arange(len(r)) / r.rate_hz)
    if not exact:
        group.create_dataset("t", data=r.t, compression="gzip", shuffle=True)
    elif r.t[0] != 0:
        group.attrs["t0"] = float(r.t[0])
