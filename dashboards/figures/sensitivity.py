"""How much each way of learning depends on each of its hyperparameters: where is it best, and how wide is the valley?

One panel per hyperparameter, one line per arm that has several values of it: the mean over the last tenth at every
value, its other hyperparameters at their best for that value. A method that needs its setting hit exactly is worth less
than its best setting shows. One row per activation (and any other axis of network or workload).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from dashboards import fitting, theme
from dashboards.figures import cells, panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from workloads.metrics import HEADLINES

METRICS = HEADLINES
EVERY_SETTING = True  # a point each
WIDE = 4  # largest by smallest value, from which on an axis of values above 0 is logarithmic


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per panel, hyperparameter, arm and value: group, candidates, mean, ci_low, ci_high, seeds, diverged, ...

    `candidates` are the settings with that value, of which the best is shown. Raises
    InputError where no arm has a hyperparameter with several values.
    """
    metric = asked.shown(frames.headline(trials))
    trials = panels.finished(trials, asked)
    shown, networks, axes = panels.placed(trials)
    late = selections.judged(shown, curves)
    parts = []
    for _, own in shown.groupby("arm", sort=False):
        for column in panels.hyperparameters(own, axes):
            best = selections.best_settings(own, late, ["arm", *axes, column])
            parts.append(best.rename(columns={column: "value"}).assign(parameter=naming.axis(column)))
    if not parts:
        raise InputError("sensitivity: no arm has a hyperparameter with two values or more")
    best = pd.concat(parts, ignore_index=True)
    best = panels.named(best, axes, networks)
    late = panels.late(shown, curves, metric, asked)
    columns = ["panel", "parameter", "arm", "value", "group", "candidates"]
    rows = cells.summarised(late, best[columns + [axis for axis in axes if axis not in columns]], asked.summary)
    places = {name: place for place, name in enumerate(dict.fromkeys(best["parameter"]))}
    rows = theme.in_order(rows.assign(place=rows["parameter"].map(places)), [*axes, "place", "arm", "value"])
    shown_columns = [*columns, "mean", "ci_low", "ci_high", "seeds", "diverged", "members"]
    return rows[shown_columns].assign(metric=metric, **panels.facts(trials, asked))


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a point is, and how its other settings were chosen."""
    text = theme.averaged(data, f" of the mean over {theme.over(data)}")
    if (data["candidates"] > 1).any():
        text += " Other hyperparameters are at their best for each value, selected on these same seeds."
    lost = _lost(data, theme.looks(data["arm"])) if sheet.bare else []
    return Caption(
        f"{theme.workload(data['workload'].iloc[0])}: sensitivity to hyperparameters",
        text + (f" Missing: {'; '.join(lost)}." if lost else ""),
    )


def _lost(data: pd.DataFrame, looks: dict[str, theme.Look]) -> list[str]:
    """Which points some trials did not reach: `SGD at 0.1: 2 of 30 diverged`."""
    return [
        f"{looks[row['arm']].label} at {naming.number(row['value'])}: {row['diverged']:.0f} of {row['members']:.0f}"
        " diverged"
        for row in data[data["diverged"] > 0].to_dict("records")
    ]


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    looks = theme.looks(data["arm"])
    rows, parameters = list(dict.fromkeys(data["panel"])), list(dict.fromkeys(data["parameter"]))
    columns = len(parameters) if len(rows) > 1 else sheet.columns(len(parameters), 2.3)
    places = [(panel, parameter) for panel in rows for parameter in parameters]
    down = -(-len(places) // columns)
    handles = [Line2D([], [], color=look.color, marker=look.marker, label=look.label) for look in looks.values()]
    width = sheet.across(max(6.4, 2.3 * columns + 0.4), columns)
    with sheet.settings():
        figure = page(sheet, width, 2.2 * down, caption(data, sheet), handles)
        grid = panels.grid(figure, len(places), columns, sharey=True)
        for axes, (panel, parameter) in zip(grid.flat, places, strict=False):
            part = data[(data["panel"] == panel) & (data["parameter"] == parameter)]
            for arm in dict.fromkeys(part["arm"]):
                line = part[part["arm"] == arm].assign(step=lambda rows: rows["value"])
                look = looks[arm]
                theme.band(axes, line, gid=f"{panel}/{parameter}/{arm}", color=look.color, marker=look.marker)
            theme.notes(axes, _lost(part, looks), sheet)
            _values(axes, part["value"])
            axes.set_xlabel(parameter)
            if len(rows) > 1:
                axes.set_title(panel)
        for axes in grid[:, 0]:
            axes.set_ylabel(sheet.upright(naming.metric(data["metric"].iloc[0])))
        fitting.to_values(grid[0, 0], data, ["panel", "parameter", "arm", "value"], sheet)
    return figure


def _values(axes: Axes, values: pd.Series[float]) -> None:
    """The values of a hyperparameter as they were run, on a logarithmic axis where they are far apart."""
    known = sorted(values.unique())
    if known and known[0] > 0 and known[-1] >= WIDE * known[0]:
        axes.set_xscale("log")
    few = known if len(known) <= 6 else known[:: -(-len(known) // 6)]
    axes.set_xticks(few)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: naming.number(value)))
    axes.xaxis.set_minor_locator(NullLocator())
