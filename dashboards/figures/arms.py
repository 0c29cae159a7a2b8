"""Which ways of learning keep learning: every arm at its best setting, with what its network looks like
inside.

Plain gradient descent loses plasticity while dormant units and weights grow and the effective rank falls;
methods that keep plasticity keep these in bounds (Dohare et al. 2024, Extended Data Fig. 4). One column per
activation (and any other axis of network or workload), the online metric on top, the diagnostics that were
recorded below it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from dashboards import fitting, theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import DOUBLE, SCREEN, Caption, Sheet, page
from sweep.results import frames, naming, selections
from sweep.results.bands import curve_bands
from workloads.metrics import HEADLINES, MEASURED

INSIDE = ("dormant_fraction", "effective_rank", "weight_magnitude", "plasticity_gap")
FEW, MOST = 3, 4  # measures below the online metric: where there are fewer usual ones, others too, up to so many
MOST_NOTES = 2  # in a small panel


def inside(recorded: Iterable[str]) -> tuple[str, ...]:
    """What is shown below the online metric: the usual measures, and where they are few other diagnostics too."""
    names = list(recorded)
    usual = tuple(name for name in INSIDE if name in names)
    others = [name for name in names if name not in MEASURED and name not in INSIDE and "/" not in name]
    return (*usual, *others[: MOST - len(usual)]) if len(usual) < FEW else usual


def METRICS(recorded: Iterable[str]) -> tuple[str, ...]:
    """What it reads."""
    return (*HEADLINES, *inside(recorded))


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per metric, panel, arm and point: setting, candidates, task, step, mean, ci_low, ci_high,
    seeds, ...

    An arm's setting is the best one in that panel, by what the sweep chooses by, on the seeds that are drawn;
    `candidates` says from how many. `line` is network or linear; the linear learner has the online metric only.
    """
    online = frames.headline(trials)
    trials = panels.finished(trials, asked)
    values = panels.within(trials, curves, online, asked)
    late = selections.judged(trials, curves)
    networks, linear = frames.split(trials)
    axes = frames.panel_axes(networks)
    best = selections.best_settings(networks, late, ["arm", *axes])
    cells = best[axes].drop_duplicates() if axes else best[axes].head(1)  # rows without columns never repeat
    baselines = [
        panels.linear_lines(cells, own, late).assign(line="linear", arm=label)
        for label, own in _baselines(networks, linear).items()
    ]
    lines = pd.concat([best.assign(line="network", source=best["arm"]), *baselines], ignore_index=True)
    lines["kind"] = lines["line"].eq("linear")
    lines = theme.in_order(panels.named(lines, axes, networks), [*axes, "kind", "arm"])
    lines["setting"] = panels.settings(lines, trials)
    facts = panels.facts(trials, asked)
    parts = []
    for metric in [asked.shown(online)] if asked.metric else [online, *inside(curves["metric"].unique())]:
        drawn = lines if panels.measured_on_linear(metric) else lines[lines["line"] == "network"]
        width = facts["bin_tasks"] if metric == online else 1
        measured = values if metric == online else panels.within(trials, curves, metric, asked)
        chosen = drawn[["source", "group"]].rename(columns={"source": "arm"})
        bands = curve_bands(measured, chosen, asked.summary, width=width).rename(columns={"arm": "source"})
        columns = ["panel", "line", "arm", "setting", "source", "group", "candidates"]
        parts.append(drawn[columns].merge(bands, on=["source", "group"]))
    return pd.concat(parts, ignore_index=True).assign(**facts)


