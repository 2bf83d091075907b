"""hiss train: a model from recordings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiss.changes import KINDS
from hiss.cli.from_pretrained import load_pretrained, spec_on, taken_over
from hiss.cli.handling import POLICY
from hiss.cli.levels import with_sets
from hiss.cli.preset import preset_of
from hiss.cli.reading import show_reading
from hiss.cli.settings import Settings, option_value, read_toml, settings_from, share_of, weight_choice
from hiss.cli.settling import channels_of, series_of, settled
from hiss.cli.stream import Positive, errors_reported, usage
from hiss.errors import HissError, TrainingError
from hiss.files import check_folder
from hiss.gaps import Gaps
from hiss.spool import spooled_in

if TYPE_CHECKING:
    from hiss.recording import Recording
    from hiss.training import Run

FINE_TUNING = {"steps": 300, "lr": 5e-4, "ssm_lr": 2e-4}
"""What --from changes of the defaults: shorter, and in smaller steps."""
QUANTIZE_AWARE = {"steps": 300, "lr": 5e-4, "ssm_lr": 2e-4, "weight_decay": 0.0, "warmup_steps": 20, "ema": 0.95}
"""What --quantize-aware changes: the network is to stay where it is, so nothing pulls its weights to 0."""


FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--preset", help="As a data set of `hiss datasets list` says; FILES is its folder as it was downloaded.")
@click.option("--target", multiple=True, help="What to estimate: a name, several (repeat, or commas), or vel_*.")
@click.option("--inputs", multiple=True, help="Channels to estimate from, such as m*. [all that are not targets]")
@click.option("--rate", type=Positive(), metavar="HZ", help="Sample rate in Hz. [that of the files]")
@click.option("--period", type=click.IntRange(min=1), help="Samples per estimate. [about 0.1 s]")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder. [runs/TARGET]")
@click.option("--tare", help="Samples at the start whose mean is taken off, or auto: as the files are. [auto]")
@click.option("--low", metavar="LEVEL", help="Low level, [FAMILY:]d_model x layers, such as mamba:32x2. [s4d:32x2]")
@click.option("--high", metavar="LEVEL", help="High level. [mamba:32x2; s4d:32x2 beside the base of tared recordings]")
@click.option("--restart/--no-restart", default=None, help="Low level anew in every chunk, as in the paper. [with]")
@click.option("--flat", metavar="LEVEL", help="One stack over every sample instead of the two levels.")
@click.option("--d-state", type=int, help="Real states per channel of S4D levels. [16]")
@click.option("--gap", metavar="POLICY", help=f"Of pauses in recordings: {POLICY}, as in live. [interpolate]")
@click.option("--model", type=click.Choice(["hiss", "arnet"]), help="hiss, or arnet: linear in its lags. [hiss]")
@click.option("--lags", type=click.IntRange(min=1), help="Of arnet: longest lag + 1. [400, fewer for many channels]")
@click.option(
    "--fit", type=click.Choice(["auto", "exact", "sparse", "sgd"]), help="Of arnet. [auto: by cross-validation]"
)
@click.option("--sparsity", type=float, help="Of arnet, fit sgd: share of lags expected to count. [1]")
@click.option("--range", multiple=True, metavar="CHANNEL=FIRST:LAST", help="Of arnet: ages of a channel. [all]")
@click.option("--own", type=click.IntRange(min=0), help="Of arnet: past estimates that it reads back. [0]")
@click.option("--chunk-rate", is_flag=True, default=None, help="Of arnet: ages beyond a period are kept a row a chunk.")
@click.option("--hidden", help="Of arnet: hidden layers, such as 16x8. [none: linear]")
@click.option("--change", type=click.Choice(list(KINDS)), help="Estimate how --target, a position, moved since before.")
@click.option("--forecast", type=click.IntRange(min=1), metavar="N", help="Estimate --target 1 to N samples later.")
@click.option("--denoise", type=click.IntRange(min=0), metavar="K", help="Estimate --target of K samples before.")
@click.option("--noise-sd", type=Positive(), metavar="SD", help="With --denoise: deviation of the noise, where known.")
@click.option("--base/--no-base", default=None, help="With or without the exactly fitted linear part. [with]")
@click.option(
    "--rival",
    metavar="LEVEL",
    help="Trained without the base as well: [LOW|]HIGH[+...] or none.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Same seed, same checkpoint. [0]")
@click.option("--device", help="cpu, cuda, cuda:1, auto. [auto]")
@click.option("--bf16", is_flag=True, default=None, help="Matrix products in bfloat16, where the machine has it.")
@click.option("--compile", is_flag=True, default=None, help="With torch.compile, where there is a compiler.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another key, as lr=1e-3 or low.dropout=0.")
@click.option("--from", "start", type=FOLDER, help="Fine-tune a run.")
@click.option("--from-pretrained", "pretrained", metavar="RUN", help="Start with the net of a run of hiss pretrain.")
@click.option("--labels", metavar="SHARE", help="Learn from so many of the labels, such as 10%. [all]")
@click.option("--resume", type=FOLDER, help="Go on with a run.")
@click.option("--quantize-aware", "aware", is_flag=True, help="With --resume: fine-tune the run for hiss quantize.")
@click.option("--weights", multiple=True, metavar="[VALUES=]int8|int16", help="Of --quantize-aware. [int8]")
@click.option("--stream", type=FOLDER, help="Recordings larger than memory lie in this folder while it trains.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    files: tuple[Path, ...],
    start: Path | None,
    resume: Path | None,
    aware: bool,
    weights: tuple[str, ...],
    stream: Path | None,
    as_json: bool,
    sets: tuple[str, ...],
    **given: Any,
) -> None:
    """Train on FILES (HDF5 or CSV recordings), or as a config.toml with the same keys says.

    \b
    Example:
      hiss train skin.h5 --target force --rate 20 --period 5 -o runs/skin
      hiss train skin.h5 --target force --high s4d:32x2 --set high.d_state=8
      hiss train config.toml
      hiss train mine.csv --from runs/skin -o runs/mine
      hiss train yosemite.csv --model arnet --forecast 12
      hiss train --preset marker_writing marker_writing_hiss_dataset
      hiss train walk.csv --model arnet --target acc_x --denoise 5
      hiss train --resume runs/skin
      hiss train --resume runs/skin --quantize-aware -o runs/skin-int8

    --quantize-aware keeps RUN and makes another one [RUN-aware]: it learns to say with int8 weights (--weights, as in
    hiss quantize) what RUN says. Test recordings are left out: those that the file marks, or the last fifth. Settings
    are printed, and kept in run.json. Exit codes: 0 done, 2 usage, a file that cannot be read, or training that cannot
    go on, 7 not written, 130 interrupted: the last checkpoint is kept.
    """
    with errors_reported():
        given = {key: value for key, value in given.items() if value not in (None, ())}
        if aware or weights:
            settings, start = _aware(files, start, resume, aware, weights or ("int8",), sets, given), resume
            resume = None
        elif resume and (files or sets or start or given):
            raise click.UsageError("--resume goes on as the run was asked for; give nothing else with it but --json")
        else:
            settings, start = _resumed(resume) if resume else (_asked(files, given, sets, start), start)
        with spooled_in(stream):
            _train(settings, start, resume, as_json)


def _aware(
    files: tuple[Path, ...],
    start: Path | None,
    run: Path | None,
    aware: bool,
    weights: tuple[str, ...],
    sets: tuple[str, ...],
    given: dict[str, Any],
) -> Settings:
    """The settings of fine-tuning `run` for integers: its own files and targets, a folder beside its own."""
    if not aware or run is None or files or start or set(given) - {"out", "seed", "device"}:
        raise click.UsageError(
            "--quantize-aware fine-tunes a run on its own files: give --resume RUN with it, and at most --weights, -o, "
            "--seed, --device, --set"
        )
    before, _ = _resumed(run)
    if before.quantize_aware:
        raise click.UsageError(f"{run} is quantize-aware already; fine-tune the run that it was made of")
    usage(weight_choice, weights)
    chosen = dict(usage(option_value, text) for text in sets)
    out = str(given.pop("out", run.parent / f"{run.name}-aware"))
    if Path(out).resolve() == run.resolve():
        raise click.UsageError(f"{out}: is the run that is fine-tuned; give another folder with -o")
    return dataclasses.replace(
        before, **given, out=out, quantize_aware=weights, options={**before.options, **QUANTIZE_AWARE, **chosen}
    )


def _train(settings: Settings, start: Path | None, resume: Path | None, as_json: bool) -> None:
    from hiss.folding import limits
    from hiss.recording import read_recordings, split
    from hiss.training import Run, fit
    from hiss.training.group import rank_of_environment
    from hiss.training.memory import keep_freed_memory

    keep_freed_memory()
    source = Run.load(start) if start else None
    if settings.of_series:
        settings, recordings = series_of(settings)
    else:
        recordings = read_recordings(*settings.files, targets=settings.target, rate_hz=settings.rate)
    train = split(recordings)[0]
    pretrained = load_pretrained(settings.pretrained) if settings.pretrained and source is None else None
    if pretrained:
        settings = taken_over(settings, pretrained)
    settings = settled(settings, train, source)
    out = Path(settings.out or "run")
    first = rank_of_environment() == 0  # of several processes one speaks and writes
    if first:
        _print(settings, train)
    began = time.perf_counter()
    about: dict[str, Any] = {"settings": _all_keys(settings), "files": _fingerprints(settings.files)}
    if start:
        about["from"] = str(start.resolve())
    spec = source.spec if source else usage(settings.spec, settings.period or 1, channels_of(settings, train))
    spec = spec_on(settings, pretrained) if pretrained else spec
    for text in limits(spec):
        click.echo(f"note: {text}", err=True)
    tare, options = usage(settings.tare_samples), usage(settings.train_options)
    if tare is not None and start is None and any(r.tared for r in train):
        click.echo("note: --tare changes nothing, as the recordings are tared already", err=True)
    grids = _grids(source, settings.quantize_aware) if source and settings.quantize_aware else None
    if first:
        check_folder(out)  # before an hour of training, not after it
    before = _checkpoint(out)
    try:
        run = fit(
            spec,
            train,
            settings.target,
            inputs=settings.inputs,
            rate_hz=settings.rate,
            tare=tare,
            options=options,
            out=out,
            seed=settings.seed,
            device=settings.device,
            resume=resume is not None,
            start=source,
            grids=grids,
            about=about,
            forecast=settings.forecast,
            gaps=Gaps.parse(settings.gap),
            pretrained=pretrained,
        )
    except KeyboardInterrupt:
        kept = f"go on with: hiss train --resume {out}" if _checkpoint(out) != before else "no checkpoint was made yet"
        click.echo(f"interrupted; {kept}", err=True)
        raise SystemExit(130) from None
    if not first:
        return
    _report(run, out, time.perf_counter() - began, as_json)
    if settings.model == "arnet":
        show_reading(run, train, out / "lags.png", out / "lags.txt")


def _grids(run: Run, weights: tuple[str, ...]) -> dict[str, list[int]]:
    """Parameter -> bits of its rows, as quantizing the run's program with these widths would choose."""
    from hiss.folding import fold
    from hiss.folding.grids import weight_grids
    from hiss.quantization.weights import weight_bits

    program = fold(run)
    return weight_grids(run.module, program, usage(weight_bits, program, weight_choice(weights)))


