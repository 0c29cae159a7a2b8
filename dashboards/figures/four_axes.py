"""Step size, width, replacement rate and isometry strength crossed: where does learning last, and do the two
add up?

One heat map of step size by replacement rate for every width (and any other axis of network or workload) and
every optimizer with its isometry strength. A cell is the mean over the last tenth, with half the width of
its interval.
"""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd
from matplotlib.figure import Figure

from dashboards import theme
from dashboards.figures import cells, panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page, points
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from sweep.spec.figures import CROSSED, crossing
from workloads.metrics import HEADLINES, higher_is_better

METRICS = HEADLINES
EVERY_SETTING = True  # a cell each
CELL = ["row", "column", "step_size", "replacement_rate"]


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per cell: row, column (the heat map), step_size, replacement_rate, mean, ci_low, ci_high, half,
    ...

    Arms with other methods are left out; without continual backprop the rate is 0. Where several settings
    fall into a cell the best is shown; `candidates` says from how many. `half` is half the interval's width,
    `members` the trials of the cell, `diverged` how many of them have no last tenth. Raises InputError
    where no arms cross step size and replacement rate.
    """
    metric = asked.shown(frames.headline(trials))
    networks, _ = frames.split(panels.finished(trials, asked))
    networks = networks[[CROSSED.issuperset(methods.split()) for methods in networks["methods"]]]
    rates = _column(networks, "continual_backprop.replacement_rate").fillna(0.0)
    if missing := crossing(networks[panels.STEP_SIZE] if len(networks) else (), rates):
        raise InputError(f"four_axes: {missing}")
    axes = frames.panel_axes(networks)
    places = panels.named(networks, axes, networks).assign(
        column=[_learner(trial) for trial in networks.to_dict("records")],
        isometry=_column(networks, "optimizer.isometry_strength").fillna(
            _column(networks, "coupled_isometry.strength")
        ),
        step_size=networks[panels.STEP_SIZE],
        replacement_rate=rates,
    )
    places = places.rename(columns={"panel": "row"})
    keys = [*CELL, *axes, "optimizer.name", "isometry"]
    best = selections.best_settings(places, selections.judged(networks, curves), keys)
    late = panels.late(networks, curves, metric, asked)
    result = theme.in_order(
        cells.summarised(late, best, asked.summary),
        [*axes, "optimizer.name", "isometry", "step_size", "replacement_rate"],
    )
    shown = [
        *CELL,
        "arm",
        "group",
        "candidates",
        "mean",
        "ci_low",
        "ci_high",
        "half",
        "seeds",
        "diverged",
        "members",
    ]
    return result[shown].assign(metric=metric, **panels.facts(networks, asked))


def _column(trials: pd.DataFrame, name: str) -> pd.Series[float]:
    """A config column as numbers, missing where no trial has it."""
    return trials[name].astype(float) if name in trials else pd.Series(float("nan"), index=trials.index)


def _learner(trial: dict[Hashable, object]) -> str:
    """The text above a column of heat maps: the optimizer, and how strongly it is pulled to an isometry."""
    name = theme.learner(str(trial["optimizer.name"]))
    for column, pull in (
        ("optimizer.isometry_strength", "isometry"),
        ("coupled_isometry.strength", "isometry in loss"),
    ):
        strength = trial.get(column)
        if isinstance(strength, float) and not pd.isna(strength):
            name += f", {pull} {naming.number(strength)}"
    return name


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a cell says, and how its setting was chosen."""
    rows = list(dict.fromkeys(data["row"]))
    title = f"{theme.workload(data['workload'].iloc[0])}: step size, replacement rate, isometry"
    text = (
        f"{theme.statistic(data)} of {theme.over(data)} over {theme.span(data['members'])} seeds, ± half the width of"
        f" its {theme.interval(data)}. {cells.SAYS}"
    )
    if (data["candidates"] > 1).any():
        text += " Settings other than these axes are the best by the same mean, selected on these same seeds."
    return Caption(title + (f" and {rows[0].split()[0]}" if len(rows) > 1 else ""), text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`; a logarithmic scale of its colours where the sheet asks for one."""
    rows, columns = list(dict.fromkeys(data["row"])), list(dict.fromkeys(data["column"]))
    step_sizes, rates = sorted(data["step_size"].unique()), sorted(data["replacement_rate"].unique())
    first = data.iloc[0]
    higher = higher_is_better(first["metric"])
    scale = theme.color_scale(data["mean"], first["metric"], sheet)
    natural = max(7.4, len(columns) * max(0.58 * len(step_sizes) + 0.15, 1.5) + 1.6)
    height = len(rows) * max(0.40 * len(rates) + 0.35, 1.35) + 0.35
    with sheet.settings():
        figure = page(sheet, sheet.across(natural, len(columns)), height, caption(data, sheet))
        grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
        colors = theme.heat(higher)
        for (row, column), axes in zip(((row, column) for row in rows for column in columns), grid.flat, strict=True):
            part = data[(data["row"] == row) & (data["column"] == column)]
            cells.empty(axes, len(step_sizes), len(rates))
            for cell in part.to_dict("records"):
                place = step_sizes.index(cell["step_size"]), rates.index(cell["replacement_rate"])
                gid = f"{row}/{column}/{cell['step_size']!r}/{cell['replacement_rate']!r}"
                cells.cell(axes, place, cell, colors(scale(cell["mean"])), gid=gid)
            if row == rows[0]:
                axes.set_title(column.replace(", ", "\n"), size=points(8.5))
            if row == rows[-1]:
                axes.set_xticks(range(len(step_sizes)), [naming.number(value) for value in step_sizes])
                axes.set_xlabel("step size")
            if column == columns[0]:
                axes.set_yticks(range(len(rates)), [naming.number(value) for value in rates])
                axes.set_ylabel(f"{row}\nreplacement rate" if row else "replacement rate")
        theme.color_bar(figure, grid, scale, higher, naming.metric(first["metric"]))
    return figure
