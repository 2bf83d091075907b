"""The exported C as an engine: compiled by this computer's compiler into a shared library, called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.engines.host_compiler import STRICT, find_compiler, run_compiler
from hiss.errors import ExportError
from hiss.firmware_export.c import Model
from hiss.firmware_export.export import CExport, texts_of
from hiss.program import Program, integer, schedule

FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")

_GLUE = """#include "model.h"
/* step over many samples: x (steps, inputs) -> y (estimates, outputs); the number of estimates */
size_t engine_run(model_t *self, const {x} *x, size_t steps, {y} *y);
size_t engine_run(model_t *self, const {x} *x, size_t steps, {y} *y)
{{
    size_t made = 0;
    for (size_t i = 0; i < steps; ++i) {{
        if (model_step(self, x + i * MODEL_INPUTS, y + made * MODEL_OUTPUTS)) {{
            ++made;
        }}
    }}
    return made;
}}
/* one sample, everything in its place: a call with a single argument */
typedef struct {{
    model_t *self;
    {x} *x;
    {y} *y;
    const float *numbers;
    const double *grid; /* least, largest, units of each channel */
}} engine_places_t;
/* whether all numbers are finite */
int engine_finite(const engine_places_t *at);
int engine_finite(const engine_places_t *at)
{{
    int finite = 1;
    for (size_t i = 0; i < MODEL_INPUTS; ++i) {{
        finite &= at->numbers[i] - at->numbers[i] == 0.0f;
    }}
    return finite;
}}
int engine_step(const engine_places_t *at);
int engine_step(const engine_places_t *at)
{{
    return model_step(at->self, at->x, at->y);
}}
"""

_GRID = """/* numbers as the program's integers: rounded half up, held within limits; not a number becomes the least */
int engine_step_numbers(const engine_places_t *at);
int engine_step_numbers(const engine_places_t *at)
{{
    for (size_t i = 0; i < MODEL_INPUTS; ++i) {{
        double raw = (double)at->numbers[i] * at->grid[2 + i] + 0.5;
        raw = raw >= at->grid[0] ? raw : at->grid[0];
        raw = raw <= at->grid[1] ? raw : at->grid[1];
        const {x} whole = ({x})raw;
        at->x[i] = ({x})(whole > raw ? whole - 1 : whole);
    }}
    return engine_step(at);
}}
"""


class CStepper:
    """A program in compiled C, with the interface of the numpy Stepper; every stepper owns its state.

    Of an integer program too: samples become raw integers on the way in, estimates numbers in their units on the way
    out; step_integers() shows both as they are.
    """

    def __init__(self, program: Program, flags: Sequence[str] = FLAGS):
        """Raises ExportError when there is no C compiler, or when it refuses."""
        self.program = program
        self.model = Model(program, "model")
        self._version = self.model.version.to_bytes(4, sys.byteorder)
        self._library = _load(str(_compiled(self.model, tuple(flags))))
        self._self = ctypes.create_string_buffer(self.model.layout.ram)
        numbers = self.model.numbers
        self._x = np.zeros(len(program.inputs), _dtype(numbers.x))
        self._y = np.zeros(len(program.outputs), _dtype(numbers.value))
        self._grid = _Grid(program) if numbers.whole else None
        self._numbers = self._x if self._grid is None else np.zeros(len(self._x), np.float32)
        self._sample: Any = self._numbers.data
        # addresses asked for once: numpy takes a microsecond to tell one, and ctypes half of one to pass three
        held = (self._x, self._y, self._numbers, self._grid.numbers if self._grid else self._x)
        pointers = (ctypes.addressof(self._self), *(array.ctypes.data for array in held))
        self._places = ctypes.byref((ctypes.c_void_p * len(pointers))(*pointers))
        self._all_finite = self._library.engine_finite
        self._step_integers = self._library.engine_step
        self._step_numbers = self._library.engine_step_numbers if self._grid else self._step_integers
        self.tare()

    def step(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """x: (C,) raw sample -> (D,) estimate, or None while taring and until a period is complete."""
        if self._grid is not None and self._may_tare and self.taring and not np.isfinite(x).all():
            self._checked(x)
            return None  # a sample that is not finite does not count in the tare
        try:
            self._sample[:] = x  # of the right type and shape: the quickest copy
        except (TypeError, ValueError):
            return self._step_any(self._checked(x))
        if not self._step_numbers(self._places):
            return None
        return self._y.copy() if self._grid is None else self._grid.estimate(self._y)

    def finite(self, x: NDArray[np.float32]) -> bool:
        """Whether all numbers of a sample (C,) are finite; of float32 by the code that a step needs anyway."""
        try:
            self._sample[:] = x
        except (TypeError, ValueError):
            return bool(np.isfinite(x).all())
        return bool(self._all_finite(self._places))

    def _step_any(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """Of numbers of any type."""
        made = self._stepped(x if self._grid is None else self._grid.sample(x))
        return made if made is None or self._grid is None else self._grid.estimate(made)

    def step_integers(self, x: NDArray[Any]) -> NDArray[np.int16] | None:
        """One sample of integers (C,) -> the integers of the estimate (D,), or None. For integer programs."""
        return self._stepped(x)

    def _stepped(self, x: NDArray[Any]) -> NDArray[Any] | None:
        self._x[:] = x
        return self._y.copy() if self._step_integers(self._places) else None

    def _checked(self, x: NDArray[Any]) -> NDArray[Any]:
        x = np.asarray(x)
        if x.shape != self._x.shape:
            raise ValueError(f"a sample of shape {x.shape}; expected {self._x.shape}, one number per input")
        return x

    def run(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """step() over x (n, C), all in C -> the estimates (m, D) that were made."""
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != len(self._x):
            raise ValueError(f"samples of shape {x.shape}; expected (n, {len(self._x)})")
        if not self.model.numbers.whole:
            return self._ran(x)
        while self.taring and len(x):
            self.step(x[0])
            x = x[1:]
        return integer.estimates(self.program, self._ran(integer.samples(self.program, x))).astype(np.float32)

    def _ran(self, x: NDArray[Any]) -> NDArray[Any]:
        x = np.ascontiguousarray(x, self._x.dtype)
        y = np.zeros((len(x) // self.program.period + 1, len(self._y)), self._y.dtype)
        made = self._library.engine_run(self._self, x.ctypes.data, len(x), y.ctypes.data)
        return y[:made]

    def reset(self) -> None:
        """Fresh state; the tare is kept."""
        self._library.model_reset(self._self)

    def finish(self) -> None:
        """Nothing: a step in C leaves nothing to be done behind its estimate."""

    def tare(self) -> None:
        """Fresh state, and measure the tare anew from the next samples."""
        self._library.model_tare(self._self)
        self._may_tare = True

    @property
    def taring(self) -> bool:
        """True while the tare is being measured: no estimates come."""
        if self._may_tare:  # what has ended does not begin again by itself, so C is not asked for ever
            self._may_tare = bool(self._library.model_taring(self._self))
        return self._may_tare

    @property
    def state(self) -> bytes:
        """All that the stepper remembers, as bytes; assign them to restore."""
        return self._self.raw

    @state.setter
    def state(self, state: bytes) -> None:
        if len(state) != len(self._self) or state[:4] != self._version:
            raise ValueError(
                f"{len(state)} bytes that do not hold a state of this program; expected {len(self._self)} bytes from "
                "the `state` of a stepper with the same program"
            )
        ctypes.memmove(self._self, state, len(state))
        self._may_tare = True

    def selftest(self) -> int:
        """The exported self-test: the number of outputs that do not match; the stepper is tared anew."""
        self._may_tare = True
        return int(self._library.model_selftest(self._self))


class _Grid:
    """integer.samples and integer.estimates of one sample at a time, in buffers: a tenth of their time.

    Multiplying by a power of two is exact, as ldexp is; fmax takes a NaN to the least integer.
    """

    def __init__(self, program: Program):
        formats = integer.arithmetic(program).formats
        own = formats[schedule.input_op(program).out]["x"]
        frac = np.concatenate([formats[name]["out"].frac_bits for name in program.stages[-1].hands])
        # least, largest, units of each channel
        self.numbers = np.array([-own.limit - 1, own.limit, *np.ldexp(np.ones(len(program.inputs)), own.frac_bits)])
        self._lo, self._hi, self._up = self.numbers[0], self.numbers[1], self.numbers[2:]
        self._down = np.ldexp(1.0, -frac)
        self._raw = np.zeros(len(program.inputs))

    def sample(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """One raw sample (C,) -> its integers (C,), in a buffer that the next one overwrites."""
        raw = self._raw
        np.multiply(x, self._up, out=raw)
        np.add(raw, 0.5, out=raw)
        np.floor(raw, out=raw)
        np.fmax(raw, self._lo, out=raw)
        return np.fmin(raw, self._hi, out=raw)

    def estimate(self, y: NDArray[Any]) -> NDArray[np.float32]:
        """Integers of an estimate (D,) -> in its units (D,)."""
        return np.multiply(y, self._down).astype(np.float32)


def run_selftest(export: CExport) -> int:
    """Compile what export_c wrote, strictly, and run its self-test here: the number of outputs that do not match.

    Raises ExportError when there is no compiler, or when it complains about anything at all.
    """
    compiler = find_compiler()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as built:
        library = Path(built) / "selftest.so"
        run_compiler(compiler, [*FLAGS, *STRICT, "-I", export.folder, *export.sources, "-o", library])
        selftest = getattr(ctypes.CDLL(str(library)), f"{export.name}_selftest")
        selftest.restype, selftest.argtypes = ctypes.c_int32, [ctypes.c_void_p]
        return int(selftest(ctypes.create_string_buffer(export.ram_bytes)))


def _dtype(kind: str) -> Any:
    return np.float32 if kind == "float" else np.dtype(kind.removesuffix("_t"))


def cache_folder() -> Path:
    """Where compiled libraries are kept: $XDG_CACHE_HOME/hiss, else ~/.cache/hiss, else a temporary folder."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "hiss" / "c"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return _temporary_cache()


