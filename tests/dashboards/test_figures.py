"""Figures: the table is what is drawn, every file appears, diverged and missing trials are met."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import synthetic
from matplotlib.figure import Figure
from synthetic import Done

from dashboards import figures, theme
from dashboards.figures import (
    FIGURES,
    arms,
    error_over_time,
    four_axes,
    friction,
    panels,
    reactivation,
    relative,
    render,
    singular_values,
    visits,
    within_task,
)
from dashboards.figures.panels import Asked
from dashboards.sheets import Sheet
from sweep.errors import InputError
from sweep.results import frames, intervals
from sweep.results.bands import Summary
from sweep.trials import Trial
from workloads.reinforcement import CONTROLS
from workloads.reinforcement.continual_minatar import visited
from workloads.reinforcement.friction import friction as friction_under

TASKS, SEEDS = 8, 3
INSIDE = ("dormant_fraction", "effective_rank", "weight_magnitude")
CBP = [{"continual_backprop": {"replacement_rate": rate}} for rate in (1e-4, 1e-3)]
LEARNERS: dict[str, tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = {
    "backprop": ("sgd", [{}], [{}]),
    "cbp": ("sgd", [{}], CBP),
    "adamo": ("adamo", [{"isometry_strength": 0.01}, {"isometry_strength": 0.1}], [{}]),
    "cbp_adamo": ("adamo", [{"isometry_strength": 0.01}, {"isometry_strength": 0.1}], CBP),
    "my_arm": ("sgd", [{}], [{"l2": {"strength": 0.5}}]),
}


@dataclass
class Sweep:
    """A record and its ledger in one: what figures read of both."""

    metric: str = "online_error"
    identity: str = "toy@laptop"
    manifest: dict[str, Any] = field(default_factory=lambda: {"commit": "abc123"})
    trials: list[Trial] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    rows: list[tuple[str, str, int, int, float]] = field(default_factory=list)

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(arm for trial in self.trials for arm in trial.arms))

    def failures(self) -> dict[str, str]:
        return {}

    def ends(self) -> dict[str, Done]:
        return self.done()

    def done(self) -> dict[str, Done]:
        return {trial: Done(status, TASKS) for trial, status in self.statuses.items()}

    def curves(self, ids: list[str], metrics: tuple[str, ...] | None = None) -> pa.Table:
        rows = pd.DataFrame(self.rows, columns=["trial", "metric", "task", "step", "value"])
        table = rows[rows["trial"].isin(ids) & rows["metric"].isin(metrics or rows["metric"])]
        kinds = {"trial": "category", "metric": "category", "task": "int32"}
        return pa.Table.from_pandas(table.astype(kinds), preserve_index=False)

    def add(self, arm: str, config: dict[str, Any], values: np.ndarray, inside: tuple[str, ...]) -> None:
        """values (tasks,), cut short where NaN: then the trial diverged."""
        group = hashlib.sha256(json.dumps({**config, "seed": None}).encode()).hexdigest()[:16]
        trial = Trial(f"{group}-{config['seed']}", config, (arm,), group)
        self.trials.append(trial)
        self.statuses[trial.id] = "diverged" if np.isnan(values).any() else "done"
        for task, value in enumerate(values):
            if np.isnan(value):
                break
            self.rows.append((trial.id, self.metric, task, 100 * (task + 1), float(value)))
            self.rows.extend((trial.id, name, task, 100 * task, float(value) / 2) for name in inside)


def sweep(
    *, metric: str = "online_error", activations: tuple[str, ...] = ("relu", "tanh"), linear: bool = True
) -> Sweep:
    """Every learner at two step sizes; the third seed of adamo at 0.1 diverges half way."""
    rng = np.random.default_rng(0)
    result = Sweep(metric)
    shapes = [(5, 1, activation) for activation in activations] + ([(None, 0, None)] if linear else [])
    for arm, (optimizer, settings, methods) in LEARNERS.items():
        for width, depth, activation in shapes:
            for step_size in (0.01, 0.001):
                for setting in settings:
                    for method in methods:
                        for seed in range(SEEDS):
                            config = {
                                "workload": {
                                    "name": "slowly_changing_regression",
                                    "tasks": TASKS,
                                    "batch": 1,
                                },
                                "network": {
                                    "name": "mlp",
                                    "width": width,
                                    "depth": depth,
                                    "activation": activation,
                                },
                                "optimizer": {"name": optimizer, "step_size": step_size, **setting},
                                "methods": method,
                                "seed": seed,
                                "metrics": [metric, *INSIDE],
                                "every": 1,
                            }
                            values = 0.5 + rng.random(TASKS) * 0.1 + 10 * step_size
                            if arm == "adamo" and depth and step_size == 0.01 and seed == 2:
                                values[TASKS // 2 :] = np.nan
                            result.add(arm, config, values, INSIDE if depth else ())
    return result


def scratch_sweep() -> Sweep:
    """Two seeds of an arm, first 0.1 and 0.3 below a network from scratch, at last 0.2 above; and within tasks."""
    result = Sweep("test_accuracy")
    baseline = {0: np.array([0.5, 0.6, 0.7]), 1: np.array([0.4, 0.5, 0.6])}
    gaps = {0: np.array([-0.1, -0.1, 0.2]), 1: np.array([-0.3, -0.1, 0.2])}
    for arm, methods in (("sgd", {}), ("scratch", {"reset": {"what": "all", "to": "initial"}})):
        for seed in (0, 1):
            config = {
                "workload": {"name": "continual_imagenet", "tasks": 3, "batch": 100},
                "network": {"name": "convnet", "width": 2},
                "optimizer": {"name": "sgd", "step_size": 0.01},
                "methods": methods,
                "seed": seed,
                "metrics": ["test_accuracy", "online_accuracy", "within_task"],
                "every": 1,
            }
            result.add(arm, config, baseline[seed] + (gaps[seed] if arm == "sgd" else 0), ())
            trial = result.trials[-1].id
            result.rows += [
                (trial, f"within_task/{k}", task, 100 * task + 5 * k, 0.01 * k + 0.1 * task + 0.2 * seed)
                for task in (0, 2)
                for k in range(1, 21)
            ]
            result.rows += [(trial, "online_accuracy", task, 100 * (task + 1), 0.5) for task in range(3)]
    return result


def spectral_sweep() -> Sweep:
    """A network whose first matrix spreads about 1 and whose head stays an isometry, and a linear one; two seeds."""
    result = Sweep()
    for arm, depth in (("sgd", 1), ("linear", 0)):
        for seed in (0, 1):
            config = {
                "workload": {"name": "slowly_changing_regression", "tasks": 4, "batch": 1},
                "network": {"name": "mlp", "width": 5, "depth": depth},
                "optimizer": {"name": "sgd", "step_size": 0.01},
                "methods": {},
                "seed": seed,
                "metrics": ["online_error", "singular_values"],
                "every": 1,
            }
            result.add(arm, config, np.full(4, 0.5), ())
            result.rows += [
                (
                    result.trials[-1].id,
                    f"singular_values/{matrix}/{decile}",
                    task,
                    100 * task,
                    1 + (matrix == 1) * task * (decile - 5 + seed) / 20,
                )
                for matrix in range(1, depth + 2)
                for decile in range(11)
                for task in range(4)
            ]
    return result


def reviving_sweep() -> Sweep:
    """Units silenced in two ways: AdamO revives a quarter for every tenfold of its pull, of one of them; two seeds."""
    result = Sweep()
    pulls = [{"isometry_strength": strength} for strength in (0.01, 0.1, 1.0)]
    for arm, settings in (("adam", [{}]), ("adamo", pulls)):
        for way, setting, seed in itertools.product(("zero_row", "flipped"), settings, (0, 1)):
            config = {
                "workload": {"name": "slowly_changing_regression", "tasks": 4, "batch": 1},
                "network": {"name": "mlp", "width": 5, "depth": 1, "killed": way},
                "optimizer": {"name": arm, "step_size": 0.01, **setting},
                "methods": {},
                "seed": seed,
                "metrics": ["online_error", "revived_fraction"],
                "every": 1,
            }
            strength = setting.get("isometry_strength", 0.001)
            result.add(arm, config, np.full(4, strength), ())
            revived = (3 + math.log10(strength)) / 4 if way == "flipped" else 0.0
            result.rows += [
                (result.trials[-1].id, "revived_fraction", task, 100 * task, revived * task / 3 + 0.1 * seed)
                for task in range(4)
            ]
    return result


EARNS = {"breakout": 1.0, "asterix": 2.0, "space_invaders": 30.0, "freeway": 5.0}


def visiting_sweep() -> Sweep:
    """Two seeds of two arms at games in orders of their own; at every visit sgd earns a tenth of a game's more."""
    result = Sweep("average_return")
    for arm, decay in (("sgd", 0.1), ("l2", 0.0)):
        for seed in (0, 1):
            config = {
                "workload": {"name": "continual_minatar", "games": "published", "tasks": TASKS, "steps_per_task": 100},
                "network": {"name": "mlp", "width": 5, "depth": 1, "activation": "relu"},
                "optimizer": {"name": "sgd", "step_size": 0.01},
                "methods": {} if arm == "sgd" else {"l2": {"strength": 0.1}},
                "seed": seed,
                "metrics": ["average_return"],
                "every": 1,
            }
            places = [visited("published", seed, task) for task in range(TASKS)]
            values = np.array([EARNS[game] * (1 + decay * (visit - 1)) + seed for game, visit in places])
            result.add(arm, config, values, ())
    return result


