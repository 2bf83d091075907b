"""What a search has found so far, as front.md, front.json and front.png."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiss.files import write_text
from hiss.search.candidate import Candidate
from hiss.search.finals import Played
from hiss.search.study import Row, Study
from hiss.search.trial import Outcome, Price

HEAD = """Error and instructions per sample on average: no trial within budget is better in both. NMSE and RMSE are of
the integer program on the validation recordings, look-ahead 0; ends of recordings are reached from their start.

| trial | model | NMSE | RMSE | instructions | worst | flash | RAM |
|---|---|---|---|---|---|---|---|
"""
FINALS = """
Finals, trained in full; the first is `winner/`: its NMSE here and on what it learned from is least together.

| seed | model | NMSE | RMSE | instructions | worst | flash | RAM |
|---|---|---|---|---|---|---|---|
"""


def write_front(study: Study, out: Path, played: Sequence[Played] = ()) -> None:
    """Write the three files; with what was `played`, the finals too.

    Raises MissingExtraError without matplotlib, behind the others; HissError.
    """
    from hiss.plotting import plot_front

    rows, front, winner = study.rows(), study.front(), study.winner()
    write_text(out / "front.json", json.dumps([_json(row) for row in rows], indent=1) + "\n")
    ranked = sorted((p for p in played if p.outcome is not None), key=lambda p: p.rank)
    write_text(out / "front.md", _text(rows, front, ranked))
    done = [row for row in rows if row.state == "done"]
    if done and winner:
        points = [_point(row) for row in done], [_point(row) for row in front]
        full = [(p.outcome.price.average, p.outcome.error) for p in ranked if p.outcome is not None]
        star = full[0] if full else _point(winner)
        plot_front(out / "front.png", *points, full, star, error="NMSE in integers, validation")


def _point(row: Row) -> tuple[float, float]:
    assert row.price is not None  # of every row that is done
    return row.price.average, row.error


def _json(row: Row) -> dict[str, Any]:
    return dataclasses.asdict(row) | {"error": row.error if row.state == "done" else None}


def _text(rows: Sequence[Row], front: Sequence[Row], ranked: Sequence[Played]) -> str:
    counts = {state: sum(row.state == state for row in rows) for state in sorted({row.state for row in rows})}
    lines = [_line(row.number, row.candidate, row) for row in front]
    lines += ["", "Trials: " + ", ".join(f"{n} {s}" for s, n in counts.items()), ""]
    finals = [_line(p.final.seed, p.final.candidate, p.outcome) for p in ranked]
    return HEAD + "\n".join(lines) + (FINALS + "\n".join([*finals, ""]) if finals else "")


def _line(number: int, candidate: Candidate | None, found: Row | Outcome | None) -> str:
    assert candidate is not None
    assert found is not None
    assert isinstance(found.price, Price)  # of all that has an error
    p, rmse = found.price, ", ".join(f"{value:.4g}" for value in found.rmse.values())
    model = candidate.text().replace("|", "\\|")
    return (
        f"| {number} | {model} | {found.error:.4g} | {rmse} | {p.average:,.0f} | {p.worst:,} | {p.flash:,} "
        f"| {p.ram:,} |"
    )