@functools.cache
def _temporary_cache() -> Path:
    return Path(tempfile.mkdtemp(prefix="hiss-c-"))


def _compiled(model: Model, flags: tuple[str, ...]) -> Path:
    """The shared library of a program; compiled once per program, compiler and flags."""
    compiler = find_compiler()
    glue = _GLUE + _GRID if model.numbers.whole else _GLUE
    texts = {**texts_of(model), "glue.c": glue.format(x=model.numbers.x, y=model.numbers.value)}
    key = hashlib.sha256(repr((compiler, flags, sys.platform, sorted(texts.items()))).encode()).hexdigest()[:32]
    library = cache_folder() / f"{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=library.parent) as built:
            folder = Path(built)
            for file, text in texts.items():
                (folder / file).write_text(text, encoding="utf-8")
            sources = [folder / file for file in texts if file.endswith(".c")]
            run_compiler(compiler, [*flags, "-I", folder, *sources, "-o", folder / "made.so"])
            os.replace(folder / "made.so", library)  # another process may have been faster: same bytes
    return library


@functools.cache
def _load(path: str) -> Any:
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ExportError(f"the compiled model does not load ({error}); delete {path} and try again") from error
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in (
        ("engine_finite", ctypes.c_int, None),
        ("engine_step", ctypes.c_int, None),
        ("engine_step_numbers", ctypes.c_int, None),
        ("model_reset", None, [pointer]),
        ("model_tare", None, [pointer]),
        ("model_taring", ctypes.c_bool, [pointer]),
        ("model_selftest", ctypes.c_int32, [pointer]),
        ("engine_run", size, [pointer, pointer, size, pointer]),
    ):
        if function := getattr(library, name, None):  # engine_step_numbers: of integers only
            function.restype, function.argtypes = result, arguments
    return library
