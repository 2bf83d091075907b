"""The models that the benchmarks measure, built in one place.

AxB|CxD: low level of A channels and B layers, high level of C channels and D layers;  N: real states per channel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hiss.dataset import Scaling
from hiss.firmware_export.selftest import usual_samples
from hiss.folding import fold_model
from hiss.models import S4D, Hierarchical
from hiss.program import Program
from hiss.quantization import quantized
from hiss.recording import Channel

Size = tuple[int, int]
"""d_model, n_layers."""


def hierarchical(low: Size, high: Size, d_state: int, period: int = 10, dt_min: float = 1e-3) -> Hierarchical:
    """low|high with N = d_state; dt_min: step size of the high level's slowest channel, in chunks."""
    return Hierarchical(S4D(*low, d_state=d_state), S4D(*high, d_state=d_state, dt_min=dt_min), period)


def small_program(*, optimize: bool = True, dt_min: float = 1e-3) -> Program:
    """32x2|32x2, N = 16, period 10, 3 channels and their deltas, 2 outputs: untrained, usual scales, by seed."""
    torch.manual_seed(0)
    channels, outputs, one = 3, 2, np.ones(3)
    scaling = Scaling(
        tare=0,
        lo=-1000 * one,
        hi=1000 * one,
        mean=np.array([40.0, -120.0, 10.0]),
        std=np.array([90.0, 200.0, 30.0]),
        deltas=True,
        delta_mean=0 * one,
        delta_std=np.array([3.0, 8.0, 1.0]),
        y_mean=np.zeros(outputs),
        y_std=np.ones(outputs),
    )
    return fold_model(
        hierarchical((32, 2), (32, 2), 16, dt_min=dt_min).build(2 * channels, outputs).eval(),
        scaling,
        channels=tuple(Channel(f"m0_{axis}", "uT") for axis in "xyz"),
        targets=tuple(Channel(f"force_{axis}", "N") for axis in "xy"),
        rate_hz=100.0,
        optimize=optimize,
    )


def small_integer_program(weights: str = "int8", states: str = "int32") -> Program:
    """small_program() in integers; formats from samples of usual size, whole numbers as a sensor gives them."""
    program = small_program()
    made, _ = quantized(program, [np.rint(usual_samples(program, 2000)).astype(float)], weights=weights, states=states)
    return made


class FlatLSTM(nn.Module):
    """The yardstick: embed, nn.LSTM over every sample, decode at the last sample of each period."""

    def __init__(self, size: Size, n_in: int, n_out: int, period: int = 10):
        super().__init__()
        width, n_layers = size
        self.period = period
        self.embed = nn.Linear(n_in, width)
        self.lstm = nn.LSTM(width, width, n_layers, batch_first=True)
        self.decode = nn.Linear(width, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, n_in) -> (B, T // period, n_out)."""
        y, _ = self.lstm(self.embed(x))
        return self.decode(y[:, self.period - 1 :: self.period])
