"""Panels and baselines that figures share: which trials are networks, which axes make panels, the linear
learner.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashboards import theme
from dashboards.sheets import SCREEN, Sheet
from sweep.errors import InputError
from sweep.results import frames, leaderboard, naming, selections, windows
from sweep.results.bands import MEAN, Summary
from sweep.results.windows import Window
from workloads import metrics
from workloads.networks.config import in_training
from workloads.registry import lookup

STEP_SIZE = naming.STEP_SIZE
# Tasks per plotted point of an online metric; the paper bins the regression by two. Fewer where that leaves few points.
BIN_TASKS = {"slowly_changing_regression": 2}
FEWEST_BINS = 4
NARROW = 26  # letters in a line beside an axis of a single column


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What of a sweep a figure is asked to show."""

    arms: tuple[str, ...] = ()  # none: all
    metric: str | None = None  # None: what the sweep is judged by; settings are chosen as its file says in any case
    summary: Summary = MEAN  # of the seeds
    window: Window | None = None  # of the tasks, that is shown; None: all of a curve, or the mean over the last tenth

    def shown(self, judged: str) -> str:
        """The metric that is shown. Raises InputError for one that does not exist."""
        if self.metric is not None:
            lookup(metrics.known(), self.metric.partition("/")[0], "metric")
        return self.metric or judged


ALL = Asked()


def finished(trials: pd.DataFrame, asked: Asked = ALL, *, always: Collection[str] = ()) -> pd.DataFrame:
    """The trials that ended, diverged ones included, of the arms that are asked for and those that are `always` there.

    Raises InputError for an arm that the sweep does not have, or of which nothing has ended.
    """
    there = trials[trials["status"].isin(frames.FINISHED)]
    if not asked.arms:
        return there
    for arm in asked.arms:
        lookup(dict.fromkeys(trials["arm"]), arm, "arm")
        if arm not in set(there["arm"]):
            raise InputError(f"no trial of arm {arm!r} has finished yet")
    return there[there["arm"].isin([*asked.arms, *always])]


def named(panels: pd.DataFrame, columns: list[str], trials: pd.DataFrame) -> pd.DataFrame:
    """Adds `panel`, the text above a panel; a single panel is named by its activation, or else by its network."""
    if columns:
        texts = [naming.setting(dict(zip(columns, row, strict=True))) for row in panels[columns].to_numpy(dtype=object)]
    else:
        names = trials["network.activation"].dropna() if "network.activation" in trials else pd.Series(dtype=str)
        names = names if len(names) else trials["network.name"]
        texts = [naming.words(", ".join(names.unique()))] * len(panels)
    return panels.assign(panel=texts)


