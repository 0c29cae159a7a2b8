"""Pairs of hyperparameters of each way of learning: do good values of one depend on the other?

One heat map for every arm and pair of its hyperparameters (and activation, and any other axis of network or workload).
A cell is the mean over the last tenth, with half the width of its interval; further hyperparameters are at their best.
"""

from __future__ import annotations

import itertools

import pandas as pd
from matplotlib.figure import Figure

from dashboards import theme
from dashboards.figures import cells, panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page, points
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from workloads.metrics import HEADLINES, higher_is_better

METRICS = HEADLINES
EVERY_SETTING = True  # a cell each


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per cell: panel, arm, across and up (two hyperparameters), x and y (their values), mean, half, ...

    `candidates` are the settings that fall into the cell, of which the best is shown. Raises InputError where no arm
    crosses two hyperparameters.
    """
    metric = asked.shown(frames.headline(trials))
    networks, _ = frames.split(panels.finished(trials, asked))
    axes = frames.panel_axes(networks)
    late = selections.judged(networks, curves)
    parts = []
    for _, own in networks.groupby("arm", sort=False):
        for x, y in itertools.combinations(panels.hyperparameters(own, axes), 2):
            best = selections.best_settings(own, late, ["arm", *axes, x, y])
            named = best.assign(across=naming.axis(x), up=naming.axis(y))
            parts.append(named.rename(columns={x: "x", y: "y"}))
    if not parts:
        raise InputError("heat_map: no arm has two hyperparameters with two values or more each")
    best = panels.named(pd.concat(parts, ignore_index=True), axes, networks)
    late = panels.late(networks, curves, metric, asked)
    rows = theme.in_order(cells.summarised(late, best, asked.summary), ["arm", *axes, "across", "up", "x", "y"])
    shown = ["panel", "arm", "across", "up", "x", "y", "group", "candidates"]
    numbers = ["mean", "ci_low", "ci_high", "half", "seeds", "diverged", "members"]
    return rows[[*shown, *numbers]].assign(metric=metric, **panels.facts(networks, asked))


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a cell says, and how its setting was chosen."""
    text = (
        f"{theme.statistic(data)} of {theme.over(data)} over {theme.span(data['members'])} seeds, ± half the width of"
        f" its {theme.interval(data)}. {cells.SAYS}"
    )
    if (data["candidates"] > 1).any():
        text += " Further hyperparameters are the best by the same mean, selected on these same seeds."
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: pairs of hyperparameters", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`; a logarithmic scale of its colours where the sheet asks for one."""
    looks = theme.looks(data["arm"])
    maps = list(data.groupby(["arm", "panel", "across", "up"], sort=False))
    several = data["panel"].nunique() > 1
    metric = data["metric"].iloc[0]
    higher = higher_is_better(metric)
    scale, colors = theme.color_scale(data["mean"], metric, sheet), theme.heat(higher)
    cell_columns = max(part["x"].nunique() for _, part in maps)
    cell_rows = max(part["y"].nunique() for _, part in maps)
    each = max(0.58 * cell_columns + 0.5, 2.0)
    columns = sheet.columns(len(maps), each)
    down = -(-len(maps) // columns)
    width = sheet.across(max(6.4, each * columns + 1.0), columns)
    with sheet.settings():
        figure = page(sheet, width, down * max(0.40 * cell_rows + 0.75, 1.8), caption(data, sheet))
        grid = panels.grid(figure, len(maps), columns)
        for axes, ((arm, panel, across, up), part) in zip(grid.flat, maps, strict=False):
            xs, ys = sorted(part["x"].unique()), sorted(part["y"].unique())
            cells.empty(axes, len(xs), len(ys))
            for cell in part.to_dict("records"):
                place = xs.index(cell["x"]), ys.index(cell["y"])
                gid = f"{arm}/{panel}/{across}/{up}/{cell['x']!r}/{cell['y']!r}"
                cells.cell(axes, place, cell, colors(scale(cell["mean"])), gid=gid)
            axes.set_xticks(range(len(xs)), [naming.number(value) for value in xs])
            axes.set_yticks(range(len(ys)), [naming.number(value) for value in ys])
            axes.set(xlabel=across, ylabel=up)
            axes.set_title(f"{looks[str(arm)].label}, {panel}" if several else looks[str(arm)].label, size=points(8.5))
        theme.color_bar(figure, grid, scale, higher, naming.metric(metric))
    return figure
