"""The runtime of TensorFlow Lite: tflite-runtime where it works, ai-edge-litert otherwise; both have one interface.

tflite-runtime 2.14 is built for numpy 1. With numpy 2 its import succeeds and every Interpreter() fails, so a runtime
is believed only when it has made one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiss.errors import ExportError, HissError, MissingExtraError
from hiss.firmware_export.tflite.graph import Graph
from hiss.firmware_export.tflite.writer import tflite_bytes


def _tflite_runtime() -> Any:
    from tflite_runtime import interpreter

    return interpreter


def _ai_edge_litert() -> Any:
    from ai_edge_litert import interpreter

    return interpreter


RUNTIMES: dict[str, Callable[[], Any]] = {"tflite-runtime": _tflite_runtime, "ai-edge-litert": _ai_edge_litert}
"""Package -> what imports it, in the order in which they are tried."""


@dataclass(frozen=True)
class Runtime:
    """A package that can make interpreters.   module: what has Interpreter in it."""

    package: str
    module: Any

    @property
    def said(self) -> str:
        """Name and version."""
        return f"{self.package} {importlib.metadata.version(self.package)}"

    def interpreter(self, data: bytes) -> Any:
        """An interpreter of a file, on one thread: a step is too short for more. Raises ExportError, HissError."""
        plain = self.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # a delegate costs more than it saves here
        try:
            made = self.module.Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=plain)
            made.allocate_tensors()
        except (SystemError, ImportError) as error:
            raise HissError(
                f"{self.said} cannot make an interpreter with numpy {np.__version__}: it is built for numpy 1. "
                "Install ai-edge-litert, or pip install 'numpy<2'"
            ) from error
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"{self.said} does not take the file: {error}") from error
        return made


@functools.cache
def find_runtime(package: str | None = None) -> Runtime:
    """The first runtime that makes an interpreter, or the one of a package.

    Raises MissingExtraError where none is installed, HissError where none of them works, saying what to do.
    """
    broken: HissError | None = None
    for name in [package] if package else RUNTIMES:
        try:
            runtime = Runtime(name, RUNTIMES[name]())
            with contextlib.redirect_stderr(io.StringIO()):  # numpy 2 tells of the failure at length
                runtime.interpreter(_small_file())
        except ImportError:
            continue
        except HissError as error:
            broken = error
            continue
        return runtime
    if broken is not None:
        raise broken
    raise MissingExtraError(package or "tflite-runtime or ai-edge-litert", "tflite")


def _small_file() -> bytes:
    """One operator: enough to see whether an interpreter can be made."""
    graph = Graph()
    x = graph.tensor("x", (1, 1), "float32")
    y = graph.add("ABS", (x,), graph.tensor("y", (1, 1), "float32"))
    return tflite_bytes([graph.signature("step", {"x": x}, {"y": y})], {})