def placed(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The trials that have a place in a panel, the networks that panels are named by, and the axes that make panels.

    A linear learner has no place among panels of activations or widths.
    """
    networks, _ = frames.split(trials)
    axes = frames.panel_axes(networks)
    return networks if axes else trials, networks, axes


def grid(figure: Figure, places: int, columns: int, **shared: Any) -> np.ndarray:
    """Axes for so many panels, row after row. Places left over are empty, and the numbers of an axis that is shared
    stand below the lowest panel of each column, wherever that is.
    """
    axes: np.ndarray = figure.subplots(-(-places // columns), columns, squeeze=False, **shared)
    for empty in axes.flat[places:]:
        empty.set_axis_off()
    for panel in lowest(axes, places):
        panel.tick_params(labelbottom=True)
    return axes


def lowest(grid: np.ndarray, places: int) -> list[Axes]:
    """The lowest of so many panels in each column of a grid."""
    columns = grid.shape[1]
    return [grid[(places - 1 - column) // columns, column] for column in range(min(columns, places))]


def linear_lines(panels: pd.DataFrame, linear: pd.DataFrame, late: pd.DataFrame) -> pd.DataFrame:
    """For every panel the best setting of the linear learner: panel columns, `source` (its arm), group,
    candidates.
    """
    shared = [column for column in panels.columns if column not in (*frames.SHAPE, "arm")]
    best = selections.best_settings(linear, late, shared).rename(columns={"arm": "source"})
    return panels.merge(best, on=shared) if shared else panels.merge(best, how="cross")


def settings(lines: pd.DataFrame, trials: pd.DataFrame) -> list[str]:
    """What distinguishes each line's setting from the others of its arm; lines have source (the arm), group, line."""
    texts = []
    networks, linear = frames.split(trials)
    parts = {column.partition(".")[0] for column in trials.columns if "." in column} - {"network", "workload"}
    for source, group, kind in lines[["source", "group", "line"]].itertuples(index=False):
        rivals = linear if kind == "linear" else networks
        rivals = rivals[rivals["arm"] == source]
        columns = frames.varying(rivals, *(f"{part}." for part in sorted(parts)))
        texts.append(naming.setting(rivals.loc[rivals["group"] == group, columns].iloc[0].to_dict(), source))
    return texts


def plain(networks: pd.DataFrame) -> pd.DataFrame:
    """Plain SGD: without methods, but for resets of the head that belong to a protocol; no dropout, no running norm."""
    within = networks["methods"].map(lambda methods: set(methods.split()) <= {"reset"})
    rows = networks[(networks["optimizer.name"] == "sgd") & within]
    settings = rows.reindex(columns=["network.dropout", "network.normalisation"])
    rows = rows[[not in_training(*own) for own in settings.itertuples(index=False)]]
    return rows[rows["reset.what"] != "all"] if "reset.what" in rows else rows


def late(trials: pd.DataFrame, curves: pd.DataFrame, metric: str, asked: Asked) -> pd.DataFrame:
    """Each trial's mean of a metric over the window that is asked for, as `windows.late`."""
    return selections.late(trials, curves, metric, asked.window or windows.LATE)


def within(trials: pd.DataFrame, curves: pd.DataFrame, metric: str, asked: Asked) -> pd.DataFrame:
    """`frames.observed`, of the tasks that are asked for. Raises InputError where nothing was recorded in them."""
    values = frames.observed(trials, curves, metric)
    if asked.window is None:
        return values
    inside = values[windows.within(values, asked.window)]
    if inside.empty:
        raise InputError(f"{metric} was not recorded in {asked.window.words}")
    return inside


def standings(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """Each arm at its best setting in every panel, a row for each of its seeds, with the mean over the window.

    Columns panel, arm, setting, group, candidates, seed, status, metric and value, NaN where the trial diverged; arms
    in the theme's order. Raises InputError where there are fewer than two arms.
    """
    metric = asked.shown(frames.headline(trials))
    trials = finished(trials, asked)
    networks, linear = frames.split(trials)
    axes = frames.panel_axes(networks)
    best = leaderboard.best_of_arms(networks, linear, selections.judged(trials, curves), axes)
    if best["arm"].nunique() < 2:
        raise InputError(f"{best['arm'].iloc[0]} is the only arm that finished trials: there is nothing to compare")
    lines = named(best, axes, networks).assign(source=best["arm"])
    lines["line"] = ["network" if arm in set(networks["arm"]) else "linear" for arm in lines["arm"]]
    lines["setting"] = settings(lines, trials)
    shown = lines[["panel", "arm", "setting", "group", "candidates"]].merge(
        late(trials, curves, metric, asked)[["arm", "group", "seed", "status", "metric", "value"]], on=["arm", "group"]
    )
    places = {panel: place for place, panel in enumerate(dict.fromkeys(lines["panel"]))}
    return theme.in_order(shown.assign(place=shown["panel"].map(places)), ["place", "arm", "seed"]).drop(
        columns="place"
    )


def judges(metric: str, figure: str) -> None:
    """Raises InputError where a metric says nothing about which of two arms is better."""
    known = metrics.of(metric)
    if known is None or known.better is None:
        raise InputError(f"{figure} says which arms are better, and {metric} is better neither high nor low")


def label(look: theme.Look, rows: pd.DataFrame, sheet: Sheet = SCREEN) -> str:
    """An arm's name, with its setting where it has one and the same in all of its rows; in lines where it is narrow."""
    found = rows["setting"].dropna().unique()
    text = f"{look.label} ({found[0]})" if len(found) == 1 and found[0] else look.label
    if not sheet.bare:
        return text
    name, bracket, setting = text.partition(" (")
    parts = [name, f"({setting}"]
    return "\n".join(parts) if bracket and max(map(len, parts)) <= NARROW < len(text) else textwrap.fill(text, NARROW)


def baseline(data: pd.DataFrame) -> str:
    """What the arm is called that those of a figure are compared with: as in the figures in which it is drawn."""
    name = data["baseline"].iloc[0]
    return theme.looks([*data["arm"], name])[name].label


def hyperparameters(own: pd.DataFrame, axes: Collection[str]) -> list[str]:
    """The columns with several numbers in one arm's trials, in the order of its name; those of panels are no such."""
    numeric = [
        column
        for column in frames.varying(own, *sorted({c.partition(".")[0] + "." for c in own.columns if "." in c}))
        if column not in axes
        and pd.api.types.is_numeric_dtype(own[column].infer_objects())
        and own[column].notna().all()
    ]
    return sorted(numeric, key=lambda column: column != STEP_SIZE)


def measured_on_linear(metric: str) -> bool:
    """Whether a linear learner has this metric too: what is measured inside a network it has not."""
    spec = metrics.of(metric)
    return spec is not None and spec.origin in ("online", "tested")


def facts(trials: pd.DataFrame, asked: Asked) -> dict[str, Any]:
    """What a figure says of itself as a whole: workload, tasks per bin, examples per step, how settings were chosen."""
    objective, chosen_over = selections.chosen_by(trials)
    workload = str(trials["workload.name"].iloc[0])
    most = int(trials["tasks"].min()) // FEWEST_BINS
    batches = list(trials["workload.batch"].unique()) if "workload.batch" in trials else []
    return {
        "workload": workload,
        "bin_tasks": max(1, min(BIN_TASKS.get(workload, 1), most)),
        "batch": batches[0] if len(batches) == 1 else None,
        "chosen_by": f"{naming.metric(objective)} over {chosen_over.words}",
        "window": str(asked.window) if asked.window else float("nan"),
        "statistic": asked.summary.statistic,
        "band": asked.summary.band,
    }
