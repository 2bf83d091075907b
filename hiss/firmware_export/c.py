"""A program as C99: <name>.h and <name>.c, one straight line of kernel calls per stage.

The text depends on the program and the name alone: the same program gives the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from hiss.firmware_export import integer_kernels, kernels
from hiss.firmware_export.context import Context, Lines, count
from hiss.firmware_export.layout import Layout, Member, lay_out, needs_started, state_name
from hiss.firmware_export.names import Names, check_model_name, comment
from hiss.firmware_export.numbers import Numbers, numbers_of
from hiss.firmware_export.report import header_comment
from hiss.firmware_export.schedule import Action, Schedule, schedules
from hiss.firmware_export.tables import Tables, float_text
from hiss.program import Program
from hiss.program.ops import Delay, Fir, Op

OPS_VERSION = 2
"""HISS_OPS_VERSION of the runtime that the generated code is written for."""

_FUNCTIONS = ("reset", "tare", "taring", "ready", "step", "selftest", "measure", "start")

EMITTERS = {"f32": kernels.EMIT, "s16": integer_kernels.EMIT}
"""Suffix of the kernels -> what writes their calls, by op."""

_LOCALS = ("self", "x", "y", "phase", "complete", "i", "terms", "sum")


@dataclass
class Model:
    """A program on its way to C: its name, schedule, struct and tables."""

    program: Program
    name: str
    numbers: Numbers = field(init=False)
    plan: tuple[Schedule, ...] = field(init=False)
    layout: Layout = field(init=False)
    names: Names = field(init=False)
    tables: Tables = field(init=False)
    functions: list[str] = field(init=False)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        self.numbers = numbers_of(self.program)
        self.plan = schedules(self.program)
        self.layout = lay_out(self.program, self.plan, self.numbers)
        own = [f"{self.name}_{function}" for function in _FUNCTIONS]
        own += [f"{self.name}_stage_{stage.index}" for stage in self.plan]
        self.names = Names((*_LOCALS, self.name, f"{self.name}_t", *own))
        self.tables = Tables(self.names)
        self.functions = [_stage_function(self, stage) for stage in self.plan]

    @property
    def version(self) -> int:
        """32 bits that tell states of this program from states of any other (or of another layout)."""
        text = f"{self.program.digest} {self.numbers.value} {OPS_VERSION} {self.layout.members}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)

    @property
    def step(self) -> str:
        """The signature of the step."""
        x, y = (f"const {self.numbers.x} x", f"{self.numbers.value} y")
        ports = f"{x}[{len(self.program.inputs)}], {y}[{len(self.program.outputs)}]"
        return f"bool {self.name}_step({self.name}_t *self, {ports})"

    def member(self, member: Member) -> str:
        """A struct member's C name."""
        fixed = ("version", "tare", "rest", "tared", "scratch", "unused")
        plain = member.name in fixed or member.name.startswith(("phase_", "started_"))
        return member.name if plain else self.names[member.name]


def header_text(model: Model) -> str:
    """<name>.h: the bill, the struct and the functions."""
    name, guard, program = model.name, model.name.upper(), model.program
    struct = "\n".join(f"    {_declaration(model, m):<44} {comment(m.comment)}" for m in model.layout.members)
    return f"""{header_comment(program, name, model.numbers, model.layout, model.tables.total)}
#ifndef {guard}_H
#define {guard}_H

#include "{model.numbers.runtime[0]}"

#if HISS_OPS_VERSION != {OPS_VERSION}
#error "{name} needs version {OPS_VERSION} of the runtime: export it again, or take the files it came with"
#endif

#define {guard}_INPUTS {len(program.inputs)}
#define {guard}_OUTPUTS {len(program.outputs)}
#define {guard}_PERIOD {program.period} /* samples per estimate */
#define {guard}_TARE {program.tare} /* samples measured before the first step */
#define {guard}_RATE_HZ {float_text(program.rate_hz)}
{_y_bits(model)}#define {guard}_VERSION UINT32_C(0x{model.version:08x}) /* of the states below */

#ifdef __cplusplus
extern "C" {{
#endif

/* All that one instance remembers. It is plain data: copy its bytes to save it, copy them back to go on from there. */
typedef struct {{
{struct}
}} {name}_t;

/* Forget the past, keep the tare. Call it (or tare) once before the first step. */
void {name}_reset({name}_t *self);
/* Forget the past and measure the tare anew: the next {guard}_TARE samples are averaged, and no estimate is made. */
void {name}_tare({name}_t *self);
/* True while the tare is being measured. */
bool {name}_taring(const {name}_t *self);
/* True when *self holds states of this very program: look after restoring saved bytes. */
bool {name}_ready(const {name}_t *self);
/* One sample in. True when y is new: the estimate that belongs to this sample. Otherwise y is left as it was. */
{model.step};
/* Run the vectors of {name}_selftest.c on *self, which is tared anew. 0: all are right; else how many are not. */
int32_t {name}_selftest({name}_t *self);

#ifdef __cplusplus
}}
#endif
#endif
"""


