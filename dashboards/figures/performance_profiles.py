"""How many runs of each way of learning do at least so well? Performance profiles (Agarwal et al. 2021).

For every level, the share of seeds whose mean over the last tenth reaches it, each arm at its best setting: a curve
that lies above another everywhere is better at every level, and a long tail shows runs that fail, which a mean hides.
One panel per activation (and any other axis of network or workload).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dashboards import theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.results import intervals, naming
from workloads.metrics import HEADLINES, higher_is_better

METRICS = HEADLINES
INTERVAL = f"{intervals.LEVEL:.0%} of the share of seeds (Wilson)"
LEVELS = 101  # between the worst and the best run


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per panel, arm and level: setting, mean (the share of seeds that reach it), ci_low, ci_high, members, ...

    A diverged trial reaches no level. Raises InputError where the metric is neither better high nor low.
    """
    shown = panels.standings(trials, curves, asked)
    metric = str(shown["metric"].iloc[0])
    panels.judges(metric, "performance_profiles")
    parts = []
    for panel, inside in shown.groupby("panel", sort=False):
        known = inside["value"].dropna()
        levels = np.linspace(known.min(), known.max(), LEVELS) if len(known) else np.zeros(1)
        for arm, own in inside.groupby("arm", sort=False, observed=True):
            share, low, high = intervals.profile(own["value"].to_numpy(), levels, higher=higher_is_better(metric))
            about = own.iloc[0][["setting", "group", "candidates"]].to_dict()
            lost = int((own["status"] == "diverged").sum())
            rows = pd.DataFrame(
                {"panel": panel, "arm": arm, **about, "level": levels, "mean": share, "ci_low": low, "ci_high": high}
            )
            parts.append(rows.assign(seeds=len(own), members=len(own), diverged=lost))
    return pd.concat(parts, ignore_index=True).assign(metric=metric, **panels.facts(trials, asked))


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a line and its shade are, and how settings were chosen."""
    crowded = sheet.crowded(data["arm"].nunique())
    text = f"Share of {theme.span(data['members'])} seeds whose mean over {theme.over(data)} is at least so good."
    if not crowded:
        text += " Shaded: 95 % interval of the share (Wilson)."
    if (data["diverged"] > 0).any():
        text += " Trials that diverged reach no level."
    text += theme.selected(data)
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: performance profiles", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`; the axis of levels is logarithmic where the sheet asks for it."""
    looks = theme.looks(data["arm"])
    titles = list(dict.fromkeys(data["panel"]))
    metric = data["metric"].iloc[0]
    columns = sheet.columns(len(titles), 2.6)
    down = -(-len(titles) // columns)
    label = [
        panels.label(look, data[data["arm"] == arm]) if len(titles) == 1 else look.label for arm, look in looks.items()
    ]
    handles = [Line2D([], [], color=look.color, label=text) for look, text in zip(looks.values(), label, strict=True)]
    with sheet.settings():
        figure = page(sheet, sheet.across(max(6.4, 2.6 * columns), columns), 2.4 * down, caption(data, sheet), handles)
        grid = panels.grid(figure, len(titles), columns, sharey=True)
        for axes, title in zip(grid.flat, titles, strict=False):
            part = data[data["panel"] == title]
            for arm, look in looks.items():
                line = part[part["arm"] == arm]
                axes.plot(line["level"], line["mean"], color=look.color, gid=f"{title}/{arm}", drawstyle="steps-mid")
                if not sheet.crowded(len(looks)):
                    axes.fill_between(
                        line["level"], line["ci_low"], line["ci_high"], color=look.color, alpha=0.12, linewidth=0
                    )
            if sheet.log:
                theme.log_axis(axes.xaxis, part["level"], metric)
            if not higher_is_better(metric):
                axes.invert_xaxis()  # better to the right, always
            axes.set_xlabel(f"{naming.metric(metric)}, better to the right")
            axes.set_ylim(-0.02, 1.02)
            if len(titles) > 1:
                axes.set_title(title)
        for axes in grid[:, 0]:
            axes.set_ylabel("share of seeds")
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure
