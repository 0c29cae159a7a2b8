"""Rounds: what is asked for when, on which seeds, and the same once more after a crash at any of them."""

from __future__ import annotations

import itertools
import json
import math
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sweep.search.judging import Score, best
from sweep.search.rounds import EVALUATION, GRID, SEARCH, Rounds
from sweep.spec.model import Spec
from sweep.spec.ranges import Range
from sweep.spec.reading import parse
from sweep.trials import Trial, expand

GRID_FILE = """
workload: {name: slowly_changing_regression, tasks: 4}
network: {width: [5, 7]}
arms:
  sgd: {optimizer: sgd, step_size: [0.1, 0.01, 0.001]}
  adam: {optimizer: adam, step_size: 0.001}
"""
STAGES = GRID_FILE + "seeds: {select: 2, evaluate: 3}\n"
SEARCH_FILE = """
workload: {name: slowly_changing_regression, tasks: 4}
network: {width: 5}
seeds: {select: 2, evaluate: [10, 11]}
search: {trials: 10, round: 4}
arms:
  sgd: {optimizer: sgd, step_size: {log: [1e-4, 1e-1]}}
  cbp:
    optimizer: sgd
    step_size: {log: [1e-4, 1e-1]}
    continual_backprop: {replacement_rate: {log: [1e-6, 1e-2]}, utility: {choice: [contribution, zero_contribution]}}
  plain: {optimizer: sgd, step_size: [0.1, 0.2]}
"""


def read(text: str) -> Spec:
    return parse(textwrap.dedent(text), Path("mine.yaml"))


def results(trials: Sequence[Trial]) -> dict[str, Score]:
    """The nearer its step size is to 0.01 the better; above 0.15 a seed diverges."""
    sizes = {trial.group: trial.config["optimizer"]["step_size"] for trial in trials}
    return {group: Score(int(size > 0.15), (math.log10(size) + 2) ** 2) for group, size in sizes.items()}


def ran(rounds: Rounds) -> Rounds:
    while rounds.next(results):
        pass
    return rounds


def test_a_grid_is_one_round() -> None:
    spec = read(GRID_FILE)
    rounds = Rounds(spec)
    assert (rounds.later, rounds.total) == (8, 1)
    [grid] = ran(rounds).asked
    assert grid.stage == GRID and grid.trials == expand(spec)
    assert (rounds.later, rounds.total, rounds.record()) == (0, 1, {})


def test_the_chosen_setting_of_each_arm_is_trained_on_fresh_seeds() -> None:
    rounds = Rounds(read(STAGES))
    assert (rounds.later, rounds.total) == (2 * 8 + 3 * 4, 2)
    first, second = ran(rounds).asked
    assert second.stage == EVALUATION
    assert {trial.config["seed"] for trial in first.trials} == {0, 1}
    assert [trial.config["seed"] for trial in second.trials] == [2, 3, 4] * 4
    chosen = {(t.arms, t.config["network"]["width"], t.config["optimizer"]["step_size"]) for t in second.trials}
    assert chosen == {(("sgd",), 5, 0.01), (("sgd",), 7, 0.01), (("adam",), 5, 0.001), (("adam",), 7, 0.001)}


def test_an_arm_is_evaluated_at_its_own_choice_where_two_share_settings() -> None:
    text = STAGES.replace("adam: {optimizer: adam, step_size: 0.001}", "low: {optimizer: sgd, step_size: [0.1, 0.002]}")
    _, second = ran(Rounds(read(text))).asked
    assert {(t.arms, t.config["optimizer"]["step_size"]) for t in second.trials} == {
        (("sgd",), 0.01),
        (("low",), 0.002),
    }


