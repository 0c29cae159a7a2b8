"""A sweep in two stages: chosen on some seeds, shown on others."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from tiny import Said, stored, sweep_command, without_compiling

import sweep
from sweep.ledger.ledger import Ledger
from sweep.results import frames, naming, selections
from sweep.results.leaderboard import Leaderboard
from sweep.results.windows import Window
from sweep.search.judging import scores
from sweep.tracking import notes
from sweep.tracking.state import State

TEXT = """
workload: {name: slowly_changing_regression, tasks: 4, period: 50}
network: {width: 3}
seeds: {select: 2, evaluate: 3}
arms:
  sgd: {optimizer: sgd, step_size: [0.03, 0.01, 0.003]}
  cbp: {optimizer: sgd, step_size: [0.03, 0.01], continual_backprop: {replacement_rate: [1e-3, 1e-2]}}
metrics: [online_error]
figures: [four_axes]
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    return stored(folder / "two.yaml", TEXT)


@pytest.fixture
def board(storage: Path) -> Leaderboard:
    return sweep.leaderboard("two", storage=str(storage))


def test_the_leaderboard_is_of_fresh_seeds_at_the_setting_that_was_chosen_before(
    storage: Path, board: Leaderboard
) -> None:
    ledger = Ledger(storage)
    record = ledger.sweep("two", "full")
    select = [trial for trial in record.trials if trial.config["seed"] < 2]
    judged = scores(ledger, select, "online_error", Window("last", 25))
    curves = frames.curves(record, ledger, ["online_error"])
    for standing in board.standings:
        own = {trial.group for trial in select if standing.arm in trial.arms}
        assert standing.group == min(own, key=lambda group: judged[group].mean)
        assert standing.candidates == len(own) == {"sgd": 3, "cbp": 4}[standing.arm]
        members = {trial.id for trial in record.trials if trial.group == standing.group and trial.config["seed"] >= 2}
        last = curves[curves["trial"].isin(members) & (curves["task"] == 3) & (curves["arm"] == standing.arm)]
        assert standing.late.seeds == standing.members == 3
        assert standing.late.mean == pytest.approx(last["value"].mean(), rel=1e-12)


def test_it_says_on_which_seeds(storage: Path, board: Leaderboard) -> None:
    told = (
        "Settings were chosen on seeds 0 and 1, by online squared error over the last 25% of the tasks;"
        " shown is what they do on fresh seeds, 2 to 4."
    )
    assert board.selection.told() == told
    assert told in sweep_command("results", "two", "--storage", storage).out


def test_without_fresh_results_the_selection_is_shown_as_such(storage: Path, tmp_path: Path) -> None:
    record = Ledger(storage).sweep("two", "full")
    assert selections.reported(record, Ledger(tmp_path)) is record
    assert (
        selections.how(record, frames.trials(record, Ledger(storage)), 3)
        .told()
        .endswith("the same seeds, 0 and 1; fresh ones, 2 to 4, are still to come.")
    )


def test_a_figure_of_every_setting_is_drawn_from_the_selection(storage: Path) -> None:
    [folder] = (storage / "figures").iterdir()
    record, svg = Ledger(storage).sweep("two", "full"), (folder / "four_axes.svg").read_text()
    cells = pd.read_csv(folder / "four_axes.csv")
    assert set(cells["members"]) == {2} and len(cells) == 7
    said = " ".join(" ".join(re.findall(r"[^<>]+", svg)).split())
    assert "every setting on the seeds" in said
    assert selections.every_setting(record) == "every setting on the seeds it is chosen by, 0 and 1"


def test_plan_and_status_speak_of_rounds(storage: Path, tmp_path: Path) -> None:
    file = storage.parent / "two.yaml"

    def command(*arguments: object) -> Said:
        with pytest.MonkeyPatch.context() as patch:
            without_compiling(patch)
            return sweep_command(*arguments)

    said = command("plan", file, "--storage", tmp_path).out
    assert "14 trials, 0 already done, 14 to run" in said
    assert "selection: 7 settings, each on 2 seeds (0 and 1)\n" in said
    assert "evaluation: the chosen setting of each arm on 3 fresh seeds (2 to 4)\n" in said
    assert "this is round 1 of 2; later ones have up to 6 more trials\n" in said
    said = command("status", "two", "--storage", storage).out
    assert "20 trials, 20 done, 0 diverged, 0 left\nround 2 of 2\n" in said


def test_whole_numbers_in_short() -> None:
    assert naming.numbers([0, 1, 2, 3]) == "0 to 3"
    assert naming.numbers([5, 6]) == "5 and 6"
    assert naming.numbers([3, 7, 12]) == "3, 7 and 12"


def test_an_arms_run_is_of_fresh_seeds_alone(storage: Path, board: Leaderboard) -> None:
    record = Ledger(storage).sweep("two", "full")
    state = State(record, Ledger(storage), None)
    groups = [standing.group for standing in board.standings]
    assert set(state.binned(groups, board.metric, evaluated=True)["seed"]) == {2, 3, 4}
    assert set(state.binned(groups, board.metric, evaluated=False)["seed"]) == {0, 1, 2, 3, 4}


def test_the_notes_of_runs_do_not_say_that_seeds_are_the_same(storage: Path, board: Leaderboard) -> None:
    record = Ledger(storage).sweep("two", "full")
    counts = State(record, Ledger(storage), None).counts()
    said = notes.of_sweep(notes.Told(record, board, counts, experiment="1", run="2", pictures=()))
    assert board.selection.told() in said and "on the same seeds" not in said
    [sgd] = [standing for standing in board.standings if standing.arm == "sgd"]
    assert "at the best of its 3 settings: late online squared error (" in notes.of_arm(sgd, board, "1")
