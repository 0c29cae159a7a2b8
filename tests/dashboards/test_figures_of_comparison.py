"""Figures that compare arms and hyperparameters, and the papers': their numbers, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.figure import Figure

from dashboards import figures
from dashboards.figures import (
    cost_quality,
    heat_map,
    loss_of_plasticity_1,
    loss_of_plasticity_2,
    loss_of_plasticity_ed3,
    loss_of_plasticity_ed4,
    measures,
    paired_differences,
    performance_profiles,
    predictors,
    ranks,
    relative,
    sensitivity,
)
from dashboards.figures.panels import Asked
from dashboards.sheets import Sheet, Style
from sweep.errors import InputError, SpecError
from sweep.results import windows
from sweep.spec.reading import parse
from sweep.trials import Trial

FILE = """\
workload: {name: slowly_changing_regression, tasks: 20, period: 100, task_boundaries: shown}
network: {width: 5}
seeds: 4
arms:
  backprop: {optimizer: sgd, step_size: [0.01, 0.001]}
  cbp: {optimizer: sgd, step_size: 0.01, continual_backprop: {replacement_rate: [1e-4, 1e-3, 1e-2]}}
  adamo: {optimizer: adamo, step_size: [0.01, 0.001], isometry_strength: [1e-2, 1e-1, 1]}
  scratch: {optimizer: sgd, step_size: 0.01, reset: {what: all}}
metrics: [online_error, effective_rank, dead_fraction, weight_magnitude, dormant_fraction, stable_rank_99]
diagnostics: {every: 1}
figures: [arms]
"""
RECORDED = next(line for line in FILE.splitlines() if line.startswith("metrics"))


def level(trial: Trial) -> float:
    """What a trial's curve is at in its last tasks."""
    config = trial.config
    rate = config["methods"].get("continual_backprop", {}).get("replacement_rate", 0.0)
    scratch = 0.05 if "reset" in config["methods"] else 0.0
    strength = config["optimizer"].get("isometry_strength", 0.0)
    return 0.5 + 10 * config["optimizer"]["step_size"] - 20 * rate + 0.01 * config["seed"] - scratch + 0.1 * strength


def values(trial: Trial, metric: str) -> np.ndarray:
    return np.linspace(0.0, 1.0, 20) * 0 + level(trial) + np.where(np.arange(20) < 10, 1.0, 0.0)


MADE = synthetic.sweep(FILE, values)


def table(figure: figures.FigureFile, asked: Asked = figures.ALL) -> pd.DataFrame:
    return figure.data(*MADE.frames(), asked)


def levels(arm: str, **fields: float) -> list[float]:
    """Of an arm's trials with these settings, in the order of their seeds."""
    found = []
    for trial in MADE.record.trials:
        known = dict(trial.config["optimizer"]) | dict(trial.config["methods"].get("continual_backprop", {}))
        if arm in trial.arms and all(known[field] == value for field, value in fields.items()):
            found.append(level(trial))
    return found


def gids(figure: Figure) -> set[str]:
    return {line.get_gid() for axes in figure.axes for line in axes.lines if line.get_gid()}


def test_sensitivity_is_one_hyperparameter_with_the_others_at_their_best() -> None:
    data = table(sensitivity)
    assert list(dict.fromkeys(data["parameter"])) == ["step size", "replacement rate", "isometry strength"]
    assert data.groupby("parameter", sort=False)["arm"].unique().map(list).to_dict() == {
        "step size": ["backprop", "adamo"],
        "replacement rate": ["cbp"],
        "isometry strength": ["adamo"],
    }
    rates = data[data["parameter"] == "replacement rate"]
    assert rates["value"].to_list() == [1e-4, 1e-3, 1e-2] and set(rates["candidates"]) == {1}
    np.testing.assert_allclose(rates["mean"], [np.mean(levels("cbp", replacement_rate=r)) for r in (1e-4, 1e-3, 1e-2)])
    step = data[(data["parameter"] == "step size") & (data["arm"] == "adamo")]
    assert set(step["candidates"]) == {3}  # strengths, of which 0.01 is best
    expected = [np.mean(levels("adamo", step_size=s, isometry_strength=1e-2)) for s in (0.001, 0.01)]
    np.testing.assert_allclose(step["mean"], expected)
    drawn = sensitivity.draw(data)
    assert "relu/step size/adamo" in gids(drawn) and drawn.axes[0].get_xscale() == "log"


