"""A package before it is laid out: one or several models, the runtime that they share, and what is said about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hiss.errors import ExportError
from hiss.firmware_export.board import board_texts, host_text
from hiss.firmware_export.c import Model
from hiss.firmware_export.export import CExport, texts_of

_SEMVER = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?"
_LONGEST_VERSION = 20  # PlatformIO's limit


@dataclass(frozen=True)
class About:
    """What metadata asks for.   version: semantic;  author: Name, or Name <mail>;  url: or ""."""

    version: str = "1.0.0"
    author: str = "hiss"
    url: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(_SEMVER, self.version) or len(self.version) > _LONGEST_VERSION:
            raise ValueError(
                f"the package version {self.version!r} is not of the form 1.2.3 (at most {_LONGEST_VERSION} characters)"
            )
        for what, text in (("author", self.author), ("url", self.url)):
            if re.search(r'[^ -~]|["\\]', text):
                raise ValueError(f"the package's {what} {text!r} has characters that metadata cannot hold; use ASCII")
        if not self.author.strip():
            raise ValueError("the package's author is empty; say for example 'Ada Example <ada@example.org>'")
        if self.url and not re.fullmatch(r"https?://\S+", self.url):
            raise ValueError(f"the package's url {self.url!r} does not begin with https://")

    @property
    def author_name(self) -> str:
        """The author without the mail address."""
        return self.author.partition("<")[0].strip() or self.author

    @property
    def author_mail(self) -> str:
        """The mail address, or ""."""
        found = re.search(r"<(.+@.+)>", self.author)
        return found.group(1) if found else ""


@dataclass(frozen=True)
class Package:
    """models: the first gives the package its name;  sources: file name -> text;  runtime: its files among them.

    host: path -> text of programs for a computer, where the models answer over a line (board); else nothing.
    """

    models: tuple[Model, ...]
    sources: dict[str, str]
    runtime: tuple[str, ...]
    about: About = field(default_factory=About)
    host: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the first model."""
        return self.models[0].name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all models."""
        return tuple(model.name for model in self.models)

    @property
    def headers(self) -> tuple[str, ...]:
        """One header to include per model."""
        return tuple(f"{name}.h" for name in self.names)

    @property
    def model_sources(self) -> tuple[str, ...]:
        """The .c files of the models, without self-tests and runtime."""
        return tuple(f"{name}.c" for name in self.names)

    @property
    def boards(self) -> tuple[str, ...]:
        """The models that answer over a line."""
        return tuple(name for name in self.names if f"{name}_board.c" in self.sources)

    @property
    def board_sources(self) -> tuple[str, ...]:
        """The .c files by which they do, without the runtime."""
        return tuple(f"{name}_board.c" for name in self.boards)

    @property
    def selftest_sources(self) -> tuple[str, ...]:
        """The .c files of the self-tests."""
        return tuple(f"{name}_selftest.c" for name in self.names)

    @property
    def runtime_sources(self) -> tuple[str, ...]:
        """The .c files of the runtime."""
        return tuple(file for file in self.runtime if file.endswith(".c"))

    @property
    def ops_version(self) -> int:
        """The version of the runtime, as its headers state it."""
        stated = [re.findall(r"^#define HISS_\w*VERSION (\d+)", self.sources[file], re.M) for file in self.runtime]
        return max(int(version) for versions in stated for version in versions)

    @property
    def sentence(self) -> str:
        """One line of what the package does."""
        made = "; ".join(
            f"{words(', '.join(p.name for p in m.program.outputs[:4]))} from {len(m.program.inputs)} channels at "
            f"{m.program.rate_hz:g} Hz"
            for m in self.models[:3]
        )
        return f"Sensor estimates by recurrent models in C99 ({made})."

    def exported(self, model: Model, folder: Path) -> CExport:
        """One of the models, when its plain sources lie in `folder`."""
        files = tuple(folder / file for file in (*_own_files(model.name), *self.runtime))
        sizes = model.tables.total, model.layout.ram, model.layout.scratch_bytes
        return CExport(folder, model.name, files, *sizes, model.version, model.numbers.x, model.numbers.value)

    def public_words(self, model: Model) -> tuple[list[str], list[str], list[str]]:
        """(types, functions, constants) that the header of a model declares."""
        header = self.sources[f"{model.name}.h"]
        name, guard = re.escape(model.name), re.escape(model.name.upper())
        functions = re.findall(rf"^(?:void|bool|int32_t) ({name}_\w+)\(", header, re.M)
        constants = [c for c in re.findall(rf"^#define ({guard}_\w+) ", header, re.M) if not c.endswith("_H")]
        return [f"{model.name}_t"], functions, constants


def make_package(models: Sequence[Model], about: About | None = None, *, board: bool = False) -> Package:
    """The models with their runtime, each file once. Raises ValueError where two names clash in C or on a disk.

    board: with what makes them answer over a line (hiss live --board), and a program of it for a computer.
    """
    if not models:
        raise ValueError("a package without a model; name at least one")
    check_names([model.name for model in models])
    sources: dict[str, str] = {}
    runtime: list[str] = []
    for model in models:
        for file, text in {**texts_of(model), **(board_texts(model) if board else {})}.items():
            if sources.get(file, text) != text:
                raise ValueError(f"two models would write {file}; give one of them another name")
            sources[file] = text
            if file not in (*_own_files(model.name), *_board_files(model.name)) and file not in runtime:
                runtime.append(file)
    _check_declarations(sources)
    host = {f"host/{model.name}_host.c": host_text(model) for model in models if board}
    return Package(tuple(models), sources, tuple(runtime), about or About(), host)


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError where names cannot stand in one image: their macros and files are told apart without case."""
    for name, count in Counter(name.upper() for name in names).items():
        if count > 1:
            alike = [n for n in names if n.upper() == name]
            raise ValueError(f"two models are named {' and '.join(map(repr, alike))}; give one of them another name")
    files = Counter(file.lower() for name in names for file in _own_files(name))
    if twice := [file for file, count in files.items() if count > 1]:
        raise ValueError(f"two models would write {twice[0]}; give one of them another name")


def _own_files(name: str) -> tuple[str, ...]:
    return (f"{name}.h", f"{name}.c", f"{name}_selftest.c")


def _board_files(name: str) -> tuple[str, ...]:
    return (f"{name}_board.h", f"{name}_board.c")


def _check_declarations(sources: dict[str, str]) -> None:
    """What one header declares, no other may."""
    owner: dict[str, str] = {}
    for file, text in sources.items():
        declared = re.findall(r"^#define (\w+)", text, re.M) + re.findall(r"^(?:\w+ )+\*?(\w+)\(", text, re.M)
        for word in set(declared) if file.endswith(".h") else ():
            if owner.setdefault(word, file) != file:
                raise ValueError(f"{owner[word]} and {file} both declare {word}; give one of the models another name")


def words(text: str) -> str:
    """A foreign name in comments, strings and metadata: printable ASCII that nothing can stumble over."""
    plain = text.replace("µ", "u").replace("μ", "u").replace("°", "deg")
    return re.sub(r"[^A-Za-z0-9_ .,:;+^()\[\]/%-]|//|/\*|\*/", "_", plain)


def sample_us(model: Model) -> int:
    """Microseconds from sample to sample. Raises ExportError where the examples' 32-bit clock cannot count them."""
    period = round(1e6 / model.program.rate_hz)
    if not 1 <= period < 1 << 31:
        raise ExportError(
            f"{model.name}: {model.program.rate_hz:g} Hz, but the clock of the examples counts 1 us to 2147 s between "
            "samples; take the package 'plain'"
        )
    return period