def slipping_sweep(shared: int = 1) -> Sweep:
    """Three seeds of two arms: sgd earns 100 for every tenfold of friction above 1, and l2 the same on any.

    Of so many tasks that share a friction the later ones earn 1 more each.
    """
    result = Sweep("average_return")
    for arm, methods in (("sgd", {}), ("l2", {"l2": {"strength": 0.1}})):
        for seed in range(3):
            config = {
                "workload": {"name": "slippery_ant", "tasks": TASKS, "steps_per_task": 2048},
                "network": {"name": "mlp", "width": 5, "depth": 1, "activation": "relu"},
                "optimizer": {"name": "sgd", "step_size": 0.01},
                "methods": methods,
                "seed": seed,
                "metrics": ["average_return"],
                "every": 1,
            }
            config["workload"] |= {"tasks_per_friction": shared} if shared > 1 else {}  # type: ignore[operator]
            frictions = np.array([friction_under(seed, task // shared) for task in range(TASKS)])
            earned = 100 * np.log10(frictions) if arm == "sgd" else np.full(TASKS, 7.0)
            result.add(arm, config, earned + np.arange(TASKS) % shared, ())
    return result


def searched_sweep() -> Sweep:
    """Two searches, one in two ranges, of which a setting diverges, and one in a choice; and an arm without."""
    ranges = {
        "sgd:0": {"optimizer.step_size": ["log", [1e-4, 1.0]], "optimizer.momentum": ["uniform", [0.0, 1.0]]},
        "l2:0": {"l2.when": ["choice", ["step", "task"]]},
    }
    result = Sweep(manifest={"commit": "abc123", "search": {arm: {"ranges": own} for arm, own in ranges.items()}})
    for place in range(8):
        step_size, momentum = 10.0 ** (-place / 2), (0.37 * place) % 1
        parts: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
            "sgd": ({"name": "sgd", "step_size": step_size, "momentum": momentum}, {}),
            "l2": ({"name": "sgd", "step_size": 0.01}, {"l2": {"when": "step" if place % 2 else "task", "x": place}}),
            "plain": ({"name": "sgd", "step_size": 0.01}, {}),
        }
        for arm, (optimizer, methods) in parts.items():
            for seed in (0, 1) if place == 0 or arm != "plain" else ():
                config = {
                    "workload": {"name": "slowly_changing_regression", "tasks": 4, "batch": 1},
                    "network": {"name": "mlp", "width": 5, "depth": 1, "activation": "relu"},
                    "optimizer": optimizer,
                    "methods": methods,
                    "seed": seed,
                    "metrics": ["online_error"],
                    "every": 1,
                }
                values = np.full(4, 1 + (np.log10(step_size) + 2) ** 2 + 0.01 * seed)
                if arm == "sgd" and place == 0 and seed:
                    values[2:] = np.nan
                result.add(arm, config, values, ())
    return result


def sweep_for(name: str) -> Sweep:
    """A sweep that a figure can be drawn of."""
    if name.startswith("optuna"):
        return searched_sweep()
    if name == "singular_values":
        return spectral_sweep()
    if name == "reactivation":
        return reviving_sweep()
    if name == "visits":
        return visiting_sweep()
    if name == "friction":
        return slipping_sweep()
    return scratch_sweep() if name in ("within_task", "relative", "loss_of_plasticity_2") else sweep()


def table(figure: Any, made: Sweep) -> pd.DataFrame:
    trials, curves = frames.trials(made, made), frames.curves(made, made)
    return figure.data(trials, curves)


def lines(figure: Figure) -> dict[str, Any]:
    """The lines of a figure by their ids."""
    return {line.get_gid(): line for axes in figure.axes for line in axes.lines if line.get_gid()}


@pytest.fixture(scope="module", params=FIGURES)
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Sweep, list[Path]]:
    """A figure's name, the sweep it is of, and its files."""
    made = sweep_for(request.param)
    before = dict(mpl.rcParams)
    paths = render(request.param, made, made, tmp_path_factory.mktemp(request.param) / "figures")
    assert dict(mpl.rcParams) == before
    return request.param, made, paths


def test_every_file_is_written_and_nothing_else(rendered: tuple[str, Sweep, list[Path]]) -> None:
    name, made, paths = rendered
    assert [path.name for path in paths] == [f"{name}.{kind}" for kind in ("png", "svg", "pdf", "csv")]
    assert sorted(paths) == sorted(paths[0].parent.iterdir())
    assert paths[0].read_bytes().startswith(b"\x89PNG") and paths[2].read_bytes().startswith(b"%PDF")
    text = paths[1].read_text()
    seeds = f"{len({trial.config['seed'] for trial in made.trials})} seeds"
    interval = "critical difference" if name == "ranks" else "" if name.startswith("optuna") else "interval: 95%"
    for part in ("sweep toy@laptop", seeds, interval, "commit abc123"):
        assert part in text


def test_the_same_sweep_gives_the_same_files(tmp_path: Path) -> None:
    made = sweep(activations=("relu",))
    first = render("error_over_time", made, made, tmp_path / "a")
    second = render("error_over_time", made, made, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_csv_is_what_is_drawn(rendered: tuple[str, Sweep, list[Path]]) -> None:
    name, made, paths = rendered
    data = figures.table(name, made, made)
    saved = pd.read_csv(paths[-1])
    pd.testing.assert_frame_equal(saved, data, check_dtype=False, rtol=1e-14)
    drawn, again = FIGURES[name].draw(data), FIGURES[name].draw(saved)
    assert lines(drawn).keys() == lines(again).keys()


def test_what_a_search_tried_is_one_study_for_each_arm() -> None:
    """The step size alone decides how the arm sgd does; its first setting diverged and has no value."""
    made = searched_sweep()
    data = figures.table("optuna_importances", made, made)
    assert set(data["arm"]) == {"sgd", "l2"}
    own = data[data["arm"] == "sgd"].set_index("parameter")
    assert own.loc["step size", "importance"] > own.loc["momentum", "importance"]
    assert own["importance"].sum() == pytest.approx(1)
    sliced = figures.table("optuna_slices", made, made)
    mine = sliced[sliced["arm"] == "sgd"]
    assert mine["number"].tolist() == list(range(8)) and mine["value"].isna().tolist() == [True] + 7 * [False]
    sizes = [json.loads(setting)["step size"] for setting in mine["setting"]]
    assert sizes == [10.0 ** (-place / 2) for place in range(8)]
    assert "; 1 diverged and are left out." in FIGURES["optuna_importances"].caption(data).text

    drawn = FIGURES["optuna_slices"].draw(sliced)
    panels = {axes.get_xlabel(): axes for axes in drawn.axes if axes.get_xlabel()}
    assert set(panels) == {"step size", "momentum", "l2 when"} and panels["step size"].get_xscale() == "log"
    dots = np.asarray(panels["step size"].collections[0].get_offsets())
    assert sorted(dots[:, 0]) == pytest.approx(sorted(10.0 ** (-place / 2) for place in range(1, 8)))
    crossed = figures.table("optuna_contours", made, made)
    assert set(crossed["arm"]) == {"sgd"}  # the other has one range


def test_what_no_search_can_show_is_said() -> None:
    made = searched_sweep()
    for asked, said in [
        (Asked(metric="online_error"), "leave out --metric"),
        (Asked(arms=("plain",)), "optuna_slices: plain had no ranges to search"),
    ]:
        with pytest.raises(InputError, match=said):
            figures.table("optuna_slices", made, made, asked)
    with pytest.raises(InputError, match="no arm here was searched in two"):
        figures.table("optuna_contours", made, made, Asked(arms=("l2",)))
    for name in ("optuna_slices", "optuna_contours"):
        data = figures.table(name, made, made)
        alike = [json.dumps(json.loads(setting) | {"momentum": 0.5}) for setting in data["setting"]]
        with pytest.raises(InputError, match="all settings that ended without divergence have the same momentum"):
            FIGURES[name].draw(data.assign(setting=alike))
    made.manifest.pop("search")
    with pytest.raises(InputError, match="optuna_slices is of a search, and this sweep has none"):
        figures.table("optuna_slices", made, made)


@pytest.mark.parametrize("name", ["arms", "error_over_time", "sensitivity", "paired_differences", "heat_map"])
def test_a_figure_shows_another_statistic_and_says_so(name: str) -> None:
    """Of three seeds the median is the middle one, and a tolerance interval their range, which holds 13 % of runs."""
    made = sweep()
    asked = Asked(summary=Summary(statistic="median", band="tolerance"))
    usual, data = figures.table(name, made, made), figures.table(name, made, made, asked)
    assert len(data) == len(usual) and not np.allclose(data["mean"].fillna(0), usual["mean"].fillna(0))
    inside = data["ci_low"].notna()
    assert ((data["ci_low"] <= data["mean"]) & (data["mean"] <= data["ci_high"]))[inside].all()
    said = FIGURES[name].caption(data).text.lower()
    share = math.floor(100 * intervals.tolerance_share(int(data["members"].min())))
    assert "median" in said and f"tolerance interval: at least {share} % of all runs" in said
    assert "order statistics" in data["interval"].iloc[0]
    assert "tolerance" not in FIGURES[name].caption(usual).text


@pytest.mark.parametrize("name", ["ranks", "performance_profiles", "optuna_slices"])
def test_a_figure_without_a_mean_takes_no_statistic(name: str) -> None:
    made = sweep_for(name)
    with pytest.raises(InputError, match=f"{name} shows no mean over seeds: leave out --statistic and --band"):
        figures.table(name, made, made, Asked(summary=Summary(statistic="iqm")))


def test_error_over_time_draws_its_table() -> None:
    made = sweep()
    data = table(error_over_time, made)
    drawn = lines(error_over_time.draw(data))
    parts = data.groupby(["arm", "panel", "line", "step_size"])
    assert len(drawn) == len(parts) == 2 * 2 * 3  # two arms without methods, two activations, two steps + linear
    for (arm, panel, line, step_size), rows in parts:
        artist = drawn[f"{arm}/{panel}/{line}/{step_size!r}"]
        np.testing.assert_array_equal(artist.get_ydata(), rows["mean"])
        np.testing.assert_array_equal(artist.get_xdata(), rows["step"])
        whole = (rows["seeds"] == rows["members"]).all()
        assert artist.get_linestyle() == (":" if not whole else "--" if line == "linear" else "-")


def test_error_over_time_is_binned_by_hand() -> None:
    made = sweep()
    data = table(error_over_time, made)
    row = data[(data["arm"] == "backprop") & (data["panel"] == "tanh") & (data["step_size"] == 0.001)].iloc[1]
    ids = {
        trial.id
        for trial in made.trials
        if "backprop" in trial.arms
        and trial.config["network"]["activation"] == "tanh"
        and trial.config["optimizer"]["step_size"] == 0.001
    }
    raw = [
        value
        for trial, metric, task, _, value in made.rows
        if trial in ids and metric == made.metric and task in (2, 3)
    ]
    assert row["step"] == 400 and row["bin_tasks"] == 2
    assert row["mean"] == pytest.approx(np.mean(raw), rel=1e-12)
    assert row[["seeds", "diverged", "members"]].to_list() == [3, 0, 3]


def test_diverged_trials_are_counted_and_said() -> None:
    data = table(error_over_time, sweep())
    adamo = data[(data["arm"] == "adamo") & (data["step_size"] == 0.01) & (data["panel"] == "relu")]
    assert adamo["seeds"].to_list() == [3, 3, 2, 2]
    assert adamo["diverged"].to_list() == [0, 0, 1, 1]
    figure = error_over_time.draw(data)
    assert any("0.01: 1 of 3 diverged" in text.get_text() for axes in figure.axes for text in axes.texts)


def test_arms_show_their_best_setting_and_say_so() -> None:
    made = sweep(activations=("relu",))
    data = table(arms, made)
    online = data[data["metric"] == "online_error"]
    assert list(dict.fromkeys(online["arm"])) == [
        "backprop",
        "cbp",
        "adamo",
        "cbp_adamo",
        "my_arm",
        "linear learner",
    ]
    assert online.groupby("arm")["candidates"].first().to_dict() == {
        "backprop": 2, "cbp": 4, "adamo": 4, "cbp_adamo": 8, "my_arm": 2, "linear learner": 20
    }  # fmt: skip
    assert online["setting"].str.startswith("step size 0.001").all()
    assert set(data["metric"]) == {"online_error", *INSIDE}
    figure = arms.draw(data)
    drawn = lines(figure)
    for (metric, arm), rows in data.groupby(["metric", "arm"]):
        np.testing.assert_array_equal(drawn[f"relu/{metric}/{arm}"].get_ydata(), rows["mean"])
    assert any("selected on these same seeds" in " ".join(text.get_text().split()) for text in figure.texts)


def test_accuracy_prefers_the_higher() -> None:
    data = table(arms, sweep(metric="online_accuracy"))
    assert data["setting"].str.startswith("step size 0.01").loc[data["arm"] == "backprop"].all()


def test_arms_draw_without_diagnostics() -> None:
    made = sweep()
    made.rows = [row for row in made.rows if row[1] == "online_error"]
    data = table(arms, made)
    assert set(data["metric"]) == {"online_error"}
    assert len(arms.draw(data).axes) == 2


def test_arms_show_other_diagnostics_where_the_usual_ones_are_few() -> None:
    usual = ["dormant_fraction", "effective_rank", "weight_magnitude", "plasticity_gap"]
    assert list(arms.inside(["online_error", "rank_99", *usual, "rank_99/1"])) == usual
    assert arms.inside(["rank_99", "my_own", "online_loss", "effective_rank"]) == (
        "effective_rank",
        "rank_99",
        "my_own",
    )
    made = sweep(activations=("relu",))
    made.rows = [(t, "my_own" if m in INSIDE[:2] else m, *rest) for t, m, *rest in made.rows if m != INSIDE[1]]
    data = table(arms, made)
    assert list(dict.fromkeys(data["metric"])) == ["online_error", "weight_magnitude", "my_own"]
    assert any(axes.get_title() == "my own" or axes.get_ylabel() == "my own" for axes in arms.draw(data).axes)


def test_four_axes_has_every_cell() -> None:
    made = sweep(activations=("relu",))
    data = table(four_axes, made)
    assert list(dict.fromkeys(data["column"])) == ["SGD", "AdamO, isometry 0.01", "AdamO, isometry 0.1"]
    assert len(data) == 3 * 2 * 3 and not data["arm"].eq("my_arm").any()
    cell = data[(data["column"] == "SGD") & (data["step_size"] == 0.01) & (data["replacement_rate"] == 1e-3)].iloc[0]
    ids = {trial.id for trial in made.trials if trial.group == cell["group"]}
    late = [
        value for trial, metric, task, _, value in made.rows if trial in ids and metric == made.metric and task >= 7
    ]
    assert cell["mean"] == pytest.approx(np.mean(late), rel=1e-12)
    assert cell["half"] == pytest.approx((cell["ci_high"] - cell["ci_low"]) / 2)
    lost = data[
        (data["column"] == "AdamO, isometry 0.1") & (data["step_size"] == 0.01) & (data["replacement_rate"] == 0)
    ]
    assert lost[["seeds", "diverged", "members"]].iloc[0].to_list() == [2, 1, 3]
    texts = [text.get_text() for axes in four_axes.draw(data).axes for text in axes.texts]
    assert theme.with_half(cell["mean"], cell["half"]) in texts
    assert sum("1 div." in text for text in texts) == 2


def test_four_axes_marks_a_cell_where_all_diverged() -> None:
    data = table(four_axes, sweep(activations=("relu",)))
    data.loc[0, ["mean", "ci_low", "ci_high", "half", "seeds", "diverged"]] = [*[np.nan] * 4, 0, 3]
    texts = [text.get_text() for axes in four_axes.draw(data).axes for text in axes.texts]
    assert texts.count("all\ndiverged") == 1


def test_relative_is_the_paired_difference_to_the_network_from_scratch() -> None:
    made = scratch_sweep()
    data = table(relative, made)
    assert set(data["arm"]) == {"sgd"} and set(data["baseline"]) == {"scratch"}
    np.testing.assert_allclose(data["mean"], [-0.2, -0.1, 0.2])
    # The seeds' differences, -0.3 and -0.1, not the arms' spread: t of one degree of freedom by their standard error.
    np.testing.assert_allclose(data["ci_low"][0], -0.2 - 12.7062 * 0.1, rtol=1e-5)
    np.testing.assert_allclose(data["ci_low"][1:], [-0.1, 0.2])
    np.testing.assert_allclose(lines(relative.draw(data))["sgd"].get_ydata(), data["mean"])


def test_relative_needs_one_network_from_scratch() -> None:
    made = scratch_sweep()
    for trial in made.trials:
        trial.config["methods"] = {}
    with pytest.raises(InputError, match=r"needs one arm with reset: \{what: all\}.*not none"):
        table(relative, made)


def test_within_task_has_a_line_per_recorded_task() -> None:
    data = table(within_task, scratch_sweep())
    assert set(data["task"]) == {0, 2} and set(data["metric"]) == {"online_accuracy"}
    own = data[(data["arm"] == "sgd") & (data["task"] == 2)]
    np.testing.assert_allclose(own["share"], np.arange(1, 21) / 20)
    np.testing.assert_allclose(own["mean"], 0.01 * np.arange(1, 21) + 0.2 + 0.1)  # mean over seeds 0 and 1
    figure = within_task.draw(data)
    assert len(lines(figure)) == 4
    assert {axes.get_xlabel() for axes in figure.axes} == {"examples of the task"}


def test_within_task_of_agents_is_their_return_over_environment_steps() -> None:
    """Of which most are far above 1, where an axis of accuracies would end."""
    spec = """\
workload: {name: slippery_ant, tasks: 3, steps_per_task: 2048}
seeds: 2
arms: {adam: {optimizer: adam}}
metrics: [average_return, within_task]
"""

    def walked(trial: Trial, metric: str) -> np.ndarray:
        place = int(metric.partition("/")[2] or 0)
        return 100.0 * place + trial.config["seed"] + np.zeros(3)

    data = within_task.data(*synthetic.sweep(spec, walked).frames())
    assert set(data["metric"]) == {"average_return"} and set(data["task"]) == {0, 2}
    figure = within_task.draw(data)
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps of the task", "average return")
    low, high = axes.get_ylim()
    assert low <= 100 and high >= 2000.5
    np.testing.assert_allclose(lines(figure)["adam/relu/2"].get_ydata(), 100 * np.arange(1, 21) + 0.5)


def test_singular_values_have_a_panel_for_every_matrix_of_an_arm() -> None:
    data = table(singular_values, spectral_sweep())
    assert data.groupby("arm")["matrix"].unique().map(list).to_dict() == {"sgd": [1, 2], "linear": [1]}
    own = data[(data["arm"] == "sgd") & (data["matrix"] == 1) & (data["task"] == 3)]
    # Of two seeds, 0 and 1, the mean over both.
    np.testing.assert_allclose(own["mean"], 1 + 3 * (np.arange(11) - 4.5) / 20)
    figure = singular_values.draw(data)
    drawn = lines(figure)
    assert len(drawn) == 3 * 3
    largest = next(line for gid, line in drawn.items() if gid.startswith("sgd/") and gid.endswith("/1/largest"))
    np.testing.assert_allclose(largest.get_ydata(), 1 + np.arange(4) * 5.5 / 20)
    named = [(axes.get_ylabel(), axes.get_title()) for axes in figure.axes if axes.axison]
    assert named == [("SGD", "matrix 1"), ("", "matrix 2"), ("linear", "")]
    with pytest.raises(InputError, match="no other metric: leave out --metric"):
        figures.table("singular_values", spectral_sweep(), spectral_sweep(), Asked(metric="online_error"))


def test_of_a_deep_network_some_matrices_are_shown_the_first_and_the_last_among_them() -> None:
    assert singular_values.evenly(21) == [1, 6, 11, 16, 21] and singular_values.evenly(2) == [1, 2]
    assert singular_values.evenly(6)[0] == 1 and singular_values.evenly(6)[-1] == 6


def test_singular_values_must_be_recorded() -> None:
    made = spectral_sweep()
    made.rows = [row for row in made.rows if row[1] == "online_error"]
    with pytest.raises(InputError, match="no values of singular_values: add it to `metrics:`"):
        table(singular_values, made)


def test_reactivation_has_the_ways_beside_each_other_and_every_pull_below() -> None:
    """AdamO's best setting by error is its weakest pull, 1e-4; what the others revive is seen below."""
    data = table(reactivation, reviving_sweep())
    assert list(dict.fromkeys(data["panel"])) == ["rows made negative", "rows of zeros"]
    flipped = data[data["panel"] == "rows made negative"]
    above = flipped[flipped["pull"].isna() & (flipped["arm"] == "adamo")]
    np.testing.assert_allclose(above["mean"], 0.25 * np.arange(4) / 3 + 0.05)
    below = flipped[flipped["pull"].notna()]
    np.testing.assert_allclose(below["pull"], [1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(below["mean"], [0.3, 0.55, 0.8])
    drawn = lines(reactivation.draw(data))
    assert set(drawn) == {
        f"{panel}{pull}/{arm}"
        for panel in ("rows made negative", "rows of zeros")
        for pull, arm in (("", "adam"), ("", "adamo"), ("/pull", "adamo"))
    }
    np.testing.assert_allclose(drawn["rows of zeros/pull/adamo"].get_ydata(), 0.05)


def test_visits_to_a_game_stand_beside_each_other_whenever_they_were() -> None:
    data = table(visits, visiting_sweep())
    assert set(data["panel"]) == set(EARNS) and data["seeds"].eq(2).all()
    assert [visited("published", seed, 0) for seed in (0, 1)] != [("breakout", 1)] * 2  # else nothing is told apart
    for (game, arm), line in data.groupby(["panel", "arm"]):
        earned = EARNS[str(game)] * (1 + (0.1 if arm == "sgd" else 0.0) * np.arange(2)) + 0.5
        np.testing.assert_allclose(line["mean"], earned)
        assert list(line["step"]) == [1, 2]
    drawn = lines(visits.draw(data))
    np.testing.assert_allclose(drawn["freeway/sgd"].get_ydata(), [5.5, 6.0])
    assert set(drawn) == {f"{game}/{arm}" for game in EARNS for arm in ("sgd", "l2")}


def test_what_is_earned_stands_above_the_friction_that_it_was_earned_on() -> None:
    data = table(friction, slipping_sweep())
    told = data[(data["arm"] == "sgd") & data["seed"].notna()]
    assert len(told) == 3 * TASKS
    np.testing.assert_allclose(told["step"], [friction_under(seed, task) for seed in range(3) for task in range(TASKS)])
    np.testing.assert_allclose(told["mean"], 100 * np.log10(told["step"]))
    assert set(told["rho"]) == {1.0} and set(data.loc[data["arm"] == "l2", "rho"].isna()) == {True}  # all alike
    line = data[(data["arm"] == "sgd") & data["seed"].isna()]
    edges = [0.02, 0.0632, 0.2, 0.632, 2.0]  # a quarter of two decades each
    for low, high, (_, row) in zip(edges[:-1], edges[1:], line.iterrows(), strict=True):
        inside = told[(told["step"] >= low) & (told["step"] < high)]
        assert low < row["step"] < high and row["members"] == row["seeds"] == inside["seed"].nunique()
        assert row["mean"] == pytest.approx(inside.groupby("seed")["mean"].mean().mean())
    drawn = lines(friction.draw(data))
    np.testing.assert_allclose(drawn["sgd"].get_ydata(), line["mean"])
    assert set(drawn) == {"sgd", "l2"}


def test_tasks_that_share_a_friction_are_one_point() -> None:
    data = table(friction, slipping_sweep(shared=3))
    told = data[(data["arm"] == "sgd") & data["seed"].notna()]
    counts = np.bincount(np.arange(TASKS) // 3)  # the last may be of fewer
    assert told.groupby("seed")["task"].apply(list).tolist() == [list(range(len(counts)))] * 3
    under = [friction_under(seed, number) for seed in range(3) for number in range(len(counts))]
    np.testing.assert_allclose(told["step"], under)
    np.testing.assert_allclose(told["mean"], 100 * np.log10(under) + np.tile((counts - 1) / 2, 3))


def test_friction_says_what_it_lacks_and_what_is_lost() -> None:
    with pytest.raises(InputError, match="friction shows slippery_ant, and this sweep's workload is another"):
        table(friction, sweep())
    made = slipping_sweep()
    made.statuses[made.trials[0].id] = "diverged"
    made.rows = [row for row in made.rows if row[0] != made.trials[0].id or row[2] < 2]
    data = table(friction, made)
    assert friction.told(data[data["arm"] == "sgd"]) == ["ρ 1 [1, 1]", "1 of 3 diverged"]
    assert data.loc[(data["arm"] == "sgd") & data["seed"].notna(), "task"].value_counts()[0] == 3
    assert "1 of 3 diverged" in friction.caption(data, Sheet(style="paper")).text


def test_visits_says_what_it_lacks() -> None:
    with pytest.raises(InputError, match="visits shows games of continual_minatar, and this sweep's workload has none"):
        table(visits, sweep())


def test_plain_sgd_has_no_dropout_and_no_running_norm() -> None:
    sgd = pd.DataFrame({"optimizer.name": ["sgd"] * 4, "methods": ["", "", "", "l2"]})
    norms = [np.nan, np.nan, "online", np.nan]
    added = sgd.assign(**{"network.dropout": [np.nan, 0.1, np.nan, np.nan], "network.normalisation": norms})
    assert list(panels.plain(sgd).index) == [0, 1, 2] and list(panels.plain(added).index) == [0]


def test_reactivation_says_what_it_lacks() -> None:
    with pytest.raises(InputError, match="no network begins with silent units: give it `killed`"):
        table(reactivation, sweep())
    with pytest.raises(InputError, match="no other metric: leave out --metric"):
        figures.table("reactivation", reviving_sweep(), reviving_sweep(), Asked(metric="online_error"))


def test_figures_say_what_a_sweep_must_record(tmp_path: Path) -> None:
    made = sweep()
    with pytest.raises(InputError, match="unknown figure 'arm': did you mean 'arms'"):
        render("arm", made, made, tmp_path)
    made.metric = "effective_rank"
    for trial in made.trials:
        trial.config["metrics"] = ["effective_rank"]
    with pytest.raises(InputError, match="online_error or online_accuracy.*`metrics:`"):
        render("arms", made, made, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_sweep_says_how_far_it_is(tmp_path: Path) -> None:
    made = sweep(activations=("relu",))
    del made.statuses[made.trials[0].id]
    svg = render("arms", made, made, tmp_path)[1].read_text()
    said = " ".join(re.findall(r">([^<>]+)</(?:text|tspan)>", svg))  # a footnote may break between any two words
    assert f"{len(made.trials) - 1} of {len(made.trials)} trials finished" in said


def test_an_arms_own_network_is_no_panel() -> None:
    trials = pd.DataFrame(
        {"arm": ["a", "a", "b"], "network.width": [5, 5, 100], "workload.flip": ["one", "all", "one"]}
    )
    assert frames.panel_axes(trials) == ["workload.flip"]


@pytest.mark.parametrize("name", ["paired_differences", "cost_quality", "error_over_time"])
def test_below_an_empty_place_the_axis_stands_at_the_panel_above(name: str) -> None:
    made = sweep(activations=("relu", "tanh", "elu", "leaky_relu"), linear=False)
    data = figures.table(name, made, made)
    drawn = FIGURES[name].draw(data[data["arm"] != "adamo"])
    drawn.draw_without_rendering()
    assert [axes.axison for axes in drawn.axes] == [True] * 4 + [False] * 2
    numbered = [any(label.get_visible() for label in axes.get_xticklabels()) for axes in drawn.axes]
    assert numbered[:4] == [bool(axes.get_xlabel()) for axes in drawn.axes[:4]] == [False, True, True, True]


def test_arms_never_look_alike() -> None:
    looks = theme.looks(["zeta", "cbp", "sgd", "backprop", "continual_backprop", "mine", *"abcdef"])
    assert len({(look.color, look.marker) for look in looks.values()}) == len(looks)
    assert len({look.label for look in looks.values()}) == len(looks)
    assert list(looks)[:2] == ["backprop", "sgd"]


def test_an_axis_of_steps_says_whose_they_are() -> None:
    def label(**row: Any) -> str:
        return theme.steps_label(pd.Series(row))

    assert label(workload="permuted_mnist", batch=1) == "steps (one example each)"
    assert label(workload="permuted_mnist", batch=16) == "steps (16 examples each)"
    assert label(workload="permuted_mnist", batch=None) == "steps"
    assert [label(workload=name, batch=None) for name in CONTROLS] == ["environment steps"] * len(CONTROLS)