def test_a_heat_map_has_every_pair_of_an_arm() -> None:
    data = table(heat_map)
    assert set(data["arm"]) == {"adamo"} and len(data) == 6
    assert set(zip(data["across"], data["up"], strict=True)) == {("step size", "isometry strength")}
    cell = data[(data["x"] == 0.01) & (data["y"] == 1)].iloc[0]
    assert cell["mean"] == pytest.approx(np.mean(levels("adamo", step_size=0.01, isometry_strength=1)))
    assert cell["half"] == pytest.approx((cell["ci_high"] - cell["ci_low"]) / 2)
    assert len([patch for patch in heat_map.draw(data).axes[0].patches if patch.get_gid()]) == 6


@pytest.mark.parametrize(("metric", "most"), [("online_error", 20.0), ("average_return", 500.0)])
def test_colours_leave_out_an_error_that_explodes_and_no_return_for_being_high(metric: str, most: float) -> None:
    data = table(heat_map).assign(metric=metric, mean=[10.0, 12.0, 14.0, 18.0, 20.0, 500.0])
    (bar,) = (axes for axes in heat_map.draw(data).axes if axes.get_label() == "<colorbar>")
    assert bar.get_ylim() == (10.0, most)


def test_differences_are_within_seeds_at_the_best_settings() -> None:
    data = table(paired_differences)
    assert set(data["baseline"]) == {"backprop"} and list(dict.fromkeys(data["arm"])) == ["cbp", "adamo", "scratch"]
    own = data[data["arm"] == "cbp"]
    expected = np.array(levels("cbp", replacement_rate=1e-2)) - np.array(levels("backprop", step_size=0.001))
    np.testing.assert_allclose(own.loc[own["kind"] == "seed", "mean"], expected)
    [mean] = own[own["kind"] == "mean"].to_dict("records")
    assert mean["mean"] == pytest.approx(expected.mean()) and mean["seeds"] == 4
    assert mean["ci_low"] == pytest.approx(mean["ci_high"])  # every seed has the same
    turned = table(paired_differences, Asked(arms=("cbp", "backprop")))
    assert set(turned["baseline"]) == {"cbp"} and set(turned["arm"]) == {"backprop"}
    with pytest.raises(InputError, match="cbp is the only arm"):
        table(paired_differences, Asked(arms=("cbp",)))
    with pytest.raises(InputError, match="differences, which a logarithmic axis cannot"):
        paired_differences.draw(data, Sheet(log=True))


def test_the_arm_that_others_are_compared_with_has_its_name_from_other_figures() -> None:
    made = synthetic.sweep(FILE.replace("  backprop: {", "  sgd: {").replace("scratch: {", "retrained: {"), values)
    data = figures.table("paired_differences", made.record, made)
    axis = figures.picture(data).axes[0].get_xlabel()
    assert axis.endswith(" minus SGD") and " minus that of SGD, paired" in paired_differences.caption(data).text
    data = figures.table("relative", made.record, made)
    assert figures.picture(data).axes[0].get_ylabel().endswith("\nminus retrained from scratch")


@pytest.mark.parametrize("name", ["relative", "loss_of_plasticity_2", "paired_differences"])
def test_intervals_of_two_seeds_leave_a_panel_of_differences(name: str) -> None:
    def noisy(trial: Trial, metric: str) -> np.ndarray:
        return values(trial, metric) + 2 * np.random.default_rng(int(trial.id, 16)).random()

    made = synthetic.sweep(FILE.replace("seeds: 4", "seeds: 2"), noisy)
    data = figures.table(name, made.record, made)
    axes = figures.picture(data).axes[0]
    gaps = data[data["panel"] == data["panel"].iloc[0]] if name == "loss_of_plasticity_2" else data
    low, high = axes.get_xlim() if name == "paired_differences" else axes.get_ylim()
    span = max(gaps["mean"].max(), 0) - min(gaps["mean"].min(), 0)
    assert low < min(gaps["mean"].min(), 0) and max(gaps["mean"].max(), 0) < high
    assert gaps["ci_high"].max() > high or gaps["ci_low"].min() < low
    assert high - low <= 1.1 * 5 * span + 1e-9


def test_ranks_are_of_every_seed() -> None:
    data = table(ranks)
    assert data["arm"].to_list() == ["cbp", "backprop", "adamo", "scratch"]
    assert data["mean"].to_list() == [1, 2, 3, 4] and set(data["problems"]) == {4} and set(data["friedman"]) == {0}
    assert data["critical"].iloc[0] == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 4)), abs=1e-3)
    assert data["bars"].to_list() == ["a", "a b", "a b", "b"]
    assert {"bar a", "bar b"} <= gids(ranks.draw(data))
    with pytest.raises(InputError, match="effective_rank is better neither high nor low|arms are better"):
        table(ranks, Asked(metric="weight_magnitude"))


