"""Where everything lives in a model's struct: states by name, values in one scratch array shared by liveness.

A buffer is one or several values that may stand in the same place, one after the other: an elementwise op writes over
an input that nobody reads again. Buffers that are never alive together share addresses (greedy, largest first).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hiss.errors import ExportError
from hiss.firmware_export.numbers import BYTES, Numbers
from hiss.firmware_export.schedule import Action, Plan, Schedule, fir_taps, has_past
from hiss.program import Program
from hiss.program import ops as o

_COUNTER_MAX = 0xFFFF


@dataclass(frozen=True)
class Member:
    """One member of the struct: C type, name, number of elements (0: not an array), and what it is."""

    kind: str
    name: str
    count: int
    comment: str

    @property
    def bytes(self) -> int:
        """In RAM."""
        return BYTES[self.kind] * max(self.count, 1)


@dataclass
class Layout:
    """members in order;  offset of each value in scratch, or in held if it is kept;  ram: sizeof the struct."""

    members: list[Member] = field(default_factory=list)
    offset: dict[str, int] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()

    def at(self, value: str) -> str:
        """Where a value lies, in C."""
        offset = self.offset[value]
        return f"self->{'held' if value in self.kept else 'scratch'}{f' + {offset}' if offset else ''}"

    @property
    def ram(self) -> int:
        """Bytes of one instance: half words in pairs, so there is no padding anywhere."""
        return sum(m.bytes for m in self.members)

    @property
    def scratch_bytes(self) -> int:
        """Bytes that are free between two steps."""
        return sum(m.bytes for m in self.members if m.name == "scratch")

    @property
    def state_bytes(self) -> int:
        """Bytes that must be kept between two steps."""
        return self.ram - self.scratch_bytes


def lay_out(plan: Plan, numbers: Numbers) -> Layout:
    """The struct of a program. Raises ExportError where a period or a delay does not fit into 16 bits."""
    offset, scratch, held = place_values(plan)
    version = Member("uint32_t", "version", 0, "of the program these states belong to")
    members = _members(plan.view, plan.stages, numbers)
    if plan.spread:
        members.append(Member("uint16_t", "pending", 0, "1 once a chunk has been completed"))
    if held:
        members.append(Member(numbers.value, "held", held, "values that wait for later steps"))
    members.append(Member(numbers.value, "scratch", scratch, "values of the present step"))
    if sum(m.bytes for m in members) % 4:
        members.append(Member("uint16_t", "unused", 0, "fills a word"))
    # counters and scratch before the arrays, narrow ones before wide ones: what lies near the beginning is reached
    # without an address of its own
    first = {"scratch": 0, "held": 1}
    members.sort(key=lambda m: (BYTES[m.kind], m.kind != "uint16_t", first.get(m.name, 2)))  # a stable sort
    return Layout([version, *members], offset, plan.kept)


# ---- states ----


def past_shape(op: o.Op, period: int, width: int) -> tuple[int, int]:
    """(rows, width) of the ring of a Fir or a Delay."""
    if isinstance(op, o.Fir):
        return fir_taps(op, period) - 1, width
    assert isinstance(op, o.Delay)
    return int(op.ages.max()), int(op.channels.max() - op.channels.min()) + 1


def counts_own_place(op: o.Op, period: int) -> bool:
    """True where a ring needs a counter: not with a single row, and not where the phase of the chunk says it."""
    return past_shape(op, period, 1)[0] > 1 and not (isinstance(op, o.Fir) and op.restart)


def needs_started(stage: Schedule) -> bool:
    """True where an op must know whether it sees the first sample since reset."""
    return any(a.kind == "start" and not getattr(a.op, "restart", False) for a in stage.actions)


def _members(program: Program, plan: tuple[Schedule, ...], numbers: Numbers) -> list[Member]:
    """The tare, the states and the counters."""
    made: list[Member] = []
    if program.tare:
        _check_counter("the tare", program.tare)
        inputs = len(program.inputs)
        made.append(Member("int32_t" if numbers.whole else "float", "tare", inputs, "mean of the first samples"))
        if numbers.whole:
            made.append(Member("uint16_t", "rest", inputs, "of their sum, while it is measured"))
        made.append(Member("uint16_t", "tared", 0, f"samples of the tare so far, of {program.tare}"))
    for stage, held in zip(plan, program.stages, strict=True):
        if stage.period > 1:
            _check_counter(f"the period of stage {stage.index}", stage.period)
            said = f"step of {stage.period} in stage {stage.index}"
            made.append(Member("uint16_t", f"phase_{stage.index}", 0, said))
        if needs_started(stage):
            said = f"0 before the first step of stage {stage.index}"
            made.append(Member("uint16_t", f"started_{stage.index}", 0, said))
        for op in held.ops:
            made += _states(program, op, stage.period, numbers)
    return made


def _states(program: Program, op: o.Op, period: int, numbers: Numbers) -> list[Member]:
    name = state_name(op)
    if isinstance(op, o.Diagonal | o.Selective):
        h, n = op.a.shape
        pairs = isinstance(op, o.Diagonal)
        said = f"h of {op.out}: {h} channels x {n}{' modes (re, im)' if pairs else ''}"
        kind = "float" if program.formats is None else f"int{program.formats[op.out]['h'].bits}_t"
        return [Member(kind, name, (2 if pairs else 1) * h * n, said)]
    if not has_past(op, period):
        return []
    rows, width = past_shape(op, period, program.widths[op.reads[0]])
    _check_counter(f"the past of {op.out!r}", rows)
    ring = Member(numbers.value, name, rows * width, f"past of {op.reads[0]}: {rows} steps x {width}")
    place = Member("uint16_t", f"{name}_at", 0, "its next place")
    return [ring, place] if counts_own_place(op, period) else [ring]


def state_name(op: o.Op) -> str:
    """How the state of an op is called before it becomes a C name."""
    return f"{op.out}_h" if isinstance(op, (o.Diagonal, o.Selective)) else f"{op.out}_past"


def _check_counter(what: str, count: int) -> None:
    if count > _COUNTER_MAX:
        raise ExportError(f"{what} is {count}, but counters in C have 16 bits; at most {_COUNTER_MAX}")


# ---- values ----


@dataclass
class _Buffer:
    size: int
    first: int
    last: int
    values: list[str]


def place_values(plan: Plan) -> tuple[dict[str, int], int, int]:
    """Offset of every value, and the lengths of scratch and of what is held, in values."""
    buffers, offset, lengths = _buffers(plan), dict[str, int](), []
    for kept in (False, True):
        placed: list[tuple[int, _Buffer]] = []
        own = (buffer for buffer in buffers if (buffer.values[0] in plan.kept) is kept)
        for buffer in sorted(own, key=lambda b: (-b.size, b.first)):
            placed.append((_lowest_place(buffer, placed), buffer))
        offset |= {value: at for at, buffer in placed for value in buffer.values}
        lengths.append(max((at + buffer.size for at, buffer in placed), default=0))
    return offset, lengths[0], lengths[1]


def _timeline(plan: Plan) -> Iterator[tuple[int, Action | None, tuple[str, ...]]]:
    """(time, action, values read): the actions of the longest step, each stage ended by its hand-over.

    Of a spread program the last step of a chunk, and the tail that follows it: what is not kept lives within a slot.
    """
    time = 0
    for stage in plan.running:
        for action in stage.actions:
            yield time, action, action.reads
            time += 1
        yield time, None, stage.hands
        time += 1
    yield time, None, plan.hands


def _buffers(plan: Plan) -> list[_Buffer]:
    widths = plan.view.widths
    dies = {name: time for time, _, reads in _timeline(plan) for name in reads}
    buffers: list[_Buffer] = []
    of: dict[str, _Buffer] = {}
    for time, action, _ in _timeline(plan):
        if action is None or action.makes is None:
            continue
        made = action.makes
        end = dies.get(made, time)
        free = (name for name in _may_overwrite(action) if dies[name] == time and name in of)
        over = next((name for name in free if (name in plan.kept) is (made in plan.kept)), None)
        if over is not None and widths[over] == widths[made]:
            of[made] = of[over]
            of[made].last = end
            of[made].values.append(made)
        else:
            of[made] = _Buffer(widths[made], time, end, [made])
            buffers.append(of[made])
    return buffers


def _may_overwrite(action: Action) -> tuple[str, ...]:
    """Inputs whose place the result may take: its kernel reads element i for the last time when it writes element i."""
    if action.kind == "glu":
        return action.reads
    match action.op:
        case o.Map() | o.Norm() | o.Mul() | o.Diagonal():
            return action.reads
        case o.Selective(input=u, c=c) if u != c:  # every channel of y needs the whole of C
            return (u,)
        case o.Add():  # the first two; later ones are read after the result has been begun
            later = action.reads[2:]
            return tuple(name for name in action.reads[:2] if name not in later)
    return ()


def _lowest_place(buffer: _Buffer, placed: list[tuple[int, _Buffer]]) -> int:
    rivals = sorted((at, at + b.size) for at, b in placed if b.first <= buffer.last and buffer.first <= b.last)
    at = 0
    for begin, end in rivals:
        if at + buffer.size <= begin:
            break
        at = max(at, end)
    return at
