"""By how much does each way of learning differ from the first, within each seed?

The same seed is the same stream and the same initial weights, so that what is left of a difference is what the arms
differ in. One row per arm at its best setting: a dot per seed, the mean and its interval. One panel per activation (and
any other axis of network or workload).
"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashboards import fitting, theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import naming
from sweep.results.bands import bands
from sweep.results.differences import within_seeds
from workloads.metrics import HEADLINES

METRICS = HEADLINES


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """Rows of two kinds for every panel and arm: `seed`, a difference each (as mean), and one `mean` with its interval.

    Columns kind, panel, arm, setting, baseline, group, candidates, seed, mean, ci_low, ci_high, seeds, diverged (one of
    the two, in how many seeds), members. The baseline is the first arm of the sweep, or of those that are asked for.
    """
    shown = panels.standings(trials, curves, asked)
    order = [*asked.arms] or list(dict.fromkeys(trials["arm"]))
    baseline = min(shown["arm"], key=order.index)
    parts = []
    for (panel, arm), own in shown.groupby(["panel", "arm"], sort=False, observed=True):
        base = shown[(shown["panel"] == panel) & (shown["arm"] == baseline)]
        pairs = within_seeds(own, base)
        if arm == baseline or pairs.empty:
            continue
        about = own[["panel", "arm", "setting", "group", "candidates", "metric"]].iloc[[0]].assign(baseline=baseline)
        mean = bands(pairs, [], summary=asked.summary).assign(kind="mean", members=len(pairs))
        each = pairs[["seed", "value"]].rename(columns={"value": "mean"}).assign(kind="seed", members=len(pairs))
        parts.append(about.merge(pd.concat([mean, each], ignore_index=True), how="cross"))
    if not parts:
        raise InputError(f"paired_differences: no arm has a seed in common with {baseline}")
    return pd.concat(parts, ignore_index=True).assign(**panels.facts(trials, asked))


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a dot and a bar are, and how settings were chosen."""
    means = data[data["kind"] == "mean"]
    text = (
        f"Mean over {theme.over(data)} minus that of {panels.baseline(means)}, paired by"
        f" seed: a dot for each of {theme.span(means['members'])} seeds, the"
        f" {theme.statistic(means).lower()} with its {theme.interval(means)}."
    )
    looks = theme.looks(data["arm"])
    lost = [
        f"{looks[row['arm']].label}, {row['panel']}: {row['diverged']:.0f} of {row['members']:.0f} seeds without a"
        " difference, as one side diverged"
        for row in means[means["diverged"] > 0].to_dict("records")
    ]
    text += theme.selected(data) + (f" Missing: {'; '.join(lost)}." if lost else "")
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: differences within seeds", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`. Raises InputError for a logarithmic axis: differences have none."""
    if sheet.log:
        raise InputError("paired_differences shows differences, which a logarithmic axis cannot: leave out --log")
    looks = theme.looks(data["arm"])
    titles = list(dict.fromkeys(data["panel"]))
    columns = sheet.columns(len(titles), 3.2)
    down = -(-len(titles) // columns)
    width = sheet.across(max(6.6, 3.2 * columns + 1.4), columns)
    with sheet.settings():
        figure = page(sheet, width, down * (0.34 * len(looks) + 0.8), caption(data, sheet))
        grid = panels.grid(figure, len(titles), columns, sharex=True, sharey=True)
        for axes, title in zip(grid.flat, titles, strict=False):
            _panel(axes, data[data["panel"] == title], looks)
            if len(titles) > 1:
                axes.set_title(title)
        labels = [
            panels.label(look, data[data["arm"] == arm], sheet) if len(titles) == 1 else look.label
            for arm, look in looks.items()
        ]
        grid[0, 0].set_yticks(range(len(looks)), labels)
        grid[0, 0].set_ylim(len(looks) - 0.4, -0.6)
        fitting.to_differences(grid[0, 0].set_xlim, data)
        for axes in panels.lowest(grid, len(titles)):
            label = f"{naming.metric(data['metric'].iloc[0])} minus {panels.baseline(data)}"
            axes.set_xlabel(textwrap.fill(label, panels.NARROW) if sheet.bare else label)
    return figure


def _panel(axes: Axes, part: pd.DataFrame, looks: dict[str, theme.Look]) -> None:
    """A row for each arm: its seeds faint, its mean and interval on top."""
    axes.axvline(0, color="#4D4D4D", linewidth=1, linestyle="--")
    axes.grid(False, axis="y")
    for place, (arm, look) in enumerate(looks.items()):
        own = part[part["arm"] == arm]
        seeds, mean = own[own["kind"] == "seed"], own[own["kind"] == "mean"]
        axes.plot(seeds["mean"], [place] * len(seeds), "o", color=look.color, alpha=0.25, markeredgewidth=0)
        axes.hlines([place] * len(mean), mean["ci_low"], mean["ci_high"], color=look.color, linewidth=2)
        axes.plot(
            mean["mean"],
            [place] * len(mean),
            look.marker or "o",
            color=look.color,
            markersize=7,
            gid=f"{part['panel'].iloc[0]}/{arm}",
        )
