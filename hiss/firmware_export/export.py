"""export_c: a program written as C sources into a folder, together with the runtime they call."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hiss.errors import ExportError
from hiss.files import write_together
from hiss.firmware_export.c import OPS_VERSION, Model, header_text, source_text
from hiss.firmware_export.integer_selftest import integer_selftest_text
from hiss.firmware_export.names import check_model_name
from hiss.firmware_export.selftest import selftest_text
from hiss.program import Program


@dataclass(frozen=True)
class CExport:
    """What was written. table_bytes: flash of the constants;  ram_bytes: sizeof the struct, of which scratch_bytes.

    x_type, y_type: C types of a sample and of an estimate.
    """

    folder: Path
    name: str
    files: tuple[Path, ...]
    table_bytes: int
    ram_bytes: int
    scratch_bytes: int
    version: int
    x_type: str = "float"
    y_type: str = "float"

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files to compile."""
        return tuple(path for path in self.files if path.suffix == ".c")


def c_texts(program: Program, name: str) -> dict[str, str]:
    """File name -> text of everything that export_c writes; the same program and name give the same texts."""
    return texts_of(Model(program, name))


def export_c(program: Program, folder: str | Path, name: str = "model") -> CExport:
    """Write <name>.h, <name>.c, <name>_selftest.c and the runtime (hiss_base.h; hiss_ops or hiss_int) into `folder`.

    `name` begins every public C name. Files that are there already are replaced, all or none.
    Raises ValueError for a name that C cannot take, ExportError for a program that C cannot hold, HissError when a
    file cannot be written.
    """
    check_model_name(name)
    folder = Path(folder)
    model = Model(program, name)
    texts = texts_of(model)
    write_together({folder / file: text.encode() for file, text in texts.items()})
    files = tuple(folder / file for file in texts)
    layout, numbers = model.layout, model.numbers
    sizes = model.tables.total, layout.ram, layout.scratch_bytes
    return CExport(folder, name, files, *sizes, model.version, numbers.x, numbers.value)


def texts_of(model: Model) -> dict[str, str]:
    """File name -> text of everything that belongs to a model."""
    return {
        f"{model.name}.h": header_text(model),
        f"{model.name}.c": source_text(model),
        f"{model.name}_selftest.c": (integer_selftest_text if model.numbers.whole else selftest_text)(model),
        **{file: _runtime(file) for file in ("hiss_base.h", *model.numbers.runtime)},
    }


def _runtime(file: str) -> str:
    text = resources.files("hiss.firmware_export").joinpath("runtime", file).read_text(encoding="utf-8")
    if file == "hiss_base.h" and f"#define HISS_OPS_VERSION {OPS_VERSION} " not in text:
        raise ExportError(
            f"{file} is not version {OPS_VERSION}: this installation of hiss is damaged, install it again"
        )
    return text
