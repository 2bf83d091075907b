"""Which columns of a stream feed which inputs of a model: by name; by place where the names are made up."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hiss.errors import MismatchError
from hiss.program import Port
from hiss.recording import Channel

MICRO = str.maketrans("µμ", "uu")  # micro sign and Greek mu


def match_columns(channels: Sequence[Channel], inputs: Sequence[Port], where: str) -> npt.NDArray[np.intp]:
    """For each input of the model the column of the stream that carries it, (n_inputs,).

    where: the stream's name, for the message. Raises MismatchError with what was found, expected, and what to do.
    """
    names = [channel.name for channel in channels]
    missing = [port.name for port in inputs if port.name not in names]
    if missing:
        if _numbered(names) and len(names) == len(inputs):
            return np.arange(len(inputs))
        raise MismatchError(f"{where}: {_difference(names, [port.name for port in inputs], missing)}")
    columns = np.array([names.index(port.name) for port in inputs], np.intp)
    for port, column in zip(inputs, columns, strict=True):
        unit = channels[column].unit
        if unit and port.unit and _plain(unit) != _plain(port.unit):
            raise MismatchError(
                f"{where}: {port.name} is in {unit}, but the model was trained on {port.unit}; "
                "convert the stream, or train on recordings in its unit"
            )
    return columns


def _difference(found: list[str], expected: list[str], missing: list[str]) -> str:
    if len(found) < len(expected):
        what_to_do = "Is a chip or a wire missing, or is it a smaller board? Or train a model on these channels."
    elif close := difflib.get_close_matches(missing[0], found, n=1, cutoff=0.6):
        what_to_do = f"Is {close[0]} what the model calls {missing[0]}? Rename the stream's channels."
    else:
        what_to_do = "Use the sensor that the model was trained on, or train on recordings of this one."
    return (
        f"{len(found)} channels ({_ends(found)}), but the model takes {len(expected)} ({_ends(expected)}); "
        f"missing: {', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''}. {what_to_do}"
    )


def _numbered(names: list[str]) -> bool:
    """Whether the names are only places: c0, c1, ... or x0, x1, ... of data without a header."""
    return any(names == [f"{letter}{i}" for i in range(len(names))] for letter in "cx")


def _ends(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} ... {names[-1]}"


def _plain(unit: str) -> str:
    return unit.translate(MICRO).replace(" ", "").lower()
