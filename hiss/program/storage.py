"""Files of tensors with a JSON header that prove themselves: a program (`.hiss`), a checkpoint.

The container is safetensors, so loading runs no code. The header carries a kind, a format version and a SHA-256 over
everything else; a changed byte, another version, or sizes that do not fit raise ProgramError.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from hiss.errors import ProgramError
from hiss.files import write_bytes
from hiss.program import formats
from hiss.program.ops import OPS, Op

if TYPE_CHECKING:
    from hiss.program.program import Program

FORMAT = 1
"""The version written by this release; a reader names the version that a newer file needs."""

Tensors = dict[str, NDArray[Any]]


def pack_tensors(kind: str, header: dict[str, Any], tensors: Tensors) -> bytes:
    """The bytes of a file: same content, same bytes."""
    tensors = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)
    meta = {"kind": kind, "format": str(FORMAT), "header": text, "sha256": _fingerprint(kind, text, tensors)}
    return save_tensors(tensors, {"hiss": json.dumps(meta, sort_keys=True)})


def unpack_tensors(data: bytes, kind: str, name: str) -> tuple[dict[str, Any], Tensors]:
    """Header and tensors of `data`; `name` is what errors call it. Raises ProgramError."""
    meta = _meta(data, name)
    if meta.get("kind") != kind:
        raise ProgramError(f"{name}: holds a {meta.get('kind', 'thing')!s}; expected a {kind}")
    if meta.get("format") != str(FORMAT):
        raise ProgramError(
            f"{name}: written in format {meta.get('format')}; this release of hiss reads format {FORMAT}. "
            "Open it with the release that wrote it, or upgrade hiss."
        )
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ProgramError(f"{name}: damaged ({error}); copy or make it again") from error
    if meta.get("sha256") != _fingerprint(kind, str(meta.get("header")), tensors):
        raise ProgramError(f"{name}: its content does not match its checksum, a byte has changed; copy it again")
    return json.loads(str(meta["header"])), tensors


def _meta(data: bytes, name: str) -> dict[str, Any]:
    """The header that safetensors keeps as metadata, with the sizes it claims checked against the file."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ProgramError(f"{name}: {len(data)} bytes, not a hiss file or cut short; expected a .hiss or run file")
    try:
        meta = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["hiss"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProgramError(f"{name}: no header of hiss in it; expected a file written by hiss") from error
    if not isinstance(meta, dict):
        raise ProgramError(f"{name}: no header of hiss in it; expected a file written by hiss")
    return meta


def _fingerprint(kind: str, header: str, tensors: Tensors) -> str:
    digest = hashlib.sha256(f"{kind}\n{FORMAT}\n{header}\n".encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def pack(program: Program) -> bytes:
    """The bytes of a `.hiss` file."""
    tensors: Tensors = {}
    stages = [
        {
            "period": stage.period,
            "every": [_op_to_json(op, tensors) for op in stage.every],
            "last": [_op_to_json(op, tensors) for op in stage.last],
            "hands": list(stage.hands),
        }
        for stage in program.stages
    ]
    header = {
        "inputs": [_port_to_json(port) for port in program.inputs],
        "outputs": [_port_to_json(port) for port in program.outputs],
        "rate_hz": program.rate_hz,
        "stages": stages,
        "provenance": program.provenance,
    }
    if program.formats is not None:  # a floating point program has the bytes that it had before there were formats
        header["formats"] = formats.to_json(program.formats)
    if program.slots is not None:
        header["slots"] = dict(program.slots)
    if program.only_float64:
        header["only_float64"] = program.only_float64
    return pack_tensors("program", header, tensors)


def unpack(data: bytes, name: str = "program") -> Program:
    """The program in the bytes of a `.hiss` file. Raises ProgramError."""
    from hiss.program.program import Program, Stage

    header, tensors = unpack_tensors(data, "program", name)
    try:
        stages = tuple(
            Stage(
                int(stage["period"]),
                tuple(_op_from_json(op, tensors) for op in stage["every"]),
                tuple(_op_from_json(op, tensors) for op in stage["last"]),
                tuple(stage["hands"]),
            )
            for stage in header["stages"]
        )
        inputs, outputs = (tuple(_port_from_json(port) for port in header[key]) for key in ("inputs", "outputs"))
        held = formats.from_json(header["formats"]) if "formats" in header else None
        slots = dict(header["slots"]) if "slots" in header else None
        exact = str(header.get("only_float64", ""))
        return Program(inputs, outputs, float(header["rate_hz"]), stages, header["provenance"], held, slots, exact)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ProgramError(f"{name}: its header does not describe a program ({error!r})") from error


def save(path: str | Path, program: Program) -> None:
    """Write `program` to `path`, wholly or not at all. Raises HissError."""
    write_bytes(path, pack(program))


def load_program(path: str | Path) -> Program:
    """Read a `.hiss` file; no code in it is run. Raises ProgramError, also where it is missing."""
    return unpack(read(path), str(path))


def read(path: str | Path) -> bytes:
    """The bytes of a file. Raises ProgramError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ProgramError(f"{path}: cannot be read ({error.strerror or error})") from error


def _port_to_json(port: Any) -> dict[str, Any]:
    bounds = {key: value for key in ("lo", "hi") if np.isfinite(value := getattr(port, key))}
    return {"name": port.name, "unit": port.unit, **bounds}


def _port_from_json(port: dict[str, Any]) -> Any:
    from hiss.program.program import Port

    return Port(**port)


def _op_to_json(op: Op, tensors: Tensors) -> dict[str, Any]:
    """An op as JSON; its arrays go to `tensors` under `<out>.<field>`."""

    def held(value: Any, name: str) -> Any:
        if isinstance(value, np.ndarray):
            tensors[name] = value.view(np.float64).reshape(*value.shape, 2) if np.iscomplexobj(value) else value
            return {"complex" if np.iscomplexobj(value) else "tensor": name}
        if isinstance(value, tuple):
            return [held(item, f"{name}.{i}") for i, item in enumerate(value)]
        return value

    fields = {f.name: held(getattr(op, f.name), f"{op.out}.{f.name}") for f in dataclasses.fields(op)}
    return {"op": type(op).__name__, **fields}


def _op_from_json(entry: dict[str, Any], tensors: Tensors) -> Op:
    def made(value: Any) -> Any:
        if isinstance(value, dict) and "tensor" in value:
            return tensors[value["tensor"]]
        if isinstance(value, dict) and "complex" in value:
            pairs = np.ascontiguousarray(tensors[value["complex"]], np.float64)
            return pairs.view(np.complex128)[..., 0]
        if isinstance(value, list):
            return tuple(made(item) for item in value)
        return value

    return OPS[entry["op"]](**{key: made(value) for key, value in entry.items() if key != "op"})
