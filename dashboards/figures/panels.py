"""Panels and baselines that figures share: which trials are networks, which axes make panels, the linear
learner.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from sweep.results import frames, naming, selections

STEP_SIZE = naming.STEP_SIZE
# Tasks per plotted point of an online metric; the paper bins the regression by two. Fewer where that leaves few points.
BIN_TASKS = {"slowly_changing_regression": 2}
FEWEST_BINS = 4


def finished(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that ended, diverged ones included."""
    return trials[trials["status"].isin(frames.FINISHED)]


def named(panels: pd.DataFrame, columns: list[str], trials: pd.DataFrame) -> pd.DataFrame:
    """Adds `panel`, the text above a panel; a single panel is named by its activation, or else by its network."""
    if columns:
        texts = [naming.setting(dict(zip(columns, row, strict=True))) for row in panels[columns].to_numpy(dtype=object)]
    else:
        known = trials["network.activation"].dropna() if "network.activation" in trials else pd.Series(dtype=str)
        known = known if len(known) else trials["network.name"]
        texts = [naming.words(", ".join(known.unique()))] * len(panels)
    return panels.assign(panel=texts)


def linear_lines(panels: pd.DataFrame, linear: pd.DataFrame, late: pd.DataFrame, *, higher: bool) -> pd.DataFrame:
    """For every panel the best setting of the linear learner: panel columns, `source` (its arm), group,
    candidates.
    """
    shared = [column for column in panels.columns if column not in (*frames.SHAPE, "arm")]
    best = selections.best_settings(linear, late, shared, higher=higher).rename(columns={"arm": "source"})
    return panels.merge(best, on=shared) if shared else panels.merge(best, how="cross")


def facts(trials: pd.DataFrame) -> dict[str, Any]:
    """What a figure says about its sweep as a whole: workload, tasks per bin, examples per step."""
    workload = str(trials["workload.name"].iloc[0])
    most = int(trials["tasks"].min()) // FEWEST_BINS
    batches = list(trials["workload.batch"].unique()) if "workload.batch" in trials else []
    return {
        "workload": workload,
        "bin_tasks": max(1, min(BIN_TASKS.get(workload, 1), most)),
        "batch": batches[0] if len(batches) == 1 else None,
    }
