"""The cells of a comparison: where each is kept, and whether it is done.

OUT/DATA/MODEL/SEED/run/       the training run, resumed where it was interrupted
OUT/DATA/MODEL/SEED/cell.json  what was found; a cell with this file, made of the same plan and files, is done
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiss.compare.plan import Data, Entry, Plan, RidgeSpec

Found = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One model on one data set with one seed; `folder` is where it is kept."""

    plan: Plan
    data: Data
    entry: Entry
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        """Its place."""
        return self.out / self.data.name / self.entry.name / str(self.seed)

    @property
    def found(self) -> Found | None:
        """What was found, None where it is to do: not yet done, or done of another plan or other files."""
        try:
            found: Found = json.loads((self.folder / "cell.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if found.get("key") == self.key else None

    @functools.cached_property
    def key(self) -> str:
        """A fingerprint of everything that the cell depends on."""
        spec = vars(self.entry.spec) if isinstance(self.entry.spec, RidgeSpec) else dict(self.entry.spec)
        data = {k: v for k, v in vars(self.data).items() if k not in ("files", "train")}
        if self.data.gap == Data.gap:  # which a cell that was done before plans had this key knows nothing of
            del data["gap"]
        parts = [spec, data, [_fingerprint(f) for f in self.data.files], self._options(), self.seed]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=list).encode()).hexdigest()[:16]

    def _options(self) -> Any:
        if isinstance(self.entry.spec, RidgeSpec):
            return None
        options = self.plan.options(self.entry, self.data).to_json()
        if "rival" not in self.entry.spec:  # which alone depends on it
            del options["rival_gain"]
        if "base" not in self.entry.spec or not options["retare"]:  # the same
            del options["retare_base"]
        return options | ({"parameters": self.plan.parameters} if self.plan.parameters else {})


def cells(plan: Plan, out: Path) -> Iterator[Cell]:
    """All cells, seed by seed, so that a comparison that is interrupted has something of everything.

    A ridge without random features has nothing to draw: it has one cell.
    """
    for seed in plan.seeds:
        for data in plan.data:
            for entry in plan.models:
                exact = isinstance(entry.spec, RidgeSpec) and not entry.spec.features
                if (not entry.only or data.name in entry.only) and not (exact and seed != plan.seeds[0]):
                    yield Cell(plan, data, entry, seed, out)


@functools.cache
def _fingerprint(path: Path) -> str:
    """Of the bytes of a file, which is read once."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
