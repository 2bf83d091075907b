"""hiss search: what does not fit is not trained, prices are those of the C that is written, a study goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("optuna")

from click.testing import CliRunner, Result  # noqa: E402

from hiss.cli import search_finals  # noqa: E402
from hiss.cli.evaluate import command as evaluate  # noqa: E402
from hiss.cli.search import command  # noqa: E402
from hiss.engines.core_bill import priced, usual_compiler  # noqa: E402
from hiss.errors import ExportError, TrainingError  # noqa: E402
from hiss.firmware_export.budget import parse_budget  # noqa: E402
from hiss.program import load_program  # noqa: E402
from hiss.recording import Recording, make_channels, split, write_hdf5  # noqa: E402
from hiss.search import Candidate, Price, Space, Study, Task, trial  # noqa: E402
from hiss.search.alone import _networks as networks  # noqa: E402
from hiss.search.alone import largest_that_fit  # noqa: E402
from hiss.search.finals import Final, Played, finals, play  # noqa: E402
from hiss.search.study import Row  # noqa: E402
from hiss.search.trial import Outcome, OverBudget, fits, held_out, run_trial  # noqa: E402
from hiss.training import TrainOptions  # noqa: E402

SPACE = """
low_width = [4, 24]
low_layers = 1
high_width = [4, 6]
high_layers = 1
d_state = 4
window_s = [0.0, 0.5]
lags = 4
"""
ASKED = ["--target", "force", "--period", "5", "--set", "steps=6", "--set", "epoch_steps=3", "--set", "batch=2"]
LIMITS = ["--flash", "9k", "--ram", "1k", "--insn", "9k"]


@pytest.fixture(scope="module")
def compiler() -> str:
    try:
        return usual_compiler("m4f")
    except ExportError as error:
        pytest.skip(str(error))


def recordings() -> list[Recording]:
    made = []
    for seed, name in enumerate("abc"):
        rng = np.random.default_rng(seed)
        x = np.cumsum(rng.normal(size=(300, 2)), 0).astype(np.float32) / 5
        y = (x[:, :1] * np.tanh(x[:, 1:])).astype(np.float32)
        channels = make_channels(["p", "q"], "uT"), make_channels(["force"], "N")
        mark = "test" if name == "c" else None
        made.append(Recording(name, np.arange(300) / 20, x, channels[0], y, channels[1], rate_hz=20, split=mark))
    return made


@pytest.fixture(scope="module")
def skin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    write_hdf5(folder / "skin.h5", recordings())
    (folder / "space.toml").write_text(SPACE)
    return folder


def search(skin: Path, out: Path, *more: str) -> Result:
    arguments = [str(skin / "skin.h5"), *ASKED, *LIMITS, "--space", str(skin / "space.toml"), "-o", str(out), *more]
    return CliRunner().invoke(command, arguments)


def task(compiler: str, limits: str) -> Task:
    options = TrainOptions(steps=6, epoch_steps=3, batch=2, least_base=0.5)
    train = tuple(split(recordings())[0])
    return Task(train, ("force",), 20.0, options=options, budget=parse_budget(limits), compiler=compiler)


SMALL = Candidate(5, 4, 1, 4, 1, 4, 0.5, 4)


@pytest.fixture(scope="module")
def studied(skin: Path, compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    done = search(skin, out, "--trials", "3")
    assert done.exit_code == 0, done.output
    return out


def test_the_winner_fits_and_its_price_is_that_of_the_c_that_is_written(studied: Path, compiler: str) -> None:
    program = load_program(studied / "winner" / "model.int.hiss")
    model, core = priced(program, "m4f", compiler)
    bill = json.loads((studied / "winner" / "firmware" / "bill.json").read_text())["models"][0]
    assert (bill["ram_bytes"], bill["cores"][0]["flash_bytes"]) == (model.ram_bytes, core.flash_bytes)
    assert (bill["cores"][0]["average"], bill["cores"][0]["worst"]) == (core.average, core.worst)
    assert bill["cores"][0]["mismatches"] == 0
    assert core.flash_bytes <= 9 * 1024
    assert model.ram_bytes <= 1024
    assert core.worst <= 9000


def test_the_winner_is_scored_as_the_search_says(skin: Path, studied: Path) -> None:
    arguments = [studied / "winner" / "run", "--program", studied / "winner" / "model.int.hiss"]
    done = CliRunner().invoke(evaluate, [*map(str, arguments), "--data", str(skin / "skin.h5"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["arithmetic"].startswith("int")


def test_the_best_final_wins_and_no_final_is_done_twice(skin: Path, studied: Path) -> None:
    played = {path.parent: json.loads(path.read_text()) for path in (studied / "finals").glob("*/outcome.json")}
    assert len({path.name[-1] for path in played}) == 3  # seeds
    best = min(played, key=lambda path: float(played[path]["error"]) + float(played[path]["learned"]))
    assert (studied / "winner" / "model.int.hiss").read_bytes() == (best / "model.int.hiss").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (studied / "finals").glob("*/outcome.json")}
    again = search(skin, studied, "--trials", "3")
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_final_of_another_search_is_done_anew_and_one_over_budget_has_no_outcome(
    compiler: str, tmp_path: Path
) -> None:
    asked = task(compiler, "ram=1m")
    first = Final(0, SMALL, 0, tmp_path / "0000-0", "one", asked.options)
    (one,), (kept,), (other,) = (
        list(play([final], asked, 1)) for final in (first, first, dataclasses.replace(first, key="another"))
    )
    assert one.outcome is not None
    assert one.outcome == kept.outcome
    assert other.outcome is not None
    assert other.outcome.seconds != one.outcome.seconds
    (dear,) = play([dataclasses.replace(first, key="dear")], task(compiler, "ram=10"), 1)
    assert dear.outcome is None
    assert "ram" in dear.text()


def test_finalists_are_the_best_of_different_programs() -> None:
    def row(number: int, error: float, width: int, states: str = "int32", seed: int = 0) -> Row:
        candidate = dataclasses.replace(SMALL, low_width=width, states=states)
        return Row(number, "done", candidate, seed, Price(width, 1, 1.0, 1, 1), error, {}, 1.0, "")

    rows = [row(0, 0.3, 9), row(1, 0.1, 5), row(2, 0.1, 5, "int16"), row(3, 0.2, 6)]
    found = finals(rows, 2, (7, 8), Path("out"), "key", TrainOptions())
    assert [(final.trial, final.seed) for final in found] == [(1, 7), (1, 8), (3, 7), (3, 8)]
    assert found[0].folder == Path("out/0001-7")
    again = [row(4, 0.3, 5, "int32", 1), row(5, 0.5, 5, "int16", 1)]  # those of 0.1 were lucky: 0.2 on average, and 0.3
    found = finals([row(6, 0.15, 7), *rows, *again], 3, (7,), Path("out"), "key", TrainOptions())
    assert [final.trial for final in found] == [6, 1, 3]


def test_of_finals_both_errors_count_and_one_over_budget_comes_last() -> None:
    def rank(error: float, learned: float) -> float:
        outcome = Outcome(SMALL, Price(1, 1, 1.0, 1, 1), error, learned, {}, [], 1.0)
        return Played(Final(0, SMALL, 0, Path("out"), "key", TrainOptions()), outcome).rank

    none = Played(Final(0, SMALL, 0, Path("out"), "key", TrainOptions()), None)
    assert rank(0.3, 0.3) < rank(0.2, 0.5) < rank(0.5, 0.4) < none.rank


@pytest.mark.parametrize("most", [0, 700, 1500, 4000, 10**9])
def test_the_largest_networks_that_fit_are_found_with_few_prices(most: int) -> None:
    """Where more weights cost more, they are the largest of all; and not one of hundreds is priced in vain."""
    asked = []

    def fit(candidate: Candidate) -> bool:
        asked.append(candidate)
        return weights(candidate) <= most

    def weights(candidate: Candidate) -> int:
        return sum(stack.least_weights for stack in candidate.spec().stacks())

    found = largest_that_fit(Space(), 5, 2, fit)
    every = [c for c in networks(Space(), 5) if weights(c) <= most]
    assert found == every[:2]
    assert all(not c.window_s and c.period == 5 for c in found)
    assert len(asked) == len(set(asked)) <= 60


def skin_task(compiler: str) -> Task:
    tared = tuple(dataclasses.replace(r, tared=10) for r in task(compiler, "insn=9k").train)
    return dataclasses.replace(task(compiler, "insn=9k"), train=tared, options=TrainOptions(steps=300, batch=4))


def test_on_tared_recordings_networks_without_a_base_are_among_the_finals(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the largest that fit as they will be trained, the best after a short training, from each seed, longer."""
    skin, seen, priced_as = skin_task(compiler), [], set()

    def fit(task: Task, candidate: Candidate) -> bool:
        priced_as.add(task.options.whiten)
        return fits(task, candidate)

    def played(todo: list[Final], task: Task, jobs: int) -> list[Played]:
        seen.extend(todo)
        outcomes = [Outcome(f.candidate, Price(1, 1, 1.0, 1, 1), f.candidate.low_width, 0.0, {}, [], 1.0) for f in todo]
        return [Played(f, o if i else None) for i, (f, o) in enumerate(zip(todo, outcomes, strict=True))]

    monkeypatch.setattr(search_finals, "fits", fit)
    monkeypatch.setattr(search_finals, "_played", played)
    space = Space((5,), (4, 24), (1,), (4, 6, 32), (1,), (4,), (0.0, 0.5), (4,), ("int8",), ("int32",))
    found = search_finals._alone(skin, space, 5, [], range(3, 5), tmp_path, "key", 1)
    final = dataclasses.replace(skin, options=skin.options.of_rival())
    fitting = [c for c in networks(space, 5) if fits(final, c)]
    assert priced_as == {0.0}
    assert 2 < len(fitting) < len(networks(space, 5))
    assert [(f.candidate, f.seed, f.options.steps, f.options.whiten) for f in seen] == [
        (candidate, 3, 1200, 0.0) for candidate in fitting
    ]
    best = min(fitting[1:], key=lambda c: c.low_width)  # the first has no outcome
    assert [(f.candidate, f.seed, f.options.steps) for f in found] == [(best, 3, 19200), (best, 4, 19200)]
    assert found[0].options.patience == 19200 // found[0].options.epoch_steps  # no stop before the end
    assert len({f.folder for f in [*seen, *found]}) == len(seen) + 2