def _y_bits(model: Model) -> str:
    """How the integers of the outputs are read."""
    formats, guard = model.program.formats, model.name.upper()
    if formats is None:
        return ""
    bits = [int(f) for name in model.program.stages[-1].hands for f in formats[name]["out"].frac_bits]
    return (
        f"#define {guard}_Y_FRAC_BITS {{{', '.join(map(str, bits))}}} /* of each output */\n"
        f"#define {guard}_Y_SCALE {{{', '.join(float_text(2.0**-b) for b in bits)}}} "
        f"/* an estimate in its unit is y times this */\n"
    )


def source_text(model: Model) -> str:
    """<name>.c: tables, one function per stage, and the functions of the header."""
    name = model.name
    checks = f"""HISS_CHECK({name}_size_is_as_stated, sizeof({name}_t) == {model.layout.ram});"""
    parts = [
        f'/* {name}.c: the equations of {name}.h, generated by hiss. */\n\n#include "{name}.h"\n\n{checks}\n',
        *model.tables.texts,
        _start_function(model),
        _reset_functions(model),
        *([_measure_function(model)] if model.program.tare else []),
        *model.functions,
        _step_function(model),
    ]
    return "\n".join(parts)


def _declaration(model: Model, member: Member) -> str:
    size = f"[{member.count}]" if member.count else ""
    return f"{member.kind} {model.member(member)}{size};"


def _zeroed(target: str, member: Member) -> str:
    suffix = {"float": "f32", "int32_t": "s32", "int16_t": "s16"}[member.kind]
    return f"hiss_zero_{suffix}({target}, {count(member.count)});"


def _indented(lines: Lines, depth: int = 1) -> str:
    return "".join(f"{'    ' * depth}{line}".rstrip() + "\n" for line in lines)


# ---- reset and tare ----


def _start_function(model: Model) -> str:
    """All states of the stages to their beginning; counters and rings too."""
    lines: Lines = []
    for member in model.layout.members:
        if member.name in ("version", "tare", "rest", "tared", "scratch", "unused"):
            continue
        target = f"self->{model.member(member)}"
        lines.append(_zeroed(target, member) if member.count else f"{target} = 0U;")
    lines = lines or ["(void)self; /* nothing is remembered */"]
    return f"static void {model.name}_start({model.name}_t *self)\n{{\n{_indented(lines)}}}\n"


def _reset_functions(model: Model) -> str:
    name, tare = model.name, model.program.tare
    version = f"{name.upper()}_VERSION"
    untared = "        self->tared = 0U; /* a fresh instance has no tare yet */\n" if tare else ""
    forget = "    self->tared = 0U;\n" if tare else ""
    taring = f"self->tared < {count(tare)}" if tare else "false"
    unused = "" if tare else "    (void)self;\n"
    return f"""void {name}_reset({name}_t *self)
{{
    if (!{name}_ready(self)) {{
        self->version = {version};
{untared}    }}
    {name}_start(self);
}}

void {name}_tare({name}_t *self)
{{
    self->version = {version};
{forget}    {name}_start(self);
}}

bool {name}_taring(const {name}_t *self)
{{
{unused}    return {taring};
}}

bool {name}_ready(const {name}_t *self) {{ return self->version == {version}; }}
"""


def _measure_function(model: Model) -> str:
    name = model.name
    return f"""/* tare = mean of the first {model.program.tare} samples. True once it stands. */
static bool {name}_measure({name}_t *self, const {model.numbers.x} *x)
{{
    if (!{name}_taring(self)) {{
        return true;
    }}
{_measured(model)}    return false;
}}
"""


def _measured(model: Model) -> str:
    n = count(len(model.program.inputs))
    if not model.numbers.whole:
        call = f"hiss_tare_f32(self->tare, x, self->tared, {n})"
        return f"    if ({call}) {{\n        ++self->tared;\n    }}\n"
    kernel = f"hiss_tare_{'s16' if model.numbers.x == 'int16_t' else 's32'}"
    samples = count(model.program.tare)
    return f"    {kernel}(self->tare, self->rest, x, self->tared, {samples}, {n});\n    ++self->tared;\n"


# ---- the stages ----


