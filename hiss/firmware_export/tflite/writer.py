"""A .tflite file of signatures, written with the flatbuffers package alone: tables of TensorFlow Lite's schema by slot.

    MODEL  0 version, 1 operator codes, 2 subgraphs, 3 description, 4 buffers, 6 metadata, 7 signatures

The same signatures give the same bytes. What is equal stands in the file once: constants, names, shapes, scales, and
the tensors that the calls of one stage share. Buffer 0 is empty, as runtimes expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import MissingExtraError
from hiss.firmware_export.tflite.graph import Operator, Signature, Tensor
from hiss.firmware_export.tflite.operators import BUILTINS, TYPES, version

IDENTIFIER = b"TFL3"
SCHEMA = 3
_ALIGNED = 16  # bytes: constants are used where they lie in the file
_MOST_DEPRECATED = 127


def tflite_bytes(signatures: Sequence[Signature], metadata: Mapping[str, str]) -> bytes:
    """The file. metadata: entries of text. Raises MissingExtraError without the flatbuffers package."""
    return _Writer().file(signatures, metadata)


class _Writer:
    def __init__(self) -> None:
        flatbuffers = _import_flatbuffers()
        self.b = flatbuffers.Builder(1 << 16)
        self.buffers: list[bytes] = [b""]
        self.place: dict[bytes, int] = {}
        self.codes: list[tuple[str, int]] = []
        self.vectors: dict[tuple[str, bytes], int] = {}
        self.tensors: dict[int, int] = {}

    def file(self, signatures: Sequence[Signature], metadata: Mapping[str, str]) -> bytes:
        b = self.b
        graphs = self.offsets([self.graph(s) for s in signatures])
        calls = self.offsets([self.signature(s, i) for i, s in enumerate(signatures)])
        notes = self.offsets([self.note(name, text) for name, text in sorted(metadata.items())])
        codes = self.offsets([self.code(kind, number) for kind, number in self.codes])
        buffers = self.offsets([self.buffer(data) for data in self.buffers])
        said = b.CreateSharedString("hiss step model")
        b.StartObject(8)
        b.PrependUint32Slot(0, SCHEMA, 0)
        for slot, offset in ((1, codes), (2, graphs), (3, said), (4, buffers), (6, notes), (7, calls)):
            b.PrependUOffsetTRelativeSlot(slot, offset, 0)
        b.Finish(b.EndObject(), file_identifier=IDENTIFIER)
        return bytes(b.Output())

    def graph(self, signature: Signature) -> int:
        b = self.b
        tensors = self.offsets([self.shared(t) for t in signature.tensors])
        operators = self.offsets([self.operator(o, signature) for o in signature.operators])
        inputs, outputs = (self.numbers(list(ends.values())) for ends in (signature.inputs, signature.outputs))
        name = b.CreateSharedString(signature.key)
        return self.table(5, [(0, tensors), (1, inputs), (2, outputs), (3, operators), (4, name)])

    def shared(self, tensor: Tensor) -> int:
        if id(tensor) not in self.tensors:
            self.tensors[id(tensor)] = self.tensor(tensor)
        return self.tensors[id(tensor)]

    def tensor(self, tensor: Tensor) -> int:
        b = self.b
        shape, name = self.numbers(list(tensor.shape)), b.CreateSharedString(tensor.name)
        quantization = self.quantization(tensor) if tensor.scale else 0
        place = self.buffer_of(tensor.data.tobytes()) if tensor.data is not None else 0
        b.StartObject(8)
        b.PrependUOffsetTRelativeSlot(0, shape, 0)
        b.PrependInt8Slot(1, TYPES[tensor.dtype], 0)
        b.PrependUint32Slot(2, place, 0)
        b.PrependUOffsetTRelativeSlot(3, name, 0)
        b.PrependUOffsetTRelativeSlot(4, quantization, 0)
        return int(b.EndObject())

    def quantization(self, tensor: Tensor) -> int:
        b = self.b
        scale = self.vector(np.asarray(tensor.scale, np.float32))
        zero = self.vector(np.zeros(len(tensor.scale), np.int64))
        b.StartObject(7)
        b.PrependUOffsetTRelativeSlot(2, scale, 0)
        b.PrependUOffsetTRelativeSlot(3, zero, 0)
        b.PrependInt32Slot(6, tensor.axis, 0)
        return int(b.EndObject())

    def operator(self, operator: Operator, signature: Signature) -> int:
        b, builtin = self.b, BUILTINS[operator.kind]
        code = (operator.kind, version(operator.kind, signature.tensors[operator.inputs[0]].dtype))
        if code not in self.codes:
            self.codes.append(code)
        inputs, outputs = self.numbers(list(operator.inputs)), self.numbers(list(operator.outputs))
        options = self.options(operator) if builtin.options else 0
        b.StartObject(7)
        b.PrependUint32Slot(0, self.codes.index(code), 0)
        b.PrependUOffsetTRelativeSlot(1, inputs, 0)
        b.PrependUOffsetTRelativeSlot(2, outputs, 0)
        b.PrependUint8Slot(3, builtin.options, 0)
        b.PrependUOffsetTRelativeSlot(4, options, 0)
        return int(b.EndObject())

    def options(self, operator: Operator) -> int:
        b, fields = self.b, BUILTINS[operator.kind].fields
        b.StartObject(max((slot for slot, _, _ in fields.values()), default=-1) + 1)
        prepend = {"bool": b.PrependBoolSlot, "int8": b.PrependInt8Slot, "int32": b.PrependInt32Slot}
        for name, value in operator.options.items():
            slot, kind, default = fields[name]
            prepend[kind](slot, value, default)
        return int(b.EndObject())

    def signature(self, signature: Signature, index: int) -> int:
        b = self.b
        inputs, outputs = (
            self.offsets([self.named(name, place) for name, place in ends.items()])
            for ends in (signature.inputs, signature.outputs)
        )
        key = b.CreateSharedString(signature.key)
        b.StartObject(5)
        for slot, offset in ((0, inputs), (1, outputs), (2, key)):
            b.PrependUOffsetTRelativeSlot(slot, offset, 0)
        b.PrependUint32Slot(4, index, 0)
        return int(b.EndObject())

    def code(self, kind: str, number: int) -> int:
        b, code = self.b, BUILTINS[kind].code
        b.StartObject(4)
        b.PrependInt8Slot(0, min(code, _MOST_DEPRECATED), 0)  # runtimes take the larger of both fields
        b.PrependInt32Slot(2, number, 1)
        b.PrependInt32Slot(3, code, 0)
        return int(b.EndObject())

    def note(self, name: str, text: str) -> int:
        return self.named(name, self.buffer_of(text.encode()))

    def named(self, name: str, place: int) -> int:
        """TensorMap and Metadata alike: a name and a number."""
        b, said = self.b, self.b.CreateSharedString(name)
        b.StartObject(2)
        b.PrependUOffsetTRelativeSlot(0, said, 0)
        b.PrependUint32Slot(1, place, 0)
        return int(b.EndObject())

    def buffer_of(self, data: bytes) -> int:
        if data not in self.place:
            self.buffers.append(data)
            self.place[data] = len(self.buffers) - 1
        return self.place[data]

    def buffer(self, data: bytes) -> int:
        b = self.b
        if not data:
            return self.table(1, [])
        b.StartVector(1, len(data), _ALIGNED)
        b.head = b.head - len(data)
        b.Bytes[b.head : b.head + len(data)] = data
        return self.table(1, [(0, b.EndVector())])

    def numbers(self, values: list[int]) -> int:
        return self.vector(np.asarray(values, np.int32))

    def vector(self, values: NDArray[Any]) -> int:
        key = (values.dtype.str, values.tobytes())
        if key not in self.vectors:
            self.vectors[key] = int(self.b.CreateNumpyVector(values))
        return self.vectors[key]

    def offsets(self, made: list[int]) -> int:
        self.b.StartVector(4, len(made), 4)
        for offset in reversed(made):
            self.b.PrependUOffsetTRelative(offset)
        return int(self.b.EndVector())

    def table(self, slots: int, offsets: list[tuple[int, int]]) -> int:
        self.b.StartObject(slots)
        for slot, offset in offsets:
            self.b.PrependUOffsetTRelativeSlot(slot, offset, 0)
        return int(self.b.EndObject())


def _import_flatbuffers() -> Any:
    try:
        import flatbuffers
    except ImportError as error:
        raise MissingExtraError("flatbuffers", "tflite") from error
    return flatbuffers