def _baselines(networks: pd.DataFrame, linear: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The linear learners to draw, by label: each arm that has no networks, or else the best of all of them."""
    own = [arm for arm in linear["arm"].unique() if arm not in set(networks["arm"])]
    if len(own) < 2:
        return {"linear learner": linear[linear["arm"].isin(own)] if own else linear}
    return {f"linear learner, {naming.words(arm)}": linear[linear["arm"] == arm] for arm in own}


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a line and its shade are, and how settings were chosen."""
    first = data.iloc[0]
    looks = theme.looks(data["arm"])
    binned = f" (online metric in bins of {first['bin_tasks']} tasks)" if first["bin_tasks"] > 1 else ""
    text = theme.averaged(data, binned, ends=sheet.crowded(data["arm"].nunique())) + theme.dotted(data)
    if (data["candidates"] > 1).any():
        text += theme.selected(data)
        if data["panel"].nunique() > 1:
            text += " The settings are in the CSV beside this figure."

    def called(panel: str, metric: str, arm: str) -> str:
        return ", ".join((naming.metric(metric), panel, looks[arm].label))

    text += theme.lost(data, ["panel", "metric", "arm"], called, sheet)
    return Caption(f"{theme.workload(first['workload'])}: ways of learning compared", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    networks = data[data["line"] == "network"]
    looks = theme.looks(networks["arm"])
    titles = list(dict.fromkeys(data["panel"]))
    metrics = list(dict.fromkeys(data["metric"]))[: 1 if sheet.style == "slide" else None]  # no more could be read
    first, begin, last = data.iloc[0], theme.begin(data), float(data["step"].max())
    crowded = sheet.crowded(data["arm"].nunique())
    handles = [_handle(data, arm, look) for arm, look in looks.items()]
    linear = list(dict.fromkeys(data.loc[data["line"] == "linear", "arm"]))
    dashes = dict(zip(linear, itertools.cycle(theme.DASHES), strict=False))
    handles += [_handle(data, arm, theme.LINEAR, dashes[arm]) for arm in linear]

    beside = len(titles) == 1  # one panel: the diagnostics stand around it
    width = sheet.across(7.6 if beside else max(6.4, 2.25 * len(titles) + 0.6), 1 if beside else len(titles))
    names = _mosaic(metrics, wide=width >= DOUBLE) if beside else []
    height = 3.0 + 1.75 * (len(names) - 1) if beside else 2.3 + 1.65 * (len(metrics) - 1)
    with sheet.settings():
        figure = page(sheet, width, height + 0.25, caption(data, sheet), handles)
        for (title, metric), axes in _places(figure, titles, metrics, names).items():
            part = data[(data["panel"] == title) & (data["metric"] == metric)]
            lost = []
            drawn = list(dict.fromkeys(part["arm"]))
            for arm, end in zip(drawn, theme.ends(crowded, len(drawn), begin, last), strict=True):
                line = part[part["arm"] == arm]
                look = theme.LINEAR if arm in dashes else looks[arm]
                dash = {"linestyle": dashes[arm], "zorder": 3} if arm in dashes else {"marker": look.marker}
                theme.band(axes, line, end=end, gid=f"{title}/{metric}/{arm}", color=look.color, **dash)
                if said := theme.missing(line, diverged=metric == metrics[0]):
                    lost.append(f"{look.label}: {said}")
            if metric != metrics[0] and len(lost) > MOST_NOTES:
                worst = (part["members"] - part["seeds"] - part["diverged"]).max()
                lost = [f"{len(lost)} arms: up to {worst:.0f} of {part['members'].max():.0f} undefined"]
            theme.notes(axes, lost, sheet)
            theme.steps_axis(axes, begin, last, beyond=theme.beyond(crowded))
            fitting.to_values(
                axes, data[data["metric"] == metric], ["panel", "arm"], sheet if metric == metrics[0] else SCREEN
            )
            if beside or title == titles[0]:
                axes.set_ylabel(sheet.upright(naming.metric(metric)))
            if metric == metrics[0] and not (sheet.bare and beside):
                axes.set_title(title)
            if beside or metric == metrics[-1]:
                axes.set_xlabel(theme.steps_label(first) if metric == metrics[0] or not beside else "steps")
    return figure


def _mosaic(metrics: list[str], *, wide: bool) -> list[list[Any]]:
    """The rows of panels where there is one column of a grid: the first metric on top, alone; the others below it, all
    of them or, in a narrow figure, in pairs.
    """
    first, *others = metrics
    if wide:
        return [[first] * max(len(others), 1), *([others] if others else [])]
    alone = len(metrics) % 2
    pairs = [metrics[place : place + 2] for place in range(alone, len(metrics), 2)]
    return [[first, first]] * alone + pairs


def _places(
    figure: Figure, titles: list[str], metrics: list[str], names: list[list[Any]]
) -> dict[tuple[str, str], Axes]:
    """Where each panel and metric is drawn."""
    if names:
        top = 1.7 if len(set(names[0])) == 1 else 1.0
        mosaic = figure.subplot_mosaic(names, height_ratios=[top, *([1.0] * (len(names) - 1))])
        return {(titles[0], metric): mosaic[metric] for metric in metrics}
    ratios = [1.4, *([1.0] * (len(metrics) - 1))]
    grid = figure.subplots(len(metrics), len(titles), squeeze=False, sharex=True, sharey="row", height_ratios=ratios)
    return {
        (title, metric): grid[row, column] for column, title in enumerate(titles) for row, metric in enumerate(metrics)
    }


def _handle(data: pd.DataFrame, arm: str, look: theme.Look, dash: LineStyleType = "-") -> Line2D:
    """The legend's entry; it names the setting where the arm has one and the same in every panel."""
    settings = data.loc[data["arm"] == arm, "setting"].dropna().unique()
    chosen = f" ({settings[0]})" if len(settings) == 1 and settings[0] and data["panel"].nunique() == 1 else ""
    text = f"{naming.words(arm) if look is theme.LINEAR else look.label}{chosen}"
    return Line2D([], [], color=look.color, marker=look.marker, linestyle=dash, label=text)
