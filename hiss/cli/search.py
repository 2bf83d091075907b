"""hiss search: the model with the least error that fits a chip."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiss.cli.settings import TARED, option_value
from hiss.cli.stream import Positive, errors_reported, usage
from hiss.errors import MissingExtraError, TrainingError
from hiss.files import check_folder

if TYPE_CHECKING:
    from hiss.firmware_export.bill import Bill
    from hiss.search import Outcome, Space, Study, Task
    from hiss.search.finals import Played
    from hiss.search.study import Row

SHORT = {"steps": 300}
"""Of every trial; finals are trained longer (hiss/cli/search_finals.py)."""
NAME = "hiss-search"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--target", multiple=True, required=True, help="What to estimate: a name, several, or vel_*.")
@click.option("--inputs", multiple=True, help="Channels to estimate from. [all that are not targets]")
@click.option("--rate", type=Positive(), metavar="HZ", help="Sample rate in Hz. [that of the files]")
@click.option("--period", type=click.IntRange(min=1), multiple=True, help="Samples per estimate; repeat for a choice.")
@click.option("--tare", type=click.IntRange(min=0), help="Samples whose mean is taken off. [as the files are]")
@click.option("--flash", help="Most bytes of code and tables, such as 32k.")
@click.option("--ram", help="Most bytes of one instance, such as 4k.")
@click.option("--insn", help="Most instructions of the worst sample, such as 20k.")
@click.option("--stack", help="Most bytes of stack.")
@click.option("--core", default="m4f", show_default=True, help="m0 m3 m4f (m4) m7 m33 m55 rv32imc atmega328p.")
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), default="study", show_default=True)
@click.option("--trials", type=click.IntRange(min=1), default=100, show_default=True, help="Candidates in all.")
@click.option("--minutes", type=Positive(), help="Begin no trial after so long. [no limit]")
@click.option("--finalists", type=click.IntRange(min=1), default=6, show_default=True, help="Trained in full, behind.")
@click.option("--final-seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Of each finalist.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trials at once, a thread each.")
@click.option("--storage", metavar="URL", help="Where the study is kept; machines may share it. [SQLite in OUT]")
@click.option("--space", "space_file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML file.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of training and proposals.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Of every trial, as in hiss train. [steps=300]")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    files: tuple[Path, ...],
    target: tuple[str, ...],
    out: Path,
    trials: int,
    minutes: float | None,
    finalists: int,
    final_seeds: int,
    jobs: int,
    storage: str | None,
    space_file: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Search the model of least error on FILES that fits a chip: its sizes, period, states and number formats.

    \b
    Example:
      hiss search skin.h5 --target force --flash 32k --ram 4k --insn 20k --core m4f -o study
      hiss search skin.h5 --target force --insn 20k --storage postgresql://host/hiss --jobs 8

    Each candidate is folded, quantized, compiled and counted on the emulated core before it is trained; over budget, it
    is not trained at all. Its error is that of the integer program on the validation recordings. A search goes on
    where it ended; several processes and machines may share a storage. OUT holds front.md, front.json and front.png
    (error against instructions), and winner/: the run, its program in integers, and the C with its bill. Trials are
    short, and one that is drawn again starts from another seed; the best, on average, are trained in full at the end
    (--finalists), on tared recordings also the best of the largest networks without a base that fit, which trials are
    too short for; of all those the least mean error on validation and on what it learned from wins. --space: a TOML
    file of choices, such as low_width = [8, 16] (hiss/search/candidate.py names them).
    Exit codes: 0 done, 2 usage, a file that cannot be read, or nothing fits, 7 not written, 130 interrupted.
    """
    from hiss.cli.search_finals import play_finals
    from hiss.search.winner import make_winner

    with errors_reported():
        check_folder(out)
        task = _task(files, target, given)
        space = _space(space_file, given["period"], task.rate_hz)
        url, key = storage or f"sqlite:///{(out / 'study.db').resolve()}", _key(files, task, space)
        study = _opened(url, key, task.seed)
        study.ask_first(space)
        _say_task(task, study, trials, url)
        try:
            _work(url, key, task, space, out, trials, minutes, jobs)
            _report(study, out)
            searched = _best(study, out)
            played = play_finals(task, space, study, out / "finals", key, finalists, final_seeds, jobs)
        except KeyboardInterrupt:
            _report(study, out)
            click.echo("interrupted; the same command goes on", err=True)
            raise SystemExit(130) from None
        _report(study, out, played)
        outcome, bill = make_winner(task, searched, played, out / "winner", lambda text: click.echo(text, err=True))
        facts = {**outcome.to_json(), "bill": bill.to_json()}
        click.echo(json.dumps(facts, indent=1) if as_json else _said(outcome, bill, out, files))


def _task(files: Sequence[Path], target: Sequence[str], given: dict[str, Any]) -> Task:
    from hiss.engines.core_bill import usual_compiler
    from hiss.firmware_export.budget import parse_budget
    from hiss.recording import read_recordings, split
    from hiss.search import Task
    from hiss.training import TrainOptions

    limits = ",".join(f"{item}={given[item]}" for item in ("flash", "ram", "insn", "stack") if given[item])
    if not limits:
        raise click.UsageError("what is the limit? Give --flash, --ram, --insn or --stack")
    targets, inputs = (_names(texts) for texts in (target, given["inputs"]))
    train = split(read_recordings(*files, targets=targets, rate_hz=given["rate"]))[0]
    rate = given["rate"] or next((r.rate_hz for r in train if r.rate_hz), None)
    if rate is None:
        raise click.UsageError("the recordings have irregular stamps; give the rate to train at, such as --rate 50")
    core = {"m4": "m4f"}.get(given["core"], given["core"])
    tared = any(r.tared for r in train) or bool(given["tare"])
    chosen = {**SHORT, **(TARED if tared else {}), **dict(option_value(text) for text in given["sets"])}
    options = usage(lambda: TrainOptions(**chosen))  # type: ignore[arg-type]
    return Task(
        train=tuple(train),
        target=targets,
        rate_hz=rate,
        inputs=inputs,
        tare=given["tare"],
        options=options,
        seed=given["seed"],
        budget=usage(parse_budget, limits),
        core=core,
        compiler=usage(usual_compiler, core),
    )