def _checkpoint(out: Path) -> tuple[int, int] | None:
    """Which file the checkpoint is, to tell a new one from that of an earlier training."""
    path = out / "last.safetensors"
    return (path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None


def _report(run: Run, out: Path, seconds: float, as_json: bool) -> None:
    correction = getattr(run.module, "correction", None) is not None
    click.echo(f"{out}: trained in {seconds:.0f} s; score it with: hiss evaluate {out}", err=True)
    if as_json:
        parameters = sum(p.numel() for p in run.module.parameters())
        click.echo(
            json.dumps({"run": str(out), "seconds": seconds, "parameters": parameters, "correction": correction})
        )


def _asked(files: tuple[Path, ...], given: dict[str, Any], sets: tuple[str, ...], start: Path | None) -> Settings:
    """Defaults, then the config file, then the command line."""
    keys: dict[str, Any] = dict(FINE_TUNING) if start else {}
    preset = given.pop("preset", None)
    if preset:
        made, files = preset_of(preset, files, given.get("out"))
        keys |= made
    elif folders := [str(f) for f in files if f.is_dir()]:
        raise click.UsageError(f"{folders[0]} is a folder; give files, or say which data set it is with --preset")
    if len(files) == 1 and files[0].suffix == ".toml":
        config = usage(read_toml, files[0])
        here = files[0].parent  # paths in a config file count from where it lies
        keys |= {**config, "files": [str(here / f) for f in usage(settings_from, config, str(files[0])).files]}
    elif files:
        keys["files"] = [str(f) for f in files]
    keys |= given
    if isinstance(keys.get("labels"), str):
        keys["labels"] = usage(share_of, keys["labels"])
    keys, sets = with_sets(keys, sets)
    keys |= dict(usage(option_value, text) for text in sets)
    if isinstance(keys.get("out"), Path):
        keys["out"] = str(keys["out"])
    settings = usage(settings_from, keys, str(files[0]) if files else "command line")
    targets, inputs = (
        tuple(name.strip() for text in texts for name in text.split(",") if name.strip())
        for texts in (settings.target, settings.inputs)
    )
    if not settings.files:
        raise click.UsageError("no recordings: give FILES, or files = [...] in the config")
    if settings.quantize_aware:
        raise click.UsageError("quantize_aware fine-tunes a run; use hiss train --resume RUN --quantize-aware")
    if not targets and not start and not settings.of_series:
        raise click.UsageError("what is to be estimated? Give --target NAME")
    return dataclasses.replace(settings, target=targets, inputs=inputs)


def _resumed(run: Path) -> tuple[Settings, Path | None]:
    """The settings of an interrupted run, its files checked. Raises TrainingError."""
    from hiss.training.run import ABOUT, LAST, read_about

    if not (run / ABOUT).exists() or not (run / LAST).exists():
        raise TrainingError(f"{run}: nothing to resume, no checkpoint was written; train anew")
    about = read_about(run / ABOUT)
    try:
        settings = settings_from(about["settings"], str(run / ABOUT))
        files = {str(f["path"]): str(f["sha256"]) for f in about["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{run / ABOUT}: does not say how it was trained ({error}); train anew") from error
    check_files(files, "bring it back, or train anew")
    return dataclasses.replace(settings, out=str(run)), Path(about["from"]) if "from" in about else None


def check_files(files: dict[str, str], advice: str) -> None:
    """Raise TrainingError when a file of {path: sha256} is gone or has changed."""
    for path, digest in files.items():
        if not Path(path).is_file():
            raise TrainingError(f"{path}: the run was trained on it, but it is gone; {advice}")
        if sha256_of(Path(path)) != digest:
            raise TrainingError(f"{path}: has changed since the run was trained on it; {advice}")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file. Raises HissError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise HissError(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def _fingerprints(files: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"path": str(Path(f).resolve()), "sha256": sha256_of(Path(f))} for f in files]


def _all_keys(settings: Settings) -> dict[str, Any]:
    """Every choice, those left at their defaults too."""
    keys = settings.to_json() | usage(settings.train_options).to_json()
    return {k: list(v) if isinstance(v, tuple) else v for k, v in keys.items()}


def _print(settings: Settings, train: list[Recording]) -> None:
    for key, value in _all_keys(settings).items():
        click.echo(f"{key:>16} = {json.dumps(value)}", err=True)
    seconds = sum(r.duration_s for r in train)
    click.echo(f"{len(train)} recordings to train and validate on, {seconds / 60:.1f} minutes", err=True)
