"""One network, its optimiser and its moving average: what an update does, and all that a resume needs.

F: input columns;  D: outputs;  n: parameters.   estimate = base(x) + scale * network(x P),  P (F, F), scale (D,)

P decorrelates the inputs and `scale` is the size of what is to be learned, so that training starts well conditioned;
both fold into the first and the last layer, and `plain_state` gives the network with them folded in.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from hiss.dataset import Batch
from hiss.errors import TrainingError
from hiss.models.ensemble import heads
from hiss.training.grids import settled
from hiss.training.group import Group
from hiss.training.options import TrainOptions
from hiss.training.speed import Call

Tensors = dict[str, Any]
SLOW = ("log_dt", "log_a_real", "a_imag", "log_a")
"""dt and A of a recurrence: not decayed, and with a learning rate of their own."""


@dataclass(frozen=True)
class Frame:
    """What stays fixed around the network while it learns.

    teacher: the network as it was before its weights went on a grid; what it says is then learned, not the targets.
    """

    base: nn.Module | None
    decorrelate: Tensor | None  # (F, F)
    scale: Tensor  # (D,)
    teacher: nn.Module | None = None


class Learner:
    """Network, average, optimiser; `step` counts updates."""

    def __init__(self, network: nn.Module, frame: Frame, options: TrainOptions, device: torch.device):
        self.options, self.device = options, device
        self.group = Group()  # alone, unless it is set
        self.teacher = None if frame.teacher is None else frame.teacher.to(device).eval()
        self.network = network.to(device).train(self.teacher is None)  # who imitates has no use for dropout
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.base = None if frame.base is None else frame.base.to(device).eval()
        self.decorrelate = None if frame.decorrelate is None else frame.decorrelate.to(device)
        self.scale = frame.scale.to(device)
        self.optimiser = adamw(_groups(network, options))
        self.call: Call | None = None  # instead of the network, in updates
        self.peaks = [float(group["lr"]) for group in self.optimiser.param_groups]
        self.step = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Learner:
        """A copy calls its own network."""
        made = copy.copy(self)
        memo[id(self)] = made
        vars(made).update({k: None if k == "call" else copy.deepcopy(v, memo) for k, v in vars(self).items()})
        return made

    def update(self, batch: Batch) -> float:
        """One step on a batch; gives its loss, in units of `scale`. Raises TrainingError when it is not finite."""
        factor = schedule(self.step, self.options)
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        points = int(batch.valid.sum()) * (batch.y.shape[-1] if batch.valid.ndim == 2 else 1)  # of all processes
        loss = self._loss(self.group.own(batch)) / max(1, points)
        if points:
            self._descend(loss)
        self.step += 1
        return self.group.total(float(loss.detach())) if points else math.nan

    def _loss(self, batch: Batch) -> Tensor:
        """Sum of squared (or absolute) errors over the valid points, in units of `scale`."""
        x, y, valid = (torch.from_numpy(a).to(self.device) for a in (batch.x, batch.y, batch.valid))
        if not valid.any():
            return torch.zeros((), device=self.device)
        seen = batch.shown
        shown = x if seen is batch.x else torch.from_numpy(seen).to(self.device)
        wanted = self._wanted(x, y, shown)
        error = ((self.call or self.network)(self._columns(shown)) - wanted)[valid]
        return error.abs().sum() if self.options.loss == "l1" else (error**2).sum()

    @torch.no_grad()
    def _wanted(self, x: Tensor, y: Tensor, shown: Tensor) -> Tensor:
        """What the network is to say when it is shown `shown`."""
        if self.teacher is not None:
            wanted: Tensor = self.teacher(self._columns(shown))
            return wanted
        # the base is asked without shift and disturbance: the network is to ignore them, not to undo the base's
        return (y if self.base is None else y - self.base(x)) / self.scale

    def _descend(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {float(loss.detach())} at step {self.step}: lower lr "
                f"(now {self.options.lr:g}), or look for wild samples in the recordings"
            )
        self.optimiser.zero_grad()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        self.group.add_gradients(self.network)
        learning = list(self.network.parameters())
        nn.utils.clip_grad_norm_(learning, self.options.clip, foreach=self.device.type == "cpu" or None)
        self.optimiser.step()
        keep = min(self.options.ema, (1 + self.step) / (10 + self.step))  # a young average forgets faster
        get_ema_multi_avg_fn(keep)(list(self.average.parameters()), learning, None)  # type: ignore[no-untyped-call]

    def _columns(self, x: Tensor) -> Tensor:
        return x if self.decorrelate is None else x @ self.decorrelate

    def validate(self, batch: Batch) -> float:
        """Mean squared error over the valid points of `batch`, in scaled targets: of base and average beside the
        targets, or of the average beside its teacher."""
        with torch.no_grad():
            x = torch.from_numpy(batch.x).to(self.device)
            estimate = self.average(self._columns(x)) * self.scale
            if self.teacher is not None:
                error = (estimate - self.teacher(self._columns(x)) * self.scale).cpu().numpy()
            else:
                error = (estimate if self.base is None else estimate + self.base(x)).cpu().numpy() - batch.y
        return float((error[batch.valid].astype(np.float64) ** 2).mean())

    def plain_network(self) -> nn.Module:
        """The averaged network with P, scale and the grids of its weights folded in, on the CPU."""
        plain = copy.deepcopy(self.average) if self.teacher is None else settled(self.average, self.teacher)
        network: Any = plain.cpu()
        with torch.no_grad():
            if self.decorrelate is not None:
                first = network.input_layer()
                first.weight.copy_(first.weight @ self.decorrelate.cpu().T)
            scale = self.scale.cpu()
            for last in heads(network):
                last.weight.mul_(scale[:, None])
                last.bias.mul_(scale)
        return network  # type: ignore[no-any-return]

    def state(self) -> Tensors:
        """Everything that changes while training, as arrays."""
        arrays = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        arrays |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for i, moments in self.optimiser.state_dict()["state"].items():
            arrays |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        arrays["torch_rng"] = torch.get_rng_state()
        if self.device.type == "cuda":
            arrays["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        return {k: v.detach().cpu().numpy().copy() for k, v in arrays.items()}

    def restore(self, arrays: Tensors, step: int) -> None:
        """Back to a `state`. Raises TrainingError when it is of another network."""
        held = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}
        try:
            self.network.load_state_dict(_under("network.", held))
            self.average.load_state_dict(_under("average.", held))
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in _under("adam.", held).items():
                index, name = key.split(".", 1)
                moments.setdefault(int(index), {})[name] = value
            known = self.optimiser.state_dict()
            self.optimiser.load_state_dict({"state": moments, "param_groups": known["param_groups"]})
            torch.set_rng_state(held["torch_rng"])
            if self.device.type == "cuda" and "cuda_rng" in held:
                torch.cuda.set_rng_state(held["cuda_rng"], self.device)
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise TrainingError(f"the checkpoint does not fit this model ({error}); train anew") from error
        self.step = step


def adamw(parameters: Iterable[Any]) -> torch.optim.Optimizer:
    """All parameters in few passes: one by one they would cost a fifth of a small model's step."""
    return torch.optim.AdamW(parameters, fused=True)


def schedule(step: int, options: TrainOptions) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine to 0."""
    warm = min(1.0, (step + 1) / max(1, options.warmup_steps))
    return warm * 0.5 * (1 + math.cos(math.pi * step / options.n_steps))


def _groups(network: nn.Module, options: TrainOptions) -> list[dict[str, Any]]:
    """Matrices with decay; vectors and C without; dt and A without and at their own rate."""
    slow, plain, decayed = [], [], []
    for name, parameter in network.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if leaf in SLOW:
            slow.append(parameter)
        elif parameter.ndim < 2 or leaf == "c":
            plain.append(parameter)
        else:
            decayed.append(parameter)
    groups = [
        {"params": decayed, "lr": options.lr, "weight_decay": options.weight_decay},
        {"params": plain, "lr": options.lr, "weight_decay": 0.0},
        {"params": slow, "lr": options.ssm_lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _under(prefix: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