def _names(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


def _space(path: Path | None, periods: Sequence[int], rate_hz: float) -> Space:
    """The choices: periods around a tenth of a second, unless they are given; others from a TOML file."""
    from hiss.cli.settings import read_toml
    from hiss.search import Space

    about = max(1, round(rate_hz / 10))
    chosen: dict[str, Any] = {"period": tuple(periods) or tuple(sorted({max(1, about // 2), about, 2 * about}))}
    known = [f.name for f in dataclasses.fields(Space)]
    for key, value in (usage(read_toml, path) if path else {}).items():
        if key not in known:
            raise click.UsageError(f"{path}: unknown key {key!r}; known: {', '.join(known)}")
        chosen[key] = tuple(value) if isinstance(value, list) else (value,)
    space = usage(lambda: Space(**chosen))
    usage(lambda: [candidate.spec() for candidate in space.first()])
    return space


def _key(files: Sequence[Path], task: Task, space: Space) -> str:
    """A fingerprint of everything that a trial's outcome depends on."""
    from hiss.cli.train import sha256_of

    parts = [
        [sha256_of(path) for path in files],
        [task.target, task.inputs, task.rate_hz, task.tare, task.seed, task.core, task.compiler],
        dict(task.budget.limits),
        task.options.to_json(),
        dataclasses.asdict(space),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _opened(url: str, key: str, seed: int) -> Study:
    from hiss.search import Study

    return Study(url, NAME, key, seed)


def _work(
    url: str, key: str, task: Task, space: Space, out: Path, trials: int, minutes: float | None, jobs: int
) -> None:
    """All trials, in this process or in several; a line for each that ends."""
    from hiss.training.memory import keep_freed_memory

    end = time.time() + 60 * minutes if minutes else float("inf")
    watcher = _Watcher(_opened(url, key, task.seed))
    if jobs == 1:
        keep_freed_memory()
        study = _opened(url, key, task.seed)
        while study.done < trials and time.time() < end:
            study.work(task, space, out, study.done + 1, lambda: end - time.time())
            watcher.look()
        return
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    each = [
        context.Process(target=_worker, args=(url, key, task, space, out, trials, end, job), daemon=True)
        for job in range(jobs)
    ]
    for process in each:
        process.start()
    try:
        while any(process.is_alive() for process in each):
            time.sleep(0.5)
            watcher.look()
    finally:
        for process in each:
            process.terminate()
            process.join()
    watcher.look()
    if failed := [process.exitcode for process in each if process.exitcode]:
        raise TrainingError(f"{len(failed)} of {jobs} workers ended early (see above); the same command goes on")


def _worker(
    url: str, key: str, task: Task, space: Space, out: Path, trials: int, end: float, job: int
) -> None:  # in a process of its own
    from hiss.training.worker import become_worker

    become_worker()
    with errors_reported():
        _opened(url, key, task.seed + job).work(task, space, out, trials, lambda: end - time.time())


class _Watcher:
    """Tells each trial once, when it has ended."""

    def __init__(self, study: Study):
        self._study = study
        self._told = {row.number for row in study.rows() if row.state != "running"}

    def look(self) -> None:
        """Tell what is new."""
        for row in self._study.rows():
            if row.state != "running" and row.number not in self._told:
                self._told.add(row.number)
                click.echo(row.text(), err=True)


def _say_task(task: Task, study: Study, trials: int, url: str) -> None:
    limits = ", ".join(f"{item} {most:,}" for item, most in task.budget.limits.items())
    seconds = sum(r.duration_s for r in task.train)
    click.echo(f"{len(task.train)} recordings to train and validate on, {seconds / 60:.1f} minutes", err=True)
    click.echo(f"on {task.core} ({task.compiler}): {limits}; {study.done} of {trials} trials are done", err=True)
    click.echo(f"study: {url}", err=True)


# ---- what was found ----


def _report(study: Study, out: Path, played: Sequence[Played] = ()) -> None:
    """The files of the front."""
    from hiss.search.front import write_front

    try:
        write_front(study, out, played)
    except MissingExtraError as error:
        click.echo(f"no plot: {error}", err=True)


def _best(study: Study, out: Path) -> Row:
    if (row := study.winner()) is None:
        raise TrainingError(f"nothing fits the budget ({out / 'front.json'}); allow more, or search longer")
    return row


def _said(outcome: Outcome, bill: Bill, out: Path, files: Sequence[Path]) -> str:
    rmse = ", ".join(f"{name} {value:.4g}" for name, value in outcome.rmse.items())
    return (
        f"{bill.text()}\n\nRMSE in integers on validation: {rmse} ({outcome.candidate.text()})\n"
        f"{out / 'winner'}: run, model.int.hiss, firmware; score it with: "
        f"hiss evaluate {out / 'winner' / 'run'} --program {out / 'winner' / 'model.int.hiss'} "
        + " ".join(f"--data {path}" for path in files)
    )
