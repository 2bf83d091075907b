"""A graph under construction: nodes, constants, inputs and outputs. The one file that imports onnx.

Graphs nest (the branches of If, the body of Scan); all of a model share one set of names, so no name stands twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiss.errors import MissingExtraError

OPSET, IR_VERSION = 17, 8
"""Read by onnxruntime 1.12 and later. 1.17 and 1.18 compute wrong numbers where a model has an If, unless their
enable_mem_pattern is off; 1.19.2 and later are right (tried: 1.17.3, 1.18.1, 1.19.2, 1.20.1, 1.32.0)."""

BATCH = "batch"

try:
    import onnx
except ImportError as error:
    raise MissingExtraError("onnx", "onnx") from error

_TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "bool": onnx.TensorProto.BOOL,
    "int64": onnx.TensorProto.INT64,
    "int8": onnx.TensorProto.INT8,
}

Shape = tuple[int | str, ...]


class Graph:
    """One graph; `branch` makes another inside it, which may read what this one has made before.

    outputs: the names that they will have, so that nothing else is called so.
    """

    def __init__(self, name: str, outputs: Iterable[str] = (), taken: set[str] | None = None):
        self.name = name
        self._taken: set[str] = set(outputs) if taken is None else taken
        self._kept = set(outputs)
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def fresh(self, name: str) -> str:
        """`name`, or with a number behind it where it is taken."""
        made, count = name, 1
        while made in self._taken:
            count += 1
            made = f"{name}.{count}"
        self._taken.add(made)
        return made

    def branch(self, name: str) -> Graph:
        """A graph inside this one."""
        return Graph(name, taken=self._taken)

    def input(self, name: str, kind: str, shape: Shape) -> str:
        """A named input."""
        self._inputs.append(onnx.helper.make_tensor_value_info(self.fresh(name), _TYPES[kind], shape))
        return str(self._inputs[-1].name)

    def output(self, name: str, value: str, kind: str, shape: Shape) -> str:
        """`value` as an output; its name is `name` where the graph was made with it."""
        made = name if name in self._kept else self.fresh(name)
        self._kept.discard(name)
        self._node("Identity", [value], [made])
        self._outputs.append(onnx.helper.make_tensor_value_info(made, _TYPES[kind], shape))
        return made

    def node(self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """A node with one output; its name."""
        return self.nodes(kind, inputs, [name or kind.lower()], **attributes)[0]

    def nodes(self, kind: str, inputs: Sequence[str], names: Sequence[str], **attributes: Any) -> list[str]:
        """A node with several outputs; their names. An attribute may be a Graph."""
        made = [self.fresh(name) for name in names]
        self._node(kind, inputs, made, **attributes)
        return made

    def _node(self, kind: str, inputs: Sequence[str], made: list[str], **attributes: Any) -> None:
        held = {k: a.proto() if isinstance(a, Graph) else a for k, a in attributes.items()}
        self._nodes.append(onnx.helper.make_node(kind, list(inputs), made, **held))

    def constant(self, array: NDArray[Any] | float | Sequence[int], kind: str = "float32", name: str = "k") -> str:
        """A constant; equal ones stand once."""
        held = np.ascontiguousarray(np.asarray(array, kind))
        held = held.reshape(np.shape(array))  # ascontiguousarray makes () into (1,)
        key = (kind, held.shape, held.tobytes())
        if key not in self._constants:
            self._constants[key] = self.fresh(name)
            self._initializers.append(onnx.numpy_helper.from_array(held, self._constants[key]))
        return self._constants[key]

    def proto(self) -> Any:
        """The graph as onnx holds it."""
        return onnx.helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._initializers)

    def model(self, metadata: Mapping[str, str]) -> bytes:
        """A whole file: the same graph and metadata give the same bytes. It has passed onnx's full check."""
        made = onnx.helper.make_model(
            self.proto(), producer_name="hiss", opset_imports=[onnx.helper.make_opsetid("", OPSET)]
        )
        made.ir_version = IR_VERSION
        onnx.helper.set_model_props(made, dict(metadata))
        onnx.checker.check_model(made, full_check=True)
        data: bytes = made.SerializeToString(deterministic=True)
        return data
