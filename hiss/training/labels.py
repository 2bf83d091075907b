"""A part of the labels: what a model learns from where only some recordings were labelled."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np

from hiss.errors import TrainingError
from hiss.recording import Recording


def some_labels(recordings: Seq[Recording], share: float) -> tuple[list[Recording], str]:
    """(the labelled part, a line that says which): whole recordings where that makes two or more, spread over the list,
    else the first `share` of each; of recordings marked "val" the same share, by themselves.

    Raises TrainingError where nothing is left.
    """
    if share == 1:
        return list(recordings), ""
    kept: list[Recording] = []
    for group in ([r for r in recordings if r.split != "val"], [r for r in recordings if r.split == "val"]):
        count = round(share * len(group))
        if count >= 2:
            places = (np.arange(count) + 0.5) * len(group) / count
            kept += [group[int(i)] for i in places]
        else:
            kept += [r.cut(0, round(share * len(r))) for r in group if round(share * len(r)) > 0]
    if not kept:
        raise TrainingError(f"labels={share:g} leaves no sample to learn from")
    part = sum(map(len, kept)) / sum(map(len, recordings))
    return kept, f"labels: {len(kept)} of {len(recordings)} recordings, {part:.0%} of their samples"
