"""Several sources as one feed: on one clock, the arrivals at this computer, aligned at the frames of the first source.

A frame of the first source waits until every other source has a sample at or after it; their values there are linear
between the samples around it. Recording and live use the same function, so a model sees what it was trained on.
One thread: whichever descriptor is ready is read; a source without one (a Python function) is asked in turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import select
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hiss.realtime.feeds import DecodedFeed, Items
from hiss.realtime.framing import F32, Counts, Event, Frame
from hiss.realtime.sources import TICK_S
from hiss.recording import Channel, Recording

AWAITED_S = 1.0


class Aligner:
    """Samples of several sources, each in the order of its time -> the first source's with the others' beside them."""

    def __init__(self, sources: int):
        self._waiting: deque[tuple[int, F32]] = deque()  # of the first source
        self._others: list[deque[tuple[int, F32]]] = [deque() for _ in range(sources - 1)]
        self.early = 0  # frames of the first source from before another one had begun: they are left out

    def push(self, source: int, t_ns: int, x: F32) -> list[tuple[int, F32]]:
        """One sample; what it completes, in order: (t_ns, all columns, source after source)."""
        queue = self._others[source - 1] if source else self._waiting
        if queue and t_ns <= queue[-1][0]:
            t_ns = queue[-1][0] + 1  # frames of one chunk have one stamp: least increments, as in Timeline
        queue.append((t_ns, x))
        done: list[tuple[int, F32]] = []
        while self._waiting and all(other and other[-1][0] >= self._waiting[0][0] for other in self._others):
            t_ns, first = self._waiting.popleft()
            beside = [_value_at(other, t_ns) for other in self._others]
            if any(value is None for value in beside):
                self.early += 1
            else:
                done.append((t_ns, np.concatenate([first, *(v for v in beside if v is not None)])))
        return done

    def state(self) -> dict[str, Any]:
        """What waits, for JSON: frames [t_ns, values] of the first source, and of each other one."""
        return {"waiting": _plain(self._waiting), "others": [_plain(other) for other in self._others]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises KeyError, TypeError, ValueError for what is no state of so many sources."""
        self._waiting = _samples(state["waiting"])
        others = [_samples(other) for other in state["others"]]
        if len(others) != len(self._others):
            raise ValueError(f"frames of {len(others) + 1} sources wait, of {len(self._others) + 1}")
        self._others = others


def _plain(samples: deque[tuple[int, F32]]) -> list[list[Any]]:
    return [[t_ns, x.tolist()] for t_ns, x in samples]


def _samples(plain: Sequence[Sequence[Any]]) -> deque[tuple[int, F32]]:
    return deque((int(t_ns), np.array(x, np.float32)) for t_ns, x in plain)


def _value_at(samples: deque[tuple[int, F32]], t_ns: int) -> F32 | None:
    """Linear between the samples around t, of which older ones are forgotten; None before the first."""
    while len(samples) > 1 and samples[1][0] <= t_ns:
        samples.popleft()
    t0, x0 = samples[0]
    if t_ns < t0:
        return None
    if t_ns == t0 or len(samples) == 1:
        return x0
    t1, x1 = samples[1]
    part = (t_ns - t0) / (t1 - t0)
    between: F32 = (x0 + part * (x1.astype(np.float64) - x0)).astype(np.float32)
    return between


