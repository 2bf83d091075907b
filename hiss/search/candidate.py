"""What is searched: a HiSS model with or without a linear base, its period, and the widths of its integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Choose = Callable[[str, Seq[Any]], Any]
"""name, choices -> one of them."""


@dataclass(frozen=True)
class Candidate:
    """period: samples per estimate;  low_width, low_layers, high_width, high_layers: d_model and n_layers;

    d_state: real states per channel;  window_s: how far back the linear base may look, 0 = no base: training takes the
    best of ARNet's windows up to it;  lags: ages that it reads;  weights: int8 or int16;  states: int32 or int16, as in
    hiss quantize.
    """

    period: int = 10
    low_width: int = 32
    low_layers: int = 2
    high_width: int = 32
    high_layers: int = 2
    d_state: int = 16
    window_s: float = 1.0
    lags: int = 24
    weights: str = "int8"
    states: str = "int32"

    def spec(self) -> Any:
        """The model to train. Raises ValueError."""
        from hiss.models import S4D, ARNet, Hierarchical, Residual

        low, high = (
            S4D(width, layers, self.d_state)
            for width, layers in ((self.low_width, self.low_layers), (self.high_width, self.high_layers))
        )
        model = Hierarchical(low, high, self.period)
        if not self.window_s:
            return model
        shorter = tuple(window for window in ARNet.windows_s if window < self.window_s)
        return Residual(ARNet(lags=self.lags, windows_s=(*shorter, self.window_s), period=self.period), model)

    def text(self) -> str:
        """One line for people."""
        base = f"{self.lags} lags of up to {self.window_s:g} s" if self.window_s else "no base"
        return (
            f"{self.low_width}x{self.low_layers} | {self.high_width}x{self.high_layers}, {self.d_state} states, "
            f"period {self.period}, {base}, {self.weights} weights, {self.states} states"
        )

    def to_json(self) -> dict[str, Any]:
        """Every choice by name."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Space:
    """The choices of each field of a Candidate; one choice fixes it."""

    period: tuple[int, ...] = (5, 10, 20)
    low_width: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32)
    low_layers: tuple[int, ...] = (1, 2)
    high_width: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32)
    high_layers: tuple[int, ...] = (1, 2)
    d_state: tuple[int, ...] = (4, 8, 16)
    window_s: tuple[float, ...] = (0.0, 0.2, 1.0, 5.0, 20.0)
    lags: tuple[int, ...] = (4, 8, 16, 24)
    weights: tuple[str, ...] = ("int8", "int16")
    states: tuple[str, ...] = ("int32", "int16")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            choices = getattr(self, field.name)
            if not choices or len(set(choices)) != len(choices):
                raise ValueError(f"{field.name}: {choices}; expected different choices, at least one")

    def draw(self, choose: Choose) -> Candidate:
        """A candidate, each field chosen by its name."""
        return Candidate(**{f.name: choose(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)})

    def first(self) -> list[Candidate]:
        """What is tried before anything is known: the smallest, a middle one and the largest of the space."""
        fields = [f.name for f in dataclasses.fields(self)]

        def at(part: float) -> Candidate:
            return Candidate(**{name: _at(getattr(self, name), part) for name in fields})

        made = [dataclasses.replace(at(part), weights=self.weights[0], states=self.states[0]) for part in (0, 0.4, 1)]
        return list(dict.fromkeys(made))


def _at(choices: tuple[T, ...], part: float) -> T:
    return choices[round(part * (len(choices) - 1))]
