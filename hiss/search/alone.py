"""Networks without a base among the finals of a search on tared recordings: the largest that fit.

Beside a base a network is good after hundreds of updates, without one after thousands (docs/recipe.md), so short trials
say nothing of these. Of those that fit the chip, the ones of most weights are candidates.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable

from hiss.search.candidate import Candidate, Space

AROUND = 24
"""So many are looked at above the border of what fits, and as many below."""


def largest_that_fit(space: Space, period: int, count: int, fits: Callable[[Candidate], bool]) -> list[Candidate]:
    """Up to `count` networks without a base, most weights first.

    As a rule more weights take more of a chip: the border is found by halving, and those around it are looked at.
    """
    every, fits = _networks(space, period), functools.cache(fits)
    low, high = 0, len(every)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(every[middle]) else (middle + 1, high)
    around = every[max(0, low - AROUND) : low + AROUND]
    return list(itertools.islice(filter(fits, around), count))


def _networks(space: Space, period: int) -> list[Candidate]:
    """Of every size, most weights first."""
    fixed = {f.name: getattr(space, f.name)[0] for f in dataclasses.fields(space)} | {"period": period, "window_s": 0.0}
    sizes = ("low_width", "low_layers", "high_width", "high_layers", "d_state")
    choices = itertools.product(*(getattr(space, name) for name in sizes))
    made = [Candidate(**{**fixed, **dict(zip(sizes, chosen, strict=True))}) for chosen in choices]
    return sorted(made, key=_weights, reverse=True)


def _weights(candidate: Candidate) -> int:
    return sum(stack.least_weights for stack in candidate.spec().stacks())
