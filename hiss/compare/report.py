"""What a comparison found: a table per data set, in Markdown and as JSON, and a plot.

A row is a model: mean and spread (largest - least) over its seeds. NMSE is of test recordings; of validation it is the
least that training saw, on windows, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiss.compare.cells import Found


@dataclass(frozen=True)
class Row:
    """A model on a data set, over its seeds."""

    data: str
    model: str
    cells: tuple[Found, ...]

    def values(self, *path: str) -> list[float]:
        """The numbers at a path of keys, of the cells that have it."""
        found = []
        for cell in self.cells:
            value: Any = cell
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found.append(float(value))
        return found

    def mean(self, *path: str) -> float:
        """Their mean; nan where there is none."""
        values = self.values(*path)
        return float(np.mean(values)) if values else math.nan


def rows(found: Sequence[Found]) -> list[Row]:
    """Data set by data set, the least error first."""
    groups: dict[tuple[str, str], list[Found]] = {}
    for cell in found:
        groups.setdefault((cell["data"], cell["model"]), []).append(cell)
    order = list(dict.fromkeys(cell["data"] for cell in found))
    made = [Row(data, model, tuple(cells)) for (data, model), cells in groups.items()]
    return sorted(made, key=lambda row: (order.index(row.data), row.mean("nmse")))


def tables(found: Sequence[Found]) -> str:
    """Markdown: one table per data set."""
    all_rows, parts = rows(found), []
    for data in dict.fromkeys(row.data for row in all_rows):
        parts.append(_table(data, [row for row in all_rows if row.data == data]))
    return "\n".join(parts)


def to_json(found: Sequence[Found]) -> dict[str, Any]:
    """{"rows": mean and spread per model and data set, "cells": everything}."""
    summary = []
    for row in rows(found):
        nmse = row.values("nmse")
        summary.append(
            {
                "data": row.data,
                "model": row.model,
                "seeds": sorted(cell["seed"] for cell in row.cells),
                "nmse": {"mean": float(np.mean(nmse)), "spread": max(nmse) - min(nmse)},
                "nmse_int8": row.mean("int8", "nmse") if row.values("int8", "nmse") else None,
            }
        )
    return {"rows": summary, "cells": list(found)}


def _table(data: str, some: list[Row]) -> str:
    outputs = list(some[0].cells[0]["outputs"].items())
    names = [f"RMSE {name}" + (f" ({facts['unit']})" if facts["unit"] else "") for name, facts in outputs]
    chip = ["int8 NMSE", "parameters", "MAC", "flash", "RAM", "instructions"]
    head = ["model", "NMSE", "validation NMSE", *names, "R2", *chip, "trained"]
    scored = some[0].cells[0]["windows"] or "whole recordings"
    lines = [f"### {data} ({scored}, look-ahead 0)", "", _line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    lines += [_line(_columns(row, [name for name, _ in outputs])) for row in some]
    lines += ["", *(f"{models}: {why}" for why, models in _reasons(some).items())]
    return "\n".join(lines).rstrip() + "\n"


def _reasons(some: list[Row]) -> dict[str, str]:
    """Why a column has a dash -> the models of which that is true."""
    found: dict[str, list[str]] = {}
    for row in some:
        for key, what in (("why", "not folded"), ("why_no_integers", "no integer program")):
            for why in dict.fromkeys(cell[key] for cell in row.cells if key in cell):
                found.setdefault(f"{what}, {why}", []).append(row.model)
        bills = [cell.get("int8", {}).get("why_no_bill") for cell in row.cells]
        for why in dict.fromkeys(filter(None, bills)):
            found.setdefault(f"no flash and instructions, {why}", []).append(row.model)
    return {why: ", ".join(models) for why, models in found.items()}


def _columns(row: Row, outputs: list[str]) -> list[str]:
    count = len(row.values("nmse"))
    r2 = np.mean([row.mean("outputs", name, "r2") for name in outputs])
    return [
        f"{row.model} ({count} seed{'s' if count > 1 else ''})" if row.cells[0]["kind"] != "ridge" else row.model,
        _spread(row.values("nmse")),
        _spread([error**2 for error in row.values("val_error")]),
        *(_spread(row.values("outputs", name, "rmse")) for name in outputs),
        f"{r2:.4f}",
        _spread(row.values("int8", "nmse")),
        _whole(row, "parameters"),
        _whole(row, "macs"),
        _whole(row, "int8", "flash_bytes"),
        _whole(row, "int8", "ram_bytes"),
        _whole(row, "int8", "instructions"),
        _shown(row.mean("train_s"), lambda s: f"{s / 60:.1f} min" if s >= 60 else f"{s:.1f} s"),
    ]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{np.mean(values):.4g}"
    return f"{mean} ± {(max(values) - min(values)) / 2:.2g}" if len(values) > 1 else mean


def _whole(row: Row, *path: str) -> str:
    return _shown(row.mean(*path), lambda value: f"{value:,.0f}")


def _shown(value: float, text: Callable[[float], str]) -> str:
    return "-" if math.isnan(value) else text(value)


def _line(columns: Sequence[str]) -> str:
    return "| " + " | ".join(columns) + " |"
