"""What is compared, as a TOML file says it.

    seeds = [0, 1, 2]
    quick = ["flat_s4d"]                 # models that --quick takes; left out: all
    parameters = 20000                   # widths of every network scaled to as many; left out: as the models say
    [train]                              # of every model: keys of TrainOptions
    steps = 1500
    [data.broad]                         # a data set: files, target, rate; where needed inputs, period, tare, gap
    files = ["broad_95hz.h5"]
    target = ["vel_*"]
    rate = 50
    period = 10
    windows = "32x60s"                   # how test recordings are scored; left out: whole recordings
    ridge_windows_s = [0.5, 1.0, 3.0]
    train = { batch = 8 }
    [models.flat_s4d]                    # a model: kind and fields of its spec; the period is the data set's
    kind = "Flat"
    net = { kind = "S4D", d_model = 32 }
    train = { lr = 1e-3 }
    [models.lag_ridge]
    kind = "Ridge"
    lags = 24
    features = 512

Look-ahead is 0 everywhere: an estimate reads samples up to its own, and every model makes it at the same samples.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hiss.gaps import Gaps
from hiss.models.spec import spec_from_json
from hiss.training import TrainOptions

WINDOWS = re.compile(r"([1-9]\d*)x(\d+(?:\.\d+)?)s")


@dataclass(frozen=True)
class RidgeSpec:
    """A ridge regression of `lags` log-spaced ages (1 = the present sample), with random ReLU features of them."""

    lags: int = 24
    features: int = 0

    def __post_init__(self) -> None:
        if self.lags < 1 or self.features < 0:
            raise ValueError(f"a Ridge takes at least 1 lag and no negative features; got {self.lags}, {self.features}")


@dataclass(frozen=True)
class Data:
    """A data set and how it is scored. windows: (count, seconds) drawn by seed, None = whole recordings.

    gap: what is made of pauses, as `hiss train --gap` has it.
    """

    name: str
    files: tuple[Path, ...]
    target: tuple[str, ...]
    rate_hz: float
    period: int
    inputs: tuple[str, ...] = ()
    tare: int | None = None
    gap: str = str(Gaps())
    windows: tuple[int, float] | None = None
    windows_seed: int = 1234
    ridge_windows_s: tuple[float, ...] = (1.0, 5.0, 20.0)
    train: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Entry:
    """A model of the comparison: a spec as plain data without its period, or a RidgeSpec."""

    name: str
    spec: Mapping[str, Any] | RidgeSpec = field(hash=False)
    train: Mapping[str, Any] = field(default_factory=dict, hash=False)
    only: tuple[str, ...] = ()  # data sets; none = all

    def spec_for(self, data: Data) -> Any:
        """The spec with the data set's period, wherever a spec has one."""
        assert not isinstance(self.spec, RidgeSpec)
        return spec_from_json(_with_period(dict(self.spec), data))


@dataclass(frozen=True)
class Plan:
    """Everything that is compared."""

    seeds: tuple[int, ...]
    data: tuple[Data, ...]
    models: tuple[Entry, ...]
    train: Mapping[str, Any] = field(default_factory=dict, hash=False)
    quick: tuple[str, ...] = ()  # models of a quick comparison; none = all
    parameters: int | None = None  # that every network is scaled to; None = as it is

    def is_quick(self, entry: Entry) -> bool:
        """Whether a model is part of a quick comparison."""
        return not self.quick or entry.name in self.quick

    def options(self, entry: Entry, data: Data) -> TrainOptions:
        """Options of a cell: those of the plan, then of the data set, then of the model."""
        return TrainOptions(**{**self.train, **data.train, **entry.train})


