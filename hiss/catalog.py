"""The data sets that hiss knows: a folder each, with README.md, manifest.toml and a script that makes the recordings.

A set with files to download has a script with `convert(raw: Path, out: Path) -> list[Path]`;
a simulated one has `simulate(seed: int, minutes: float) -> (recordings, extra)`, as `write_hdf5` takes them;
one that `expects` a folder which the user has downloaded has `trials` and `read`, see `hiss.folder_data`.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from hiss.errors import HissError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class RawFile:
    """One file of the publisher: where it lies below the base address, how long it is and its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """What a manifest says."""

    name: str
    title: str
    licence: str
    source: str
    script: Path
    base_url: str = ""
    files: tuple[RawFile, ...] = ()
    expects: str = ""  # the folder that the user brings, and where it comes from
    notes: str = ""
    preset: dict[str, Any] = field(default_factory=dict)  # settings of `hiss train --preset NAME FOLDER`

    @property
    def simulated(self) -> bool:
        """True when the recordings are computed, not measured."""
        return not self.files and not self.expects

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)


def folders() -> Path:
    """Where the data set folders lie: inside the installed package, else beside it in the source tree."""
    package = Path(__file__).parent
    for place in (package / "datasets", package.parent / "datasets"):
        if any(place.glob("*/manifest.toml")):
            return place
    raise HissError("the data set folders are missing from this installation; install hiss again")


def datasets() -> list[Dataset]:
    """All data sets, by name."""
    return [_read(path) for path in sorted(folders().glob("*/manifest.toml"))]


def find(name: str) -> Dataset:
    """The data set of this name. Raises HissError naming the nearest."""
    known = {dataset.name: dataset for dataset in datasets()}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
        raise HissError(f"no data set is named {name!r}; {hint}")
    return known[name]


def load_script(dataset: Dataset) -> ModuleType:
    """The data set's script as a module."""
    spec = importlib.util.spec_from_file_location(f"hiss_datasets_{dataset.name}", dataset.script)
    if spec is None or spec.loader is None:
        raise HissError(f"{dataset.script}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read(path: Path) -> Dataset:
    try:
        with open(path, "rb") as file:
            manifest: dict[str, Any] = tomllib.load(file)
        files = tuple(RawFile(**entry) for entry in manifest.pop("files", []))
        return Dataset(**{**manifest, "script": path.parent / manifest["script"], "files": files})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HissError(f"{path}: not a manifest of a data set ({error})") from error
