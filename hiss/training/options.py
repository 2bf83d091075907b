"""How a model is trained: every choice that is not the model itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from hiss.augment import ROTATIONS
from hiss.scaling_rules import RULES

RIVAL: dict[str, Any] = {"steps": 2400, "patience": 30, "whiten": 0.0, "retare": 0.0, "lr": 5e-3, "ssm_lr": 2.5e-3}
"""What of the defaults is otherwise for the rival of a base: inputs and windows as they are, larger steps."""


@dataclass(frozen=True)
class TrainOptions:
    """Choices of `fit`; the defaults are the recipe that the README's figures come from."""

    steps: int | None = None  # updates in all; None = 600 beside a linear base, 4800 without
    epoch_steps: int = 40  # updates between two validations
    batch: int = 8  # windows per update
    window_samples: int | None = None  # length of a window; None = 1200, or half the longest recording
    lr: float = 2e-3  # peak; warm-up, then cosine to 0
    ssm_lr: float = 1e-3  # for dt and A, which are not decayed either
    weight_decay: float = 0.05  # of matrices only
    warmup_steps: int = 50
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.99  # the checkpoint is this moving average of the weights
    patience: int | None = None  # validations without a better one before it stops early; None = 10, 30 without a base
    val_fraction: float = 0.2  # end of each recording, where no recording is marked "val"
    whiten: float = 0.001  # inputs of the correction are decorrelated, this much added to each variance; 0 = off
    folds: int = 5  # parts of the data that a base is fitted without, to see what it says of them; 1 = none
    unseen_residuals: bool = True  # the correction learns those of bases fitted without the part; else the base's
    retare: float = 0.3  # share of windows shown as if tared at another moment of rest (tared recordings only)
    retare_base: float = 0.1  # share of the windows that the linear base is fitted as if shown so
    loss: str = "mse"  # or l1: what descent lowers; validation is always by squares
    labels: float = 1.0  # share of the labels that is learned from: whole recordings, or the first part of each
    lowpass_hz: float = 0.0  # cutoff of a causal Butterworth filter of the inputs, part of the model; 0 = none
    lowpass_order: int = 2
    scaling: str = "standard"  # how scales are made of the data: a name of hiss.scaling_rules
    rotate: str = "none"  # or yaw, full: vectors NAME_x _y _z turned at random; yaw_inputs, full_inputs: targets stay
    gain: float = 0.0  # deviation of the gain of each channel in a training window
    offset: float = 0.0  # deviation of its offset, in the channel's own deviations
    input_noise: float = 0.0  # deviation of white noise on it, in the channel's own deviations
    inertial: bool = True  # with the columns of hiss.inertial, where there is an accelerometer and a gyroscope
    least_base: float = 0.98  # share of the validation variance that a base of lags must explain to be kept
    least_inertial: float = 0.5  # the same of a base that reads the columns of hiss.inertial
    rival_gain: float = 0.1  # share by which the rival must lower the validation error to stand in for a base
    min_gain: float = 0.01  # share by which the correction must lower the validation error to be kept
    bf16: bool = False  # matrix products of updates in bfloat16, where the device has it; validation never
    compile: bool = False  # updates with torch.compile, where there is a compiler

    def __post_init__(self) -> None:
        for name in ("steps", "epoch_steps", "batch", "window_samples", "patience", "folds"):
            if (getattr(self, name) or 1) < 1 or getattr(self, name) == 0:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("lr", "ssm_lr", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0; got {getattr(self, name)}")
        for name in (
            "weight_decay",
            "warmup_steps",
            "whiten",
            "rival_gain",
            "min_gain",
            "gain",
            "offset",
            "input_noise",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")
        if not (self.lowpass_hz >= 0 and 1 <= self.lowpass_order <= 8):
            raise ValueError(
                f"lowpass_hz is {self.lowpass_hz}, order {self.lowpass_order}; expected 0 or more, and 1 to 8"
            )
        if self.loss not in ("mse", "l1"):
            raise ValueError(f"loss is {self.loss!r}; known: mse, l1")
        if not 0 < self.labels <= 1:
            raise ValueError(f"labels must be more than 0 and at most 1; got {self.labels}")
        if self.scaling not in RULES:
            raise ValueError(f"scaling is {self.scaling!r}; known: {', '.join(RULES)}")
        if self.rotate not in ROTATIONS:
            raise ValueError(f"rotate is {self.rotate!r}; known: {', '.join(ROTATIONS)}")
        for name in ("ema", "val_fraction", "retare", "retare_base", "least_base", "least_inertial"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and less than 1; got {getattr(self, name)}")

    def settled(self, based: bool) -> TrainOptions:
        """With the numbers that depend on whether there is a linear base to start from."""
        steps = self.steps or (600 if based else 4800)
        return dataclasses.replace(self, steps=steps, patience=self.patience or (10 if based else 30))

    def of_rival(self) -> TrainOptions:
        """The same for the rival of a base: RIVAL, but for what was set."""
        default = {field.name: field.default for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: v for k, v in RIVAL.items() if getattr(self, k) == default[k]})

    @property
    def n_steps(self) -> int:
        """Updates in all, once settled."""
        return self.steps or self.settled(True).n_steps

    @property
    def n_patience(self) -> int:
        """Validations to wait, once settled."""
        return self.patience or self.settled(True).n_patience

    def to_json(self) -> dict[str, float | str | None]:
        """Every choice by name."""
        return dataclasses.asdict(self)
