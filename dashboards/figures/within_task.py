"""Learning inside single tasks: the first, the tenth, the hundredth, ... and the last, from their first to their last
example, or step in an environment.

Where plasticity is lost, later tasks are learned more slowly and less far (Dohare et al. 2024, online permuted MNIST).
One panel per arm, at its best setting (and per activation and any other axis of network or workload), one line per
task.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dashboards import fitting, theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from sweep.results.bands import curve_bands
from workloads.diagnostics import BINS
from workloads.metrics import HEADLINES, OF_WORKLOADS
from workloads.reinforcement import CONTROLS

WITHIN = tuple(f"within_task/{k}" for k in range(1, BINS + 1))
METRICS = (*HEADLINES, *WITHIN)


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per arm, panel, task and bin: share (of the task's examples or environment steps, at the bin's end),
    mean, ci_low, ci_high.

    An arm's setting is its best one, as in `arms`.
    Raises InputError where another metric is asked for.
    """
    if asked.metric:
        raise InputError("within_task shows the online metric inside tasks and no other: leave out --metric")
    trials = panels.finished(trials, asked)
    late = selections.judged(trials, curves)
    axes = frames.panel_axes(trials)
    best = selections.best_settings(trials, late, ["arm", *axes])
    best = theme.in_order(panels.named(best, axes, trials), [*axes, "arm"])
    parts = []
    for place, metric in enumerate(WITHIN, start=1):
        values = panels.within(trials, curves, metric, asked)
        bands = curve_bands(values, best, asked.summary).assign(share=place / BINS)
        parts.append(best[["panel", "arm", "group", "candidates"]].merge(bands, on=["arm", "group"]))
    recorded = frames.recorded_metrics(trials)
    online = next(name for name in OF_WORKLOADS if name in recorded)  # every sweep records its workload's
    facts = {key: value for key, value in panels.facts(trials, asked).items() if key != "bin_tasks"}
    return pd.concat(parts, ignore_index=True).assign(metric=online, **facts)


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a line and its shade are, and how settings were chosen."""
    looks = theme.looks(data["arm"])
    crowded = sheet.crowded(data["task"].nunique())
    text = theme.averaged(data, f" ({BINS} bins per task)", ends=crowded)
    text += theme.dotted(data) + theme.selected(data)

    def called(arm: str, panel: str, task: int) -> str:
        return f"{looks[arm].label}, {panel}, task {int(task) + 1:,}"

    lines = data.assign(step=data["share"])
    text += theme.lost(lines, ["arm", "panel", "task"], called, sheet)
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: learning inside single tasks", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    places = data[["arm", "panel"]].drop_duplicates().itertuples(index=False)
    cells = [tuple(place) for place in places]
    looks = theme.looks(data["arm"])
    several = data["panel"].nunique() > 1
    tasks = theme.shades(data["task"])
    columns = sheet.columns(len(cells), 2.6)
    rows = -(-len(cells) // columns)
    handles = [Line2D([], [], color=shade, label=f"task {int(task) + 1:,}") for task, shade in tasks.items()]
    first, crowded = data.iloc[0], sheet.crowded(len(tasks))
    counted = "environment steps" if first["workload"] in CONTROLS else "examples"
    width = sheet.across(max(6.4, 2.6 * columns), columns)
    with sheet.settings():
        figure = page(sheet, width, 2.3 * rows + 0.3, caption(data, sheet), handles)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for place, axes in enumerate(grid.flat):
            if place >= len(cells):
                axes.set_visible(False)
                continue
            arm, panel = cells[place]
            part = data[(data["arm"] == arm) & (data["panel"] == panel)]
            lost: list[str] = []
            for (task, shade), end in zip(tasks.items(), theme.ends(crowded, len(tasks), 0.0, 1.0), strict=True):
                line = part[part["task"] == task].assign(step=lambda rows: rows["share"])
                if not len(line):
                    continue
                theme.band(axes, line, end=end, gid=f"{arm}/{panel}/{task}", color=shade)
                if said := theme.missing(line):
                    lost.append(f"task {int(task) + 1:,}: {said.partition(', from')[0]}")
            theme.notes(axes, lost, sheet)
            axes.set_title(f"{looks[arm].label}, {panel}" if several else looks[arm].label)
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_xlim(0, 1 + (theme.BEYOND if crowded else 0))
            if place % columns == 0:
                axes.set_ylabel(sheet.upright(naming.metric(first["metric"])))
            if place + columns >= len(cells):
                axes.set_xlabel(f"{counted} of the task")
                axes.xaxis.set_tick_params(labelbottom=True)
        fitting.to_values(grid[0, 0], data, ["arm", "panel", "task"], sheet)
    return figure
