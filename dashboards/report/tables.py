"""What a page's charts are drawn from: rows of plain data, thinned for show.

A row of `curves` or `seeds` is a whole curve, its points in lists: the page filters whole curves first and unfolds only
those it draws. All numbers come from `sweep.results`; nothing is computed here but which points are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dashboards.report.settings import Setting, text
from sweep.results import frames, leaderboard, selections, windows
from sweep.results.bands import FEW, bands

if TYPE_CHECKING:
    from sweep.ledger.ledger import Ledger
    from sweep.ledger.sweeps import SweepRecord

Row = dict[str, Any]
Places = Mapping[tuple[str, str], int]  # (arm, group) -> its place among the page's settings

POINTS = 200  # of a curve, at most
FEWEST = 12  # where there are many curves
BUDGET = 45_000  # points of all curves together: about 1.5 MB, and seconds of resampling
SEED_BUDGET = 45_000  # of single seeds: about 0.5 MB
DIGITS = 4  # of a number that is drawn
VALUES = 200  # of a hyperparameter that are drawn of an arm, at most
CELLS = 14  # values along a side of a heat map, at most
WINDOWS = ("last 10%", "last 25%", "first 10%", "all")


def read(
    record: SweepRecord, ledger: Ledger, trials: pd.DataFrame, settings: Sequence[Setting], metrics: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """These settings' trials, of those of the record, and their curves, as `frames` has them."""
    groups = {setting.group for setting in settings}
    part = replace(record, trials=[trial for trial in record.trials if trial.group in groups])
    return trials[trials["group"].isin(groups)], frames.curves(part, ledger, metrics)


def curve_rows(observed: pd.DataFrame, places: Places, *, points: int) -> Iterator[Row]:
    """A mean over seeds with its interval for every setting, from an `observed` frame of one metric.

    Keys: s (place of the setting), metric, task (from 1), mean, low, high, seeds, each a list; lost, how many diverged.
    """
    shown = thinned(observed, points)
    made = bands(shown, ["arm", "group", "metric", "task"])
    for (arm, group, metric), curve in made.groupby(["arm", "group", "metric"], sort=False, observed=True):
        place = places.get((str(arm), str(group)))
        if place is None or curve["mean"].isna().all():
            continue
        yield {
            "s": place,
            "metric": metric,
            "few": bool(curve["mean"].notna().sum() <= FEW),
            "task": (curve["task"] + 1).tolist(),
            "mean": numbers(curve["mean"]),
            "low": numbers(curve["ci_low"]),
            "high": numbers(curve["ci_high"]),
            "seeds": curve["seeds"].tolist(),
            "lost": int(curve["diverged"].max()),
        }


def seed_rows(observed: pd.DataFrame, places: Places, *, points: int) -> Iterator[Row]:
    """Every seed's own curve, of the settings that have a place: s, metric, trial, seed, task, value."""
    mine = pd.MultiIndex.from_frame(observed[["arm", "group"]]).isin(list(places))
    shown = thinned(observed[mine], points)
    for (arm, group, trial), curve in shown.groupby(["arm", "group", "trial"], sort=False, observed=True):
        yield {
            "s": places[str(arm), str(group)],
            "metric": curve["metric"].iloc[0],
            "trial": trial,
            "seed": int(curve["seed"].iloc[0]),
            "task": (curve["task"] + 1).tolist(),
            "value": numbers(curve["value"]),
        }


def late_rows(observed: pd.DataFrame, places: Places) -> Iterator[Row]:
    """What every setting comes to over each of `WINDOWS`: s, metric, higher (is better), window and the estimate.

    Of a metric that is neither good nor bad the least is put first.
    """
    over = [windows.late(observed, windows.parse(window)).assign(task=place) for place, window in enumerate(WINDOWS)]
    for row in bands(pd.concat(over, ignore_index=True), ["arm", "group", "metric", "task"]).to_dict("records"):
        if (row["arm"], row["group"]) in places and math.isfinite(row["mean"]):
            yield {
                "s": places[row["arm"], row["group"]],
                "metric": row["metric"],
                "higher": leaderboard.direction(row["metric"]) is True,
                "window": WINDOWS[row["task"]],
                **_estimate(row),
            }


