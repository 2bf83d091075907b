"""A level of a model in a word: FAMILY:DxL, such as 32x2 (S4D), mamba:64x4 or mamba:32x2,d_state=8,expand=1."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiss.models import StackSpec

LEVELS = {"low": "32x2", "high": "mamba:32x2,dropout=0.1", "flat": "32x2"}
"""What a level is where nothing is said of it; a flat model has to be asked for."""


def level(name: str, text: str, of_s4d: Mapping[str, Any]) -> StackSpec:
    """The spec that `text` says; of_s4d: what an S4D level has where the text does not say it.

    Raises ValueError for what is not known, naming the nearest.
    """
    from hiss.models.spec import FAMILIES, nearest

    families = {family.lower(): kind for family, kind in FAMILIES.items()}
    head, *pairs = text.split(",")
    family, _, size = head.strip().lower().rpartition(":")
    kind = families.get(family or "s4d")
    if kind is None:
        raise ValueError(f"{name} is {text!r}: unknown family {family!r}{nearest(family, families)}")
    d_model, _, n_layers = size.partition("x")
    if not (d_model.isdecimal() and n_layers.isdecimal()):
        raise ValueError(f"{name} is {text!r}; expected d_model x n_layers, such as 32x2 or mamba:32x2")
    known = {key: hint for key, hint in typing.get_type_hints(kind).items() if key not in ("d_model", "n_layers")}
    values = dict(of_s4d) if kind is families["s4d"] else {}
    for pair in pairs:
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in known:
            raise ValueError(f"{name}: {kind.__name__} has no key {key!r}{nearest(key, known)}")
        values[key] = _value(f"{name}.{key}", value, known[key])
    return kind(int(d_model), int(n_layers), **values)


def _value(name: str, text: str, kind: type) -> Any:
    """`text` as a number or a word."""
    try:
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} cannot be {text!r}; expected {expected}") from None


def with_sets(keys: dict[str, Any], sets: Iterable[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(`keys` with the LEVEL.KEY=VALUE of `sets` added to the words of their levels, the other sets)."""
    made, rest = dict(keys), []
    for text in sets:
        name, dot, pair = text.partition(".")
        if dot and name in LEVELS:
            made[name] = f"{made.get(name) or LEVELS[name]},{pair}"
        else:
            rest.append(text)
    return made, tuple(rest)
