"""How a network is called by an update: compiled, or with its products in bfloat16, where the machine has that."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hiss.training.options import TrainOptions

Call = Callable[[Tensor], Tensor]


def faster(network: nn.Module, options: TrainOptions, device: torch.device, say: Callable[[str], None]) -> Call | None:
    """What to call instead of the network, None = itself; says why where the machine lacks what is asked for."""
    call: Call | None = None
    if options.compile:
        lacking = no_compiler()
        if lacking:
            say(f"compile is left out: {lacking}")
        else:
            call = torch.compile(network)
    if options.bf16:
        if not has_bf16(device):
            say(f"bf16 is left out: this {'GPU' if device.type == 'cuda' else 'CPU'} does not multiply bfloat16")
        else:
            call = in_bf16(call or network, device.type)
    return call


def in_bf16(call: Call, kind: str) -> Call:
    """Products in bfloat16, the rest and what comes out in float32."""

    def called(x: Tensor) -> Tensor:
        with torch.autocast(kind, torch.bfloat16):
            return call(x).float()

    return called


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    asked: tuple[Any, ...] = tuple(
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(ask() for ask in asked if ask)


def no_compiler() -> str:
    """Why torch.compile makes nothing on this machine; empty where it does."""
    try:
        torch.compile(lambda v: (v.sin() * 2).sum())(torch.ones(8, requires_grad=True)).backward()
    except (RuntimeError, OSError, ImportError, subprocess.SubprocessError) as error:
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return ""
