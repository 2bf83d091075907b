"""The columns of a recording that a model takes: what predict, replay and quantize share."""

from __future__ import annotations

import dataclasses

from hiss.errors import MismatchError
from hiss.program import Program
from hiss.realtime.match import match_columns
from hiss.recording import Recording, choose_inputs


def model_inputs(recording: Recording, program: Program) -> Recording:
    """The recording with the model's inputs as its only channels, in the model's order.

    Columns are found by name. What else may stand beside them: a measured output, and columns that the model was told
    to leave out (--inputs). Raises MismatchError when an input is missing or a column is none of these.
    """
    r = choose_inputs(recording, program.provenance.get("inputs", ()))
    columns = match_columns(r.channels, program.inputs, r.name)
    outputs = [port.name for port in program.outputs]
    surplus = [c.name for i, c in enumerate(r.channels) if i not in columns and c.name not in outputs]
    if surplus:
        raise MismatchError(
            f"{r.name}: {len(r.channels)} channels, but the model takes {len(program.inputs)}; "
            f"not expected: {', '.join(surplus[:6])}{' ...' if len(surplus) > 6 else ''}. Is it another sensor? "
            "If not, take these columns out"
        )
    return dataclasses.replace(r, x=r.x[:, columns], channels=tuple(r.channels[i] for i in columns))
