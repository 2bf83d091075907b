"""Which room may import which: the rules of the house, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hiss

ROOT = Path(hiss.__file__).parent
EVERYWHERE = {"hiss.errors", "hiss.files", "hiss.__version__"}

MAY_IMPORT = {  # room -> rooms of hiss that it may import beside itself
    "program": set(),
    "quantization": {"program", "recording"},
    "firmware_export": {"program", "recording"},
    "engines": {"program", "firmware_export"},
    "realtime": {"program", "recording", "recording_csv", "resample", "gaps", "quantum", "engines"},
    "arnet": {"ridge", "program.ops"},
    "models": {"ridge"},
    "training": {
        "models",
        "arnet",
        "recording",
        "dataset",
        "augment",
        "scaling_rules",
        "filters",
        "metrics",
        "ridge",
        "quantum",
        "gaps",
        "program.storage",
    },
    "folding": {"models", "program", "dataset", "filters", "inertial", "recording", "training"},
}
WITHOUT_TORCH = (
    *("program", "quantization", "firmware_export", "engines", "realtime"),
    *("recording.py", "resample.py", "gaps.py", "quantum.py", "dataset.py"),
)
ONE_FILE_EACH = (
    "onnx",
    "flatbuffers",
    "tflite_runtime",
    "ai_edge_litert",
    "serial",
    "pylsl",
    "mcap",
    "rclpy",
    "matplotlib",
    "unicorn",
    "h5py",
    "optuna",
)


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at the top or within a function; type-checking blocks do not count."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        todo += list(ast.iter_child_nodes(node))
    return found


def files(room: str) -> list[Path]:
    path = ROOT / room
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_its_neighbours(room):
    allowed = {f"hiss.{room}", *EVERYWHERE, *(f"hiss.{name}" for name in MAY_IMPORT[room])}
    for path in files(room):
        for name in imports(path):
            if name == "hiss" or name.startswith("hiss."):
                fits = name == "hiss" or any(name == a or name.startswith(a + ".") for a in allowed)
                assert fits, f"{path.relative_to(ROOT)} imports {name}; {room} may import {sorted(allowed)}"


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_right_of_folding_there_is_no_torch(room):
    for path in files(room):
        assert not {n for n in imports(path) if n.split(".")[0] in ("torch", "scipy")}, path


@pytest.mark.parametrize("package", ONE_FILE_EACH)
def test_an_optional_package_is_imported_in_one_file(package):
    users = [path for path in ROOT.rglob("*.py") if any(n.split(".")[0] == package for n in imports(path))]
    assert len(users) <= 1, f"{package} is imported in {[str(u.relative_to(ROOT)) for u in users]}"


def test_nothing_loads_code_from_a_file():
    for path in ROOT.rglob("*.py"):
        assert not {n for n in imports(path) if n.split(".")[0] in ("pickle", "shelve", "dill", "marshal")}, path
        assert "torch.load(" not in path.read_text(encoding="utf-8"), path


def test_importing_hiss_loads_nothing_of_weight():
    code = (
        "import sys, hiss, hiss.program; print([m for m in ('torch', 'scipy', 'h5py', 'serial') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves():
    for name in hiss.__all__:
        assert getattr(hiss, name) is not None
