"""Do silent relu units come back? Of the units that were silenced at the start, the share that speaks, over time.

One column of panels per way of silencing them (`network.killed`) and any other axis of network or workload. Above:
every arm at its best setting there. Below: AdamO's units at the end, at every product of step size and isometry
strength that was run, since that product is what its pull moves weights by in a step. That the isometry regulariser
revives dormant relu units is said by Rosseau, Müller, Nowé (2026), arXiv 2606.09762; ways and settings are ours.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import theme
from dashboards.figures import cells, panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from sweep.results.bands import curve_bands
from workloads.metrics import HEADLINES

NAME, METRIC, WAY = "reactivation", "revived_fraction", "network.killed"
METRICS = (*HEADLINES, METRIC)
EVERY_SETTING = True  # of AdamO, a point each
WAYS = {
    "flipped": "rows made negative",
    "bias": "biases as far as rows reach",
    "step": "one step too large",
    "zero_row": "rows of zeros",
    "far_bias": "biases far out of reach",
}
SHOWN = ["panel", "arm", "group", "candidates"]


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per panel, arm and task, and per panel, AdamO's arm and pull: mean, ci_low, ci_high, seeds, ...

    `pull` is step size x isometry strength, missing in the rows over time, as task and step are in the others. Raises
    InputError where another metric is asked for, no unit was silenced, or what became of them was not recorded.
    """
    if asked.metric:
        raise InputError(f"{NAME} shows {METRIC} and no other metric: leave out --metric")
    trials = panels.finished(trials, asked)
    if WAY not in trials or trials[WAY].isna().all():
        raise InputError(f"{NAME}: no network begins with silent units: give it `killed`")
    trials = trials[trials[WAY].notna()].assign(pull=pulls)
    axes = frames.panel_axes(trials)
    judged = selections.judged(trials, curves)
    best = selections.best_settings(trials, judged, ["arm", WAY, *axes])
    values = panels.within(trials, curves, METRIC, asked)
    over_time = curve_bands(values, best, asked.summary)
    parts = [_titled(best, axes)[SHOWN].merge(over_time, on=["arm", "group"])]
    pulled = trials[trials["pull"].notna()]
    if len(pulled):
        each = _titled(selections.best_settings(pulled, judged, ["arm", WAY, *axes, "pull"]), axes)
        late = panels.late(pulled, curves, METRIC, asked)
        parts.append(cells.summarised(late, each[[*SHOWN, "pull"]], asked.summary).drop(columns="half"))
    rows = pd.concat(parts, ignore_index=True).assign(metric=METRIC)
    places = {title: place for place, title in enumerate(_titled(best, axes)["panel"])}
    rows = theme.in_order(rows.assign(place=rows["panel"].map(places)), ["place", "arm", "pull", "task"])
    facts = {key: value for key, value in panels.facts(trials, asked).items() if key != "bin_tasks"}
    return rows.drop(columns="place").assign(**facts)


def pulls(trials: pd.DataFrame) -> pd.Series[float]:
    """Step size x isometry strength of AdamO's trials that pull; missing for all others."""
    if "optimizer.isometry_strength" not in trials:
        return pd.Series(float("nan"), index=trials.index)
    steps = trials["optimizer.step_size"].astype(float)
    if "optimizer.isometry_step_size" in trials:
        steps = trials["optimizer.isometry_step_size"].astype(float).fillna(steps)
    pull = steps * trials["optimizer.isometry_strength"].astype(float)
    return pull.where(pull > 0)


def _titled(settings: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """Adds `panel`: how units were silenced, and the values of other axes; in the order of `WAYS`."""
    others = [axis for axis in axes if axis != WAY]
    rows = settings.sort_values(WAY, key=lambda ways: ways.map({way: k for k, way in enumerate(WAYS)}), kind="stable")
    rest = [naming.setting(dict(zip(others, row, strict=True))) for row in rows[others].to_numpy(dtype=object)]
    return rows.assign(panel=[", ".join(filter(None, pair)) for pair in zip(rows[WAY].map(WAYS), rest, strict=True)])


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What lines are, and how settings were chosen."""
    over_time = data[data["pull"].isna()]
    looks = theme.looks(data["arm"])
    text = theme.averaged(over_time, "", ends=sheet.crowded(len(looks))) + theme.dotted(over_time)
    text += theme.selected(over_time)
    if data["pull"].notna().any():
        text += f" Below: mean over {theme.over(data)}, at every strength of AdamO's pull."

    def called(arm: str, panel: str) -> str:
        return f"{looks[arm].label}, {panel}"

    text += theme.lost(over_time, ["arm", "panel"], called, sheet)
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: units silenced at the start", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    looks = theme.looks(data["arm"])
    titles = list(dict.fromkeys(data["panel"]))
    over_time, by_pull = data[data["pull"].isna()], data[data["pull"].notna()]
    begin, last, crowded = theme.begin(over_time), float(over_time["step"].max()), sheet.crowded(len(looks))
    ends = dict(zip(looks, theme.ends(crowded, len(looks), begin, last), strict=True))
    handles = [Line2D([], [], color=look.color, marker=look.marker, label=look.label) for look in looks.values()]
    width = sheet.across(max(6.4, 2.0 * len(titles) + 0.6), len(titles))
    rows = 1 + bool(len(by_pull))
    with sheet.settings():
        figure = page(sheet, width, 2.1 * rows + 0.25, caption(data, sheet), handles)
        grid = figure.subplots(rows, len(titles), squeeze=False, sharex="row", sharey=True)
        for column, title in enumerate(titles):
            above = over_time[over_time["panel"] == title]
            _lines(grid[0, column], above, looks, title, ends)
            theme.notes(grid[0, column], _missing(above, looks), sheet)
            grid[0, column].set(title=title, xlabel=theme.steps_label(data.iloc[0]))
            if rows > 1:
                below = by_pull[by_pull["panel"] == title].assign(step=lambda part: part["pull"])
                _lines(grid[1, column], below, looks, f"{title}/pull", {})
                grid[1, column].set(xlabel="step size × strength", xscale="log")
        theme.steps_axis(grid[0, 0], begin, last, beyond=theme.beyond(crowded))
        for axes in grid[:, 0]:
            axes.set(ylabel=sheet.upright(naming.metric(METRIC)), ylim=(-0.05, 1.05))
    return figure


def _lines(
    axes: Axes, rows: pd.DataFrame, looks: dict[str, theme.Look], gid: str, ends: dict[str, float | None]
) -> None:
    """Every arm's line in one panel."""
    for arm in dict.fromkeys(rows["arm"]):
        look, line = looks[arm], rows[rows["arm"] == arm]
        theme.band(axes, line, end=ends.get(arm), gid=f"{gid}/{arm}", color=look.color, marker=look.marker)


def _missing(rows: pd.DataFrame, looks: dict[str, theme.Look]) -> list[str]:
    """Of which arms of a panel seeds are lost, and how many."""
    told = {arm: theme.missing(line) for arm, line in rows.groupby("arm", sort=False)}
    return [f"{looks[str(arm)].label}: {said}" for arm, said in told.items() if said]
