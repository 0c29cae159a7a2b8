"""Which measure tells how well a network goes on learning, and which only goes along with it?

Spearman's rank correlation, over all settings of all ways of learning, of each diagnostic with late performance: of the
diagnostic's mean over the first half of the tasks, which could have told it beforehand, and of that over the late tasks
themselves. Positive: settings with more of it do better. One panel per activation (and any other axis of network or
workload). Rosseau, Müller, Nowé (2026), arXiv 2606.09762, say that plasticity follows the condition of the empirical
neural tangent kernel, and that isometry is what keeps it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import frames, naming, selections, windows
from sweep.results.correlations import rank_correlation
from sweep.results.windows import Window
from workloads import metrics
from workloads.metrics import HEADLINES, higher_is_better

EVERY_SETTING = True  # each is a case
INTERVAL = "95% of the rank correlation over ways of learning and seeds, drawn again (z, Student's t)"
BEFORE = Window("first", 50)
COLORS = {"before": "#0072B2", "beside": "#E69F00"}


def METRICS(recorded: list[str]) -> tuple[str, ...]:
    """What sweeps are judged by, and every diagnostic's mean over its layers."""
    known = metrics.known()
    return (*HEADLINES, *(n for n in recorded if n in known and known[n].origin == "diagnostic"))


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per panel, measure and `when` (before, beside): mean (ρ), ci_low, ci_high, settings, arms, seeds, ...

    Measures in the order of |ρ| before, of all panels together. Raises InputError where no diagnostic was recorded, or
    the metric is better neither high nor low.
    """
    metric = asked.shown(frames.headline(trials))
    panels.judges(metric, "predictors")
    trials = panels.finished(trials, asked)
    shown, networks, axes = panels.placed(trials)
    measures = [name for name in METRICS(sorted(curves["metric"].unique())) if name not in HEADLINES]
    if not measures:
        raise InputError("predictors needs diagnostics: none was recorded")
    late = asked.window or windows.LATE
    performance = selections.late(shown, curves, metric, late)
    if not higher_is_better(metric):
        performance["value"] *= -1
    rows = []
    for measure in measures:
        for when, window in (("before", BEFORE), ("beside", late)):
            told = selections.late(shown, curves, measure, window)
            rows += [row | {"measure": measure, "when": when} for row in _correlated(told, performance, shown, axes)]
    table = panels.named(pd.DataFrame(rows), axes, networks)
    size = table[table["when"] == "before"].groupby("measure")["mean"].agg(lambda rho: rho.abs().mean()).fillna(-1)
    table = table.assign(size=table["measure"].map(size)).sort_values(
        ["size", "measure", "panel"], ascending=[False, True, True], kind="stable", ignore_index=True
    )
    columns = ["panel", "measure", "when", "mean", "ci_low", "ci_high", "settings", "arms", "seeds", "members"]
    return table[columns].assign(metric=metric, **panels.facts(trials, asked))


def _correlated(
    told: pd.DataFrame, performance: pd.DataFrame, trials: pd.DataFrame, axes: list[str]
) -> list[dict[str, object]]:
    """A measure's correlation with performance in every panel."""
    both = told.merge(performance, on=["trial", "arm", "group", "seed"], suffixes=("", "_late"))
    both = both.merge(trials.reset_index()[["trial", "arm", *axes]], on=["trial", "arm"])
    rows = []
    for place, part in both.groupby(axes, dropna=False, sort=False) if axes else [((), both)]:
        cases = part.pivot_table(index=["arm", "group"], columns="seed", values=["value", "value_late"], dropna=False)
        cases = cases.dropna(how="all")
        arms = cases.index.get_level_values("arm").to_numpy()
        found = rank_correlation(cases["value"].to_numpy(float), cases["value_late"].to_numpy(float), arms)
        own: dict[str, object] = dict(zip(axes, place if isinstance(place, tuple) else (place,), strict=True))
        own |= {"mean": found.mean, "ci_low": found.low, "ci_high": found.high, "seeds": found.seeds}
        rows.append(own | {"settings": len(cases), "arms": len(set(arms)), "members": cases.shape[1] // 2})
    return rows


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a dot is, and of how much."""
    metric = naming.metric(data["metric"].iloc[0])
    text = (
        f"Spearman's rank correlation with {metric} over {theme.over(data)}, over {theme.span(data['settings'])}"
        f" settings of {theme.span(data['arms'])} ways of learning, each its mean over"
        f" {theme.span(data['seeds'])} seeds."
        " Right of 0: settings with more of it do better. Filled: of the measure in the first half of the tasks; open:"
        " over the tasks that performance is of. Bars: 95 % intervals, ways of learning and seeds drawn again."
    )
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: what tells late performance", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`. Raises InputError for a logarithmic axis: correlations have none."""
    if sheet.log:
        raise InputError("predictors shows correlations, which have no logarithmic axis: leave out --log")
    measures, titles = (list(dict.fromkeys(data[column])) for column in ("measure", "panel"))
    columns = sheet.columns(len(titles), 2.8)
    down = -(-len(titles) // columns)
    handles = [
        Line2D([], [], color=color, marker="o", mfc=_fill(when), linestyle="", label=label)
        for (when, color), label in zip(COLORS.items(), ("in the first half", "over the same tasks"), strict=True)
    ]
    with sheet.settings():
        height = (0.27 * len(measures) + 0.6) * down
        figure = page(sheet, sheet.across(max(6.4, 2.8 * columns), columns), height, caption(data, sheet), handles)
        grid = panels.grid(figure, len(titles), columns, sharex=True, sharey=True)
        for axes, title in zip(grid.flat, titles, strict=False):
            _panel(axes, data[data["panel"] == title], measures)
            if len(titles) > 1:
                axes.set_title(title)
        for axes in panels.lowest(grid, len(titles)):
            axes.set_xlabel("rank correlation with late performance")
        grid[0, 0].set_yticks(range(len(measures)), [sheet.upright(naming.metric(name)) for name in measures])
        grid[0, 0].set_ylim(len(measures) - 0.5, -0.5)
        grid[0, 0].set_xlim(-1.05, 1.05)
    return figure


def _panel(axes: Axes, part: pd.DataFrame, measures: list[str]) -> None:
    """A row for each measure, before above beside."""
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.grid(False, axis="y")
    for row in part.to_dict("records"):
        if not np.isfinite(row["mean"]):
            continue
        when = row["when"]
        place = measures.index(row["measure"]) + (-0.14 if when == "before" else 0.14)
        axes.hlines(place, row["ci_low"], row["ci_high"], color=COLORS[when], linewidth=1)
        axes.plot(
            [row["mean"]], [place], "o", color=COLORS[when], mfc=_fill(when), ms=4, gid=f"{row['measure']}/{when}"
        )


def _fill(when: str) -> str:
    return COLORS[when] if when == "before" else "white"
