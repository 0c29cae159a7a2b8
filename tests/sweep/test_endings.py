"""How a run ends, whatever was found: the leaderboard, the figures, and no traceback."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from tiny import Command, Said

import dashboards
import sweep
from sweep import errors
from sweep.cli.app import opened_sweep
from sweep.cli.drawing import draw_figures, write_page

HEAD = """\
# Does it end well?
workload: {name: slowly_changing_regression, tasks: 4, period: 50}
network: {width: 3}
seeds: 2
metrics: [online_error, effective_rank]
diagnostics: {every: 1, probe: 20}
"""
SGD, WILD = "  sgd: {optimizer: sgd, step_size: [0.01, 1e-6]}\n", "  wild: {optimizer: sgd, step_size: 1e4}\n"


def ran(command: Command, folder: Path, arms: str, *more: str, head: str = HEAD) -> Said:
    """`sweep run` of a file with these arms, in this process; it must end well."""
    file = folder / "mine.yaml"
    file.write_text(f"{head}arms:\n{arms}")
    said = command("run", file, "--storage", folder / "storage", "--inline", "--no-track", *more)
    assert said.code == 0 and "Traceback" not in said.out + said.err, said
    return said


def figures(folder: Path) -> Path:
    return folder / "storage" / "figures" / "mine@full"


ENDINGS = {
    "all diverged": (WILD, HEAD, "2 of 2 diverged, in task 1"),
    "one arm diverged": (SGD + WILD, HEAD, "2 of 2 diverged, in task 1"),
    "the first arm diverged": (WILD + SGD, HEAD, "wild has no value to compare with: 2 of 2 diverged, in task 1."),
    "no figures": (SGD, HEAD + "figures: []\n", "nothing to compare"),
    "a network that collapses": (SGD, HEAD.replace("width: 3", "width: 1, depth: 6"), "nothing to compare"),
}


@pytest.mark.parametrize("arms, head, said", ENDINGS.values(), ids=ENDINGS)
def test_a_run_ends_well(command: Command, tmp_path: Path, arms: str, head: str, said: str) -> None:
    assert said in ran(command, tmp_path, arms, head=head).out
    assert (figures(tmp_path) / "arms.png").exists() == ("figures" not in head)


def test_a_run_says_what_it_found_and_results_says_it_again(command: Command, tmp_path: Path) -> None:
    arms = "  default: {optimizer: sgd, step_size: 0.01}\n  tuned: {optimizer: sgd, step_size: [0.01, 1e-6]}\n"
    out = ran(command, tmp_path, arms, "--no-figures").out
    assert "online squared error, mean over the last tenth of the tasks (lower is better)" in out
    assert "tuned 0.01" in out, "an arm keeps the setting that it shares with an earlier one"
    assert "With 2 seeds in common no difference to default can be told from chance; it takes 6 at least." in out
    asked = ("results", "mine", "--storage", tmp_path / "storage")
    assert out[out.index("arm, at its best") : out.index("it takes 6 at")] in command(*asked).out
    board = json.loads(command(*asked, "--json").out)
    assert [s["arm"] for s in board["standings"]] == ["default", "tuned"] and board["metric"] == "online_error"
    rows = list(csv.DictReader(io.StringIO(command(*asked, "--csv").out)))
    assert [row["verdict"] for row in rows] == ["first", "too few seeds"]
    assert float(rows[0]["mean"]) == board["standings"][0]["late"]["mean"]
    assert command(*asked, "--csv", "--json").code == 2
    in_python = sweep.leaderboard("mine", storage=str(tmp_path / "storage"))
    assert [standing.late.mean for standing in in_python.standings] == [s["late"]["mean"] for s in board["standings"]]


def test_the_errors_that_can_be_caught_are_in_the_package() -> None:
    known = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert len(known) == 8 and known <= set(sweep.__all__)
    with pytest.raises(sweep.InputError):
        sweep.leaderboard("nothing", storage="/nowhere")


def test_list_says_which_sweeps_there_are(command: Command, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    assert "no sweep was run in" in command("list", "--storage", storage).out
    ran(command, tmp_path, SGD + WILD, "--no-figures")
    said = command("list", "--storage", storage).out
    assert "mine@full" in said and "Does it end well?" in said
    [row] = json.loads(command("list", "--storage", storage, "--json").out)
    assert [row[name] for name in ("sweep", "trials", "done", "diverged", "left")] == ["mine@full", 6, 4, 2, 0]
    (storage / "sweeps" / "mine@full" / "trials.parquet").write_bytes(b"torn")
    assert "damaged" in command("list", "--storage", storage).out


def test_a_list_in_a_narrow_terminal_breaks_no_word(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "Does plain backprop lose the ability to learn on a slowly-changing regression, and which ways keep it?"
    ran(command, tmp_path, SGD + WILD, "--no-figures", head=HEAD.replace("Does it end well?", question))
    monkeypatch.setattr("sweep.cli.results.width", lambda: 80)  # of a terminal
    said = command("list", "--storage", tmp_path / "storage").out
    name, *_ = said.splitlines()
    assert name == "mine@full" and " ".join(said.split()).startswith(f"mine@full {question} 6 trials, 100 % complete;")
    assert "2 diverged; won: nothing to compare; last run" in said and max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(
    "change",
    [(SGD, SGD.replace("  sgd:", "  plain:")), ("Does it end well?", "Does it still?")],
    ids=["an arm's label", "the question"],
)
def test_figures_are_drawn_anew_when_what_they_say_changed(
    command: Command, tmp_path: Path, change: tuple[str, str]
) -> None:
    stamp = figures(tmp_path) / ".made_of"
    ran(command, tmp_path, SGD)
    first, drawn = stamp.read_text(), (figures(tmp_path) / "arms.svg").stat().st_mtime_ns
    ran(command, tmp_path, SGD)
    assert (figures(tmp_path) / "arms.svg").stat().st_mtime_ns == drawn, "drawn again for nothing"
    ran(command, tmp_path, SGD.replace(*change), head=HEAD.replace(*change))
    assert stamp.read_text() != first and (figures(tmp_path) / "arms.svg").stat().st_mtime_ns > drawn


def test_newer_code_draws_figures_and_page_anew_though_nothing_was_left_to_train(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(Path(dashboards.__file__).parent, newer, ignore=shutil.ignore_patterns("*.png", "__pycache__"))
    ran(command, tmp_path, SGD, "--no-figures")
    record, ledger = opened_sweep("mine", str(tmp_path / "storage"))
    made: list[str] = []

    def render(name: str, *_: object) -> list[Path]:
        made.append(name)
        figures(tmp_path).mkdir(parents=True, exist_ok=True)
        for kind in ("png", "svg", "pdf", "csv"):
            (figures(tmp_path) / f"{name}.{kind}").touch()
        return []

    def rendered(*_: object) -> str:
        made.append("page")
        return ""

    def look() -> list[str]:
        made.clear()
        draw_figures(record, ledger, ["arms"])
        write_page(record, ledger)
        return made

    monkeypatch.setattr("dashboards.figures.render", render)
    monkeypatch.setattr("dashboards.report.page.rendered", rendered)
    assert look() == ["arms", "page"]
    monkeypatch.setattr(dashboards, "__file__", str(newer / "__init__.py"))
    assert look() == [], "the same code in another place"
    with (newer / "theme.py").open("a") as file:
        file.write("# newer\n")
    assert look() == ["arms", "page"]
    monkeypatch.setattr("sweep.ledger.provenance.version", lambda package: "newer")
    assert look() == ["arms", "page"]
    assert look() == []