def read_plan(path: Path, folder: Path | None = None) -> Plan:
    """The plan of a TOML file; data files lie beside it, or somewhere below `folder`.

    Raises ValueError naming what is wrong.
    """
    from hiss.cli.settings import read_toml

    content = read_toml(path)
    _check_keys(content, ("seeds", "quick", "parameters", "train", "data", "models"), str(path))
    seeds = content.get("seeds", [0])
    if not (isinstance(seeds, list) and seeds and all(type(s) is int and s >= 0 for s in seeds)):
        raise ValueError(f"{path}: seeds is {seeds!r}; expected a list of whole numbers, such as [0, 1, 2]")
    parameters = content.get("parameters")
    if parameters is not None and (type(parameters) is not int or parameters < 1):
        raise ValueError(f"{path}: parameters is {parameters!r}; expected how many a network has, such as 20000")
    if not content.get("data") or not content.get("models"):
        raise ValueError(f"{path}: a comparison needs at least one [data.NAME] and one [models.NAME]")
    plan = Plan(
        tuple(seeds),
        tuple(_data(name, dict(table), path, folder) for name, table in content["data"].items()),
        tuple(_entry(name, dict(table), path) for name, table in content["models"].items()),
        content.get("train", {}),
        tuple(_list(content.get("quick", []))),
        parameters,
    )
    _check(plan, path)
    return plan


def _data(name: str, table: dict[str, Any], path: Path, folder: Path | None) -> Data:
    where = f"{path}: [data.{name}]"
    if "rate" in table:
        table["rate_hz"] = table.pop("rate")
    known = [f.name for f in dataclasses.fields(Data) if f.name != "name"]
    _check_keys(table, known, where)
    if missing := [key for key in ("files", "target", "rate_hz", "period") if key not in table]:
        raise ValueError(f"{where} says nothing of {', '.join(missing).replace('rate_hz', 'rate')}")
    table["files"] = tuple(_file(Path(f).expanduser(), path, folder) for f in _list(table["files"]))
    if windows := table.get("windows"):
        match = WINDOWS.fullmatch(str(windows))
        if not match:
            raise ValueError(f"{where}: windows is {windows!r}; expected a count and seconds, such as 32x60s")
        table["windows"] = int(match[1]), float(match[2])
    for key in ("target", "inputs", "ridge_windows_s"):
        if key in table:
            table[key] = tuple(_list(table[key]))
    table["rate_hz"] = float(table["rate_hz"])
    if "gap" in table:
        try:
            table["gap"] = str(Gaps.parse(str(table["gap"])))
        except ValueError as error:
            raise ValueError(f"{where}: gap: {error}") from error
    return Data(name=name, **table)


def _file(name: Path, path: Path, folder: Path | None) -> Path:
    """Where a data file lies."""
    if folder is None:
        return path.parent / name
    found = sorted(folder.rglob(name.name))
    if not found:
        raise ValueError(f"{path}: there is no {name.name} below {folder}")
    return found[0]


def _entry(name: str, table: dict[str, Any], path: Path) -> Entry:
    train, only = table.pop("train", {}), tuple(_list(table.pop("only", [])))
    if table.get("kind") == "Ridge":
        table.pop("kind")
        _check_keys(table, [f.name for f in dataclasses.fields(RidgeSpec)], f"{path}: [models.{name}]")
        return Entry(name, RidgeSpec(**table), train, only)
    return Entry(name, table, train, only)


def _check(plan: Plan, path: Path) -> None:
    """What can be known to be wrong is said before the first hour of training."""
    names = {data.name for data in plan.data}
    if unknown := set(plan.quick) - {entry.name for entry in plan.models}:
        raise ValueError(f"{path}: quick names {', '.join(sorted(unknown))}, which is no model")
    for entry in plan.models:
        if unknown := set(entry.only) - names:
            raise ValueError(f"{path}: [models.{entry.name}] only names {', '.join(sorted(unknown))}, which is no data")
        for data in plan.data:
            try:
                plan.options(entry, data)
                if not isinstance(entry.spec, RidgeSpec):
                    entry.spec_for(data)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: [models.{entry.name}] on {data.name}: {error}") from error


def _with_period(spec: Any, data: Data) -> Any:
    kinds = {"Flat", "Hierarchical", "ARNet"}
    if isinstance(spec, list):
        return [_with_period(part, data) for part in spec]
    if not isinstance(spec, dict):
        return spec
    made = {key: _with_period(value, data) for key, value in spec.items()}
    if made.get("kind") in kinds:
        made.setdefault("period", data.period)
    if made.get("kind") == "ARNet" and "ages" not in made:
        made.setdefault("windows_s", list(data.ridge_windows_s))
    return made


def _check_keys(table: Mapping[str, Any], known: Any, where: str) -> None:
    if unknown := [key for key in table if key not in known]:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(known)}")


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
