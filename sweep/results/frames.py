"""Curves and settings as tidy tables, and values binned over tasks.

`curves` has one row per value that was recorded, `trials` one row per trial with its whole config. Nothing is
thrown away on the way: a diverged trial stays, marked by its `status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sweep.errors import InputError
from sweep.results import naming, windows
from sweep.results.windows import Window
from sweep.trials import planned_tasks
from workloads.metrics import HEADLINES

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.trials import Trial

COLUMNS = ("sweep", "trial", "arm", "workload", "seed", "task", "step", "metric", "value")
FINISHED = ("done", "diverged")  # statuses of trials that need no more computing
SHAPE = ("network.width", "network.depth", "network.activation")  # what a linear learner has none of


def curves(record: SweepRecord, ledger: Ledger, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Every recorded value of a sweep's finished trials, columns `COLUMNS`; all metrics unless named.

    A value has one row for each arm that its trial belongs to.
    """
    table = ledger.curves([trial.id for trial in record.trials], metrics)
    values = table.to_pandas(use_threads=False)
    values["trial"] = values["trial"].astype("category")
    values["metric"] = values["metric"].astype("category")
    members = list(_memberships(record))
    memberships = pd.DataFrame(
        {
            "code": values["trial"].cat.categories.get_indexer([trial.id for trial, _ in members]),
            "sweep": pd.Categorical([record.identity] * len(members)),
            "arm": pd.Categorical([arm for _, arm in members], categories=record.arms),
            "workload": pd.Categorical([trial.config["workload"]["name"] for trial, _ in members]),
            "seed": [trial.config["seed"] for trial, _ in members],
        }
    )
    values["code"] = values["trial"].cat.codes.astype("int64")
    tidy: pd.DataFrame = values.merge(memberships, on="code")[list(COLUMNS)]
    return tidy


def trials(record: SweepRecord, ledger: Ledger) -> pd.DataFrame:
    """The sweep's trials, indexed by `trial`: arm, group, seed, status (done, diverged, censored, failed or pending)
    and the config. A trial that belongs to several arms has a row for each. A failed trial is pending too: the last
    attempt at its pack failed, and the next run tries it again. So is a censored one, which was stopped before its end.

    The config's fields are columns such as `optimizer.step_size`, `network.width`, `workload.flip` and
    `continual_backprop.replacement_rate`, missing where a trial has no such method; `methods` names the
    methods, `metrics` what was recorded, separated by spaces, and `tasks` how many the trial goes through; `ended`
    is how many it completed, or the one (from 0) in which it diverged. By the mean of the metric `objective` (the
    headline one where it is missing) over the window `chosen_over` the sweep's file has settings chosen.
    """
    statuses: dict[str, str] = dict.fromkeys(ledger.failures(), "failed")
    ends = ledger.ends()
    statuses |= {id: end.status for id, end in ends.items()}
    objective, chosen_over = chosen_by(record)
    members = list(_memberships(record))
    listed = [trial for trial, _ in members]
    own = pd.DataFrame(
        {
            "trial": [trial.id for trial in listed],
            "arm": [arm for _, arm in members],
            "group": [trial.group for trial in listed],
            "seed": [trial.config["seed"] for trial in listed],
            "status": [statuses.get(trial.id, "pending") for trial in listed],
            "ended": [ends[trial.id].tasks if trial.id in ends else np.nan for trial in listed],
            "objective": objective,
            "chosen_over": str(chosen_over),
        }
    )
    shared = {trial.group: trial.config for trial in listed}  # all else is the same for all trials of a group
    settings = pd.DataFrame(
        [
            {
                "methods": " ".join(sorted(config["methods"])),
                "metrics": " ".join(config["metrics"]),
                "tasks": planned_tasks(config["workload"]),
                **dict(naming.fields(config)),
            }
            for config in shared.values()
        ]
    )
    places = {group: place for place, group in enumerate(shared)}
    settings = settings.take([places[trial.group] for trial in listed])
    return pd.concat([own, settings.reset_index(drop=True)], axis=1).set_index("trial")


def chosen_by(record: SweepRecord) -> tuple[str | None, Window]:
    """The metric and the window by which settings are chosen; None is the headline one."""
    judged: Mapping[str, Any] = record.manifest.get("select") or record.manifest.get("rounds") or {}
    return judged.get("objective"), windows.parse(judged["window"]) if "window" in judged else windows.LATE


def axes(trials: pd.DataFrame) -> list[str]:
    """The config columns that tell settings apart: those that vary inside an arm, or have two values in the sweep."""
    fields = [column for column in trials.columns if "." in column and not column.endswith(".name")]
    inside = {column for _, arm in trials.groupby("arm") for column in varying(arm, *fields)}
    return [column for column in fields if column in inside or trials[column].nunique() > 1]


