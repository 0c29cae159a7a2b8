"""Curves as tidy tables, and what figures ask of them: bins, bands, paired differences, the best setting.

`curves` has one row per value that was recorded, `trials` one row per trial with its whole config. Nothing is
thrown away on the way: a diverged trial stays, marked by its `status`, and a mean over seeds says how many
seeds it has and how many were lost. Intervals are 95 % percentile bootstraps of a mean over seeds (Efron and
Tibshirani 1993, ch. 13); the resampled seeds depend on `seed` and the number of seeds alone, so an interval
does not change with its neighbours.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sweep.errors import InputError
from sweep.results import naming
from workloads import kinds
from workloads.metrics import HEADLINES

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord
    from sweep.trials import Trial

COLUMNS = ("sweep", "trial", "arm", "workload", "seed", "task", "step", "metric", "value")
FINISHED = ("done", "diverged")  # statuses of trials that need no more computing
BAND_COLUMNS = ("mean", "ci_low", "ci_high", "seeds", "diverged")

LEVEL = 0.95
LATE = 0.1  # of the tasks, the last ones: what arms are judged by and their settings chosen by
SHAPE = ("network.width", "network.depth", "network.activation")  # what a linear learner has none of


def curves(record: SweepRecord, ledger: Ledger, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Every recorded value of a sweep's finished trials, columns `COLUMNS`; all metrics unless named.

    A value has one row for each arm that its trial belongs to.
    """
    table = ledger.curves([trial.id for trial in record.trials], metrics)
    values = table.to_pandas()
    values["trial"] = values["trial"].astype("category")
    values["metric"] = values["metric"].astype("category")
    members = list(_memberships(record))
    known = pd.DataFrame(
        {
            "code": values["trial"].cat.categories.get_indexer([trial.id for trial, _ in members]),
            "sweep": pd.Categorical([record.identity] * len(members)),
            "arm": pd.Categorical([arm for _, arm in members], categories=record.arms),
            "workload": pd.Categorical([trial.config["workload"]["name"] for trial, _ in members]),
            "seed": [trial.config["seed"] for trial, _ in members],
        }
    )
    values["code"] = values["trial"].cat.codes.astype("int64")
    tidy: pd.DataFrame = values.merge(known, on="code")[list(COLUMNS)]
    return tidy


