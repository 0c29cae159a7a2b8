"""Online error over time: with plain gradient descent a network first beats the linear learner, then falls
behind it.

Larger step sizes learn faster at first and lose more (Dohare et al. 2024, Extended Data Fig. 2, and Fig. 3
for permuted MNIST). One row of panels per optimizer alone, one panel per activation (and any other axis of
network or workload), one line per step size, the linear learner dashed. Regression is averaged over bins of
two tasks, as in the paper.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import fitting, theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.results import frames, naming, selections
from sweep.results.bands import curve_bands
from workloads.metrics import HEADLINES

METRICS = HEADLINES


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per line and bin: arm, panel, line (network, linear), step_size, task, step, mean, ci_low,
    ci_high, ...

    Arms are those without methods, or all where every arm has one; `left_out` names the others. Where
    settings differ in more than the step size, the best one is shown, by what the sweep chooses by;
    `candidates` says from how many. `source` is the arm of the trials, which is not `arm` where the linear
    learner is borrowed from another arm.
    """
    judged = frames.headline(trials)
    metric = asked.shown(judged)
    trials = panels.finished(trials, asked)
    networks, linear = frames.split(trials)
    alone = networks[networks["methods"] == ""]
    left_out = [naming.words(arm) for arm in networks["arm"].unique() if arm not in set(alone["arm"])]
    networks, left_out = (alone, left_out) if len(alone) else (networks, [])
    lines = _lines(networks, linear, selections.judged(trials, curves))
    if not panels.measured_on_linear(metric):
        lines = lines[lines["line"] == "network"]
    facts = panels.facts(trials, asked) | ({} if metric == judged else {"bin_tasks": 1})
    chosen = lines[["source", "group"]].rename(columns={"source": "arm"})
    values = panels.within(trials, curves, metric, asked)
    bands = curve_bands(values, chosen, asked.summary, width=facts["bin_tasks"]).rename(columns={"arm": "source"})
    return lines.merge(bands, on=["source", "group"]).assign(left_out=", ".join(left_out), **facts)


def _lines(networks: pd.DataFrame, linear: pd.DataFrame, late: pd.DataFrame) -> pd.DataFrame:
    """The lines to draw, in order: arm, panel, line, step_size, source, group, candidates."""
    axes = frames.panel_axes(networks)
    best = selections.best_settings(networks, late, ["arm", *axes, panels.STEP_SIZE])
    parts = [best.assign(line="network", source=best["arm"])]
    for arm, places in best[["arm", *axes]].drop_duplicates().groupby("arm", sort=False):
        own = linear[linear["arm"] == arm]
        baseline = panels.linear_lines(places, own if len(own) else linear, late)
        parts.append(baseline.assign(line="linear"))
    lines = pd.concat(parts, ignore_index=True)
    step_sizes = pd.concat([networks, linear])[["arm", "group", panels.STEP_SIZE]].drop_duplicates()
    lines = lines.drop(columns=panels.STEP_SIZE).merge(
        step_sizes.rename(columns={"arm": "source", panels.STEP_SIZE: "step_size"}), on=["source", "group"]
    )
    lines["kind"] = lines["line"].eq("linear")
    lines = theme.in_order(panels.named(lines, axes, networks), ["arm", *axes, "kind", "step_size"])
    return lines[["arm", "panel", "line", "step_size", "source", "group", "candidates"]]


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a line and its shade are, and how settings were chosen."""
    first = data.iloc[0]
    arms = theme.looks(data["arm"])
    binned = f" in bins of {first['bin_tasks']} tasks" if first["bin_tasks"] > 1 else " per task"
    text = theme.averaged(data, binned, ends=_crowded(data, sheet)) + theme.dotted(data)
    several = data["candidates"] > 1
    if (several & (data["line"] == "linear")).any():
        text += " Dashed: the linear learner at its best step size."
    if (several & (data["line"] == "network")).any():
        text += " Settings other than the step size are the best ones."
    if several.any():
        text += f" Best: by {first['chosen_by']}, selected on these same seeds."
    if isinstance(first["left_out"], str) and first["left_out"]:  # a CSV has nothing for no text
        text += f" Not shown, as they have methods: {first['left_out']}; the figure `arms` has all."

    def called(arm: str, panel: str, line: str, step_size: float) -> str:
        return f"{arms[arm].label}, {panel}, {f'{line} ' * (line == 'linear')}{naming.number(step_size)}"

    text += theme.lost(data, ["arm", "panel", "line", "step_size"], called, sheet)
    return Caption(f"{theme.workload(first['workload'])}: {naming.metric(first['metric'])} over time", text)


def _crowded(data: pd.DataFrame, sheet: Sheet) -> bool:
    """Whether a panel has more lines than shades could be told apart."""
    return sheet.crowded(int(data.groupby(["arm", "panel"])["group"].nunique().max()))


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    arms = theme.looks(data["arm"])
    titles = list(dict.fromkeys(data["panel"]))
    networks = data[data["line"] == "network"]
    shades = theme.shades(networks["step_size"])
    first, begin, last = data.iloc[0], theme.begin(data), float(data["step"].max())
    crowded = _crowded(data, sheet)

    there = set(zip(data["arm"], data["panel"], strict=True))  # an arm may have some of the panels only
    places = [(arm, title) for arm in arms for title in titles if (arm, title) in there]
    whole = len(places) == len(arms) * len(titles) and 1 not in (len(arms), len(titles))
    columns = len(titles) if whole else sheet.columns(len(places), 2.15)
    rows = -(-len(places) // columns)
    handles = [
        Line2D([], [], color=shade, label=naming.setting({panels.STEP_SIZE: step_size}))
        for step_size, shade in shades.items()
    ]
    if len(networks) < len(data):
        handles.append(Line2D([], [], color=theme.LINEAR.color, linestyle="--", label=theme.LINEAR.label))
    width = sheet.across(max(6.4, 2.15 * columns + 0.6), columns)
    with sheet.settings():
        figure = page(sheet, width, 1.95 * rows + 0.25, caption(data, sheet), handles)
        grid = panels.grid(figure, len(places), columns, sharex=True, sharey=True)
        for axes, (arm, title) in zip(grid.flat, places, strict=False):
            part = data[(data["arm"] == arm) & (data["panel"] == title)]
            lost = []
            lines = list(part.groupby(["line", "step_size"], sort=False))
            ends = theme.ends(crowded, len(lines), begin, last)
            for ((kind, step_size), line), end in zip(lines, ends, strict=True):
                look = (
                    {"color": theme.LINEAR.color, "linestyle": "--", "zorder": 3}
                    if kind == "linear"
                    else {"color": shades[step_size]}
                )
                theme.band(axes, line, end=end, gid=f"{arm}/{title}/{kind}/{step_size!r}", **look)
                if said := theme.missing(line):
                    lost.append(f"{naming.number(step_size)}: {said}")
            theme.notes(axes, lost, sheet)
            axes.set_title(title if len(arms) == 1 else ", ".join(filter(None, (arms[arm].label, title))))
        for axes in grid[:, 0]:
            axes.set_ylabel(sheet.upright(naming.metric(first["metric"])))
        theme.steps_axis(grid[0, 0], begin, last, beyond=theme.beyond(crowded))
        for axes in panels.lowest(grid, len(places)):
            axes.set_xlabel(theme.steps_label(first))
        fitting.to_values(grid[0, 0], data, ["arm", "panel", "line", "step_size"], sheet)
    return figure
