"""The stages of a program as C functions, and the slots of a spread one: straight lines of kernel calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hiss.firmware_export import integer_kernels, kernels
from hiss.firmware_export.context import Context, Lines, count
from hiss.firmware_export.glu import glu
from hiss.firmware_export.layout import Member, needs_started, state_name
from hiss.firmware_export.names import comment
from hiss.firmware_export.schedule import Action, Plan, Schedule
from hiss.program.ops import Delay, Fir, Op

if TYPE_CHECKING:
    from hiss.firmware_export.c import Model

EMITTERS = {"f32": kernels.EMIT, "s16": integer_kernels.EMIT}
"""Suffix of the kernels -> what writes their calls, by op."""


def function_names(plan: Plan) -> list[str]:
    """Of all functions that stage_functions writes, without the model's name."""
    if not plan.spread:
        return [f"stage_{stage.index}" for stage in plan.stages]
    return ["stage_0", *(_slot_name(slot, part) for slot, part in _parts(plan)), "finish", "tail"]


def stage_functions(model: Model) -> list[str]:
    """One function per stage; of a spread program stage 0, and what the tail does."""
    plan = model.plan
    if not plan.spread:
        return [_stage_function(model, stage) for stage in plan.stages]
    slots = [_slot_function(model, slot, part) for slot, part in _parts(plan)]
    return [_stage_function(model, plan.stages[0]), *slots, _finish_function(model), _tail_function(model)]


def indented(lines: Lines, depth: int = 1) -> str:
    """Lines of a function's body."""
    return "".join(f"{'    ' * depth}{line}".rstrip() + "\n" for line in lines)


def zeroed(target: str, member: Member) -> str:
    """A call that clears an array of the struct."""
    suffix = {"float": "f32", "int32_t": "s32", "int16_t": "s16"}[member.kind]
    return f"hiss_zero_{suffix}({target}, {count(member.count)});"


def _context(model: Model, stage: Schedule) -> Context:
    return Context(model.names, model.tables, model.plan.view, stage, model.numbers)


def _stage_function(model: Model, stage: Schedule) -> str:
    context = _context(model, stage)
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
        f"{indented(body)}\n    return {made};\n}}\n"
    )


def _pointers(model: Model, stage: Schedule) -> Lines:
    """The values of this stage, by name, in scratch."""
    used = [name for action in stage.actions for name in (*action.reads, action.makes) if name is not None]
    made = {action.makes for action in stage.actions}
    return [
        f"{'' if name in made else 'const '}{model.numbers.value} *const {model.names[name]} = "
        f"{model.layout.at(name)}; /* {model.plan.view.widths[name]} */"
        for name in dict.fromkeys(used)
    ]


def _actions(actions: tuple[Action, ...], context: Context) -> Lines:
    return [line for action in actions for line in ("", *_emit(action, context))]


def _emit(action: Action, context: Context) -> Lines:
    """The C lines of one action, the equation first."""
    if action.kind == "glu":
        lines = glu((*action.before, action.op), action.reads, context)
    else:
        lines = EMITTERS[context.numbers.suffix][type(action.op)](action.op, action.kind, context)
    return [comment(line[3:-3]) if line.startswith("/* ") else line for line in lines]


def _ending(model: Model, stage: Schedule, context: Context) -> Lines:
    """What a step ends with: the last ops, pasts pushed, the phase, and what restarts."""
    last = [line for action in stage.last for line in _emit(action, context)]
    if last:
        last = ["", "if (complete) {", *(f"    {line}" for line in last), "}"]
    in_chunk, always = _pushes(stage, context)
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


def _pushes(stage: Schedule, context: Context) -> tuple[Lines, Lines]:
    """What moves the pasts on: on all steps but the last of a period, and on all."""
    in_chunk: Lines = []
    always: Lines = []
    for action in stage.pushes:
        # the ring of a Fir that restarts is as long as the chunk's past: its last step has no place there
        (in_chunk if _is_fir_of_chunk(action) else always).extend(_emit(action, context))
    return in_chunk, always


def _is_fir_of_chunk(action: Action) -> bool:
    return isinstance(action.op, Fir) and action.op.restart


