"""The dashboard as lines of text: pure, from what is known to what a terminal of some size shows.

From the top: source, numbers, latencies; a plot per estimate; a line per channel, in columns; the last events; keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hiss.realtime.plots import Envelope, braille, limits, sparks
from hiss.realtime.summary import Summary, duration_text

LABEL = 24  # characters of name, value and unit before an estimate's plot
CELL = 26  # least width of a channel's cell
PLOT_ROWS = 6  # of an estimate, at most
SMALLEST = (40, 8)
BOLD, DIM, WARN, INVERSE, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[33m", "\x1b[7m", "\x1b[0m"


@dataclass
class Curves:
    """Columns of a kind: their names, units, and what they were."""

    names: Sequence[str] = ()
    units: Sequence[str] = ()
    past: Envelope = field(default_factory=lambda: Envelope(0))

    @staticmethod
    def of(columns: Sequence[tuple[str, str]], holds: bool = False) -> Curves:
        """Empty curves of (name, unit)."""
        return Curves([n for n, _ in columns], [u for _, u in columns], Envelope(len(columns), holds=holds))


@dataclass
class Shown:
    """All that the dashboard tells.  events: newest last;  rate_hz: of the last second;  span_s: time of a column."""

    title: str
    summary: Summary
    estimates: Curves
    channels: Curves
    events: Sequence[str] = ()
    rate_hz: float = 0.0
    span_s: float = 0.1
    keys: str = "q quit"


def lines(shown: Shown, width: int, height: int, utf8: bool = True) -> list[str]:
    """At most `height` lines, each of at most `width` characters besides escape sequences for its colour."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return [_cut(f"{width} x {height} is too small: {SMALLEST[0]} x {SMALLEST[1]}", width)]
    head = _head(shown, width)
    n_events = min(max(2, height // 10), 6)
    room = height - len(head) - n_events - 1
    columns = max(1, width // CELL)
    wanted = math.ceil(len(shown.channels.names) / columns)
    n_estimates = max(1, len(shown.estimates.names))
    rows = max(1, min(PLOT_ROWS, (room - min(wanted, room // 2)) // n_estimates)) if utf8 else 1
    body = _estimates(shown, width, rows, utf8)[: max(1, room - 1)]
    body += _channels(shown, width, room - len(body), utf8)
    body += [""] * (room - len(body))
    said = [WARN + _cut(text, width) + PLAIN for text in list(shown.events)[-n_events:]]
    seconds = shown.span_s * 2 * (width - LABEL)
    foot = f" {shown.keys} | plots: the last {seconds:.0f} s"
    made = [*head, *body, *said, *[""] * (n_events - len(said)), INVERSE + _cut(foot, width).ljust(width) + PLAIN]
    return made if utf8 else [line.encode("ascii", "replace").decode() for line in made]


def _head(shown: Shown, width: int) -> list[str]:
    s = shown.summary
    lost = [f"drops {s.drops}", f"gaps {s.gaps}", f"resyncs {s.counts.resyncs}"]
    lost += [f"skipped {s.counts.skipped} B", f"checksum {s.counts.checksum}"]
    bad = s.drops or s.gaps or s.counts.resyncs
    counts = f" {shown.rate_hz:8.1f} Hz | {s.counts.frames} frames | {s.estimates} estimates | "
    times = [("service", s.service), ("queue", s.queue_age), ("arrival", s.inter_arrival)]
    told = [
        f"{name} p50 {duration_text(bins.quantile_ns(0.5))} p99 {duration_text(bins.quantile_ns(0.99))}"
        for name, bins in times
        if bins.count
    ]
    counted = _cut(counts + ", ".join(lost), width)
    return [
        INVERSE + _cut(f" {shown.title}", width).ljust(width) + PLAIN,
        WARN + counted + PLAIN if bad else counted,
        _cut(" " + " | ".join(told), width),
    ]


def _estimates(shown: Shown, width: int, rows: int, utf8: bool) -> list[str]:
    """A block of `rows` lines for each."""
    of = shown.estimates
    space = width - LABEL
    lows, highs = of.past.curves(2 * space)
    edges = limits(lows, highs)
    made: list[str] = []
    for i, (name, unit) in enumerate(zip(of.names, of.units, strict=True)):
        plot = (
            braille(lows[i], highs[i], space, rows) if utf8 else sparks(lows[i : i + 1], highs[i : i + 1], space, False)
        )
        value = f"{_number(float(of.past.last[i]))} {unit}"
        labels = [f" {_cut(name, LABEL - 2 - len(value))} {value}"]
        if rows >= 3:
            labels += [""] * (rows - 2) + [f" {_number(edges[0][i]).strip()} .. {_number(edges[1][i]).strip()}"]
        labels += [""] * (rows - len(labels))
        for k, (label, line) in enumerate(zip(labels, plot, strict=True)):
            made.append((BOLD if k == 0 else DIM) + _cut(label, LABEL).ljust(LABEL) + PLAIN + line)
    return made


def _channels(shown: Shown, width: int, rows: int, utf8: bool) -> list[str]:
    """A cell for each, column by column; those that find no room are counted in the last cell."""
    of = shown.channels
    n = len(of.names)
    if n == 0 or rows < 1:
        return []
    columns = min(max(1, width // CELL), math.ceil(n / rows))
    fits = min(n, columns * rows)
    used = math.ceil(fits / columns)
    cell = width // columns
    long = min(max(map(len, of.names)), cell // 3)
    values = [f"{_number(float(v))} {u}".rstrip() for v, u in zip(of.past.last.tolist(), of.units, strict=True)]
    wide = max(map(len, values))
    plots = sparks(*of.past.curves(cell), max(0, cell - long - wide - 4), utf8)
    cells = [
        f" {_cut(of.names[i], long):<{long}} {values[i]:>{wide}} {plots[i]}"[: cell - 1].ljust(cell)
        for i in range(fits)
    ]
    if fits < n:
        cells[-1] = f" and {n - fits + 1} more".ljust(cell)
    return ["".join(cells[row::used]).rstrip() for row in range(used)]


def _number(value: float) -> str:
    """Eight characters: four digits."""
    return f"{value:8.4g}" if math.isfinite(value) else "       -"


def _cut(text: str, width: int) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= width else clean[: max(0, width - 1)] + "~"
