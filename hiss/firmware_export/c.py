"""A program as C99: <name>.h and <name>.c, one straight line of kernel calls per stage.

The text depends on the program and the name alone: the same program gives the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from hiss.firmware_export.context import Lines, count
from hiss.firmware_export.layout import Layout, Member, lay_out
from hiss.firmware_export.names import Names, check_model_name, comment
from hiss.firmware_export.numbers import Numbers, numbers_of
from hiss.firmware_export.report import header_comment
from hiss.firmware_export.schedule import Plan, plan_of
from hiss.firmware_export.stages import EMITTERS, function_names, indented, stage_functions, zeroed
from hiss.firmware_export.tables import Tables, float_text
from hiss.program import Program
from hiss.program.exact import refuse_float64_only

__all__ = ["EMITTERS", "OPS_VERSION", "Model", "header_text", "source_text"]

_FEW = 4
"""Outputs that are copied one by one: a call would take more."""
OPS_VERSION = 3
"""HISS_OPS_VERSION of the runtime that the generated code is written for."""

_FUNCTIONS = ("reset", "tare", "taring", "ready", "step", "selftest", "measure", "start")

_LOCALS = ("self", "x", "y", "phase", "complete", "i", "terms", "sum")


@dataclass
class Model:
    """A program on its way to C: its name, schedule, struct and tables."""

    program: Program
    name: str
    numbers: Numbers = field(init=False)
    plan: Plan = field(init=False)
    layout: Layout = field(init=False)
    names: Names = field(init=False)
    tables: Tables = field(init=False)
    functions: list[str] = field(init=False)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        refuse_float64_only(self.program, "C")
        self.plan = plan_of(self.program)
        self.numbers = numbers_of(self.plan.view)
        self.layout = lay_out(self.plan, self.numbers)
        own = [f"{self.name}_{function}" for function in (*_FUNCTIONS, *function_names(self.plan))]
        self.names = Names((*_LOCALS, self.name, f"{self.name}_t", *own))
        self.tables = Tables(self.names)
        self.functions = stage_functions(self)

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
        fixed = ("version", "tare", "rest", "tared", "pending", "held", "scratch", "unused")
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
#define {guard}_LATENCY {program.latency} /* samples from the one that an estimate belongs to until it comes */
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
/* One sample in. True when y is new: the estimate that belongs to {_whose(model)}. Otherwise y is left as it was. */
{model.step};
/* Run the vectors of {name}_selftest.c on *self, which is tared anew. 0: all are right; else how many are not. */
int32_t {name}_selftest({name}_t *self);

#ifdef __cplusplus
}}
#endif
#endif
"""


def _whose(model: Model) -> str:
    latency = model.program.latency
    return f"the sample {latency} steps before" if latency else "this sample"


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


# ---- reset and tare ----


def _start_function(model: Model) -> str:
    """All states of the stages to their beginning; counters and rings too."""
    lines: Lines = []
    for member in model.layout.members:
        if member.name in ("version", "tare", "rest", "tared", "scratch", "unused"):
            continue
        target = f"self->{model.member(member)}"
        lines.append(zeroed(target, member) if member.count else f"{target} = 0U;")
    lines = lines or ["(void)self; /* nothing is remembered */"]
    return f"static void {model.name}_start({model.name}_t *self)\n{{\n{indented(lines)}}}\n"


def _reset_functions(model: Model) -> str:
    name, tare = model.name, model.program.tare
    version = f"{name.upper()}_VERSION"
    taring = f"self->tared < {count(tare)}" if tare else "false"
    unused = "" if tare else "    (void)self;\n"
    return f"""{_resets(name, version) if tare else _untared_resets(name, version)}
bool {name}_taring(const {name}_t *self)
{{
{unused}    return {taring};
}}

bool {name}_ready(const {name}_t *self) {{ return self->version == {version}; }}
"""


def _resets(name: str, version: str) -> str:
    return f"""void {name}_reset({name}_t *self)
{{
    if (!{name}_ready(self)) {{
        self->version = {version};
        self->tared = 0U; /* a fresh instance has no tare yet */
    }}
    {name}_start(self);
}}

void {name}_tare({name}_t *self)
{{
    self->version = {version};
    self->tared = 0U;
    {name}_start(self);
}}
"""


def _untared_resets(name: str, version: str) -> str:
    return f"""void {name}_reset({name}_t *self)
{{
    self->version = {version};
    {name}_start(self);
}}

void {name}_tare({name}_t *self) {{ {name}_reset(self); }}
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


# ---- the step ----


def _step_function(model: Model) -> str:
    return (_spread_step if model.plan.spread else _plain_step)(model)


def _plain_step(model: Model) -> str:
    name = model.name
    gates = [f"{name}_measure(self, x)"] if model.program.tare else []
    gates += [f"{name}_stage_{s.index}(self{', x' if s.index == 0 else ''})" for s in model.plan.stages]
    lines = [f"if (!{' || !'.join(gates)}) {{", "    return false;", "}", *_outputs(model), "return true;"]
    return f"{model.step}\n{{\n{indented(lines)}}}\n"


def _spread_step(model: Model) -> str:
    """The tail first: the last step of a chunk writes over what the tail of the one before has read."""
    name = model.name
    lines = ["bool made = false;"]
    if model.program.tare:
        lines += [f"if (!{name}_measure(self, x)) {{", "    return false;", "}"]
    lines += [f"if (self->pending != 0U && {name}_tail(self)) {{"]
    lines += [*(f"    {line}" for line in _outputs(model)), "    made = true;", "}"]
    lines += [f"if ({name}_stage_0(self, x)) {{", "    self->pending = 1U;", "}", "return made;"]
    return f"{model.step}\n{{\n{indented(lines)}}}\n"


def _outputs(model: Model) -> Lines:
    """The estimate into y."""
    lines, at = [], 0
    for value in dict.fromkeys(model.plan.hands):
        width, to = model.plan.view.widths[value], f"y + {at}" if at else "y"
        copy = f"hiss_copy_{model.numbers.suffix}({to}, {model.layout.at(value)}, {count(width)}); {comment(value)}"
        if width <= _FEW:
            lines += [f"y[{at + i}] = ({model.layout.at(value)})[{i}]; {comment(value)}" for i in range(width)]
        else:
            lines.append(copy)
        at += width
    return lines
