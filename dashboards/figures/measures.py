"""What does every way of learning do to a network, beside how well it learns late?

A table: a row for each arm at its best setting, the best arm first, and a column for late performance and for every
diagnostic, as means over the last tenth of the tasks with half the width of their intervals. Colours are ranks within a
column, so that a column coloured as the first one goes along with performance. One table per workload's setting (and
per activation and any other axis of the network).
"""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dashboards import theme
from dashboards.figures import cells, panels, predictors
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page, points
from sweep.errors import InputError
from sweep.results import frames, leaderboard, naming, selections
from sweep.results.leaderboard import BETTER, direction
from workloads import metrics
from workloads.metrics import HEADLINES

METRICS = predictors.METRICS
ACROSS, UP, BESIDE = 0.56, 0.30, 1.9  # inches: a cell, and the names of arms
HEAD = 10  # letters in a line above a column
LINE = 40  # letters of a setting in a line beside a row
NOTHING = "#D9D9D9"


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per panel, arm and measure, late performance first: mean, half (of the interval's width), place, ...

    `place` is the rank of the mean in its column, 0 for the lowest and 1 for the highest (`_places`). Arms in the order
    of the leaderboard. Raises InputError where no diagnostic was recorded.
    """
    metric = asked.shown(frames.headline(trials))
    trials = panels.finished(trials, asked)
    networks, linear = frames.split(trials)
    axes = frames.panel_axes(networks)
    best = leaderboard.best_of_arms(networks, linear, selections.judged(trials, curves), axes)
    lines = panels.named(best, axes, networks).assign(source=best["arm"])
    lines["line"] = ["network" if arm in set(networks["arm"]) else "linear" for arm in lines["arm"]]
    lines["setting"] = panels.settings(lines, trials)
    shown = theme.in_order(lines[["panel", "arm", "setting", "group", "candidates"]], ["arm"])
    recorded = set(curves["metric"].unique())
    measured = METRICS([name for name in metrics.known() if name in recorded])  # like beside like
    diagnostics = [name for name in measured if name not in (*HEADLINES, metric)]
    if not diagnostics:
        raise InputError("measures needs diagnostics: none was recorded")
    parts = []
    for column, measure in enumerate((metric, *diagnostics)):
        late = panels.late(trials, curves, measure, asked)
        part = cells.summarised(late, shown, asked.summary).assign(measure=measure, column=column)
        run = late.groupby(["arm", "group"])["seed"].nunique().rename("members")  # those without a value, too
        part = part.drop(columns="members").merge(run.reset_index(), on=["arm", "group"])
        parts.append(part.assign(place=part.groupby("panel")["mean"].transform(_places)))
    table = _in_order(pd.concat(parts, ignore_index=True), list(dict.fromkeys(lines["panel"])), direction(metric))
    numbers = ["mean", "ci_low", "ci_high", "half", "place", "seeds", "diverged", "members"]
    columns = ["panel", "arm", "setting", "measure", *numbers, "group", "candidates"]
    return table[columns].assign(metric=metric, **panels.facts(trials, asked))


def _places(means: pd.Series[float]) -> pd.Series[float]:
    """The rank of each, from 0 to 1: those equal to three digits share theirs, and one alone is in the middle."""
    others = means.count() - 1
    rounded = means.map(lambda mean: float(f"{mean:.2e}"))  # what is rounding in a column must not look like a spread
    return (rounded.rank() - 1) / others if others > 0 else means.where(means.isna(), 0.5)


def _in_order(table: pd.DataFrame, titles: list[str], higher: bool | None) -> pd.DataFrame:
    """Panel after panel, its arms by the first column, those without a value last; as given where none is better."""
    first = table[table["column"] == 0].set_index(["panel", "arm"])["mean"]
    places = pd.MultiIndex.from_frame(table[["panel", "arm"]])
    by = pd.Series(first.reindex(places).to_numpy(), index=table.index) * (0 if higher is None else -1 if higher else 1)
    order = table["panel"].map({title: place for place, title in enumerate(titles)})
    looked = table["arm"].map({arm: place for place, arm in enumerate(theme.looks(table["arm"]))})
    keyed = table.assign(order=order, by=by, looked=looked)
    return keyed.sort_values(["order", "by", "looked", "column"], kind="stable", ignore_index=True)


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a cell and its colour say, and how settings were chosen."""
    metric = data["metric"].iloc[0]
    text = f"{theme.statistic(data)} over {theme.over(data)} and {theme.span(data['members'])} seeds"
    if data["half"].notna().any():
        text += f", ± half the width of its {theme.interval(data)}"
    text += (
        f". Rows by the first column, {naming.metric(metric)}{BETTER[direction(metric)]}; diagnostics are means over"
        " layers or matrices. Colour: the rank within its column, to three digits, dark for the lowest and bright for"
        " the highest."
    )
    if (data["seeds"] == 0).any():
        text += " Grey: no value."
    if ((data["seeds"] > 0) & (data["seeds"] < data["members"])).any():
        text += " *: seeds are missing (diverged or undefined), the mean is over the others."
    return Caption(
        f"{theme.workload(data['workload'].iloc[0])}: what ways of learning do to a network",
        text + theme.selected(data),
    )


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`. Raises InputError for a logarithmic axis: ranks have none."""
    if sheet.log:
        raise InputError("measures is coloured by ranks, which have no logarithmic scale: leave out --log")
    measures, titles = (list(dict.fromkeys(data[column])) for column in ("measure", "panel"))
    heads = [textwrap.fill(naming.metric(name), HEAD) for name in measures]
    tables = [data[data["panel"] == title] for title in titles]
    rows = [table["arm"].nunique() for table in tables]
    above = 0.15 * max(head.count("\n") + 1 for head in heads) + (0.35 if len(titles) > 1 else 0.15)
    width = sheet.across(max(6.4, ACROSS * len(measures) + BESIDE), len(measures))
    with sheet.settings():
        height = sum(UP * count + above for count in rows)
        figure = page(sheet, width, height, caption(data, sheet))
        grid = figure.subplots(len(titles), 1, squeeze=False, height_ratios=rows)
        for axes, title, table in zip(grid.flat, titles, tables, strict=True):
            _table(axes, table, measures, theme.looks(data["arm"]))
            axes.set_xticks(range(len(measures)), heads, size=points(6.8))
            if len(titles) > 1:
                axes.set_title(title, loc="left", size=points(9), weight="bold")
    return figure


def _table(axes: Axes, table: pd.DataFrame, measures: list[str], looks: Mapping[str, theme.Look]) -> None:
    """One panel's arms, the first at the top, late performance apart from the diagnostics."""
    arms = list(dict.fromkeys(table["arm"]))
    cells.empty(axes, len(measures), len(arms))
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    for about in table.to_dict("records"):
        place = measures.index(about["measure"]), arms.index(about["arm"])
        _cell(axes, place, about, gid=f"{about['panel']}/{about['arm']}/{about['measure']}")
    axes.axvline(0.5, color="white", linewidth=3)
    names = [_name(looks[arm].label, table[table["arm"] == arm].iloc[0]) for arm in arms]
    axes.set_yticks(range(len(arms)), names, size=points(6.8), linespacing=1.0)


def _cell(axes: Axes, place: tuple[int, int], about: Mapping[Hashable, Any], *, gid: str) -> None:
    """A measure of an arm, in the colour of its rank; grey where there is none."""
    across, up = place
    known = about["seeds"] > 0
    color = theme.heat(True)(float(about["place"]))
    face = color if known else NOTHING
    axes.add_patch(Rectangle((across - 0.5, up - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=0.8, gid=gid))
    text = theme.with_half(about["mean"], about["half"]) if known else "–"
    if known and about["seeds"] < about["members"]:
        mean, *half = text.split("\n")
        text = "\n".join([f"{mean}*", *half])
    ink = theme.ink(color) if known else "black"
    axes.text(across, up, text, ha="center", va="center", size=points(6.5), color=ink, linespacing=1.05)


def _name(label: str, first: Mapping[Hashable, Any] | pd.Series[Any]) -> str:
    """An arm, and below it its setting and how many of its seeds diverged, where there is such to say."""
    said = [first["setting"]] if isinstance(first["setting"], str) and first["setting"] else []
    if first["diverged"]:
        said.append(f"{first['diverged']:.0f} of {first['members']:.0f} diverged")
    below = textwrap.shorten(", ".join(said), LINE, placeholder=" ...")
    return f"{label}\n{below}" if below else label
