"""Several processes train one model: `torchrun --nproc-per-node N -m hiss train ...`, also on several machines.

Every process draws the same windows of all recordings with the same generator; each computes those of its own
recordings (number i of them belongs to process i modulo N), and the gradients are added up. So N processes give what
one gives, but for the order of sums; dropout masks are each process's own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hiss.dataset import Batch
from hiss.errors import TrainingError


@dataclass(frozen=True)
class Group:
    """This process among those that train together: number `rank` of `size`; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """The one that writes and speaks."""
        return self.rank == 0

    def own(self, batch: Batch) -> Batch:
        """The windows of this process's recordings; may be none."""
        return batch if self.size == 1 else batch.rows(np.flatnonzero(batch.which % self.size == self.rank))

    def add_gradients(self, network: nn.Module) -> None:
        """The sums over all processes take the place of each one's gradients. Raises TrainingError."""
        if self.size == 1:
            return
        parameters = [p for p in network.parameters() if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        self._reduce(flat)
        for parameter, grad in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = grad.view_as(parameter)

    def total(self, value: float) -> float:
        """The sum over all processes. Raises TrainingError."""
        if self.size == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64)
        self._reduce(held)
        return float(held)

    def agreed(self, value: float) -> float:
        """What the first process says, so that all decide alike. Raises TrainingError."""
        return self.total(value if self.first else 0.0)

    def begin(self, seed: int, parameters: Iterable[Tensor]) -> None:
        """Check that all processes start alike; then each has its own masks. Raises TrainingError."""
        if self.size == 1:
            return
        mine = float(sum(float(p.detach().double().sum()) for p in parameters))
        if self.total(abs(mine - self.agreed(mine))) > 1e-9 * max(1.0, abs(mine)):
            raise TrainingError("the processes of this training start differently: other recordings, settings or torch")
        self.own_masks(seed)

    def own_masks(self, seed: int) -> None:
        """Dropout of this process differs from the others'; the first keeps its generator."""
        if not self.first:
            torch.manual_seed(seed + 7919 * self.rank)

    def _reduce(self, values: Tensor) -> None:
        try:
            on = values.cuda() if dist.get_backend() == "nccl" and not values.is_cuda else values
            dist.all_reduce(on)
            if on is not values:
                values.copy_(on)
        except RuntimeError as error:
            raise TrainingError(
                f"another process of this training went away ({str(error).splitlines()[0][:120]}); start them again "
                "with --resume and the run's folder: what the last checkpoint holds is kept"
            ) from error


def rank_of_environment() -> int:
    """The number of this process as torchrun sets it; 0 where there is one."""
    return int(os.environ.get("RANK", "0")) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group that torchrun's environment names, joined with gloo, or nccl on CUDA. Raises TrainingError."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group()
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the processes of this training do not find each other ({error})") from error
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def own_device(name: str) -> str:
    """auto on a computer with several GPUs: each local process takes its own."""
    local = os.environ.get("LOCAL_RANK")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and torch.cuda.is_available()
    return f"cuda:{local}" if name in ("auto", "cuda") and several and local else name
