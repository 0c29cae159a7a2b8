"""Does an agent walk worse on slippery ground? Return against friction, a panel for each way of learning.

A point is a task of a seed of `slippery_ant`: the friction under it, which is a pure function of both, and the mean
return of the episodes that ended in it, all of the task, its beginning included. Frictions come in another order for
every seed, so that no friction is always the first; still an agent that has learned for longer walks better on any, and
points of early tasks are pale. Dohare et al. (2024), Nature 632:768, draw frictions of this distribution; the
presentation is ours.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from dashboards import theme
from dashboards.figures import panels
from dashboards.figures.panels import ALL, Asked
from dashboards.sheets import SCREEN, Caption, Sheet, page
from sweep.errors import InputError
from sweep.results import frames, naming, selections
from sweep.results.bands import Summary, bands
from sweep.results.intervals import estimate
from workloads.metrics import HEADLINES
from workloads.reinforcement.friction import HIGHEST, LOWEST, friction
from workloads.reinforcement.locomotion import SlipperyAnt

NAME = "friction"
METRICS = HEADLINES
EDGES = np.geomspace(LOWEST, HIGHEST, 5)  # of the ranges that a line is of, each a factor of 3.2 wide
MARGIN = 1.15  # by which the axis goes on, on either side


def data(trials: pd.DataFrame, curves: pd.DataFrame, asked: Asked = ALL) -> pd.DataFrame:
    """One row per arm, seed and task (a point), and one per arm and range of frictions (its line), without a seed.

    `step` is the friction, of a line the middle of the range; `mean` the value, ci_low and ci_high over seeds, each of
    which is the mean of its tasks in the range. `rho`, `rho_low`, `rho_high`: Spearman's rank correlation of friction
    with the metric over the tasks of a seed, its mean over seeds. Raises InputError where there is no slippery ground.
    """
    slippery = trials["workload.name"] == SlipperyAnt.name
    if not slippery.any():
        raise InputError(f"{NAME} shows {SlipperyAnt.name}, and this sweep's workload is another")
    trials = panels.finished(trials[slippery], asked)
    metric = asked.shown(frames.headline(trials))
    best = theme.in_order(selections.best_settings(trials, selections.judged(trials, curves), ["arm"]), ["arm"])
    values = panels.within(trials, curves, metric, asked).merge(best[["arm", "group"]], on=["arm", "group"])
    values = of_frictions(values, trials)
    values["step"] = [friction(seed, task) for seed, task in zip(values["seed"], values["task"], strict=True)]
    parts = []
    for arm, group, candidates in best[["arm", "group", "candidates"]].itertuples(index=False):
        own = values[(values["arm"] == arm) & (values["group"] == group)]
        rows = pd.concat([points(own), line(own, asked.summary)])
        parts.append(rows.assign(arm=arm, group=group, candidates=candidates, **correlated(own)))
    told = {key: value for key, value in panels.facts(trials, asked).items() if key not in ("bin_tasks", "batch")}
    return pd.concat(parts, ignore_index=True).assign(metric=metric, **told)


def of_frictions(values: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Values of tasks as those of frictions, the mean over the tasks that share one; `task` is its number then."""
    shared = "workload.tasks_per_friction"
    if shared not in trials:
        return values
    tasks = trials.drop_duplicates("group").set_index("group")[shared].fillna(1)
    values = values.assign(task=values["task"].astype(int) // values["group"].map(tasks).astype(int))
    alike = [column for column in values if column not in ("step", "value")]
    return values.groupby(alike, sort=False, observed=True, dropna=False)["value"].mean().reset_index()


def points(own: pd.DataFrame) -> pd.DataFrame:
    """Of an arm's values every one that is there."""
    there = own.loc[own["value"].notna(), ["seed", "task", "step", "value"]].rename(columns={"value": "mean"})
    lost = own.loc[own["status"] == "diverged", "seed"].nunique()
    return there.sort_values(["seed", "task"]).assign(seeds=1, diverged=lost, members=own["seed"].nunique())


def line(own: pd.DataFrame, summary: Summary) -> pd.DataFrame:
    """Of an arm's values the mean over seeds in every range of frictions that any of its tasks is in."""
    middles = np.sqrt(EDGES[:-1] * EDGES[1:])
    ranged = own.assign(step=middles[np.searchsorted(EDGES[1:-1], own["step"], side="right")])
    by_seed = ranged.groupby(["step", "seed", "status"], observed=True)["value"].mean().reset_index()
    members = by_seed.groupby("step")["seed"].nunique().rename("members")
    return bands(by_seed, ["step"], summary=summary).join(members, on="step")


def correlated(own: pd.DataFrame) -> dict[str, float]:
    """Whether a seed's tasks of more friction have higher values: the mean over seeds, and its interval.

    NaN where no seed has three tasks of different values: of two tasks one is always ahead.
    """
    ranks = [tasks[["step", "value"]].rank() for _, tasks in own.dropna(subset="value").groupby("seed")]
    found = estimate(np.array([part["step"].corr(part["value"]) for part in ranks if len(part) > 2]))
    return {"rho": found.mean, "rho_low": max(found.low, -1.0), "rho_high": min(found.high, 1.0)}


def told(rows: pd.DataFrame) -> list[str]:
    """Of an arm's rows its rank correlation, `ρ 0.42 [0.1, 0.74]`, where there is one, and how many seeds diverged."""
    rho, low, high = rows[["rho", "rho_low", "rho_high"]].iloc[0]
    lost, members = rows["diverged"].max(), rows["members"].max()
    said = [] if np.isnan(rho) else [f"ρ {rho:.2g}" + ("" if np.isnan(low) else f" [{low:.2g}, {high:.2g}]")]
    return said + ([f"{lost:.0f} of {members} diverged"] if lost else [])


def caption(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Caption:
    """What a point, a line and its shade are, and how settings were chosen."""
    drawn, looks = data[data["seed"].isna()], theme.looks(data["arm"])
    text = "A point: one task of one seed, all of it; pale: the first tasks. "
    text += theme.averaged(drawn, ", in quarters of the range of frictions") + theme.dotted(drawn)
    if data["rho"].notna().any():
        text += " ρ: rank correlation of friction and return over a seed's tasks, its mean over seeds with an interval."
    text += theme.selected(data)
    if sheet.bare:
        said = [f"{look.label}: {', '.join(told(data[data['arm'] == arm]))}" for arm, look in looks.items()]
        text += f" {'; '.join(said)}."
    return Caption(f"{theme.workload(data['workload'].iloc[0])}: what is earned on slippery and on rough ground", text)


def draw(data: pd.DataFrame, sheet: Sheet = SCREEN) -> Figure:
    """The picture of `data`."""
    looks = theme.looks(data["arm"])
    columns = sheet.columns(len(looks), 2.6)
    rows = -(-len(looks) // columns)
    with sheet.settings():
        width = sheet.across(max(6.4, 2.6 * columns), columns)
        figure = page(sheet, width, 2.2 * rows + 0.25, caption(data, sheet))
        grid = panels.grid(figure, len(looks), columns, sharex=True, sharey=True)
        for (arm, look), axes in zip(looks.items(), grid.flat, strict=False):
            own = data[data["arm"] == arm]
            _panel(axes, own, look, last=float(data["task"].max()))
            theme.notes(axes, told(own), sheet)
            axes.set_title(look.label)
        for axes in panels.lowest(grid, len(looks)):
            axes.set_xlabel("friction")
        for axes in grid[:, 0]:
            axes.set_ylabel(sheet.upright(naming.metric(data["metric"].iloc[0])))
        _range(grid[0, 0], data, sheet)
    return figure


def _panel(axes: Axes, own: pd.DataFrame, look: theme.Look, *, last: float) -> None:
    """An arm's points, paler where their tasks are early, and its line."""
    shown = own[own["seed"].notna()]
    colors = [to_rgba(look.color, 0.2 + 0.6 * task / max(last, 1)) for task in shown["task"]]
    axes.scatter(shown["step"], shown["mean"], s=12, c=colors, linewidths=0)
    theme.band(axes, own[own["seed"].isna()], gid=own["arm"].iloc[0], color=look.color, marker=look.marker)


def _range(axes: Axes, data: pd.DataFrame, sheet: Sheet) -> None:
    """All frictions that there can be, and all points: intervals of a few seeds may leave the panel."""
    theme.spread(axes.xaxis)
    axes.set_xlim(LOWEST / MARGIN, HIGHEST * MARGIN)
    if sheet.log:
        theme.log_axis(axes.yaxis, data["mean"], data["metric"].iloc[0])
        return
    low, high = data["mean"].min(), data["mean"].max()
    if high > low:
        edge = 0.05 * (high - low)
        axes.set_ylim(low - edge, high + edge)
