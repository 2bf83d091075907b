"""What `hiss train` can be told: the same keys on the command line, in a TOML file and in a run's run.json."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiss.cli.levels import LEVELS, level

if TYPE_CHECKING:
    from hiss.models import StackSpec

from hiss.changes import KINDS as KINDS_OF_CHANGE
from hiss.gaps import Gaps

OPTION_KEYS = {
    "steps": int,
    "epoch_steps": int,
    "batch": int,
    "window_samples": int,
    "lr": float,
    "ssm_lr": float,
    "weight_decay": float,
    "warmup_steps": int,
    "clip": float,
    "ema": float,
    "patience": int,
    "val_fraction": float,
    "whiten": float,
    "folds": int,
    "unseen_residuals": bool,
    "retare": float,
    "retare_base": float,
    "loss": str,
    "labels": float,
    "lowpass_hz": float,
    "lowpass_order": int,
    "scaling": str,
    "rotate": str,
    "gain": float,
    "offset": float,
    "input_noise": float,
    "inertial": bool,
    "least_base": float,
    "least_inertial": float,
    "rival_gain": float,
    "min_gain": float,
    "bf16": bool,
    "compile": bool,
}
"""Keys that go to TrainOptions, with their types; those not given keep its defaults."""
TARED: dict[str, float] = {"batch": 4, "unseen_residuals": False}
"""What those defaults are instead where recordings are tared (docs/recipe.md)."""
NOT_SAID = ("rate", "period", "out", "steps", "patience", "lags", "denoise", "window_samples")
"""Keys that may be None: the data then say it."""
TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Settings:
    """Everything that a training is asked for. None where a default follows from the data."""

    files: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()  # names or patterns; none = every channel that is not a target
    rate: float | None = None  # Hz; None = that of the recordings
    period: int | None = None  # samples per estimate; None = about a tenth of a second
    out: str | None = None
    tare: str = "auto"  # "auto" = as the recordings are, or a number of samples
    gap: str = "interpolate"  # what is made of pauses: also hold[:S] or reset[:S]
    seed: int = 0
    device: str = "auto"
    base: bool = True  # the exactly fitted linear part
    low: str = LEVELS["low"]  # the low level: [FAMILY:]d_model x n_layers[,KEY=VALUE]...
    high: str = ""  # none = 32x2 beside the base of tared recordings, mamba:32x2,dropout=0.1 for others
    restart: bool = True  # low begins every chunk anew, as in the paper; else it carries its state on
    flat: str = ""  # one stack over every sample instead of two levels
    d_state: int = 16  # of S4D levels, as init, discretization and dropout
    model: str = "hiss"  # or "arnet": the linear part alone, its lags chosen
    lags: int | None = None  # of an AR-Net; None = 400, fewer for many channels or short recordings
    fit: str = "auto"  # of an AR-Net: auto, exact, sparse, sgd
    sparsity: float = 1.0  # share of lags that fit = "sgd" expects to count
    range: tuple[str, ...] = ()  # ages of an AR-Net's channels, such as m0_*=0:20; none = all lags
    own: int = 0  # estimates that an AR-Net reads back
    chunk_rate: bool = False  # ages of an AR-Net beyond one period are kept a row a chunk
    hidden: str = ""  # widths of an AR-Net's hidden layers, such as 16x8
    change: str = ""  # displacement or velocity: of the targets, from one estimate to the next
    forecast: int = 0  # samples ahead: the targets become TARGET+1 .. TARGET+N
    denoise: int | None = None  # samples behind: the target becomes TARGET-K, estimated from the others
    noise_sd: float = 0.0  # deviation of the noise of what is denoised, in its unit; 0 = not known
    rival: str = ""  # what is trained without the base as well: [LOW|]HIGH[+LOW|HIGH]...; none = no such network
    init: str = "lin"
    discretization: str = "zoh"
    dropout: float = 0.1
    pretrained: str = ""  # folder of a run of hiss pretrain whose net is trained on
    quantize_aware: tuple[str, ...] = ()  # widths of weights, as hiss quantize takes them; none = not
    options: dict[str, float | str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rate is not None and not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate is {self.rate}; expected a positive number of samples per second")
        if self.period is not None and self.period < 1:
            raise ValueError(f"period is {self.period}; expected at least 1 sample per estimate")
        if self.model not in ("hiss", "arnet"):
            raise ValueError(f"model is {self.model!r}; known: hiss, arnet")
        if self.change not in ("", *KINDS_OF_CHANGE):
            raise ValueError(f"change is {self.change!r}; known: {', '.join(KINDS_OF_CHANGE)}")
        if self.forecast < 0 or (self.lags is not None and self.lags < 1):
            raise ValueError("forecast must be 0 or more samples, lags at least 1")
        if self.denoise is not None and (self.denoise < 0 or self.forecast or self.model != "arnet"):
            raise ValueError("denoise is 0 or more samples; it goes with model arnet and without forecast")
        if self.rival not in ("", "none") and not self.base:
            raise ValueError(f"rival is {self.rival!r} without a base to rival; leave one of rival and no-base out")
        Gaps.parse(self.gap)
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected 0 or more")

    @property
    def of_series(self) -> bool:
        """True where the targets are other samples of the inputs: a forecast, or what is denoised."""
        return bool(self.forecast) or self.denoise is not None

    def spec(self, period: int, channels: Sequence[str] = ()) -> Any:
        """The model: Residual(ARNet, Hierarchical), the Hierarchical alone, or an ARNet of these channels.

        Raises ValueError.
        """
        from hiss.models import ARNet, Flat, Hierarchical, Residual

        if self.model == "arnet":
            return self._arnet(period, channels)
        model: Any = (
            Flat(self._level("flat"), period)
            if self.flat
            else Hierarchical(self._level("low"), self._level("high"), period, self.restart)
        )
        return Residual(ARNet(period=period), model, self._rival(period)) if self.base else model

    def _rival(self, period: int) -> Any:
        from hiss.models import Ensemble, Hierarchical

        if self.rival in ("", "none"):
            return None
        nets = []
        for text in self.rival.split("+"):
            low, _, high = text.rpartition("|")
            levels = [self._level_of("rival", part) for part in (low or self.low, high)]
            nets.append(Hierarchical(levels[0], levels[1], period, self.restart))
        return nets[0] if len(nets) == 1 else Ensemble(tuple(nets))

    def _arnet(self, period: int, channels: Sequence[str]) -> Any:
        from hiss.models import ARNet

        widths = [w for w in self.hidden.lower().split("x") if w]
        if not all(w.isdecimal() for w in widths):
            raise ValueError(f"hidden is {self.hidden!r}; expected widths, such as 16 or 16x8")
        lags = self.lags or 400
        return ARNet(
            lags=lags,
            spacing="all",
            period=period,
            fit=self.fit,
            own=self.own,
            hidden=tuple(map(int, widths)),
            chunk_rate=self.chunk_rate,
            sparsity=self.sparsity,
            ranges=lag_ranges(self.range, channels, lags),
            skip=self._skipped(channels),
            noise=self.noise_sd,
        )

    def _skipped(self, channels: Sequence[str]) -> tuple[tuple[int, int], ...]:
        """The sample that is denoised: (age, channel) of each target."""
        if self.denoise is None:
            return ()
        names = [target.rpartition("-")[0] for target in self.target]
        if gone := [name for name in names if name not in channels]:
            raise ValueError(f"{gone[0]} is to be denoised, so it must be among the inputs: {', '.join(channels)}")
        return tuple((self.denoise, list(channels).index(name)) for name in names)

    def _level(self, name: str) -> StackSpec:
        return self._level_of(name, getattr(self, name) or LEVELS[name])

    def _level_of(self, name: str, text: str) -> StackSpec:
        keys = ("d_state", "init", "discretization", "dropout")
        return level(name, text, {key: getattr(self, key) for key in keys})

    def tare_samples(self) -> int | None:
        """None for auto. Raises ValueError."""
        if self.tare == "auto":
            return None
        if not self.tare.isdecimal():
            raise ValueError(f"tare is {self.tare!r}; expected auto or a number of samples")
        return int(self.tare)

    def train_options(self) -> Any:
        """TrainOptions. Raises ValueError."""
        from hiss.training import TrainOptions

        return TrainOptions(**self.options)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """All keys, flat."""
        data = dataclasses.asdict(self)
        return {**{k: v for k, v in data.items() if k != "options"}, **data["options"]}


def lag_ranges(texts: Sequence[str], channels: Sequence[str], lags: int) -> tuple[tuple[int, int], ...]:
    """(first, last) age of each channel, of texts such as m0_*=0:20; a channel that none names has all. ValueError."""
    made = dict.fromkeys(channels, (0, lags - 1))
    for text in texts:
        pattern, _, ages = text.rpartition("=")
        found, first_last = fnmatch.filter(channels, pattern), re.fullmatch(r"(\d+):(\d+)", ages)
        if not found or not first_last or int(first_last[1]) > int(first_last[2]):
            raise ValueError(f"range {text!r}: expected CHANNEL=FIRST:LAST, ages in samples, of {', '.join(channels)}")
        made |= dict.fromkeys(found, (int(first_last[1]), int(first_last[2])))
    return tuple(made.values()) if texts else ()


def read_toml(path: Path) -> dict[str, Any]:
    """The keys of a configuration file. Raises ValueError when it is not TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error


