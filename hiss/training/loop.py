"""The epochs: draw, update, validate, keep the best, stop early, and a checkpoint from which all that continues.

An epoch is `epoch_steps` updates. last.safetensors is written at its end, so what an interrupt loses is less than one
epoch, and resuming repeats that epoch with the same windows and the same dropout: the same curve, bit for bit.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

from hiss.dataset import Batch, Windows
from hiss.errors import TrainingError
from hiss.files import write_together
from hiss.program.storage import pack_tensors, read, unpack_tensors
from hiss.training.group import Group
from hiss.training.learner import Learner, adamw
from hiss.training.run import LAST, LOG

COLUMNS = ("epoch", "step", "lr", "train_loss", "val_error", "best_val_error")


@dataclass
class Book:
    """What the loop knows beside the learner: rows of the log, and how long ago the best was."""

    rows: list[list[float]] = field(default_factory=list)
    best: float = float("inf")
    waited: int = 0

    def log(self) -> str:
        """The rows as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(self.rows)
        return text.getvalue()


class Progress:
    """Lines and a bar on stderr, or nothing."""

    def __init__(self, shown: bool):
        self.shown = shown

    def say(self, text: str) -> None:
        """One line."""
        if self.shown:
            click.echo(text, err=True)

    def bar(self, length: int, done: int) -> Any:
        """A context manager with `update(n)`; silent where there is nobody to look."""
        hidden = not self.shown
        bar = click.progressbar(length=length, label="training", file=sys.stderr, hidden=hidden)  # type: ignore[var-annotated]
        bar.update(done)
        return bar


def run_loop(
    learner: Learner,
    windows: Windows,
    val: Batch,
    seed: int,
    out: Path | None,
    progress: bool,
    resume: bool,
    save_best: Callable[[], None],
    watch: Callable[[int, float], None] = lambda step, error: None,
) -> nn.Module:
    """Train to the end and give the best network, plain. Raises TrainingError, KeyboardInterrupt, what watch raises.

    watch(step, best validation error): before the first update (inf), and after each validation.
    """
    options, book, rng = learner.options, Book(), np.random.default_rng(seed)
    best = learner.plain_network()
    if resume:
        best = _restore(learner, book, rng, best, out)
        learner.group.own_masks(seed + learner.step)
    shown = Progress(progress)
    if progress and learner.step == 0:
        shown.say(f"about {forecast_s(learner, windows, val, seed) / 60:.1f} minutes to train at most")
    watch(learner.step, book.best)
    with shown.bar(options.n_steps, learner.step) as bar:
        while learner.step < options.n_steps and book.waited < options.n_patience:
            better = _epoch(learner, windows, val, rng, book, bar)
            if better:
                best = learner.plain_network()
            if out and learner.group.first:
                if better:
                    save_best()
                _checkpoint(learner, book, rng, best, out)
            watch(learner.step, book.best)
    if book.waited >= options.n_patience:
        shown.say(f"stopped early: {book.waited} validations without a better one")
    return best


def _epoch(learner: Learner, windows: Windows, val: Batch, rng: np.random.Generator, book: Book, bar: Any) -> bool:
    """Updates up to the next validation; True when that is the best so far."""
    options, losses = learner.options, []
    count = min(options.epoch_steps, options.n_steps - learner.step)
    for _ in range(count):
        losses.append(learner.update(windows.draw(rng, options.batch)))
        bar.update(1)
    error = learner.group.agreed(learner.validate(val) if learner.group.first else 0.0) ** 0.5
    better = error < book.best
    book.best, book.waited = (error, 0) if better else (book.best, book.waited + 1)
    lr = learner.optimiser.param_groups[0]["lr"]
    known = [loss for loss in losses if not math.isnan(loss)]
    mean = float(np.mean(known)) if known else 0.0
    book.rows.append([len(book.rows) + 1, learner.step, lr, mean, error, book.best])
    return better


def forecast_s(learner: Learner, windows: Windows, val: Batch, seed: int) -> float:
    """Seconds that all updates and validations will take, from a few on a copy."""
    trial, rng = copy.deepcopy(learner), np.random.default_rng(seed)
    trial.group = Group()  # the others do not take part
    with torch.random.fork_rng():
        trial.optimiser = adamw(trial.network.parameters())
        trial.peaks = [0.0]
        step = _median_s(lambda: trial.update(windows.draw(rng, learner.options.batch)))
        check = _median_s(lambda: trial.validate(val))
    return learner.options.n_steps * (step / learner.group.size + check / learner.options.epoch_steps)


def _median_s(work: Callable[[], object]) -> float:
    """Seconds of one call: the median of five, after two that warm caches and threads up."""
    taken = []
    for _ in range(7):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[2:]))


def _checkpoint(learner: Learner, book: Book, rng: np.random.Generator, best: nn.Module, out: Path) -> None:
    arrays = learner.state() | {f"best.{k}": v.numpy() for k, v in best.state_dict().items()}
    header = {
        "step": learner.step,
        "rows": book.rows,
        "best": book.best,
        "waited": book.waited,
        "rng": rng.bit_generator.state,
        "options": learner.options.to_json(),
    }
    write_together({out / LAST: pack_tensors("checkpoint", header, arrays), out / LOG: book.log().encode()})


def _restore(learner: Learner, book: Book, rng: np.random.Generator, best: nn.Module, out: Path | None) -> nn.Module:
    if out is None:
        raise ValueError("resume needs the directory of the run that was interrupted (out)")
    header, arrays = unpack_tensors(read(out / LAST), "checkpoint", str(out / LAST))
    if header.get("options") != json.loads(json.dumps(learner.options.to_json())):
        raise TrainingError(f"{out}: was trained with other options; resume with the same, or train anew")
    learner.restore(arrays, int(header["step"]))
    try:
        best.load_state_dict({k[5:]: torch.from_numpy(np.array(v)) for k, v in arrays.items() if k.startswith("best.")})
        rng.bit_generator.state = header["rng"]
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{out / LAST}: does not fit this model ({error}); train anew") from error
    book.rows, book.best, book.waited = header["rows"], float(header["best"]), int(header["waited"])
    return best