def test_a_profile_is_the_share_of_seeds_that_reach_a_level() -> None:
    data = table(performance_profiles)
    for arm, found in (("cbp", levels("cbp", replacement_rate=1e-2)), ("scratch", levels("scratch"))):
        rows = data[data["arm"] == arm]
        expected = [np.mean(np.array(found) <= at + 1e-12) for at in rows["level"]]
        np.testing.assert_allclose(rows["mean"], expected)
        assert (rows["ci_low"] <= rows["mean"] + 1e-12).all() and (rows["mean"] <= rows["ci_high"] + 1e-12).all()
    assert performance_profiles.draw(data).axes[0].xaxis_inverted()  # better to the right


def test_cost_is_a_trials_share_of_its_pack() -> None:
    data = figures.table("cost_quality", MADE.record, MADE)
    assert set(data["seconds"]) == {60.0 / len(MADE.record.trials)}
    assert data.groupby("arm")["best"].sum().to_dict() == {"backprop": 1, "cbp": 1, "adamo": 1, "scratch": 1}
    assert data.groupby("arm")["candidates"].first().to_dict() == {"backprop": 2, "cbp": 3, "adamo": 6, "scratch": 1}
    assert len(gids(cost_quality.draw(data))) == 2 + 3 + 6 + 1


def test_what_tells_late_performance() -> None:
    """A measure that is the error itself ranks settings the other way round; one that is the same in all is NaN."""

    def made(trial: Trial, metric: str) -> np.ndarray:
        if metric == "dead_fraction":
            return np.full(20, 0.5)
        early = np.arange(20) < 10
        return (
            np.where(early, 1.0 - level(trial), level(trial)) if metric == "effective_rank" else values(trial, metric)
        )

    sweep = synthetic.sweep(FILE.replace("figures: [arms]", "figures: [predictors]"), made)
    data = predictors.data(*sweep.frames())
    shown = data.set_index(["measure", "when"])
    assert shown.loc[("weight_magnitude", "beside"), "mean"] == pytest.approx(-1)
    assert shown.loc[("weight_magnitude", "before"), "mean"] == pytest.approx(-1)
    assert shown.loc[("effective_rank", "before"), "mean"] == pytest.approx(1)
    assert shown.loc[("effective_rank", "beside"), "mean"] == pytest.approx(-1)
    assert shown.loc["dead_fraction", "mean"].isna().all() and data["measure"].iloc[-1] == "dead_fraction"
    assert set(data["settings"]) == {12} and set(data["arms"]) == {4} and set(data["seeds"]) == {4}
    assert "online_error" not in set(data["measure"])
    drawn = gids(predictors.draw(data))
    assert len(drawn) == 2 * 4


def test_a_table_of_what_every_way_of_learning_does() -> None:
    """Ranks fall with the error, that of scratch is unknown, all weights are alike; one seed of backprop diverged."""

    def made(trial: Trial, metric: str) -> np.ndarray:
        if metric == "effective_rank":
            return np.full(20, np.nan) if "scratch" in trial.arms else 10 - values(trial, metric)
        curve = np.full(20, 0.5) if metric == "weight_magnitude" else values(trial, metric)
        gone = "backprop" in trial.arms and trial.config["seed"] == 3
        return np.where(np.arange(20) < 15, curve, np.nan) if gone else curve

    text = FILE.replace("sgd, step_size: [0.01, 0.001]}", "sgd, step_size: 0.001}")
    data = measures.data(*synthetic.sweep(text, made).frames())
    order = ["online_error", "dormant_fraction", "dead_fraction", "effective_rank", "stable_rank_99"]
    assert list(dict.fromkeys(data["measure"])) == [*order, "weight_magnitude"]
    assert list(dict.fromkeys(data["arm"])) == ["cbp", "backprop", "adamo", "scratch"]  # as the leaderboard
    shown = data.set_index(["measure", "arm"])
    assert shown.loc["online_error", "place"].to_list() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert shown.loc["effective_rank", "place"].to_list()[:3] == [1, 0.5, 0]
    assert set(shown.loc["weight_magnitude", "place"]) == {0.5}
    best = levels("cbp", replacement_rate=1e-2)
    cell = shown.loc[("effective_rank", "cbp")]
    assert cell["mean"] == pytest.approx(10 - np.mean(best)) and cell["setting"] == "replacement rate 0.01"
    assert cell["half"] == pytest.approx((cell["ci_high"] - cell["ci_low"]) / 2) and cell["half"] > 0
    missing, lost = shown.loc[("effective_rank", "scratch")], shown.loc[("dead_fraction", "backprop")]
    assert (missing["seeds"], missing["members"], missing["diverged"]) == (0, 4, 0) and np.isnan(missing["place"])
    assert (lost["seeds"], lost["members"], lost["diverged"]) == (3, 4, 1)
    said = measures.caption(data).text
    assert " and 4 seeds, ± half" in said and "Grey: no value. *: seeds are missing" in said
    figure = measures.draw(data)
    axes = figure.axes[0]
    assert len([patch for patch in axes.patches if patch.get_gid()]) == 4 * 6
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("–") == 1 and sum("*" in text for text in texts) == 6
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "continual backprop\nreplacement rate 0.01",
        "backprop\n1 of 4 diverged",
        "AdamO\nstep size 0.001, isometry strength 0.01",
        "scratch",
    ]
    with pytest.raises(InputError, match="coloured by ranks, which have no logarithmic scale: leave out --log"):
        measures.draw(data, Sheet(log=True))