class SeveralFeed:
    """The feeds of several sources as one. names: of the sources, for columns that would be named alike."""

    def __init__(self, feeds: Sequence[DecodedFeed], names: Sequence[str]):
        if len(feeds) != len(names) or len(set(names)) != len(names):
            raise ValueError(f"{len(feeds)} sources named {', '.join(names)}; each needs a name of its own")
        self.feeds = list(feeds)
        self.names = list(names)
        self.name = " + ".join(feed.name for feed in feeds)
        self.ends = all(feed.ends for feed in feeds)
        self.head = b""  # the first bytes of the first source that has given no frame
        self.counts = Counts()  # bytes of all; frames that were aligned
        self._aligner = Aligner(len(feeds))
        self._heard_ns = [0] * len(feeds)  # when each gave its last frame
        self._awaited: set[int] = set()

    @property
    def early(self) -> int:
        """Frames of the first source from before another one had begun."""
        return self._aligner.early

    @property
    def groups(self) -> dict[str, tuple[Channel, ...]]:
        """The columns of each source by its name; {} while one of them is not known."""
        if not all(feed.channels for feed in self.feeds):
            return {}
        return dict(zip(self.names, named_apart([feed.channels for feed in self.feeds], self.names), strict=True))

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All columns, source after source."""
        return tuple(channel for group in self.groups.values() for channel in group)

    @property
    def wall_ns(self) -> int | None:
        """See `recorded_wall_ns`."""
        return self.feeds[0].wall_ns

    @property
    def own_time(self) -> bool:
        """See DecodedFeed."""
        return self.feeds[0].own_time

    def state(self) -> dict[str, Any]:
        """The frames that wait for another source: a log that begins here needs them."""
        return self._aligner.state()

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from there, see Aligner."""
        if state:
            self._aligner.restore(state)

    def __enter__(self) -> SeveralFeed:
        self._stack = contextlib.ExitStack()
        try:
            for feed in self.feeds:
                self._stack.enter_context(feed)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[tuple[int, Items]]:
        running = [iter(feed) for feed in self.feeds]
        if all(hasattr(feed.source, "next_ns") for feed in self.feeds):
            yield from self._replayed(running)
            return
        while True:
            for source in self._ready():
                try:
                    arrival_ns, items = next(running[source])
                except StopIteration:
                    return
                yield from self._aligned(source, arrival_ns, items)
                self._count()
            now_ns = time.monotonic_ns()
            yield now_ns, self._awaits(now_ns)

    def _replayed(self, running: list[Iterator[tuple[int, Items]]]) -> Iterator[tuple[int, Items]]:
        """Logs, in the order in which their chunks came."""
        sources: list[Any] = [feed.source for feed in self.feeds]
        while (next_ns := min(source.next_ns for source in sources)) < math.inf:
            source = [source.next_ns for source in sources].index(next_ns)
            arrival_ns, items = next(running[source])
            yield from self._aligned(source, arrival_ns, items)
            self._count()
            yield arrival_ns, self._awaits(arrival_ns)

    def _ready(self) -> list[int]:
        """The sources that have something to read, after TICK_S at the latest, and those that cannot say."""
        descriptors = [_descriptor(feed.source) for feed in self.feeds]
        known = [fd for fd in descriptors if fd >= 0]
        ready = set(select.select(known, [], [], TICK_S if len(known) == len(descriptors) else 0)[0])
        return [i for i, fd in enumerate(descriptors) if fd < 0 or fd in ready]

    def _aligned(self, source: int, arrival_ns: int, items: Items) -> Iterator[tuple[int, Items]]:
        """What the items complete; frames of a chunk are given out with the arrival of the first source's."""
        for item in items:
            if isinstance(item, Event):
                yield arrival_ns, (Event(item.kind, f"{self.names[source]}: {item.text}"),)
                continue
            if not any(self._heard_ns):
                self._heard_ns = [arrival_ns] * len(self.feeds)  # from here on the others are awaited
            self._heard_ns[source] = arrival_ns
            for t_ns, x in self._aligner.push(source, arrival_ns, item.x):
                self.counts.frames += 1
                yield t_ns, (Frame(x),)

    def _awaits(self, now_ns: int) -> list[Event]:
        """Says once which source the others wait for."""
        newest_ns = max(self._heard_ns)
        silent = {i for i, heard_ns in enumerate(self._heard_ns) if newest_ns - heard_ns > AWAITED_S * 1e9}
        new, self._awaited = silent - self._awaited, silent
        return [Event("awaited", f"{self.names[i]}: no frame for {AWAITED_S:g} s; the others wait for it") for i in new]

    def _count(self) -> None:
        for field in dataclasses.fields(Counts):
            if field.name != "frames":
                setattr(self.counts, field.name, sum(getattr(feed.counts, field.name) for feed in self.feeds))
        self.head = next((feed.head for feed in self.feeds if not feed.counts.frames), self.feeds[0].head)


def _descriptor(source: Any) -> int:
    """What to wait on for a source; -1 where there is nothing."""
    fileno = getattr(source, "fileno", None)
    return -1 if fileno is None else fileno()


# ---- names ----


def parse_named(texts: Sequence[str]) -> list[tuple[str, str]]:
    """(name, source) of texts NAME=SOURCE; one without a name is called s1, s2, ... by its place."""
    found = [re.fullmatch(r"([A-Za-z]\w*)=(.+)", text) for text in texts]
    return [(m[1], m[2]) if m else (f"s{i}", text) for i, (m, text) in enumerate(zip(found, texts, strict=True), 1)]


def named_apart(groups: Sequence[Sequence[Channel]], names: Sequence[str]) -> list[tuple[Channel, ...]]:
    """The channels of each source; a source whose names are only places (c0 ...), or are another's too, gets its own.

    Then a channel is called NAME_c0, and a single one NAME.
    """
    made: list[tuple[Channel, ...]] = []
    for k, (group, name) in enumerate(zip(groups, names, strict=True)):
        others = {channel.name for j, other in enumerate(groups) if j != k for channel in other}
        places = [channel.name for channel in group] == [f"c{i}" for i in range(len(group))]
        if not places and others.isdisjoint(channel.name for channel in group):
            made.append(tuple(group))
        elif len(group) == 1:
            made.append((Channel(name, group[0].unit),))
        else:
            made.append(tuple(Channel(f"{name}_{channel.name}", channel.unit) for channel in group))
    return made


def target_columns(
    channels: Sequence[Channel], wanted: Sequence[str], groups: dict[str, tuple[Channel, ...]]
) -> list[int]:
    """Where the named targets are; a name is a channel's, or a source's, which means all of its.

    Raises ValueError for a name that is neither, or when no input would be left.
    """
    names = [channel.name for channel in channels]
    columns: list[int] = []
    for name in wanted:
        group = [channel.name for channel in groups.get(name, ())] or [name]
        if missing := [n for n in group if n not in names]:
            raise ValueError(f"no channel or source {missing[0]!r} to be a target; there are: {', '.join(names)}")
        columns += [names.index(n) for n in group]
    if len(set(columns)) == len(names):
        raise ValueError("every channel would be a target, and none an input")
    return list(dict.fromkeys(columns))


def with_targets(recording: Recording, wanted: Sequence[str], groups: dict[str, tuple[Channel, ...]]) -> Recording:
    """The recording with the named columns as targets, see `target_columns`."""
    columns = target_columns(recording.channels, wanted, groups)
    inputs = [i for i in range(len(recording.channels)) if i not in columns]
    return dataclasses.replace(
        recording,
        x=recording.x[:, inputs],
        channels=tuple(recording.channels[i] for i in inputs),
        y=recording.x[:, columns],
        targets=tuple(recording.channels[i] for i in columns),
    )