def _restart(model: Model, op: Op) -> Lines:
    """A state returns to its initial value; a past that begins with the first sample is set by that sample."""
    if isinstance(op, Delay) and op.initial == "first":
        return []
    (member,) = (m for m in model.layout.members if m.name == state_name(op))
    return [zeroed(f"self->{model.member(member)}", member)]


def _paragraph(title: str, lines: Lines) -> Lines:
    return ["", title, *lines] if lines else []


def _ordinal(n: int) -> str:
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


# ---- the tail of a spread program ----


def _parts(plan: Plan) -> list[tuple[int, Schedule]]:
    return [(slot, part) for slot, parts in enumerate(plan.slots) for part in parts]


def _slot_name(slot: int, part: Schedule) -> str:
    return f"slot_{slot}_stage_{part.index}"


def _slot_function(model: Model, slot: int, part: Schedule) -> str:
    context = _context(model, part)
    body = _actions(part.every, context)
    last = [f"    {line}" for action in part.last for line in _emit(action, context)]
    in_chunk, always = _pushes(part, context)
    body += ["", "if (complete) {", *last, "}"] if last else []
    body += _paragraph("/* the past moves on */", always)
    body += ["", "if (!complete) {", *(f"    {line}" for line in in_chunk), "}"] if in_chunk else []
    complete = [f"const bool complete = phase + 1U == {count(part.period)};"] if _uses("complete", body) else []
    phase = [f"const uint16_t phase = self->phase_{part.index};"] if _uses("phase", complete + body) else []
    return (
        f"/* What stage {part.index} does in slot {slot} of the tail. */\n"
        f"static void {model.name}_{_slot_name(slot, part)}({model.name}_t *self)\n{{\n"
        f"{indented([*_pointers(model, part), *phase, *complete, *body])}}}\n"
    )


def _uses(name: str, lines: Lines) -> bool:
    return any(re.search(rf"\b{name}\b", re.sub(r"/\*.*?\*/", "", line)) for line in lines)


def _finish_function(model: Model) -> str:
    """Stage by stage: each has stepped, and the next one has too where it completes its period."""
    lines: Lines = []
    for stage in model.plan.stages[1:]:
        phase = f"self->phase_{stage.index}"
        if needs_started(stage):
            lines.append(f"self->started_{stage.index} = 1U;")
        if stage.period > 1:
            lines += [f"if ({phase} + 1U < {count(stage.period)}) {{", f"    ++{phase};", "    return false;", "}"]
            lines.append(f"{phase} = 0U;")
        lines += [line for op in stage.restarts for line in _restart(model, op)]
    lines = lines or ["(void)self; /* no stage counts its steps */"]
    return (
        f"/* The tail is done: the stages that have stepped in it count on. True when an estimate has been made. */\n"
        f"static bool {model.name}_finish({model.name}_t *self)\n{{\n{indented(lines)}    return true;\n}}\n"
    )


def _tail_function(model: Model) -> str:
    """The slot of this step. A stage from 2 on steps where those before it complete their periods."""
    lines = ["switch (self->phase_0) {"]
    for slot, parts in enumerate(model.plan.slots):
        calls = [line for part in parts for line in _slot_call(model, slot, part)]
        if slot == len(model.plan.slots) - 1:
            calls.append(f"return {model.name}_finish(self);")
        elif calls:
            calls.append("break;")
        if calls:
            lines += [f"case {count(slot)}:", *(f"    {line}" for line in calls)]
    lines += ["default:", "    break;", "}", "return false;"]
    return (
        f"/* The tail of the chunk before: what waits for this step of stage 0. True when it has made an estimate. */\n"
        f"static bool {model.name}_tail({model.name}_t *self)\n{{\n{indented(lines)}}}\n"
    )


def _slot_call(model: Model, slot: int, part: Schedule) -> Lines:
    call = f"{model.name}_{_slot_name(slot, part)}(self);"
    before = [stage for stage in model.plan.stages[1 : part.index] if stage.period > 1]
    complete = " && ".join(f"self->phase_{stage.index} + 1U == {count(stage.period)}" for stage in before)
    return [f"if ({complete}) {{", f"    {call}", "}"] if complete else [call]