def test_each_panel_of_the_table_has_its_own_order_and_ranks() -> None:
    """In tasks of 100 steps cbp is the best, in those of 200 the worst."""

    def made(trial: Trial, metric: str) -> np.ndarray:
        turned = trial.config["workload"]["period"] == 200
        return 5 - values(trial, metric) if turned else values(trial, metric)

    sweep = synthetic.sweep(FILE.replace("period: 100", "period: [100, 200]"), made)
    data = measures.data(*sweep.frames())
    tables = {panel: table for panel, table in data[data["measure"] == "online_error"].groupby("panel", sort=False)}
    assert list(tables) == ["period 100", "period 200"]
    for table in tables.values():
        assert table["mean"].is_monotonic_increasing and table["place"].to_list() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [table["arm"].iloc[0] == "cbp" for table in tables.values()] == [True, False]
    figure = measures.draw(data)
    assert [axes.get_title("left") for axes in figure.axes] == ["period 100", "period 200"]
    with pytest.raises(InputError, match="measures needs diagnostics: none was recorded"):
        trials, curves = sweep.frames()
        measures.data(trials, curves[curves["metric"] == "online_error"])


def test_a_window_is_what_is_shown() -> None:
    early = table(sensitivity, Asked(window=windows.parse("first 10%")))
    late = table(sensitivity)
    np.testing.assert_allclose(early["mean"], late["mean"] + 1)
    assert "over the first tenth of the tasks" in sensitivity.caption(early).text
    assert "over the last tenth of the tasks" in sensitivity.caption(late).text
    curve = figures.table("arms", MADE.record, MADE, Asked(window=windows.parse("last 25%")))
    assert curve.loc[curve["metric"] == "online_error", "step"].min() > 1500
    assert figures.picture(curve).axes[0].get_xlim()[0] > 1400


def test_figure_1_has_early_late_and_ways_of_learning() -> None:
    data = table(loss_of_plasticity_1)
    assert list(dict.fromkeys(data["panel"])) == ["the first ten tasks", "plain backprop", "ways of learning"]
    early = data[data["panel"] == "the first ten tasks"]
    assert set(early["arm"]) == {"backprop"} and set(early["line"]) == {"step size 0.01", "step size 0.001"}
    assert sorted(set(early["x"])) == list(range(1, 11))
    ways = data[data["panel"] == "ways of learning"]
    assert set(ways["arm"]) == {"backprop", "cbp", "adamo", "scratch"}
    assert set(ways.loc[ways["arm"] == "backprop", "line"]) == {"step size 0.001"}
    with pytest.raises(InputError, match="leave out --metric"):
        table(loss_of_plasticity_1, Asked(metric="effective_rank"))


def test_figure_2_is_relative_and_what_the_network_looks_like() -> None:
    data = table(loss_of_plasticity_2)
    beside = data[data["panel"] == "beside a network from scratch"]
    np.testing.assert_allclose(beside["mean"], table(relative)["mean"])
    assert list(dict.fromkeys(data["metric"])) == ["online_error", "dormant_fraction", "stable_rank_99"]


def test_extended_figure_3_draws_what_a_sweep_has() -> None:
    data = table(loss_of_plasticity_ed3)
    assert list(dict.fromkeys(data["panel"])) == ["step size", "dead units", "weights", "effective rank"]
    assert set(data["arm"]) == {"backprop"}
    with pytest.raises(InputError, match="nothing for any panel of the figure.*step size, width"):
        table(loss_of_plasticity_ed3, Asked(arms=("adamo",)))