def _stage_function(model: Model, stage: Schedule) -> str:
    context = Context(model.names, model.tables, model.program, stage, model.numbers)
    x = f", const {model.numbers.x} *x" if stage.index == 0 else ""
    body = _pointers(model, stage)
    if stage.period > 1:
        body.append(f"const uint16_t phase = self->phase_{stage.index};")
        body.append(f"const bool complete = phase + 1U == {count(stage.period)};")
    body += _actions(stage.every, context)
    body += _ending(model, stage, context)
    made = "complete" if stage.period > 1 else "true"
    rhythm = "once per sample" if stage.index == 0 else f"once per step that completes stage {stage.index - 1}"
    gives = f"; true on every {_ordinal(stage.period)} step" if stage.period > 1 else ""
    return (
        f"/* Stage {stage.index}: {rhythm}{gives}. */\n"
        f"static bool {model.name}_stage_{stage.index}({model.name}_t *self{x})\n{{\n"
        f"{_indented(body)}\n    return {made};\n}}\n"
    )


def _pointers(model: Model, stage: Schedule) -> Lines:
    """The values of this stage, by name, in scratch."""
    used = [name for action in stage.actions for name in (*action.reads, action.makes) if name is not None]
    made = {action.makes for action in stage.actions}
    return [
        f"{'' if name in made else 'const '}{model.numbers.value} *const {model.names[name]} = "
        f"self->scratch{_plus(model.layout.offset[name])}; /* {model.program.widths[name]} */"
        for name in dict.fromkeys(used)
    ]


def _plus(offset: int) -> str:
    return f" + {offset}" if offset else ""


def _actions(actions: tuple[Action, ...], context: Context) -> Lines:
    return [line for action in actions for line in ("", *_emit(action, context))]


def _emit(action: Action, context: Context) -> Lines:
    """The C lines of one action, the equation first."""
    lines = EMITTERS[context.numbers.suffix][type(action.op)](action.op, action.kind, context)
    return [comment(line[3:-3]) if line.startswith("/* ") else line for line in lines]


def _ending(model: Model, stage: Schedule, context: Context) -> Lines:
    """What a step ends with: the last ops, pasts pushed, the phase, and what restarts."""
    last = [line for action in stage.last for line in _emit(action, context)]
    if last:
        last = ["", "if (complete) {", *(f"    {line}" for line in last), "}"]
    in_chunk: Lines = []
    always: Lines = []
    for action in stage.pushes:
        # the ring of a Fir that restarts is as long as the chunk's past: its last step has no place there
        (in_chunk if _is_fir_of_chunk(action) else always).extend(_emit(action, context))
    if needs_started(stage):
        always.append(f"self->started_{stage.index} = 1U;")
    restarts = [line for op in stage.restarts for line in _restart(model, op)]
    if stage.period == 1:
        return [
            *last,
            *_paragraph("/* the past moves on */", always),
            *_paragraph("/* each step restarts */", restarts),
        ]
    phase = f"self->phase_{stage.index}"
    end = ["", "if (complete) {", f"    {phase} = 0U;", *(f"    {line}" for line in restarts), "} else {"]
    end += [*(f"    {line}" for line in in_chunk), f"    {phase} = (uint16_t)(phase + 1U);", "}"]
    return [*last, *_paragraph("/* the past moves on */", always), *end]


def _is_fir_of_chunk(action: Action) -> bool:
    return isinstance(action.op, Fir) and action.op.restart


def _restart(model: Model, op: Op) -> Lines:
    """A state returns to its initial value; a past that begins with the first sample is set by that sample."""
    if isinstance(op, Delay) and op.initial == "first":
        return []
    (member,) = (m for m in model.layout.members if m.name == state_name(op))
    return [_zeroed(f"self->{model.member(member)}", member)]


def _paragraph(title: str, lines: Lines) -> Lines:
    return ["", title, *lines] if lines else []


def _ordinal(n: int) -> str:
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _step_function(model: Model) -> str:
    name, program = model.name, model.program
    lines: Lines = []
    gates = [f"{name}_measure(self, x)"] if program.tare else []
    gates += [f"{name}_stage_{s.index}(self{', x' if s.index == 0 else ''})" for s in model.plan]
    lines += [f"if (!{' || !'.join(gates)}) {{", "    return false;", "}"]
    at = 0
    for value in dict.fromkeys(program.stages[-1].hands):
        source = f"self->scratch{_plus(model.layout.offset[value])}"
        width = program.widths[value]
        lines.append(f"hiss_copy_{model.numbers.suffix}(y{_plus(at)}, {source}, {count(width)}); {comment(value)}")
        at += width
    return f"{model.step}\n{{\n{_indented(lines)}    return true;\n}}\n"