def with_axes(curves: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """`curves` with the `axes` of `trials` as further columns, so that a mean over an arm need not mix its settings."""
    columns = axes(trials)
    once = trials.loc[~trials.index.duplicated(), columns]  # a trial of two arms has one config
    settings_of = once.reindex(curves["trial"].cat.categories)
    settings = settings_of.take(curves["trial"].cat.codes.to_numpy()).set_axis(curves.index)
    return pd.concat([curves, settings], axis=1)


def _memberships(record: SweepRecord) -> Iterator[tuple[Trial, str]]:
    """Every trial with each arm it belongs to."""
    return ((trial, arm) for trial in record.trials for arm in trial.arms)


def headline(trials: pd.DataFrame) -> str:
    """The metric a sweep is judged by: test accuracy where it is tested, else the online one.

    Raises InputError where it recorded none or finished no trial.
    """
    names = recorded_metrics(trials)
    for metric in HEADLINES:
        if metric in names:
            break
    else:
        raise InputError(
            f"a sweep is judged by {' or '.join(HEADLINES)}, and this one records"
            f" {', '.join(sorted(names)) or 'no metric'}: add one of them to `metrics:` in the sweep file"
        )
    if not trials["status"].isin(FINISHED).any():
        raise InputError("no trial of this sweep has finished yet")
    return metric


def recorded_metrics(trials: pd.DataFrame) -> list[str]:
    """The metrics that any trial records, in the order of the sweep file."""
    return list(dict.fromkeys(" ".join(trials["metrics"].unique()).split()))


def split(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Networks with hidden layers, and linear learners; a sweep of linear learners alone has them as its
    networks.
    """
    if "network.depth" not in trials:
        return trials, trials.iloc[:0]
    linear = trials["network.depth"] == 0
    return (trials, trials.iloc[:0]) if linear.all() else (trials[~linear], trials[linear])


def panel_axes(networks: pd.DataFrame) -> list[str]:
    """The axes that make panels: settings of workload and network that vary inside an arm.

    One that differs only between arms, such as an arm's own network, belongs to the arm.
    """
    inside = [varying(arm, "network.", "workload.") for _, arm in networks.groupby("arm")]
    return [column for column in networks.columns if any(column in columns for columns in inside)]


def varying(trials: pd.DataFrame, *prefixes: str) -> list[str]:
    """The config columns that begin with a prefix and take several values; missing counts as a value."""
    columns = [column for column in trials.columns if column.startswith(prefixes)]
    return [column for column in columns if trials[column].nunique(dropna=False) > 1]


def observed(trials: pd.DataFrame, curves: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of the finished trials on their whole grid of tasks: NaN from where a trial has no value.

    Columns trial, arm, group, seed, status, tasks (planned), task, step, metric, value. The grid of a trial
    is every task at which a trial of the same workload recorded the metric, so that one that diverged at once
    still counts. Where all of them diverged, it ends with their last task, which none has reached. Raises
    InputError where trials were done and none recorded the metric.
    """
    finished = trials[trials["status"].isin(FINISHED)].reset_index()
    values = curves.loc[curves["metric"] == metric, ["trial", "arm", "task", "step", "value"]]
    values = values.astype({"trial": str, "arm": str})
    if values.empty and (finished["status"] == "done").any():
        asked = metric.partition("/")[0]  # within_task/1 is one of many that within_task records
        raise InputError(f"no values of {asked}: add it to `metrics:` in the sweep file and run the sweep again")
    same_grid = [column for column in finished.columns if column.startswith("workload.") or column == "every"]
    finished["grid"] = finished.groupby(same_grid, dropna=False).ngroup()
    keys = ["trial", "arm"]
    grids = values.merge(finished[[*keys, "grid"]], on=keys)[["grid", "task", "step"]].drop_duplicates()
    grids = pd.concat([grids, _ends(finished, grids)], ignore_index=True)
    members = finished[[*keys, "group", "seed", "status", "tasks", "grid"]]
    dense = members.merge(grids, on="grid").merge(values, on=[*keys, "task", "step"], how="left")
    dense["metric"] = metric
    dense["value"] = dense["value"].where(np.isfinite(dense["value"]))
    return dense.drop(columns="grid").sort_values([*keys, "task"], ignore_index=True)


def _ends(finished: pd.DataFrame, grids: pd.DataFrame) -> pd.DataFrame:
    """What is left up to the last task of every grid on which all trials diverged, at the pace of what is known.

    The last task alone, at step 0, where nothing is known.
    """
    alive = set(finished.loc[finished["status"] == "done", "grid"])
    ends = []
    for grid, tasks in finished[["grid", "tasks"]].drop_duplicates("grid").itertuples(index=False):
        if grid in alive:
            continue
        of_grid = grids[grids["grid"] == grid].sort_values("task")
        begin, pace, stride = tasks - 1, 0.0, 1
        if len(of_grid):
            last = of_grid.iloc[-1]
            pace = last["step"] / (last["task"] + 1)
            stride = int(of_grid["task"].diff().min()) if len(of_grid) > 1 else 1
            begin = int(last["task"]) + stride
        left = sorted({*range(begin, tasks, stride), tasks - 1} - set(of_grid["task"]))
        steps = [round(pace * (task + 1)) for task in left]
        ends.append(pd.DataFrame({"grid": grid, "task": left, "step": steps}))
    return pd.concat(ends, ignore_index=True) if ends else grids.iloc[:0]


def bins(frame: pd.DataFrame, width: int) -> pd.DataFrame:
    """Means over non-overlapping bins of `width` tasks; `task` and `step` become the bin's last ones.

    A bin with a missing value has none. A leftover bin, holding fewer tasks than the fullest, is dropped (the
    paper's regression figures use bins of two tasks and drop the leftover). Columns other than task, step and
    value stay.
    """
    if width < 1:
        raise InputError(f"bins of {width} tasks: at least 1")
    others = [column for column in frame.columns if column not in ("task", "step", "value")]
    keys = [*(frame[column] for column in others), (frame["task"] // width).rename("bin")]
    grouped = frame.groupby(keys, dropna=False, sort=False)
    binned = grouped[["task", "step"]].max()
    binned["value"] = grouped["value"].sum(min_count=1) / grouped["value"].size()
    binned.loc[grouped["value"].count() < grouped["value"].size(), "value"] = np.nan
    full = grouped["value"].size()
    binned = binned[full == full.max()].reset_index()
    return binned[list(frame.columns)]