def test_every_searched_arm_has_the_same_number_of_settings() -> None:
    rounds = Rounds(read(SEARCH_FILE))
    assert (rounds.later, rounds.total) == ((10 + 10 + 2) * 2 + 3 * 2, 4)
    ran(rounds)
    assert [round.stage for round in rounds.asked] == [SEARCH, SEARCH, SEARCH, EVALUATION]
    asked = [
        {arm: {t.group for t in r.trials if arm in t.arms} for arm in ("sgd", "cbp", "plain")} for r in rounds.asked
    ]
    assert [[len(groups) for groups in round.values()] for round in asked] == [
        [4, 4, 2],
        [4, 4, 0],
        [2, 2, 0],
        [1, 1, 1],
    ]
    last = {trial.arms: trial.config["optimizer"]["step_size"] for trial in rounds.asked[-1].trials}
    assert last[("plain",)] == 0.1  # of 0.2 a seed diverged
    assert abs(math.log10(last[("sgd",)]) + 2) < 0.5
    assert {trial.config["seed"] for trial in rounds.asked[-1].trials} == {10, 11}


def test_after_a_crash_at_any_round_the_same_rounds_follow() -> None:
    whole, records = Rounds(read(SEARCH_FILE)), []
    while whole.next(results):
        records.append(json.loads(json.dumps(whole.record())))
    for record in records:
        again = Rounds(read(SEARCH_FILE), record)
        again.next(results)
        assert again.record() == record, "what is not trained yet is not forgotten"
        ran(again)
        assert [round.trials for round in again.asked] == [round.trials for round in whole.asked]


def test_what_was_asked_for_stands_even_where_another_setting_would_come_out() -> None:
    rounds = Rounds(read(SEARCH_FILE))
    rounds.next(results)
    record = json.loads(json.dumps(rounds.record()))
    [key] = [key for key in record if key.startswith("sgd:")]
    record[key]["asked"][0][2]["optimizer.step_size"] = 0.0777
    again = Rounds(read(SEARCH_FILE), record)
    first = again.next(results)
    assert first and 0.0777 in {trial.config["optimizer"]["step_size"] for trial in first.trials}
    assert [round.stage for round in ran(again).asked] == [SEARCH, SEARCH, SEARCH, EVALUATION]


def test_a_search_that_is_over_asks_no_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded is only read: a repeated run imports no Optuna and fits nothing."""
    record = ran(Rounds(read(SEARCH_FILE))).record()
    whole = ran(Rounds(read(SEARCH_FILE))).asked
    monkeypatch.setitem(sys.modules, "sweep.search.study", None)
    assert [round.trials for round in ran(Rounds(read(SEARCH_FILE), record)).asked] == [r.trials for r in whole]


def sizes(rounds: Rounds) -> list[list[dict[str, Any]]]:
    [search] = [search for search in rounds.searches if search.arm.label == "sgd"]
    return search.asked


def test_a_search_that_grows_goes_on_and_one_that_changes_begins_anew() -> None:
    record = ran(Rounds(read(SEARCH_FILE))).record()
    asked = sizes(Rounds(read(SEARCH_FILE)))
    grown = ran(Rounds(read(SEARCH_FILE.replace("trials: 10", "trials: 15")), record))
    assert sizes(grown)[:3] == record[grown.searches[0].key]["asked"]
    assert [len(round) for round in sizes(grown)] == [4, 4, 2, 4, 1]
    other = ran(Rounds(read(SEARCH_FILE.replace("[1e-4, 1e-1]", "[1e-3, 1e-1]")), record))
    assert all(setting["optimizer.step_size"] >= 1e-3 for round in sizes(other) for setting in round)
    assert asked == []


def test_a_choice_that_json_wrote_as_a_list_comes_back_as_it_was() -> None:
    betas = Range("choice", ((0.9, 0.999), (0.8, 0.9)))
    assert betas.written(json.loads(json.dumps((0.8, 0.9)))) == (0.8, 0.9)


def test_the_best_has_the_fewest_seeds_diverged_then_the_best_mean() -> None:
    scores = {"a": Score(1, 0.1), "b": Score(0, 0.5), "c": Score(0, 0.3), "d": Score(3, math.nan), "e": Score(0, 0.3)}
    for order in itertools.permutations(scores.items()):
        assert best(order, higher=False) == "c"
        assert best(order, higher=True) == "b"
