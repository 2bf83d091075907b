"""A trained model and all that is needed to use it, as a directory.

    best.safetensors   the model: weights, and in its header spec, scaling, channels, targets, provenance
    run.json           the same header to read, with where the data lay and how the run was asked for
    last.safetensors   where training stood: resume continues from here
    log.csv            one row per validation

Same seed, same data, same settings: same bytes of best.safetensors. Loading runs no code.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hiss.dataset import Scaling
from hiss.errors import ProgramError
from hiss.files import write_together
from hiss.models.arnet import ARNet
from hiss.models.residual import Residual
from hiss.models.spec import spec_from_json, spec_to_json
from hiss.program.storage import pack_tensors, read, unpack_tensors
from hiss.recording import Channel

BEST, LAST, ABOUT, LOG = "best.safetensors", "last.safetensors", "run.json", "log.csv"


@dataclass(eq=False)
class Run:
    """A model with its scaling, rate, channels and provenance.

    about: what is not part of the model (paths of the data, the settings asked for); it stands in run.json only.
    """

    spec: Any
    module: nn.Module
    scaling: Scaling
    rate_hz: float
    period: int
    channels: tuple[Channel, ...]
    targets: tuple[Channel, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def lookahead_s(self) -> float:
        """How long after the sample that an estimate belongs to it is made: 0, a target is at its chunk's end."""
        return 0.0

    @property
    def target_std(self) -> np.ndarray[Any, Any]:
        """(D,) deviation of the training targets: what errors are measured by, also where the scaling is another."""
        return np.array(self.provenance.get("target_std", self.scaling.y_std), np.float64)

    def header(self) -> dict[str, Any]:
        """All but the weights, as plain data."""
        return {
            "spec": spec_to_json(self.spec),
            "scaling": self.scaling.to_json(),
            "rate_hz": self.rate_hz,
            "period": self.period,
            "channels": [[c.name, c.unit] for c in self.channels],
            "targets": [[c.name, c.unit] for c in self.targets],
            "provenance": self.provenance,
        }

    def pack(self) -> bytes:
        """The bytes of best.safetensors."""
        arrays = {k: v.detach().cpu().numpy() for k, v in self.module.state_dict().items()}
        return pack_tensors("run", self.header(), arrays)

    def save(self, directory: str | Path) -> None:
        """Write best.safetensors and run.json, both or none. Raises HissError."""
        folder, about = Path(directory), self.about | self.header()
        text = json.dumps(about | {"sha256": _seal(about)}, indent=1) + "\n"
        write_together({folder / BEST: self.pack(), folder / ABOUT: text.encode()})

    @staticmethod
    def load(directory: str | Path) -> Run:
        """Read a run. Raises ProgramError when a file is missing, damaged, or of another version."""
        path = Path(directory) / BEST
        header, arrays = unpack_tensors(read(path), "run", str(path))
        try:
            run = _assembled(header, arrays)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise ProgramError(f"{path}: its header does not fit its content ({error})") from error
        run.about = _beside_model(Path(directory) / ABOUT, header)
        return run

    def _columns(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return self.scaling.inputs(self.scaling.lowpassed(x))

    def estimate(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Tared samples (B, T, C) from fresh state -> (B, T // period, D) in the units of the targets."""
        with torch.no_grad():
            scaled = self.module(torch.from_numpy(self._columns(x)).to(next(self.module.parameters()).dtype))
        return self.scaling.estimates(scaled.numpy())


def build(spec: Any, scaling: Scaling) -> nn.Module:
    """The torch module of a spec for these columns and targets."""
    n_in, n_out = scaling.n_inputs, len(scaling.y_mean)
    if isinstance(spec, ARNet | Residual):
        return spec.build(n_in, n_out, scaling.n_channels)
    module: nn.Module = spec.build(n_in, n_out)
    return module


def _assembled(header: dict[str, Any], arrays: dict[str, Any]) -> Run:
    spec, scaling = spec_from_json(header["spec"]), Scaling.from_json(header["scaling"])
    channels, targets = (tuple(Channel(str(n), str(u)) for n, u in header[key]) for key in ("channels", "targets"))
    if len(channels) != scaling.n_channels or len(targets) != len(scaling.y_mean):
        raise ValueError(f"{len(channels)} channels and {len(targets)} targets, but scaling is for others")
    rate_hz, period = float(header["rate_hz"]), int(header["period"])
    if not (math.isfinite(rate_hz) and rate_hz > 0) or period != spec.period:
        raise ValueError(f"rate {rate_hz} Hz, period {period}; the model's period is {spec.period}")
    _check_size(spec, sum(a.size for a in arrays.values()))
    with torch.random.fork_rng(devices=[]):
        module = build(spec, scaling)
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()})
    if not all(np.isfinite(a).all() for a in arrays.values()):
        raise ValueError("a weight is not a finite number")
    provenance = dict(header["provenance"])
    return Run(spec, module.eval(), scaling, rate_hz, period, channels, targets, provenance)


def _check_size(spec: Any, total: int) -> None:
    """A header may not ask for more memory than its file can fill."""
    stacks = spec.stacks() if hasattr(spec, "stacks") else []
    need = sum(stack.least_weights for stack in stacks)
    if need > total:
        raise ValueError(f"the model needs more than {need} weights, the file has {total}")


def read_about(path: Path) -> dict[str, Any]:
    """All that a run.json says. Raises ProgramError when it is missing, damaged or was changed."""
    data = read(path)
    try:
        about = dict(json.loads(data))
        whole = about.pop("sha256") == _seal(about)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ProgramError(f"{path}: damaged ({str(error)[:80]}); copy the run again") from error
    if not whole:
        raise ProgramError(f"{path}: its content does not match its checksum, a byte has changed; copy the run again")
    return about


def _seal(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _beside_model(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    """What run.json says beside the header; where it disagrees with the model, they are of two runs."""
    about = read_about(path)
    if any(about.pop(key, None) != value for key, value in json.loads(json.dumps(header)).items()):
        raise ProgramError(f"{path}: does not belong to {BEST} beside it; copy the whole run again")
    return about
