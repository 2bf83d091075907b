"""States of generated integer C, word by word, beside those of the integer interpreter."""

from __future__ import annotations

import numpy as np

from hiss.firmware_export.c import Model
from hiss.firmware_export.layout import counts_own_place, past_shape, state_name
from hiss.firmware_export.numbers import BYTES
from hiss.firmware_export.schedule import has_past
from hiss.program import ops as o
from hiss.program.interpreter import input_op

RESET, TARE = 1, 2
KINDS = {"uint32_t": "<u4", "int32_t": "<i4", "uint16_t": "<u2", "int16_t": "<i2"}


def decoded(model: Model, raw: bytes) -> dict[str, np.ndarray]:
    """The members of a struct by name."""
    at, made = 0, {}
    for member in model.layout.members:
        made[member.name] = np.frombuffer(raw, KINDS[member.kind], max(member.count, 1), at).astype(np.int64)
        at += BYTES[member.kind] * max(member.count, 1)
    assert at == len(raw)
    return made


def first_difference(model: Model, raw: bytes, state: dict[str, np.ndarray]) -> str | None:
    """The first member that says something else than the interpreter's state; what no later step reads is left out."""
    held = decoded(model, raw)
    for name, found, expected in (*_tare(model, held, state), *_stages(model, held, state)):
        if not np.array_equal(np.ravel(found), np.ravel(expected)):
            return f"{name}: C {np.ravel(found)[:6]}, interpreter {np.ravel(expected)[:6]}"
    return None


def _tare(model, held, state):
    yield "version", held["version"], model.version
    samples = model.program.tare
    if not samples:
        return
    left = int(state["tare.left"])
    yield "tared", held["tared"], samples - left
    if 0 < left < samples:
        yield "tare and rest", held["tare"] * samples + held["rest"], state["tare.sum"]
    if left == 0:
        yield "tare", held["tare"], state["tare.mean"]


def _stages(model, held, state):
    for i, stage in enumerate(model.program.stages):
        phase = int(state[f"phase.{i}"])
        if stage.period > 1:
            yield f"phase_{i}", held[f"phase_{i}"], phase
        started = bool(held.get(f"started_{i}", np.ones(1))[0])
        for op in stage.ops:
            if isinstance(op, o.Diagonal | o.Selective):
                yield op.out, held[state_name(op)], state[f"{op.out}.h"]
            elif has_past(op, stage.period):
                yield from _ring(model, held, state, op, stage, phase, started)


def _ring(model, held, state, op, stage, phase, started):
    """Rows of a ring, newest first, as far as a later step may read them."""
    rows, width = past_shape(op, stage.period, model.program.widths[op.reads[0]])
    ring = held[state_name(op)].reshape(rows, width)
    at = int(held[f"{state_name(op)}_at"][0]) if counts_own_place(op, stage.period) else phase % rows
    newest_first = ring[(at - 1 - np.arange(rows)) % rows]
    past = state[f"{op.out}.past"][:rows]
    if isinstance(op, o.Delay):
        first = int(op.channels.min())
        past = past[:, first : first + width]
        if op.initial == "first" and not (started if not op.restart else phase):
            return
    live = min(phase, rows) if isinstance(op, o.Fir) and op.restart else rows
    yield f"past of {op.out}", newest_first[:live], past[:live]


def hard_samples(program, steps: int, seed: int = 0) -> np.ndarray:
    """(steps, C) raw integers: usual ones, full-scale square waves, constants, alternating extremes, noise over all."""
    rng = np.random.default_rng(seed)
    first, held = input_op(program), program.formats[input_op(program).out]["x"]
    limit = 2 ** (held.bits - 1)
    channels = len(first.offset)
    usual = np.rint(
        np.ldexp(first.offset + np.exp2(first.shift) * rng.standard_normal((steps, channels)) * 2, held.frac_bits)
    )
    x = np.clip(usual, -limit, limit - 1).astype(np.int64)
    part = max(1, steps // 10)
    x[3 * part : 4 * part] = limit - 1
    x[4 * part : 5 * part : 2], x[4 * part + 1 : 5 * part : 2] = limit - 1, -limit
    square = np.sign(np.sin(np.arange(part)[:, None] * rng.uniform(0.05, 3, channels)))
    x[5 * part : 6 * part] = np.where(square > 0, limit - 1, -limit)
    x[6 * part : 7 * part] = rng.integers(-limit, limit, (part, channels))
    x[7 * part : 8 * part] = rng.choice([-limit, -1, 0, 1, limit - 1], (part, channels))
    return x


def hard_actions(program, steps: int) -> np.ndarray:
    """A tare at first, resets within chunks, the tare renewed once."""
    actions = np.zeros(steps, np.uint8)
    actions[steps // 4 :: max(7, steps // 5)] = RESET
    actions[0] = actions[2 * steps // 3] = TARE
    return actions