def test_extended_figure_4_has_a_panel_for_the_settings_of_every_arm() -> None:
    data = table(loss_of_plasticity_ed4)
    titles = ["online accuracy", "dead units", "weights", "effective rank", "backprop", "continual backprop", "AdamO"]
    assert list(dict.fromkeys(data["panel"])) == titles
    own = data[data["panel"] == "continual backprop"]
    assert list(dict.fromkeys(own["line"])) == [f"replacement rate {rate}" for rate in ("1e-4", "0.001", "0.01")]
    drawn = loss_of_plasticity_ed4.draw(data)
    assert drawn.axes[5].get_title() == "continual backprop\nreplacement rate"


@pytest.mark.parametrize("style", ["screen", "paper", "slide"])
def test_panels_of_a_papers_figure_show_intervals_alike_and_their_legends_cover_no_line(style: Style) -> None:
    data = table(loss_of_plasticity_ed4).assign(figure="loss_of_plasticity_ed4")
    figure = loss_of_plasticity_ed4.draw(data, Sheet(style=style))
    figure.draw_without_rendering()
    assert len({axes.get_xlim() for axes in figure.axes if axes.axison}) == 1  # AdamO has six settings, SGD two
    keys = [(axes, axes.get_legend()) for axes in figure.axes if axes.get_legend()]
    assert len(keys) == 3
    for axes, key in keys:
        highest = max(np.nanmax(line.get_ydata()) for line in axes.lines)
        assert axes.transData.transform((0, highest))[1] < key.get_window_extent().y0


def test_of_many_settings_the_best_for_each_value_of_the_last_is_shown() -> None:
    rates = "replacement_rate: [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]"
    many = FILE.replace("step_size: 0.01, continual", "step_size: [0.01, 0.001], continual")
    found = synthetic.sweep(many.replace("replacement_rate: [1e-4, 1e-3, 1e-2]", rates), values)
    data = loss_of_plasticity_ed4.data(*found.frames())
    own = data[data["panel"] == "continual backprop"].drop_duplicates("line")
    assert own["line"].to_list() == [
        f"step size 0.001, replacement rate {r}" for r in ("1e-5", "1e-4", "0.001", "0.01", "0.1")
    ]
    assert set(own["candidates"]) == {2}
    assert "the best for each value of the last named" in loss_of_plasticity_ed4.caption(data).text
    few = data[data["panel"] == "AdamO"]
    assert few["line"].nunique() == 6 and set(few["candidates"]) == {1}


def test_figures_beside_scratch_name_the_settings() -> None:
    made = synthetic.sweep(
        FILE.replace("cbp: {optimizer: sgd, step_size: 0.01", "cbp: {optimizer: sgd, step_size: [0.01, 0.1]"), values
    )
    for name in ("relative", "loss_of_plasticity_2"):
        figure = figures.picture(figures.table(name, made.record, made), Sheet(style="paper"))
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert any("(step size 0.01, replacement rate 0.01)" in text for text in texts)
        assert len(texts) == len(set(texts)) == (3 if name == "relative" else 4)


@pytest.mark.parametrize(
    ("figure", "changed", "said"),
    [
        ("heat_map", ("isometry_strength: [1e-2, 1e-1, 1]", "isometry_strength: 1"), "it crosses two hyperparameters"),
        ("ranks", ("seeds: 4", "seeds: 1"), "it ranks the arms on every seed: give `seeds` two or more"),
        ("measures", (RECORDED, "metrics: [online_error]"), "it has a column for every diagnostic: add some"),
        ("loss_of_plasticity_ed2", ("optimizer: sgd", "optimizer: adam"), "it shows plain SGD"),
        ("loss_of_plasticity_ed2", ("network: {width: 5}", "network: {width: 5, dropout: 0.1}"), "it shows plain SGD"),
        ("loss_of_plasticity_2", (", reset: {what: all}", ""), "it needs one arm with reset"),
    ],
)
def test_a_figure_says_what_it_needs_before_anything_is_run(figure: str, changed: tuple[str, str], said: str) -> None:
    text = FILE.replace("figures: [arms]", f"figures: [{figure}]")
    parse(text, Path("mine.yaml"))
    with pytest.raises(SpecError, match=said):
        parse(text.replace(*changed), Path("mine.yaml"))


@pytest.mark.parametrize(
    "name", ["sensitivity", "heat_map", "paired_differences", "ranks", "performance_profiles", "measures"]
)
def test_a_paper_has_them_bare(name: str) -> None:
    data = figures.table(name, MADE.record, MADE)
    figure = figures.picture(data, Sheet(style="paper"))
    assert figure.texts == [] and figure.get_size_inches()[0] in (3.5, 7.2)
