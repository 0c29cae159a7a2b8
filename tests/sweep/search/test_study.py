"""Settings drawn from ranges: readable, inside, the same again, and better where a sampler learns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from sweep.search.study import Study, draw, importances, known
from sweep.spec.ranges import Range

RANGES = {
    "optimizer.step_size": Range("log", (1e-4, 1e-1)),
    "l2.strength": Range("uniform", (0.0, 1.0)),
    "continual_backprop.maturity_threshold": Range("int", (1, 1000)),
    "continual_backprop.utility": Range("choice", ("contribution", "zero_contribution", "adaptable_contribution")),
}
GP = pytest.param("gp", marks=pytest.mark.slow)  # a second per setting
Setting = Mapping[str, Any]


def error(setting: Setting) -> float | None:
    """A bowl with its floor at (0.01, 0.3, anything, contribution); above 0.05 all diverge."""
    if setting["optimizer.step_size"] > 0.05:
        return None
    height = (math.log10(setting["optimizer.step_size"]) + 2) ** 2 + (setting["l2.strength"] - 0.3) ** 2
    return height + (setting["continual_backprop.utility"] != "contribution")


def searched(sampler: str, *, rounds: int = 3, seed: int = 0, higher: bool = False) -> list[Setting]:
    study = Study(RANGES, sampler=sampler, seed=seed, higher=higher)
    asked: list[Setting] = []
    for _ in range(rounds):
        drawn = study.ask(8)
        values = [error(setting) for setting in drawn]
        study.tell(drawn, [None if value is None else -value if higher else value for value in values])
        asked += drawn
    return asked


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", GP, "cmaes"])
def test_settings_are_inside_readable_and_the_same_again(sampler: str) -> None:
    asked = searched(sampler)
    assert asked == searched(sampler)
    assert asked != searched(sampler, seed=1)
    for setting in asked:
        step_size, threshold = setting["optimizer.step_size"], setting["continual_backprop.maturity_threshold"]
        assert 1e-4 <= step_size <= 1e-1 and float(f"{step_size:.4g}") == step_size
        assert 0 <= setting["l2.strength"] <= 1
        assert isinstance(threshold, int) and 1 <= threshold <= 1000
        assert setting["continual_backprop.utility"] in RANGES["continual_backprop.utility"].values


@pytest.mark.parametrize("sampler", ["tpe", GP])
def test_a_sampler_that_learns_leaves_what_diverged_alone(sampler: str) -> None:
    asked = searched(sampler, rounds=5)
    first, last = asked[:8], asked[-8:]
    assert sum(error(setting) is None for setting in last) <= sum(error(setting) is None for setting in first)
    best = min(value for value in map(error, asked) if value is not None)
    assert best < min(value for value in map(error, searched("random", rounds=5)) if value is not None)


def test_more_is_better_where_it_is_said_so() -> None:
    assert searched("tpe", rounds=6, higher=True) == searched("tpe", rounds=6)  # of the same bowl upside down


def test_what_was_trained_stands_where_another_setting_comes_out_now() -> None:
    study = Study(RANGES, sampler="tpe", seed=0, higher=False)
    trained = [{**setting, "optimizer.step_size": 0.02} for setting in study.ask(4)]
    study.tell(trained, [0.1, 0.2, 0.3, None])
    kept = [trial.params["optimizer.step_size"] for trial in study.study.trials if trial.values is not None]
    assert kept == [0.02] * 4


def test_a_search_that_is_over_is_looked_at_by_optunas_own_functions() -> None:
    """The step size decides most of the bowl's height; what diverged is the worst there is, and in no picture."""
    asked = searched("random", rounds=5)
    study = known(RANGES, asked, [error(setting) for setting in asked], higher=False)
    assert [trial.params["optimizer.step_size"] for trial in study.trials] == [s["optimizer.step_size"] for s in asked]
    assert [trial.value == math.inf for trial in study.trials] == [error(setting) is None for setting in asked]
    shares = importances(study)
    assert set(shares) == set(RANGES) and sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda name: shares[name]) in ("optimizer.step_size", "continual_backprop.utility")


def test_a_choice_is_known_by_its_value_however_a_table_has_it() -> None:
    """A column of 1 and null holds 1.0 and not a number."""
    ranges = {"when": Range("choice", (1, 2.5, None))}
    study = known(ranges, [{"when": 1.0}, {"when": None}], [0.1, 0.2], higher=True)
    assert [trial.params["when"] for trial in study.trials] == ["1", "None"]


def test_choices_that_are_equal_or_read_alike_are_kept_apart() -> None:
    ranges = {"when": Range("choice", (1, True)), "how": Range("choice", (1, "1"))}
    study = known(ranges, [{"when": True, "how": "1"}, {"when": 1.0, "how": 1}], [0.1, 0.2], higher=True)
    assert [trial.params for trial in study.trials] == [{"when": "True", "how": "'1'"}, {"when": "1", "how": "1"}]


def test_a_picture_is_drawn_on_the_figure_that_is_given_and_leaves_pyplot_alone() -> None:
    from matplotlib import pyplot, rcParams
    from matplotlib.figure import Figure

    asked = searched("random", rounds=2)
    study = known(RANGES, asked, [error(setting) for setting in asked], higher=False)
    before = dict(rcParams), pyplot.subplots, pyplot.style.use
    figure = Figure()
    part = figure.subfigures(1, 1)
    draw("slices", study, part, "online error")
    assert {axes.get_xlabel() for axes in part.axes} - {""} == set(RANGES)
    assert any(axes.get_ylabel() == "place in the search" for axes in part.axes)
    assert (dict(rcParams), pyplot.subplots, pyplot.style.use) == before and not pyplot.get_fignums()
