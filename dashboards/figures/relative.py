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
from matplotlib.ticker import MaxNLocator

from dashboards import theme
from dashboards.figures import panels
from sweep.errors import InputError
from sweep.results import frames, naming, selections, windows
from sweep.results.differences import paired_difference
from workloads.metrics import HEADLINES, higher_is_better

METRICS = HEADLINES
KEYS = ("metric", "task", "step")


def data(trials: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and task: group, baseline, candidates, metric, task, step, mean, ci_low, ci_high, seeds, members.

    Every arm, the baseline too, is at its best setting by the mean over the last tenth. Raises InputError where no
    arm, or more than one, is retrained from scratch.
    """
    metric = frames.headline(trials)
    trials = panels.finished(trials)
    scratch = trials["reset.what"] == "all" if "reset.what" in trials else pd.Series(False, index=trials.index)
    baselines = list(dict.fromkeys(trials.loc[scratch, "arm"]))
    if len(baselines) != 1:
        found = f"{len(baselines)} ({', '.join(map(str, baselines))})" if baselines else "none"
        raise InputError(f"relative: it needs one arm with reset: {{what: all}}, the network from scratch, not {found}")
    values = frames.observed(trials, curves, metric)
    late = windows.late(values)
    best = selections.best_settings(trials, late, ["arm"], higher=higher_is_better(metric))
    shown = values.merge(best[["arm", "group", "candidates"]], on=["arm", "group"])
    parts = []
    for arm, own in shown.groupby("arm", sort=False, observed=True):
        if arm == baselines[0]:
            continue
        gap = paired_difference(shown, str(arm), baselines[0], by=KEYS)
        first = own.iloc[0]
        members = own["seed"].nunique()
        parts.append(gap.assign(arm=arm, group=first["group"], candidates=first["candidates"], members=members))
    if not parts:
        raise InputError(f"{baselines[0]} is the only arm that finished trials: there is nothing to compare with it")
    lines = theme.in_order(pd.concat(parts, ignore_index=True), ["arm", "task"])
    facts = {key: value for key, value in panels.facts(trials).items() if key != "bin_tasks"}
    return lines.assign(baseline=baselines[0], **facts)


def draw(data: pd.DataFrame) -> Figure:
    """The picture of `data`."""
    looks = theme.looks(data["arm"])
    first = data.iloc[0]
    handles = [Line2D([], [], color=look.color, marker=look.marker, label=look.label) for look in looks.values()]
    subtitle = theme.averaged(data["members"], " of the paired difference")
    subtitle += theme.dotted(data) + theme.selected(data["candidates"])
    with theme.style():
        title = f"{theme.workload(first['workload'])}: beside a network from scratch"
        figure = theme.page(6.6, 3.2, title, subtitle, handles)
        axes = figure.subplots()
        lost: list[str] = []
        axes.axhline(0, color="#4D4D4D", linewidth=1, linestyle="--")
        for arm, look in looks.items():
            line = data[data["arm"] == arm].assign(step=lambda rows: rows["task"] + 1)
            theme.band(axes, line, gid=str(arm), color=look.color, marker=look.marker)
            if said := theme.missing(line.assign(step=line["task"] + 1)):
                lost.append(f"{look.label}: {said}")
        theme.notes(axes, lost)
        axes.set_ylabel(f"{naming.metric(first['metric'])}\nminus {naming.words(first['baseline'])}")
        axes.set_xlabel("task")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
