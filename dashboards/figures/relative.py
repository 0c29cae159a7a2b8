"""How far an arm is from a network trained from scratch on the same task: its metric minus that baseline's, paired by
seed.

Below zero plasticity was lost: the data are the same and a new network does better. The first figure of
class-incremental CIFAR-100 (Dohare et al. 2024) and the gap of warm starting (Ash and Adams 2020). The baseline is the
arm with `reset: {what: all}`.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import fitting, theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from sweep.results.differences import paired_difference
from workloads.metrics import HEADLINES

METRICS = HEADLINES
KEYS = ("metric", "task", "step")


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per arm and task: group, setting, baseline, candidates, metric, task, step, mean, ci_low, ci_high, seeds,
    members.

    Every arm, the baseline too, is at its best setting. Raises InputError where no arm, or more than one, is retrained
    from scratch.
    """
    judged = frames.headline(trials)
    metric = asked.shown(judged)
    scratch = trials["reset.what"] == "all" if "reset.what" in trials else pd.Series(False, index=trials.index)
    baselines = list(dict.fromkeys(trials.loc[scratch, "arm"]))
    if len(baselines) != 1:
        what = f"{len(baselines)} ({', '.join(map(str, baselines))})" if baselines else "none"
        raise InputError(f"relative: it needs one arm with reset: {{what: all}}, the network from scratch, not {what}")
    trials = panels.finished(trials, asked, always=baselines)
    best = selections.best_settings(trials, selections.judged(trials, curves), ["arm"])
    best["setting"] = panels.settings(best.assign(source=best["arm"], line="network"), trials)
    values = panels.within(trials, curves, metric, asked)
    shown = values.merge(best[["arm", "group", "setting", "candidates"]], on=["arm", "group"])
    parts = []
    for arm, own in shown.groupby("arm", sort=False, observed=True):
        if arm == baselines[0]:
            continue
        gap = paired_difference(shown, str(arm), baselines[0], by=KEYS, summary=asked.summary)
        chosen = {name: own[name].iloc[0] for name in ("group", "setting", "candidates")}
        parts.append(gap.assign(arm=arm, **chosen, members=own["seed"].nunique()))
    if not parts:
        raise InputError(f"{baselines[0]} is the only arm that finished trials: there is nothing to compare with it")
    lines = theme.in_order(pd.concat(parts, ignore_index=True), ["arm", "task"])
    facts = {key: value for key, value in panels.facts(trials, asked).items() if key != "bin_tasks"}
    return lines.assign(baseline=baselines[0], **facts)


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a line and its shade are, and how settings were chosen."""
    looks = theme.looks(data["arm"])
    text = theme.averaged(data, " of the paired difference", ends=sheet.crowded(len(looks)))
    text += theme.dotted(data) + theme.selected(data)
    text += theme.lost(_by_task(data), ["arm"], lambda arm: looks[arm].label, sheet)
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: beside a network from scratch", text)


def _by_task(data: pd.DataFrame) -> pd.DataFrame:
    """The rows with tasks, counted from 1, in the place of steps."""
    return data.assign(step=data["task"] + 1)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`. Raises InputError for a logarithmic axis: differences have none."""
    if sheet.log:
        raise InputError("relative shows differences, which a logarithmic axis cannot: leave out --log")
    looks = theme.looks(data["arm"])
    first, begin, last = data.iloc[0], theme.begin(data, "task"), float(data["task"].max() + 1)
    crowded = sheet.crowded(len(looks))
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, label=panels.label(look, data[data["arm"] == arm]))
        for arm, look in looks.items()
    ]
    with sheet.settings():
        figure = page(sheet, sheet.across(6.6, 1), 3.2, caption(data, sheet), handles)
        axes = figure.subplots()
        lost: list[str] = []
        axes.axhline(0, color="#4D4D4D", linewidth=1, linestyle="--")
        for (arm, look), end in zip(looks.items(), theme.ends(crowded, len(looks), begin, last), strict=True):
            line = _by_task(data[data["arm"] == arm])
            theme.band(axes, line, end=end, gid=str(arm), color=look.color, marker=look.marker)
            if said := theme.missing(line):
                lost.append(f"{look.label}: {said}")
        theme.notes(axes, lost, sheet)
        fitting.to_differences(axes.set_ylim, data)
        axes.set_ylabel(f"{naming.metric(first['metric'])}\nminus {panels.baseline(data)}")
        axes.set_xlabel("task")
        theme.steps_axis(axes, begin, last, beyond=theme.beyond(crowded), whole=True)
    return figure
