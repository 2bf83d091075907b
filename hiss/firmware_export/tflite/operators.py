"""Which operators of TensorFlow Lite a step graph uses: their codes, options, and the lowest version for each type.

Codes and slots are those of TensorFlow Lite's schema.fbs; versions those of its op_version.cc: a version that a
runtime does not know ("Didn't find op for builtin opcode") makes the whole file unreadable, so none is higher than
needed, and none is higher than tflite-runtime 2.14 knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["bool", "int8", "int32"]


@dataclass(frozen=True)
class Builtin:
    """code: BuiltinOperator;  options: BuiltinOptions, 0 where there are none;  fields: name -> slot, type, default.

    versions: type of the first input -> lowest version, 1 where it is not named.
    """

    code: int
    options: int = 0
    fields: dict[str, tuple[int, Kind, int]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


_ACTIVATION: dict[str, tuple[int, Kind, int]] = {"fused_activation": (0, "int8", 0)}
_POT: dict[str, tuple[int, Kind, int]] = {"pot_scale_int16": (1, "bool", 1)}

BUILTINS = {
    "ADD": Builtin(0, 11, _ACTIVATION | _POT, {"int16": 3}),
    "CONCATENATION": Builtin(2, 10, {"axis": (0, "int32", 0)}, {"int16": 3}),
    "DEPTHWISE_CONV_2D": Builtin(
        4,
        2,
        {
            "padding": (0, "int8", 0),  # 0 SAME, 1 VALID
            "stride_w": (1, "int32", 0),
            "stride_h": (2, "int32", 0),
            "depth_multiplier": (3, "int32", 0),
        },
        {"int16": 5},
    ),
    "DEQUANTIZE": Builtin(6, 38, {}, {"int8": 2, "int16": 3}),
    "FULLY_CONNECTED": Builtin(9, 8, _ACTIVATION, {"int16": 7}),
    "LOGISTIC": Builtin(14, 0, {}, {"int16": 3}),
    "MUL": Builtin(18, 21, _ACTIVATION, {"int16": 4}),
    "RELU": Builtin(19),
    "RESHAPE": Builtin(22, 17),
    "TANH": Builtin(28, 0, {}, {"int16": 3}),
    "GATHER": Builtin(36, 23, {"axis": (0, "int32", 0)}, {"int16": 4}),
    "MEAN": Builtin(40, 27, {"keep_dims": (0, "bool", 0)}),
    "SUB": Builtin(41, 28, _ACTIVATION | _POT, {"int16": 5}),
    "EXP": Builtin(47, 33),
    "MAXIMUM": Builtin(55, 39, {}, {"int16": 4}),
    "MINIMUM": Builtin(57, 39, {}, {"int16": 4}),
    "NEG": Builtin(59, 42),
    "SLICE": Builtin(65, 48, {}, {"int16": 4}),
    "LOG": Builtin(73),
    "SUM": Builtin(74, 27, {"keep_dims": (0, "bool", 0)}),
    "RSQRT": Builtin(76),
    "ABS": Builtin(101, 78),
    "QUANTIZE": Builtin(114, 89, {}, {"float32": 2, "int16": 2}),
    "SELECT_V2": Builtin(123, 98),
    "GELU": Builtin(150, 116, {"approximate": (0, "bool", 0)}),
}
"""Every operator that may stand in a file."""

TYPES = {"float32": 0, "int32": 2, "int64": 4, "bool": 6, "int16": 7, "int8": 9}
"""TensorType by numpy's name."""


def version(kind: str, dtype: str) -> int:
    """The lowest version of an operator whose first input has this type."""
    return BUILTINS[kind].versions.get(dtype, 1)
