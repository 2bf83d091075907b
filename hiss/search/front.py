"""What a search has found so far, as front.md, front.json and front.png."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiss.files import write_text
from hiss.search.study import Row, Study

HEAD = """Error and instructions per sample on average: no trial within budget is better in both. NMSE and RMSE are of
the integer program on the validation recordings, look-ahead 0; ends of recordings are reached from their start.

| trial | model | NMSE | RMSE | instructions | worst | flash | RAM |
|---|---|---|---|---|---|---|---|
"""


def write_front(study: Study, out: Path) -> None:
    """Write the three files. Raises MissingExtraError without matplotlib, behind the others; HissError."""
    from hiss.plotting import plot_front

    rows, front, winner = study.rows(), study.front(), study.winner()
    write_text(out / "front.json", json.dumps([_json(row) for row in rows], indent=1) + "\n")
    write_text(out / "front.md", _text(rows, front))
    done = [row for row in rows if row.state == "done"]
    if done and winner:
        points = [_point(row) for row in done], [_point(row) for row in front]
        plot_front(out / "front.png", *points, _point(winner), error="NMSE in integers, validation")


def _point(row: Row) -> tuple[float, float]:
    assert row.price is not None  # of every row that is done
    return row.price.average, row.error


def _json(row: Row) -> dict[str, Any]:
    return dataclasses.asdict(row) | {"error": row.error if row.state == "done" else None}


def _text(rows: Sequence[Row], front: Sequence[Row]) -> str:
    counts = {state: sum(row.state == state for row in rows) for state in sorted({row.state for row in rows})}
    lines = [_line(row) for row in front]
    return HEAD + "\n".join([*lines, "", "Trials: " + ", ".join(f"{n} {s}" for s, n in counts.items()), ""])


def _line(row: Row) -> str:
    assert row.candidate is not None
    assert row.price is not None
    p, rmse = row.price, ", ".join(f"{value:.4g}" for value in row.rmse.values())
    model = row.candidate.text().replace("|", "\\|")
    return (
        f"| {row.number} | {model} | {row.error:.4g} | {rmse} | {p.average:,.0f} | {p.worst:,} | {p.flash:,} "
        f"| {p.ram:,} |"
    )
