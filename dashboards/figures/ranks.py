"""Which ways of learning rank above which, over all seeds, and which of them cannot be told apart?

A rank plot with critical differences (Demšar 2006): every seed (of every panel) ranks the arms, each at its best
setting; an axis has their mean ranks, the best on the left, and bars join arms whose ranks differ by less than
Nemenyi's critical difference.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dashboards import theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page, points
from sweep.errors import InputError
from sweep.results import ranks
from workloads.metrics import HEADLINES, higher_is_better

METRICS = HEADLINES
INTERVAL = ""  # the critical difference is in the caption


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per arm, best first: setting, mean (rank), problems, critical (difference), friedman (p), bars.

    Problems are the seeds of every panel that all arms were run with; a diverged trial ranks last. `bars` says which
    groups of arms that cannot be told apart an arm is in, by letters. Raises InputError where the metric is neither
    better high nor low, or the arms have fewer than two seeds in common.
    """
    shown = panels.standings(trials, curves, asked)
    metric = str(shown["metric"].iloc[0])
    panels.judges(metric, "ranks")
    table = shown.pivot_table(
        index=["panel", "seed"], columns="arm", values="value", aggfunc="first", dropna=False, observed=False
    )
    run = shown.assign(run=1).pivot_table(
        index=["panel", "seed"], columns="arm", values="run", aggfunc="sum", observed=False
    )
    table = table.loc[table.index.isin(run.index[(run > 0).all(axis=1)]), list(dict.fromkeys(shown["arm"]))]
    if len(table) < 2:
        raise InputError("ranks: the arms have fewer than two seeds in common, of which nothing can be told")
    places = ranks.ranked(table.to_numpy(dtype=float), higher=higher_is_better(metric))
    critical = ranks.critical_difference(table.shape[1], len(table))
    about = shown.groupby("arm", sort=False).agg(
        setting=("setting", lambda texts: texts.iloc[0] if texts.nunique() == 1 else ""),
        group=("group", "first"),
        candidates=("candidates", "max"),
        members=("seed", "nunique"),
    )
    rows = about.assign(mean=pd.Series(places.mean(0), index=table.columns)).reset_index()
    rows = rows.sort_values("mean", kind="stable", ignore_index=True)
    runs = ranks.alike(rows["mean"].to_list(), critical)
    rows["bars"] = [
        " ".join(chr(ord("a") + bar) for bar, (first, last) in enumerate(runs) if first <= place <= last)
        or float("nan")
        for place in range(len(rows))
    ]
    facts = panels.facts(trials, asked)
    return rows.assign(metric=metric, problems=len(table), critical=critical, friedman=ranks.friedman(places), **facts)


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What the axis and the bars are, and how settings were chosen."""
    first = data.iloc[0]
    text = (
        f"Mean rank of the mean over {theme.over(data)}, over {first['problems']} seeds and panels, 1 is best."
        f" Bars join arms that cannot be told apart: their ranks differ by less than {first['critical']:.2f}, Nemenyi's"
        f" critical difference at 95 %. Friedman's test of no difference at all: p = {first['friedman']:.2g}."
    )
    return Caption(f"{theme.workload(first['workload'])}: ranks of ways of learning", text + theme.selected(data))


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`. Raises InputError for a logarithmic axis: ranks have none."""
    if sheet.log:
        raise InputError("ranks shows ranks, which have no logarithmic axis: leave out --log")
    looks = theme.looks(data["arm"])
    bars = sorted({bar for text in data["bars"].dropna() for bar in str(text).split()})
    with sheet.settings():
        row = 0.34 if sheet.bare else 0.26  # where names may take two lines
        figure = page(sheet, sheet.across(6.6, 1), row * len(data) + 0.14 * len(bars) + 0.8, caption(data, sheet))
        axes = figure.subplots()
        axes.grid(False, axis="y")
        for place, (arm, mean) in enumerate(zip(data["arm"], data["mean"], strict=True)):
            look = looks[arm]
            axes.hlines(place, 1, mean, color="#E6E6E6", linewidth=0.8, zorder=0)
            axes.plot([mean], [place], look.marker or "o", color=look.color, markersize=6, gid=arm)
        for place, bar in enumerate(bars):
            inside = data.loc[[bar in str(text).split() for text in data["bars"]], "mean"]
            axes.plot(
                [inside.min(), inside.max()],
                [len(data) + 0.4 * place] * 2,
                color="#4D4D4D",
                linewidth=3,
                gid=f"bar {bar}",
            )
        _critical(axes, data, -1.1)
        axes.set_yticks(
            range(len(data)), [panels.label(looks[arm], data[data["arm"] == arm], sheet) for arm in data["arm"]]
        )
        axes.set_ylim(len(data) + 0.4 * len(bars), -1.6)
        axes.set_xlim(0.8, len(data) + 0.2)
        axes.set_xticks(range(1, len(data) + 1))
        axes.set_xlabel("mean rank, 1 is the best")
    return figure


def _critical(axes: Axes, data: pd.DataFrame, place: float) -> None:
    """The critical difference, to scale."""
    width = data["critical"].iloc[0]
    axes.plot([1, 1 + width], [place, place], color="black", linewidth=1.2, marker="|", markersize=5)
    axes.annotate(
        "critical difference",
        (1 + width, place),
        xytext=(4, 0),
        textcoords="offset points",
        size=points(7),
        va="center",
    )