def sensitivity_rows(
    trials: pd.DataFrame, judged: pd.DataFrame, late: pd.DataFrame, columns: Sequence[str], arms: Mapping[str, int]
) -> Iterator[Row]:
    """Late performance over one hyperparameter, all others at their best: arm, column, panel, value, mean, low, high.

    `trials` are those that ended, each with its `panel`; by `judged` the others are chosen, as for the leaderboard;
    `late` is a frame of `windows.late`, `arms` the arms' places.
    """
    for column in columns:
        own = trials[trials[column].notna()]
        own = own[own.groupby("arm")[column].transform("nunique") > 1]
        own = own[own.groupby(["arm", "panel"])[column].transform(_spread)]
        for row in _best(own, judged, late, [column]):
            at = {**_value("value", row[column]), **_estimate(row)}
            yield {"arm": arms[row["arm"]], "column": column, "panel": row["panel"], **at}


def pair_rows(
    trials: pd.DataFrame, judged: pd.DataFrame, late: pd.DataFrame, columns: Sequence[str], arms: Mapping[str, int]
) -> Iterator[Row]:
    """The same over two hyperparameters that vary inside one arm: arm, x, y (columns), panel, and their values.

    Of those that have more than `CELLS` values there is no heat map, and so no row.
    """
    for arm, own in trials.groupby("arm", sort=False):
        inside = [column for column in columns if 1 < own[column].nunique() <= CELLS]
        for place, y in enumerate(inside):
            for x in inside[:place]:
                for row in _best(own[own[x].notna() & own[y].notna()], judged, late, [x, y]):
                    at = {**_value("value_x", row[x]), **_value("value_y", row[y]), **_estimate(row)}
                    yield {"arm": arms[str(arm)], "x": x, "y": y, "panel": row["panel"], **at}


def _spread(values: pd.Series[Any]) -> pd.Series[bool]:
    """Which of these are among `VALUES` of those there are, evenly spread, the least and the greatest among them."""
    every = np.sort(values.unique())
    places = np.unique(np.linspace(0, len(every) - 1, min(VALUES, len(every))).round().astype(int))
    return values.isin(every[places])


def thinned(observed: pd.DataFrame, points: int) -> pd.DataFrame:
    """The rows at `points` of the tasks that are recorded, evenly spread, the last among them."""
    tasks = np.sort(observed["task"].unique())
    if len(tasks) <= points:
        return observed
    kept = tasks[np.unique(np.linspace(len(tasks) - 1, 0, points).round().astype(int))]
    return observed[observed["task"].isin(kept)]


def numbers(values: pd.Series[float]) -> list[float | None]:
    """Numbers as they are drawn, to four digits; None where there is none."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values]


def points_each(curves: int, budget: int) -> int:
    """How many points each of so many curves may have."""
    return min(POINTS, max(FEWEST, budget // max(1, curves)))


def _best(
    trials: pd.DataFrame, judged: pd.DataFrame, late: pd.DataFrame, columns: Sequence[str]
) -> Iterator[Mapping[Any, Any]]:
    """Of every arm, panel and combination of the columns the best setting: a row of `bands` of what it comes to."""
    if trials.empty:
        return
    by = ["arm", "panel", *columns]
    best = selections.best_settings(trials, judged, by)[[*by, "group"]]
    for row in bands(late.merge(best, on=["arm", "group"]), by).to_dict("records"):
        if math.isfinite(row["mean"]):
            yield row


def _value(key: str, value: Any) -> Row:
    """A hyperparameter's value as text, and as the number it is."""
    number = None if isinstance(value, str | bool | np.bool_) else float(value)
    return {key: text(value), f"{key}_number": number}


def _estimate(row: Mapping[Any, Any]) -> Row:
    """A row of `bands` as charts read it."""
    mean, low, high = numbers(pd.Series([row["mean"], row["ci_low"], row["ci_high"]]))
    return {"mean": mean, "low": low, "high": high, "seeds": int(row["seeds"]), "lost": int(row["diverged"])}
