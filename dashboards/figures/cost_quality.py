"""What does each way of learning cost, and what does it bring? A trial's seconds of one core, and late performance.

Every setting is a faint dot, an arm's best one is marked, with the interval of its mean. Times are those of the packs
that trials were trained in, shared evenly by their trials, on whatever machine that was: they compare ways of learning,
not machines. One panel per activation (and any other axis of network or workload).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import fitting, theme
from dashboards.figures import cells, panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.results import frames, naming, selections
from workloads.metrics import HEADLINES

METRICS = HEADLINES
EVERY_SETTING = True  # a dot each
NEEDS_SECONDS = True  # a column of trials


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per panel, arm and setting: group, best (is it the arm's), candidates, seconds (a trial's), mean, ..."""
    metric = asked.shown(frames.headline(trials))
    trials = panels.finished(trials, asked)
    shown, networks, axes = panels.placed(trials)
    late = selections.judged(shown, curves)
    best = selections.best_settings(shown, late, [*axes, "arm"])
    every = shown.groupby(["arm", "group", *axes], sort=False, dropna=False)["seconds"].mean().reset_index()
    every = every.merge(best[["arm", "group", "candidates"]].assign(best=True), on=["arm", "group"], how="left")
    every["best"] = every["best"].notna()
    every["candidates"] = every.groupby(["arm", *axes], dropna=False)["candidates"].transform("max").astype(int)
    late = panels.late(shown, curves, metric, asked)
    rows = cells.summarised(late, panels.named(every, axes, networks), asked.summary)
    rows = theme.in_order(rows, [*axes, "arm", "seconds"])
    columns = ["panel", "arm", "group", "best", "candidates", "seconds"]
    numbers = ["mean", "ci_low", "ci_high", "seeds", "diverged", "members"]
    return rows[[*columns, *numbers]].assign(metric=metric, **panels.facts(trials, asked))


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a mark is, and how settings were chosen."""
    text = (
        f"{theme.statistic(data)} over {theme.span(data['members'])} seeds, each the mean over {theme.over(data)},"
        " against a trial's share of the time of its pack on one core. Faint: every setting; marked: each arm's best,"
        f" with its {theme.interval(data)}."
    )
    text += theme.selected(data)
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: cost against quality", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    looks = theme.looks(data["arm"])
    titles = list(dict.fromkeys(data["panel"]))
    columns = sheet.columns(len(titles), 2.8)
    down = -(-len(titles) // columns)
    handles = [
        Line2D([], [], color=look.color, marker=look.marker or "o", linestyle="", label=look.label)
        for look in looks.values()
    ]
    with sheet.settings():
        figure = page(sheet, sheet.across(max(6.4, 2.8 * columns), columns), 2.7 * down, caption(data, sheet), handles)
        grid = panels.grid(figure, len(titles), columns, sharex=True, sharey=True)
        for axes, title in zip(grid.flat, titles, strict=False):
            for row in data[data["panel"] == title].to_dict("records"):
                look = looks[row["arm"]]
                axes.plot(
                    [row["seconds"]],
                    [row["mean"]],
                    look.marker or "o",
                    color=look.color,
                    alpha=1.0 if row["best"] else 0.25,
                    markeredgewidth=0,
                    markersize=7 if row["best"] else 4,
                    gid=f"{title}/{row['arm']}/{row['group']}",
                )
                if row["best"]:
                    axes.vlines(row["seconds"], row["ci_low"], row["ci_high"], color=look.color)
            if len(titles) > 1:
                axes.set_title(title)
        for axes in panels.lowest(grid, len(titles)):
            axes.set_xlabel("seconds of one core per trial")
        for axes in grid[:, 0]:
            axes.set_ylabel(naming.metric(data["metric"].iloc[0]))
        if (data["seconds"] > 0).all():
            theme.spread(grid[0, 0].xaxis)
        fitting.to_values(grid[0, 0], data, ["panel", "arm", "group"], sheet)
    return figure
