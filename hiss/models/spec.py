"""Specs as plain data and back: what a checkpoint's header and a configuration file hold."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from typing import Any

from hiss.models.arnet import ARNet
from hiss.models.blocks import S4D
from hiss.models.ensemble import Ensemble
from hiss.models.flat import Flat
from hiss.models.hierarchical import Hierarchical
from hiss.models.lstm import LSTM
from hiss.models.mamba import Mamba
from hiss.models.residual import Residual
from hiss.models.s4 import S4
from hiss.models.stack import StackSpec
from hiss.models.transformer import Transformer

Spec = Hierarchical | Flat | Ensemble | ARNet | Residual
FAMILIES: dict[str, type[StackSpec]] = {kind.__name__: kind for kind in (S4D, S4, Mamba, LSTM, Transformer)}
"""What may stand flat, as low and as high level."""
KINDS: dict[str, Any] = {
    **FAMILIES,
    **{kind.__name__: kind for kind in (Flat, Hierarchical, Ensemble, ARNet, Residual)},
}


def spec_to_json(spec: Any) -> dict[str, Any]:
    """{"kind": name, field: value, ...}, nested."""
    if type(spec) not in KINDS.values():
        raise ValueError(f"{type(spec).__name__} is not a model of hiss; known: {', '.join(KINDS)}")
    data: dict[str, Any] = {"kind": type(spec).__name__}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if dataclasses.is_dataclass(value):
            value = spec_to_json(value)
        data[field.name] = [_plain(item) for item in value] if isinstance(value, tuple) else value
    return data


def _plain(item: Any) -> Any:
    return spec_to_json(item) if dataclasses.is_dataclass(item) else item


def spec_from_json(data: Any) -> Any:
    """The spec; raises ValueError for an unknown kind or key (naming the nearest) or a value that does not fit."""
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        found = data.get("kind") if isinstance(data, dict) else data
        raise ValueError(f"unknown kind of model {found!r}; known: {', '.join(KINDS)}")
    kind = KINDS[data["kind"]]
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in data.items():
        if key == "kind":
            continue
        if key not in hints:
            raise ValueError(f"{data['kind']} has no key {key!r}{nearest(key, hints)}")
        values[key] = _fitting(f"{data['kind']}.{key}", value, hints[key])
    return kind(**values)


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """ "; did you mean ...?", or what there is to choose from."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def _fitting(name: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint`, which is one of the few that specs use."""
    choices = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    if value is None and type(None) in choices:
        return None
    for choice in choices:
        if typing.get_origin(choice) is tuple and isinstance(value, list | tuple):
            item = typing.get_args(choice)[0]
            return tuple(_fitting(name, v, item) for v in value)
        if choice is StackSpec and isinstance(value, dict) and value.get("kind") in FAMILIES:
            return spec_from_json(value)
        if choice in KINDS.values() and isinstance(value, dict) and value.get("kind") == choice.__name__:
            return spec_from_json(value)
        if choice is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if choice in (int, str, bool) and type(value) is choice:
            return value
    raise ValueError(f"{name} cannot be {value!r}")