def settings_from(data: dict[str, Any], where: str) -> Settings:
    """Settings of flat keys. Raises ValueError for an unknown key, naming the nearest, or a value of another kind."""
    values: dict[str, Any] = {}
    options: dict[str, float | str | None] = {}
    known = [f.name for f in dataclasses.fields(Settings) if f.name != "options"] + list(OPTION_KEYS)
    for key, value in data.items():
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}{_nearest(key, known)}")
        kind = OPTION_KEYS.get(key) or KINDS[key]
        fitting = _fitting(value, kind)
        if fitting is None and not (value is None and key in NOT_SAID):
            raise ValueError(f"{where}: {key} cannot be {value!r}; expected {WORDS[kind]}")
        if key in OPTION_KEYS:
            options[key] = fitting
        else:
            values[key] = fitting
    return Settings(**values, options=options)


def option_value(text: str) -> tuple[str, float | str]:
    """KEY=VALUE of --set. Raises ValueError."""
    key, _, value = text.partition("=")
    if key not in OPTION_KEYS:
        known = [*OPTION_KEYS, *(f"{name}.KEY" for name in LEVELS)]
        raise ValueError(f"--set: unknown key {key!r}{_nearest(key, known)}")
    try:
        return key, TRUTH[value] if OPTION_KEYS[key] is bool else OPTION_KEYS[key](value)
    except (ValueError, KeyError):
        raise ValueError(f"--set: {key} cannot be {value!r}; expected {WORDS[OPTION_KEYS[key]]}") from None


