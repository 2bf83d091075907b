"""Models of equal size: the widths of all levels of a model, scaled together to the number of parameters asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from hiss.models import Residual
from hiss.models.spec import FAMILIES

STEP = 4
"""Widths are multiples of it."""
WIDEST = 1024


def sized(spec: Any, parameters: int, n_in: int, n_out: int) -> Any:
    """`spec` with the largest widths whose networks have at most `parameters` for n_in columns and n_out targets.

    Levels keep their relation as nearly as steps of 4 channels let them, and d_ff of a Transformer its relation to
    d_model; of a Residual the correction is counted. What has no widths (AR-Net) stays as it is. Raises ValueError
    where the narrowest is over.
    """
    widest = max((level.d_model for level in _levels(spec)), default=0)
    if not widest:
        return spec
    best = None
    for width in range(STEP, WIDEST + 1, STEP):
        try:
            made = _scaled(spec, width / widest)
        except ValueError:  # such as heads that do not divide a width
            continue
        if _count(made, n_in, n_out) > parameters:
            break
        best = made
    if best is None:
        raise ValueError(f"{parameters} parameters: even layers of {STEP} channels are more")
    return best


def _levels(spec: Any) -> list[Any]:
    if type(spec) in FAMILIES.values():
        return [spec]
    return [level for value in _inner(spec).values() for part in _parts(value) for level in _levels(part)]


def _inner(spec: Any) -> dict[str, Any]:
    """What a spec is made of: specs, and tuples of them."""
    fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return {name: value for name, value in fields.items() if _parts(value)}


def _parts(value: Any) -> tuple[Any, ...]:
    return tuple(v for v in (value if isinstance(value, tuple) else (value,)) if dataclasses.is_dataclass(v))


def _scaled(spec: Any, factor: float) -> Any:
    """The spec with every width times factor, to the nearest multiple of STEP."""
    if type(spec) in FAMILIES.values():
        widths = {name: getattr(spec, name) for name in ("d_model", "d_ff") if hasattr(spec, name)}
        return dataclasses.replace(spec, **{n: max(STEP, STEP * round(w * factor / STEP)) for n, w in widths.items()})
    made = {name: tuple(_scaled(part, factor) for part in _parts(value)) for name, value in _inner(spec).items()}
    return dataclasses.replace(
        spec, **{name: parts if isinstance(getattr(spec, name), tuple) else parts[0] for name, parts in made.items()}
    )


def _count(spec: Any, n_in: int, n_out: int) -> int:
    network: Any = spec.correction if isinstance(spec, Residual) else spec
    with torch.random.fork_rng():
        module: torch.nn.Module = network.build(n_in, n_out)
    return sum(p.numel() for p in module.parameters())
