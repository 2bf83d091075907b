"""The kinds of packages, and their files written together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hiss.files import write_together
from hiss.firmware_export.packages.arduino import arduino_texts, platformio_texts
from hiss.firmware_export.packages.cmake import cmake_texts
from hiss.firmware_export.packages.package import Package
from hiss.firmware_export.packages.readme import readme
from hiss.firmware_export.packages.zephyr import zephyr_texts

_LAYOUTS: dict[str, Callable[[Package], dict[str, str]]] = {
    "plain": lambda package: dict(package.sources),
    "cmake": cmake_texts,
    "arduino": arduino_texts,
    "platformio": platformio_texts,
    "zephyr": zephyr_texts,
}

KINDS = tuple(_LAYOUTS)
"""plain: the sources alone, in one folder."""


def package_texts(package: Package, kind: str) -> dict[str, str]:
    """path inside the package -> text; the same models, names and metadata give the same texts."""
    if kind not in _LAYOUTS:
        raise ValueError(f"no package {kind!r}; there are {', '.join(KINDS)}")
    texts = {**_LAYOUTS[kind](package), **package.host}
    return texts if kind == "plain" else {**texts, "README.md": readme(package, kind)}


def export_package(
    package: Package, kind: str, folder: str | Path, beside: Mapping[str, str] | None = None
) -> tuple[Path, ...]:
    """Write a package into `folder`, wholly or not at all, with the files `beside` it. Raises HissError."""
    texts = {**package_texts(package, kind), **(beside or {})}
    write_together({Path(folder) / path: text.encode() for path, text in texts.items()})
    return tuple(Path(folder) / path for path in texts)
