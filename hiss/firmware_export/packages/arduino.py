"""An Arduino library (1.5 layout) and a PlatformIO library around the same sources."""

from __future__ import annotations

import json
from typing import Any

from hiss.firmware_export.packages.examples import arduino_sketch, board_sketch
from hiss.firmware_export.packages.package import Package

_HEADERS = "arduino wire spi serial servo eeprom print stream client server main new pins_arduino"
_TAKEN = frozenset(_HEADERS.split())
"""Headers of Arduino cores, without case."""

_BOARD = "nano33ble"  # a Cortex-M4F: holds any model that a microcontroller can


def check_arduino(package: Package) -> None:
    """Raise ValueError for a model whose header is one of the core's."""
    for name in package.names:
        if name.lower() in _TAKEN:
            raise ValueError(f"{name}.h is a header of Arduino cores already; give the model another name")
    if package.name.lower().startswith("arduino"):
        raise ValueError(f"{package.name!r}: libraries named Arduino... are Arduino's own; give the model another name")


def arduino_texts(package: Package) -> dict[str, str]:
    """path -> text. The folder is a library: put it into `libraries`, or zip it."""
    check_arduino(package)
    sketches = {f"examples/{m.name}/{m.name}.ino": arduino_sketch(m) for m in package.models}
    sketches |= {f"examples/{name}_board/{name}_board.ino": board_sketch(name) for name in package.boards}
    return {
        "library.properties": library_properties(package),
        "keywords.txt": keywords(package),
        **{f"src/{file}": text for file, text in package.sources.items()},
        **sketches,
    }


def library_properties(package: Package) -> str:
    """The metadata of an Arduino library."""
    states = ", ".join(f"{m.name} 0x{m.version:08x}" for m in package.models)
    about = package.about
    fields = {
        "name": package.name,
        "version": about.version,
        "author": about.author,
        "maintainer": about.author,
        "sentence": package.sentence,
        "paragraph": f"No malloc, no libm, several instances, a self-test. Versions of the states: {states}.",
        "category": "Data Processing",
        "url": about.url or "https://example.org",
        "architectures": "*",
        "includes": ",".join(package.headers),
        # as an archive, so that two such libraries in one sketch bring the runtime once
        "dot_a_linkage": "true",
    }
    return "".join(f"{key}={value}\n" for key, value in fields.items())


def keywords(package: Package) -> str:
    """keywords.txt: what the editor colours. Columns are separated by one tab."""
    rows = []
    for model in package.models:
        types, functions, constants = package.public_words(model)
        rows += [f"{word}\tKEYWORD1" for word in types]
        rows += [f"{word}\tKEYWORD2" for word in functions]
        rows += [f"{word}\tLITERAL1" for word in constants]
    return "\n".join(rows) + "\n"


def platformio_texts(package: Package) -> dict[str, str]:
    """path -> text. The folder is a library: put it into `lib`, or name it in lib_deps."""
    check_arduino(package)
    texts = {"library.json": library_json(package)}
    texts |= {f"src/{file}": text for file, text in package.sources.items()}
    for model in package.models:
        texts[f"examples/{model.name}/platformio.ini"] = _platformio_ini(package)
        texts[f"examples/{model.name}/src/main.cpp"] = f"#include <Arduino.h>\n\n{arduino_sketch(model)}"
    for name in package.boards:
        texts[f"examples/{name}_board/platformio.ini"] = _platformio_ini(package)
        texts[f"examples/{name}_board/src/main.cpp"] = f"#include <Arduino.h>\n\n{board_sketch(name)}"
    return texts


def library_json(package: Package) -> str:
    """The metadata of a PlatformIO library."""
    about = package.about
    author = {"name": about.author_name, **({"email": about.author_mail} if about.author_mail else {})}
    fields: dict[str, Any] = {
        "name": package.name,
        "version": about.version,
        "description": package.sentence[:255],
        "keywords": ["sensor", "estimation", "state-space", "recurrent"],
        "authors": [{**author, "maintainer": True}],
        **({"homepage": about.url} if about.url else {}),
        "frameworks": "*",
        "platforms": "*",
        "headers": list(package.headers),
        "examples": [
            {"name": name, "base": f"examples/{name}", "files": ["platformio.ini", "src/main.cpp"]}
            for name in (*package.names, *(f"{board}_board" for board in package.boards))
        ],
        # as an archive, so that two such libraries in one image bring the runtime once
        "build": {"libArchive": True},
    }
    return json.dumps(fields, indent=2) + "\n"


def _platformio_ini(package: Package) -> str:
    return f"""; pio run -t upload && pio device monitor
[env:{_BOARD}]
platform = nordicnrf52
board = {_BOARD}
framework = arduino
monitor_speed = 115200
lib_deps = {package.name}=symlink://../..
"""
