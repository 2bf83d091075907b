"""A numpy model of each operator of TensorFlow Lite that step graphs use on int16, in the operator's own formats."""

from __future__ import annotations

import numpy as np

LIMIT = 2**15
TOLERANCE = {"LOGISTIC": 6, "TANH": 12}
"""Units of the last place that a kernel may be off; all others 1, and 0 where numbers are only moved."""
MOVES = {"RESHAPE", "GATHER", "SLICE", "CONCATENATION", "SELECT_V2", "MAXIMUM", "MINIMUM"}


def tolerance(kind: str) -> int:
    """Units of the last place between a kernel and the model."""
    return 0 if kind in MOVES else TOLERANCE.get(kind, 1)


def model(operator, tensors, values) -> np.ndarray:
    """The integers that an operator should make; values: of all tensors, as the runtime holds them."""
    made = EVALUATE[operator.kind](operator, tensors, [values[i] for i in operator.inputs])
    out = tensors[operator.outputs[0]]
    if out.dtype != "int16" or operator.kind in MOVES:
        return made.reshape(out.shape).astype(np.float64)
    return np.clip(np.floor(made / out.scale[0] + 0.5), -LIMIT, LIMIT - 1).reshape(out.shape)


def _real(operator, tensors, read) -> list[np.ndarray]:
    """What the inputs mean."""
    return [_number(tensors[i], value) for i, value in zip(operator.inputs, read, strict=True)]


def _number(tensor, value) -> np.ndarray:
    if not tensor.scale:
        return np.asarray(value, np.float64)
    shape = [1] * np.ndim(value)
    shape[tensor.axis] = -1
    scale = np.asarray(tensor.scale, np.float32).astype(np.float64)
    return np.asarray(value, np.float64) * (scale.reshape(shape) if len(scale) > 1 else scale[0])


def _binary(function):
    return lambda operator, tensors, read: function(*_real(operator, tensors, read))


def _dense(operator, tensors, read):
    x, w, b = _real(operator, tensors, read)
    return x @ w.T + b


def _depthwise(operator, tensors, read):
    x, w, b = _real(operator, tensors, read)
    return (x * w).sum(1, keepdims=True) + b


def _slice(operator, tensors, read):
    x, begin, size = read
    return x[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))]


EVALUATE = {
    "FULLY_CONNECTED": _dense,
    "DEPTHWISE_CONV_2D": _depthwise,
    "ADD": _binary(np.add),
    "SUB": _binary(np.subtract),
    "MUL": _binary(np.multiply),
    "LOGISTIC": _binary(lambda u: 1 / (1 + np.exp(-u))),
    "TANH": _binary(np.tanh),
    "QUANTIZE": _binary(lambda u: u),
    "DEQUANTIZE": _binary(lambda u: u),
    "MAXIMUM": lambda operator, tensors, read: np.maximum(*read),
    "MINIMUM": lambda operator, tensors, read: np.minimum(*read),
    "RESHAPE": lambda operator, tensors, read: read[0].reshape(read[1]),
    "GATHER": lambda operator, tensors, read: np.take(read[0], read[1], axis=operator.options["axis"]),
    "SLICE": _slice,
    "CONCATENATION": lambda operator, tensors, read: np.concatenate(read, axis=operator.options["axis"]),
    "SELECT_V2": lambda operator, tensors, read: np.where(*read),
}
