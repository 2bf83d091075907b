"""hiss pretrain: a network that knows the sensor, from recordings without labels."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import click

from hiss.cli.levels import with_sets
from hiss.cli.settings import Settings, option_value, settings_from
from hiss.cli.stream import Positive, errors_reported, usage
from hiss.files import check_folder


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder. [runs/pretrained]")
@click.option("--task", type=click.Choice(["next", "masked"]), default="next", show_default=True, help="What to learn.")
@click.option("--inputs", multiple=True, help="Channels to learn from, such as m*. [all but --target]")
@click.option("--target", multiple=True, help="Columns of a CSV file that are labels: they are left out.")
@click.option("--rate", type=Positive(), metavar="HZ", help="Sample rate in Hz. [that of the files]")
@click.option("--period", type=click.IntRange(min=1), help="Samples per chunk. [about 0.1 s]")
@click.option("--tare", help="Samples at the start whose mean is taken off, or auto. [auto]")
@click.option("--low", help="Low level, as in hiss train. [32x2]")
@click.option("--high", help="High level. [32x2]")
@click.option("--restart/--no-restart", default=None, help="Low level anew in every chunk. [with]")
@click.option("--flat", help="One stack over every sample instead of two levels.")
@click.option("--d-state", type=int, help="Real states per channel of S4D. [16]")
@click.option("--seed", type=click.IntRange(min=0), help="Same seed, same checkpoint. [0]")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="A key of training, such as steps=3000.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    files: tuple[Path, ...],
    out: Path | None,
    task: str,
    resume: bool,
    as_json: bool,
    sets: tuple[str, ...],
    **given: Any,
) -> None:
    """Pretrain a network on FILES, labelled or not: it learns to say the next chunk of samples, or hidden ones.

    \b
    Example:
      hiss pretrain walks.h5 --rate 50 --period 10 -o runs/walks
      hiss train labelled.h5 --target 'vel_*' --from-pretrained runs/walks --labels 10%

    next: after each chunk, all samples of the one after it. masked: spans of samples are hidden, and are to be said at
    the end of their chunk. Test recordings are left out, as in hiss train. Exit codes: 0 done, 2 usage or a file that
    cannot be read, 7 not written, 130 interrupted: the last checkpoint is kept (--resume).
    """
    with errors_reported():
        keys = {key: value for key, value in given.items() if value not in (None, ())}
        keys |= {"files": [str(f) for f in files], "out": str(out or Path("runs") / "pretrained")}
        keys, sets = with_sets(keys, sets)
        keys |= dict(usage(option_value, text) for text in sets)
        _pretrain(usage(settings_from, keys, "command line"), task, resume, as_json)


def _pretrain(settings: Settings, task: str, resume: bool, as_json: bool) -> None:
    from hiss.recording import read_recordings, split
    from hiss.training import pretrain
    from hiss.training.memory import keep_freed_memory

    keep_freed_memory()
    train = split(read_recordings(*settings.files, rate_hz=settings.rate))[0]
    rate = settings.rate or next((r.rate_hz for r in train if r.rate_hz), None)
    if rate is None:
        raise click.UsageError("the recordings have irregular stamps; give the rate to train at, such as --rate 50")
    settings = dataclasses.replace(settings, rate=rate, period=settings.period or max(1, round(rate / 10)), base=False)
    out, began = Path(settings.out or ""), time.perf_counter()
    check_folder(out)
    seconds = sum(r.duration_s for r in train)
    click.echo(f"{len(train)} recordings to learn from, {seconds / 60:.1f} minutes; task {task}", err=True)
    try:
        run = pretrain(
            usage(settings.spec, settings.period or 1),
            train,
            task=task,
            leave=settings.target,
            inputs=settings.inputs,
            rate_hz=settings.rate,
            tare=usage(settings.tare_samples),
            options=usage(settings.train_options),
            out=out,
            seed=settings.seed,
            resume=resume,
            about={"settings": settings.to_json() | {"task": task}},
        )
    except KeyboardInterrupt:
        click.echo(f"interrupted; go on with the same command and --resume (a checkpoint lies in {out})", err=True)
        raise SystemExit(130) from None
    took = time.perf_counter() - began
    click.echo(f"{out}: pretrained in {took:.0f} s; go on with: hiss train ... --from-pretrained {out}", err=True)
    if as_json:
        parameters = sum(p.numel() for p in run.module.parameters())
        click.echo(json.dumps({"run": str(out), "task": task, "seconds": took, "parameters": parameters}))