def trials(record: SweepRecord, ledger: Ledger) -> pd.DataFrame:
    """The sweep's trials, indexed by `trial`: arm, group, seed, status (done, diverged, censored, failed or pending)
    and the config. A trial that belongs to several arms has a row for each. A failed trial is pending too: the last
    attempt at its pack failed, and the next run tries it again. So is a censored one, which was stopped before its end.

    The config's fields are columns such as `optimizer.step_size`, `network.width`, `workload.flip` and
    `continual_backprop.replacement_rate`, missing where a trial has no such method; `methods` names the
    methods, `metrics` what was recorded, separated by spaces, and `tasks` how many the trial goes through; `ended`
    is how many it completed, or the one (from 0) in which it diverged.
    """
    statuses: dict[str, str] = dict.fromkeys(ledger.failures(), "failed")
    known = ledger.ends()
    statuses |= {id: end.status for id, end in known.items()}
    members = list(_memberships(record))
    listed = [trial for trial, _ in members]
    own = pd.DataFrame(
        {
            "trial": [trial.id for trial in listed],
            "arm": [arm for _, arm in members],
            "group": [trial.group for trial in listed],
            "seed": [trial.config["seed"] for trial in listed],
            "status": [statuses.get(trial.id, "pending") for trial in listed],
            "ended": [known[trial.id].tasks if trial.id in known else np.nan for trial in listed],
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


def axes(trials: pd.DataFrame) -> list[str]:
    """The config columns that tell settings apart: those that vary inside an arm, or have two values in the sweep."""
    fields = [column for column in trials.columns if "." in column and not column.endswith(".name")]
    inside = {column for _, arm in trials.groupby("arm") for column in varying(arm, *fields)}
    return [column for column in fields if column in inside or trials[column].nunique() > 1]


def with_axes(curves: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """`curves` with the `axes` of `trials` as further columns, so that a mean over an arm need not mix its settings."""
    columns = axes(trials)
    once = trials.loc[~trials.index.duplicated(), columns]  # a trial of two arms has one config
    known = once.reindex(curves["trial"].cat.categories)
    settings = known.take(curves["trial"].cat.codes.to_numpy()).set_axis(curves.index)
    return pd.concat([curves, settings], axis=1)


def _memberships(record: SweepRecord) -> Iterator[tuple[Trial, str]]:
    """Every trial with each arm it belongs to."""
    return ((trial, arm) for trial in record.trials for arm in trial.arms)


def planned_tasks(workload: Mapping[str, Any]) -> int:
    """How many tasks a trial goes through, from its config; some streams' follows from their other fields."""
    if "tasks" in workload:
        return int(workload["tasks"])
    return kinds.made(workload, 0).tasks


def headline(trials: pd.DataFrame) -> str:
    """The metric a sweep is judged by: test accuracy where it is tested, else the online one.

    Raises InputError where it recorded none or finished no trial.
    """
    recorded = set(" ".join(trials["metrics"].unique()).split())
    for metric in HEADLINES:
        if metric in recorded:
            break
    else:
        raise InputError(
            f"a sweep is judged by {' or '.join(HEADLINES)}, and this one records"
            f" {', '.join(sorted(recorded)) or 'no metric'}: add one of them to `metrics:` in the sweep file"
        )
    if not trials["status"].isin(FINISHED).any():
        raise InputError("no trial of this sweep has finished yet")
    return metric


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
        known = grids[grids["grid"] == grid].sort_values("task")
        begin, pace, stride = tasks - 1, 0.0, 1
        if len(known):
            last = known.iloc[-1]
            pace = last["step"] / (last["task"] + 1)
            stride = int(known["task"].diff().min()) if len(known) > 1 else 1
            begin = int(last["task"]) + stride
        left = sorted({*range(begin, tasks, stride), tasks - 1} - set(known["task"]))
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


def bands(
    frame: pd.DataFrame, by: Sequence[str], value: str = "value", *, seed: int = 0, draws: int = 2000
) -> pd.DataFrame:
    """Mean over seeds and its 95 % bootstrap interval, one row for every combination of the `by` columns.

    Adds mean, ci_low, ci_high and seeds (how many have a value there); where the frame has a `status`, also
    diverged (how many diverged trials have no value there any more). A mean is over the seeds that have a
    value; with fewer than two of them the interval is NaN. Whole curves are resampled: the seeds drawn are
    the same at every task. Raises InputError where a combination has several values of one seed, for those
    are not repetitions.
    """
    by = list(by)
    if frame.duplicated([*by, "seed"]).any():
        several = frame[frame.duplicated([*by, "seed"])].iloc[0]
        raise InputError(
            f"bands over {', '.join(by) or 'everything'}: seed {several['seed']} has several values in one of"
            " them; add the columns that tell their settings apart, such as 'group'"
        )
    along = [column for column in by if column in ("task", "step")]
    across = [column for column in by if column not in along]
    # Curves in the order of their first rows, their points in that of time, both numbered through the frame.
    curve = frame.groupby(across, dropna=False, sort=False).ngroup().to_numpy() if across else np.zeros(len(frame), int)
    point = frame[along].assign(curve=curve).groupby(["curve", *along]).ngroup().to_numpy()
    _, first = np.unique(point, return_index=True)
    result = frame.iloc[first][[*across, *along]].reset_index(drop=True)
    categories = {k: v.categories.dtype for k, v in result.dtypes.items() if isinstance(v, pd.CategoricalDtype)}
    result = result.astype(categories)
    seeds, numbers = frame["seed"].to_numpy(), frame[value].to_numpy(dtype=float)
    diverged = (frame["status"] == "diverged").to_numpy() if "status" in frame else None
    columns = np.full((len(BAND_COLUMNS), len(first)), np.nan)
    order = np.argsort(curve, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(curve[order])) + 1):
        if not len(rows):
            continue
        start, stop = point[rows].min(), point[rows].max() + 1
        known, member = np.unique(seeds[rows], return_inverse=True)
        values = np.full((len(known), stop - start), np.nan)
        values[member, point[rows] - start] = numbers[rows]
        columns[:4, start:stop] = _mean_and_interval(values, seed, draws)
        if diverged is not None:
            lost = np.zeros(len(known), dtype=bool)
            lost[member[diverged[rows]]] = True
            columns[4, start:stop] = (np.isnan(values) & lost[:, None]).sum(0)
    for name, column in zip(BAND_COLUMNS[: 4 if diverged is None else 5], columns, strict=False):
        result[name] = column.astype("int64") if name in ("seeds", "diverged") else column
    return result


@functools.lru_cache(maxsize=4)
def _draws(members: int, seed: int, draws: int) -> np.ndarray:
    """How often each seed is drawn, (draws, members), so that a resampled mean is one product of matrices."""
    chosen = np.random.default_rng(seed).multinomial(members, np.full(members, 1 / members), size=draws).astype(float)
    chosen.flags.writeable = False
    return chosen


def _mean_and_interval(values: np.ndarray, seed: int, draws: int) -> tuple[np.ndarray, ...]:
    """values (seeds, points) with NaN where missing -> mean, low, high, count, each (points,)."""
    members = values.shape[0]
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    count = there.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(0) / count
        chosen = _draws(members, seed, draws)
        resampled = (chosen @ filled) / (chosen @ there.astype(float))  # (draws, points)
    low = np.full_like(mean, np.nan)
    high = np.full_like(mean, np.nan)
    whole = np.flatnonzero((count == members) & (count > 1))
    tails = 50 * (1 - LEVEL), 50 * (1 + LEVEL)
    if whole.size:
        low[whole], high[whole] = np.percentile(resampled[:, whole], tails, axis=0)
    for point in np.flatnonzero((count < members) & (count > 1)):
        drawn = resampled[:, point]
        # A draw that missed every seed with a value here has no mean.
        low[point], high[point] = np.percentile(drawn[np.isfinite(drawn)], tails)
    return mean, low, high, count


def paired_difference(
    frame: pd.DataFrame,
    arm_a: str,
    arm_b: str,
    *,
    by: Sequence[str] = (),
    value: str = "value",
    seed: int = 0,
    draws: int = 2000,
) -> pd.DataFrame:
    """Mean over shared seeds of arm_a minus arm_b with its interval, as in `bands`; `by` may hold task and
    metric.

    Seeds share stream and initial weights, so the difference within a seed is what the arms differ in. Raises
    InputError where an arm is missing, the arms share no seed, or an arm has several values of one seed.
    """
    keys = [*by, "seed"]
    columns = [*keys, value, *(["status"] if "status" in frame else [])]
    sides = []
    for arm in (arm_a, arm_b):
        side = frame.loc[frame["arm"] == arm, columns]
        if side.empty:
            known = ", ".join(map(str, pd.unique(frame["arm"])))
            raise InputError(f"no arm {arm!r} to compare: there are {known}")
        if side.duplicated(keys).any():
            raise InputError(f"arm {arm!r} has several values of one seed: pick one setting of it first")
        sides.append(side)
    pairs = sides[0].merge(sides[1], on=keys, suffixes=("_a", "_b"))
    if pairs.empty:
        raise InputError(f"arms {arm_a!r} and {arm_b!r} share no seed, so no difference is paired")
    pairs[value] = pairs[f"{value}_a"] - pairs[f"{value}_b"]
    if "status" in frame:
        lost = (pairs["status_a"] == "diverged") | (pairs["status_b"] == "diverged")
        pairs["status"] = np.where(lost, "diverged", "done")
    return bands(pairs, by, value, seed=seed, draws=draws)


def late_from(tasks: pd.Series[int]) -> pd.Series[int]:
    """The first of the last tenth (`LATE`) of so many tasks; at least one is left."""
    return tasks - np.ceil(tasks * LATE).astype(int)


def late(frame: pd.DataFrame) -> pd.DataFrame:
    """Each trial's mean over the last tenth (`LATE`) of its planned tasks, at least one, from an `observed` frame.

    NaN where it diverged. Columns trial, arm, group, seed, status, metric, value.
    """
    late = frame[frame["task"] >= late_from(frame["tasks"])]
    keys = ["trial", "arm", "group", "seed", "status", "metric"]
    grouped = late.groupby(keys, sort=False)["value"]
    means: pd.Series[float] = grouped.mean().where(grouped.count() == grouped.size())
    return means.reset_index()


def best_settings(trials: pd.DataFrame, judged: pd.DataFrame, by: Sequence[str], *, higher: bool) -> pd.DataFrame:
    """The best group of `trials` for every combination of the `by` columns, judged by a frame of
    `late`.

    Fewest diverged trials first, then the best mean over the seeds. Columns: by, arm, group, and candidates,
    the number of groups it was chosen from. An arm is judged by all of its settings, other arms' too.
    """
    by = list(by)
    keys = list(dict.fromkeys([*by, "arm", "group"]))
    config = trials.reset_index()[list(dict.fromkeys(["trial", "arm", *by]))]
    judged = judged.merge(config, on=["trial", "arm"])
    judged["diverged"] = judged["status"] == "diverged"
    grouped = judged.groupby(keys, dropna=False, sort=False)
    ranked = grouped.agg(diverged=("diverged", "sum"), mean=("value", "mean")).reset_index()
    ranked["mean"] = ranked["mean"].fillna(-np.inf if higher else np.inf)
    ranked = ranked.sort_values(["diverged", "mean", "group"], ascending=[True, not higher, True])
    cells = ranked.groupby(by, dropna=False, sort=False) if by else ranked.groupby(np.zeros(len(ranked)))
    ranked["candidates"] = cells["group"].transform("nunique")
    return ranked[cells.cumcount() == 0].drop(columns=["diverged", "mean"]).reset_index(drop=True)


def curve_bands(values: pd.DataFrame, chosen: pd.DataFrame, *, width: int = 1) -> pd.DataFrame:
    """Bands over time of the chosen settings: arm, group, metric, members, task, step and the columns of
    `bands`.

    values is an `observed` frame, chosen has arm and group; members is how many trials a setting has.
    """
    shown = values.merge(chosen[["arm", "group"]].drop_duplicates(), on=["arm", "group"])
    keys = ["arm", "group", "metric"]
    members = shown.groupby(keys)["seed"].nunique().rename("members").reset_index()
    return members.merge(bands(bins(shown, width), [*keys, "task", "step"]), on=keys)