def share_of(text: str) -> float:
    """10% or 0.1 as a number. Raises ValueError."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(f"{text!r}: expected a share, such as 10% or 0.1")
    return share


KINDS: dict[str, type] = {
    "files": tuple,
    "target": tuple,
    "inputs": tuple,
    "rate": float,
    "period": int,
    "out": str,
    "tare": str,
    "gap": str,
    "seed": int,
    "device": str,
    "base": bool,
    "low": str,
    "high": str,
    "restart": bool,
    "flat": str,
    "d_state": int,
    "model": str,
    "lags": int,
    "fit": str,
    "sparsity": float,
    "range": tuple,
    "own": int,
    "chunk_rate": bool,
    "hidden": str,
    "change": str,
    "forecast": int,
    "denoise": int,
    "noise_sd": float,
    "rival": str,
    "init": str,
    "discretization": str,
    "dropout": float,
    "pretrained": str,
    "quantize_aware": tuple,
}
WORDS = {
    tuple: "a text or a list of texts",
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
}


def weight_choice(texts: Iterable[str]) -> dict[str, str]:
    """{pattern: width}, the width for all first. Raises ValueError."""
    chosen = "int8"
    rest: dict[str, str] = {}
    for text in texts:
        pattern, equals, width = text.rpartition("=")
        if width not in ("int8", "int16") or (equals and not pattern):
            raise ValueError(f"--weights {text!r}: expected int8, int16, or VALUES=int16 such as 'high.*=int16'")
        if equals:
            rest.pop(pattern, None)  # a pattern that is given twice counts where it stands last
            rest[pattern] = width
        else:
            chosen = width
    return {"*": chosen, **rest}


def _fitting(value: Any, kind: type) -> Any:
    """`value` as `kind`, or None."""
    if kind is tuple:
        items = [value] if isinstance(value, str) else value
        return tuple(items) if isinstance(items, list | tuple) and all(isinstance(i, str) for i in items) else None
    if kind is str and type(value) is int:  # tare = 20
        return str(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    return value if type(value) is kind else None


def _nearest(key: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
