"""Comparisons: a cell equals what the verbs say one by one, what is done stays, wrong plans are said at once."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402

from hiss.cli.compare import command  # noqa: E402
from hiss.cli.evaluate import command as evaluate_command  # noqa: E402
from hiss.compare import cells, read_plan  # noqa: E402
from hiss.models.spec import FAMILIES  # noqa: E402
from hiss.recording import Recording, make_channels, read_recordings, write_hdf5  # noqa: E402
from hiss.training import rival  # noqa: E402

PLAN = """
seeds = [0, 1]
[train]
steps = 4
epoch_steps = 2
batch = 2
window_samples = 60
[data.skin]
files = ["skin.h5"]
target = "force"
rate = 20
period = 5
windows = "4x3s"
ridge_windows_s = [0.5, 1.0]
[models.flat]
kind = "Flat"
net = { kind = "S4D", d_model = 4, n_layers = 1, d_state = 4 }
train = { lr = 1e-3 }
[models.lags]
kind = "Ridge"
lags = 6
[models.features]
kind = "Ridge"
lags = 6
features = 16
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    recordings = []
    for seed, name in enumerate("abc"):
        rng = np.random.default_rng(seed)
        x = np.cumsum(rng.normal(size=(400, 2)), 0).astype(np.float32) / 5
        y = x[:, :1] * np.tanh(x[:, 1:])
        channels = make_channels(["p", "q"], "uT"), make_channels(["force"], "N")
        split = "test" if name == "c" else None
        recordings.append(Recording(name, np.arange(400) / 20, x, channels[0], y, channels[1], rate_hz=20, split=split))
    write_hdf5(tmp_path / "skin.h5", recordings)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def compare(folder: Path, *options: str) -> str:
    done = CliRunner().invoke(command, [str(folder / "plan.toml"), "--no-integers", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_cell_says_what_evaluate_says_of_its_run(folder: Path) -> None:
    compare(folder, "--quick")
    cell = json.loads((folder / "plan/skin/flat/0/cell.json").read_text())
    run = str(folder / "plan/skin/flat/0/run")
    options = ["--data", str(folder / "skin.h5"), "--windows", "4x3s", "--seed", "1234", "--json"]
    said = CliRunner().invoke(evaluate_command, [run, *options])
    found = json.loads(said.stdout.splitlines()[-1])
    assert cell["nmse"] == pytest.approx(found["nmse"], rel=1e-12)
    assert cell["outputs"]["force"]["rmse"] == pytest.approx(found["outputs"]["force"]["rmse"], rel=1e-12)


def test_what_is_done_stays_and_what_is_missing_is_done(folder: Path) -> None:
    compare(folder)
    cells_made = {path: path.read_bytes() for path in folder.rglob("cell.json")}
    assert len(cells_made) == 5  # the exact ridge has nothing to draw: one seed
    shutil.rmtree(folder / "plan/skin/flat/1")
    compare(folder)
    again = {path: path.read_bytes() for path in folder.rglob("cell.json")}
    gone = folder / "plan/skin/flat/1/cell.json"
    assert {p for p in again if again[p] != cells_made[p]} == {gone}  # it took another time
    assert json.loads(again[gone])["nmse"] == json.loads(cells_made[gone])["nmse"]


def test_a_cell_of_another_plan_or_other_files_is_not_done(folder: Path) -> None:
    compare(folder, "--quick")
    plan = folder / "plan.toml"

    def todo() -> set[str]:
        return {c.entry.name for c in cells(read_plan(plan), folder / "plan") if c.seed == 0 and c.found is None}

    assert todo() == set()
    plan.write_text(PLAN.replace("steps = 4", "steps = 6"))
    assert todo() == {"flat"}
    plan.write_text(PLAN.replace("lags = 6\nfeatures", "lags = 7\nfeatures"))
    assert todo() == {"features"}
    plan.write_text(PLAN.replace("4x3s", "5x3s"))
    assert todo() == {"flat", "lags", "features"}


RIVALS = """
[models.both]
kind = "Residual"
base = { kind = "ARNet", windows_s = [0.5] }
[models.both.correction]
kind = "Hierarchical"
low = { kind = "S4D", d_model = 4, n_layers = 1, d_state = 4 }
high = { kind = "S4D", d_model = 4, n_layers = 1, d_state = 4 }
[models.both.rival]
kind = "Flat"
net = { kind = "S4D", d_model = 6, n_layers = 1, d_state = 4 }
[models.both.train]
least_base = 0.0
min_gain = 0.0
"""


@pytest.mark.parametrize(("error", "log"), [(0.0, "without_base/log.csv"), (9.0, "log.csv")])
def test_the_validation_error_of_a_cell_is_that_of_the_network_that_was_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: float, log: str
) -> None:
    monkeypatch.setattr(rival, "mean_of_squares", lambda module, checks: error)  # of the rival
    (folder / "plan.toml").write_text(PLAN + RIVALS)
    compare(folder, "--quick", "--only", "both")
    made = folder / "plan/skin/both/0"
    found = json.loads((made / "cell.json").read_text())
    errors = [float((made / "run" / name).read_text().split(",")[-1]) for name in (log, "log.csv")]
    assert found["val_error"] == errors[0]
    assert (errors[0] == errors[1]) == (log == "log.csv")


ENSEMBLE = """
[models.pair]
kind = "Ensemble"
[[models.pair.members]]
kind = "Flat"
net = { kind = "S4D", d_model = 4, n_layers = 1, d_state = 4 }
[[models.pair.members]]
kind = "Hierarchical"
low = { kind = "LSTM", d_model = 4, n_layers = 1 }
high = { kind = "S4D", d_model = 4, n_layers = 1, d_state = 4 }
"""


def test_a_cell_of_an_ensemble_goes_on_where_it_was_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second network; its validation error is that of the mean."""
    (folder / "plan.toml").write_text(PLAN + ENSEMBLE)
    compare(folder, "--quick", "--only", "pair")
    made = folder / "plan/skin/pair/0"
    found = json.loads((made / "cell.json").read_text())
    each = [float((made / f"run/member_{i}/log.csv").read_text().split(",")[-1]) for i in (0, 1)]
    assert 0 < found["val_error"] < max(each)
    first = (made / "run/member_0/best.safetensors").read_bytes()
    best = (made / "run/best.safetensors").read_bytes()
    for gone in ("cell.json", "run/best.safetensors", "run/run.json"):
        (made / gone).unlink()
    shutil.rmtree(made / "run/member_1")
    stood = (made / "run/member_0/last.safetensors").stat().st_mtime_ns
    compare(folder, "--quick", "--only", "pair")
    assert (made / "run/member_0/last.safetensors").stat().st_mtime_ns == stood  # not trained again
    assert (made / "run/member_0/best.safetensors").read_bytes() == first
    assert (made / "run/best.safetensors").read_bytes() == best


def test_only_cells_of_rivals_or_bases_depend_on_what_is_asked_of_these(folder: Path) -> None:
    def keys_of(text: str) -> dict[str, str]:
        (folder / "plan.toml").write_text(text)
        return {c.entry.name: c.key for c in cells(read_plan(folder / "plan.toml"), folder / "plan") if c.seed == 0}

    plan = PLAN + RIVALS
    before, after = keys_of(plan), keys_of(plan.replace("steps = 4", "rival_gain = 0.3\nsteps = 4"))
    assert {name for name in before if before[name] != after[name]} == {"both"}
    steady, alone = (
        plan.replace("steps = 4", f"{more}retare_base = 0.5\nsteps = 4") for more in ("", "retare = 0.0\n")
    )
    assert {name for name, key in keys_of(steady).items() if before[name] != key} == {"both"}
    assert keys_of(alone) == keys_of(plan.replace("steps = 4", "retare = 0.0\nsteps = 4"))


def test_a_plan_that_asks_for_a_size_trains_networks_of_it(folder: Path) -> None:
    compare(folder, "--quick", "--only", "flat")
    before = json.loads((folder / "plan/skin/flat/0/cell.json").read_text())
    (folder / "plan.toml").write_text("parameters = 900\n" + PLAN)
    compare(folder, "--quick", "--only", "flat")
    after = json.loads((folder / "plan/skin/flat/0/cell.json").read_text())
    assert before["parameters"] < 450 < after["parameters"] <= 900
    (folder / "plan.toml").write_text("parameters = 9.5\n" + PLAN)
    done = CliRunner().invoke(command, [str(folder / "plan.toml")])
    assert done.exit_code == 2
    assert "9.5" in done.output


def test_gaps_are_what_the_data_set_says(folder: Path) -> None:
    """Of pauses of 10 s in every recording: cells that start anew behind them say what evaluate says of their runs."""
    for recording in (recordings := read_recordings(folder / "skin.h5")):
        recording.t[200:] += 10.0
    write_hdf5(folder / "skin.h5", [dataclasses.replace(r, rate_hz=None) for r in recordings])
    found: dict[str, dict[str, dict[str, float]]] = {}
    for gap in ("interpolate", "reset:1"):
        (folder / "plan.toml").write_text(PLAN.replace("period = 5", f'period = 5\ngap = "{gap}"'))
        compare(folder, "--quick")
        found[gap] = {m: json.loads((folder / f"plan/skin/{m}/0/cell.json").read_text()) for m in ("flat", "lags")}
        options = ["--data", str(folder / "skin.h5"), "--windows", "4x3s", "--seed", "1234", "--json"]
        said = CliRunner().invoke(evaluate_command, [str(folder / "plan/skin/flat/0/run"), *options])
        assert found[gap]["flat"]["nmse"] == pytest.approx(json.loads(said.stdout.splitlines()[-1])["nmse"], rel=1e-12)
    assert all(found["reset:1"][m]["nmse"] != found["interpolate"][m]["nmse"] for m in ("flat", "lags"))
    keys = []
    for line in ("", 'gap = "interpolate"\n', 'gap = "hold"\n'):
        (folder / "plan.toml").write_text(PLAN.replace("period = 5\n", "period = 5\n" + line))
        keys.append([cell.key for cell in cells(read_plan(folder / "plan.toml"), folder / "plan")])
    assert keys[0] == keys[1] != keys[2]
    (folder / "plan.toml").write_text(PLAN.replace("period = 5", 'period = 5\ngap = "jump"'))
    done = CliRunner().invoke(command, [str(folder / "plan.toml")])
    assert done.exit_code == 2
    assert "'jump' is no policy" in done.output


def test_a_run_of_another_plan_is_not_resumed(folder: Path) -> None:
    compare(folder, "--quick", "--only", "flat")
    (folder / "plan.toml").write_text(PLAN.replace("steps = 4", "steps = 6"))
    compare(folder, "--quick", "--only", "flat")
    log = (folder / "plan/skin/flat/0/run/log.csv").read_text().splitlines()
    assert len(log) == 1 + 3


def test_jobs_change_no_figure(folder: Path) -> None:
    one = json.loads(compare(folder, "--quick", "--json").splitlines()[-1])
    shutil.rmtree(folder / "plan")
    two = json.loads(compare(folder, "--quick", "--jobs", "2", "--json").splitlines()[-1])
    assert _means(one) == pytest.approx(_means(two), rel=1e-4)  # sums over other threads


def _means(found: dict[str, Any]) -> list[float]:
    return [row["nmse"]["mean"] for row in found["rows"]]


def test_the_table_has_a_row_per_model_and_the_least_error_first(folder: Path) -> None:
    text = compare(folder)
    assert (folder / "plan/comparison.png").stat().st_size > 1000
    table = [line for line in (folder / "plan/table.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert {line.split("|")[1].strip() for line in table} == {"flat (2 seeds)", "lags", "features"}
    errors = [float(line.split("|")[2].split("±")[0]) for line in table]
    assert errors == sorted(errors)
    assert "look-ahead 0" in text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("rate = 20", "rates = 20", "unknown key 'rates'"),
        ("period = 5\n", "", "says nothing of period"),
        ('kind = "Flat"', 'kind = "Flatt"', "unknown kind of model 'Flatt'"),
        ("d_model = 4", "d_modell = 4", "no key 'd_modell'"),
        ("steps = 4", "stepps = 4", "stepps"),
        ("seeds = [0, 1]", "seeds = []", "seeds is []"),
        ("4x3s", "4 of 3s", "expected a count and seconds"),
        ("lags = 6\n[", "lag = 6\n[", "unknown key 'lag'"),
    ],
)
def test_what_is_wrong_in_a_plan_is_said_before_any_training(folder: Path, before: str, after: str, said: str) -> None:
    (folder / "plan.toml").write_text(PLAN.replace(before, after, 1))
    done = CliRunner().invoke(command, [str(folder / "plan.toml")])
    assert done.exit_code == 2
    assert said in done.output
    assert not list(folder.rglob("cell.json"))


NOT_DEPLOYED = """
[models.attention]
kind = "Flat"
net = { kind = "Transformer", d_model = 4, n_layers = 1, d_ff = 8 }
[models.s4]
kind = "Flat"
net = { kind = "S4", d_model = 3, n_layers = 1, d_state = 4 }
"""


def test_what_does_not_fold_or_fit_integers_has_a_dash_and_a_reason(folder: Path) -> None:
    (folder / "plan.toml").write_text(PLAN.replace("[models.flat]", NOT_DEPLOYED + "[models.flat]"))
    asked = [str(folder / "plan.toml"), "--quick", "--only", "attention", "--only", "s4"]
    done = CliRunner().invoke(command, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = (folder / "plan/table.md").read_text()
    head = next(line for line in table.splitlines() if line.startswith("| model")).split("|")
    at = [name.strip() for name in head].index("int8 NMSE")
    rows = [line.split("|") for line in table.splitlines() if line.startswith(("| s4", "| att"))]
    assert [row[at].strip() for row in rows] == ["-", "-"]
    assert "not folded, Transformer cannot be folded: attention reads every step" in table
    assert "no integer program, an integer format cannot hold this program, it runs in float64 only: S4" in table
    cell = json.loads((folder / "plan/skin/s4/0/cell.json").read_text())
    assert cell["arithmetic"] == "float64"


def test_a_plan_says_what_is_quick_and_its_files_may_lie_elsewhere(folder: Path) -> None:
    (folder / "far" / "off").mkdir(parents=True)
    shutil.move(folder / "skin.h5", folder / "far" / "off" / "skin.h5")
    (folder / "plan.toml").write_text(f'quick = ["lags"]\n{PLAN}')
    said = compare(folder, "--quick", "--data", str(folder / "far"))
    assert "1 cells, 1 to do" in said
    wrong = CliRunner().invoke(command, [str(folder / "plan.toml"), "--data", str(folder / "plan")])
    assert wrong.exit_code == 2
    assert "there is no skin.h5 below" in wrong.output
    (folder / "plan.toml").write_text(f'quick = ["legs"]\n{PLAN}')
    wrong = CliRunner().invoke(command, [str(folder / "plan.toml")])
    assert "quick names legs, which is no model" in wrong.output


def test_the_benchmark_is_a_plan_of_every_family_flat_and_as_each_level(tmp_path: Path) -> None:
    for name in ("broad_95hz", "eflesh_shear_force", "eflesh_normal_force", "grf_running", "pyshoe_vicon"):
        (tmp_path / f"{name}.h5").touch()
    plan = read_plan(Path(__file__).parents[1] / "benchmarks" / "families.toml", tmp_path)
    names = {entry.name for entry in plan.models}
    families = [family.lower() for family in FAMILIES]
    assert {f"flat_{family}" for family in families} <= names
    assert {f"hiss_{low}_{high}" for low in families if low != "transformer" for high in families} <= names
    assert sum(name.startswith("hiss") for name in plan.quick) == 4


def test_a_bill_that_cannot_be_made_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hiss.engines.core_bill as bills
    from hiss.errors import ExportError

    def refused(*_: object) -> None:
        raise ExportError("the model does not fit into the core")

    monkeypatch.setattr(bills, "priced", refused)
    asked = [str(folder / "plan.toml"), "--quick", "--only", "flat"]
    done = CliRunner().invoke(command, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    said = "flat: no flash and instructions, the model does not fit into the core"
    assert said in (folder / "plan/table.md").read_text()