def test_networks_without_a_base_are_no_finals_where_base_or_steps_were_set_or_nothing_is_tared(compiler: str) -> None:
    skin = skin_task(compiler)
    space = Space((5,), window_s=(0.0, 0.5))
    assert search_finals._alone_too(skin, space)
    assert not search_finals._alone_too(skin, dataclasses.replace(space, window_s=(0.5,)))
    assert not search_finals._alone_too(dataclasses.replace(skin, options=TrainOptions(steps=10)), space)
    untared = tuple(dataclasses.replace(r, tared=0) for r in skin.train)
    assert not search_finals._alone_too(dataclasses.replace(skin, train=untared), space)


def test_a_final_that_fails_has_no_outcome_and_fits_nothing(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: object) -> None:
        raise TrainingError("the loss became inf")

    asked, alone = task(compiler, "ram=1m"), dataclasses.replace(SMALL, window_s=0.0)
    assert fits(asked, alone)
    monkeypatch.setattr(trial, "_integers", failing)
    assert not fits(asked, alone)
    (played,) = play([Final(None, alone, 0, tmp_path / "one", "key", asked.options)], asked, 1)
    assert played.outcome is None
    assert played.text().endswith("failed (the loss became inf)")


def test_finals_are_said_to_take_what_updates_took_and_not_what_prices_did(
    compiler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = task(compiler, "ram=1m")
    outcome = run_trial(asked, dataclasses.replace(SMALL, window_s=0.0), tmp_path / "trial")
    assert 0 < outcome.update_s * asked.options.n_steps < outcome.seconds
    rows = [Row(n, "done", SMALL, 0, None, 0.1, {}, 60.0, "", update_s) for n, update_s in ((0, 0.2), (1, 0.4))]
    longer = TrainOptions(steps=1500)
    todo = [Final(trial, SMALL, 0, tmp_path, "key", longer) for trial in (0, 1, None)]
    search_finals._say("3 finals", todo, [*rows, dataclasses.replace(rows[0], number=2, update_s=0.0)], asked, 2)
    assert "3 finals: about 11.2 minutes at most" in capsys.readouterr().err  # (300 + 600 + 450) s / 2


def test_a_candidate_that_is_drawn_again_is_trained_from_another_seed(compiler: str, tmp_path: Path) -> None:
    bare = dataclasses.replace(SMALL, window_s=0.0)  # a network for certain
    one = {field.name: (getattr(bare, field.name),) for field in dataclasses.fields(bare)}
    study = Study(f"sqlite:///{tmp_path / 's.db'}", "s", "key")
    study.work(dataclasses.replace(task(compiler, "ram=1m"), seed=3), Space(**one), tmp_path, 3, lambda: 1.0)
    rows = study.rows()
    assert [row.seed for row in rows] == [3, 4, 5]
    assert len({row.error for row in rows}) == 3


def test_no_row_of_the_front_is_beaten_and_all_keep_the_budget(studied: Path) -> None:
    rows = json.loads((studied / "front.json").read_text())
    done = [row for row in rows if row["state"] == "done"]
    assert done
    assert all(row["price"]["worst"] <= 9000 and row["price"]["flash"] <= 9 * 1024 for row in done)
    front = [int(line[0]) for line in tables(studied / "front.md")[0]]
    assert front
    for number in front:
        one = rows[number]
        assert not any(
            row["error"] < one["error"] and row["price"]["average"] <= one["price"]["average"] for row in done
        )
    assert (studied / "front.png").stat().st_size > 1000


def tables(path: Path) -> list[list[list[str]]]:
    """Of a Markdown file: the cells of the rows of each table."""
    found: list[list[list[str]]] = []
    for line in path.read_text().splitlines():
        if line.startswith("|---"):
            found.append([])
        elif line.startswith("|") and found and not line.startswith(("| trial", "| seed")):
            found[-1].append([cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")])
    return found


def test_the_finals_stand_behind_the_trials_and_the_winner_first(studied: Path) -> None:
    _, finals = tables(studied / "front.md")
    core = json.loads((studied / "winner" / "firmware" / "bill.json").read_text())["models"][0]["cores"][0]
    assert finals[0][4:7] == [f"{core['average']:,.0f}", f"{core['worst']:,}", f"{core['flash_bytes']:,}"]
    kept = [json.loads(path.read_text()) for path in studied.glob("finals/*/outcome.json")]
    assert sorted(row[2] for row in finals) == sorted(f"{outcome['error']:.4g}" for outcome in kept)
    assert min(kept, key=lambda o: o["error"] + o["learned"])["price"]["worst"] == core["worst"]


def test_a_candidate_over_budget_is_priced_and_never_trained(compiler: str, tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(OverBudget, match="insn") as caught:
        run_trial(task(compiler, "insn=100"), SMALL, tmp_path / "t", lambda price, curve: seen.append(len(curve)))
    assert not seen
    assert caught.value.price.worst > 100
    assert not (tmp_path / "t").exists()


def test_a_trial_is_the_same_each_time_and_scored_on_what_fit_holds_out(compiler: str, tmp_path: Path) -> None:
    asked = task(compiler, "ram=1m")
    first, second = (run_trial(asked, SMALL, tmp_path / name) for name in "ab")
    assert (first.error, first.price, first.curve) == (second.error, second.price, second.curve)
    paths = [tmp_path / name / "model.int.hiss" for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [r.name for r in held_out(asked)] == ["a", "b"]
    assert [np.flatnonzero(r.valid).tolist() for r in held_out(asked)] == 2 * [list(range(240, 300))]  # the last fifth
    assert [len(r) for r in held_out(asked)] == [300, 300]  # reached from the start, as on a chip


def test_a_study_goes_on_with_what_is_missing_and_refuses_another_task(
    skin: Path, studied: Path, tmp_path: Path
) -> None:
    before = json.loads((studied / "front.json").read_text())
    again = search(skin, studied, "--trials", "4")
    assert again.exit_code == 0, again.output
    after = json.loads((studied / "front.json").read_text())
    assert len(after) == 4
    assert after[:3] == before
    other = search(skin, studied, "--trials", "4", "--seed", "1")
    assert other.exit_code == 2
    assert "another folder" in other.output


def test_two_workers_share_a_study(skin: Path, compiler: str, tmp_path: Path) -> None:
    done = search(skin, tmp_path / "s", "--trials", "2", "--jobs", "2")
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "s" / "front.json").read_text())
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert len(rows) in (2, 3)  # both may begin the last one


def test_a_training_that_cheaper_ones_have_beaten_is_given_up(tmp_path: Path) -> None:
    study = Study(f"sqlite:///{tmp_path / 's.db'}", "s", "key")
    for average, error in ((100.0, 0.5), (120.0, 0.6)):
        trial = study._study.ask()
        trial.set_user_attr("price", {"flash": 1, "ram": 1, "average": average, "worst": 1, "stack": None})
        trial.set_user_attr("curve", [[10, error], [20, error]])
        study._study.tell(trial, [error, average])
    dear, cheap = Price(1, 1, 200.0, 1, None), Price(1, 1, 110.0, 1, None)
    assert study._beaten(dear, [(20, 0.7)], 30)
    assert not study._beaten(dear, [(20, 0.58)], 30)  # not clearly worse
    assert not study._beaten(cheap, [(20, 0.7)], 30)  # one cheaper candidate is no reason
    assert not study._beaten(dear, [(5, 0.7)], 30)  # too early to say


def test_bad_input_is_named(skin: Path, compiler: str, tmp_path: Path) -> None:
    none = CliRunner().invoke(command, [str(skin / "skin.h5"), "--target", "force", "-o", str(tmp_path / "s")])
    assert none.exit_code == 2
    assert "what is the limit" in none.output
    (tmp_path / "bad.toml").write_text("low_widht = [4]\n")
    arguments = [str(skin / "skin.h5"), "--target", "force", "--ram", "1k", "--space", str(tmp_path / "bad.toml")]
    bad = CliRunner().invoke(command, [*arguments, "-o", str(tmp_path / "s")])
    assert bad.exit_code == 2
    assert "low_widht" in bad.output
    with pytest.raises(ValueError, match="d_state"):
        Space(d_state=())
    with pytest.raises(TrainingError, match="nowhere"):
        Study("nowhere://study", "s", "key")


def test_nothing_fits(skin: Path, compiler: str, tmp_path: Path) -> None:
    arguments = [str(skin / "skin.h5"), *ASKED, "--insn", "100", "--space", str(skin / "space.toml")]
    done = CliRunner().invoke(command, [*arguments, "-o", str(tmp_path / "s"), "--trials", "2"])
    assert done.exit_code == 2
    assert "nothing fits" in done.output
