"""The part of the tasks that a trial is judged by, and its mean over it."""

from __future__ import annotations

import numpy as np
import pandas as pd

LATE = 0.1  # of the tasks, the last ones: what arms are judged by and their settings chosen by


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
