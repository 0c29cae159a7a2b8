"""Bands over seeds: a mean (or what a `Summary` says), its interval and how many seeds it is of, for every combination
of some columns.

A mean over seeds says how many seeds it has and how many were lost; intervals are those of `sweep.results.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweep.errors import InputError
from sweep.results import intervals
from sweep.results.frames import bins
from sweep.results.intervals import Band, Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What of the seeds is shown; a median or an interquartile mean stands in the column `mean` too."""

    statistic: Statistic = "mean"
    band: Band = "ci"


MEAN = Summary()
FEW = 6  # points of a curve that are marked each wherever it is drawn: a line of so few would hardly be seen
COLUMNS = ("mean", "ci_low", "ci_high", "seeds", "diverged")


def bands(
    frame: pd.DataFrame,
    by: Sequence[str],
    value: str = "value",
    summary: Summary = MEAN,
    *,
    seed: int = 0,
    draws: int = intervals.DRAWS,
) -> pd.DataFrame:
    """Mean over seeds and its 95 % interval, one row for every combination of the `by` columns.

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
    columns = np.full((len(COLUMNS), len(first)), np.nan)
    order = np.argsort(curve, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(curve[order])) + 1):
        if not len(rows):
            continue
        start, stop = point[rows].min(), point[rows].max() + 1
        own_seeds, member = np.unique(seeds[rows], return_inverse=True)
        values = np.full((len(own_seeds), stop - start), np.nan)
        values[member, point[rows] - start] = numbers[rows]
        columns[:4, start:stop] = intervals.of_points(values, summary.statistic, summary.band, seed=seed, draws=draws)
        if diverged is not None:
            lost = np.zeros(len(own_seeds), dtype=bool)
            lost[member[diverged[rows]]] = True
            columns[4, start:stop] = (np.isnan(values) & lost[:, None]).sum(0)
    for name, column in zip(COLUMNS[: 4 if diverged is None else 5], columns, strict=False):
        result[name] = column.astype("int64") if name in ("seeds", "diverged") else column
    return result


def curve_bands(values: pd.DataFrame, chosen: pd.DataFrame, summary: Summary = MEAN, *, width: int = 1) -> pd.DataFrame:
    """Bands over time of the chosen settings: arm, group, metric, members, task, step and the columns of
    `bands`.

    values is an `observed` frame, chosen has arm and group; members is how many trials a setting has.
    """
    shown = values.merge(chosen[["arm", "group"]].drop_duplicates(), on=["arm", "group"])
    keys = ["arm", "group", "metric"]
    members = shown.groupby(keys)["seed"].nunique().rename("members").reset_index()
    return members.merge(bands(bins(shown, width), [*keys, "task", "step"], summary=summary), on=keys)
