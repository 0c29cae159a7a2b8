"""Panels and baselines that figures share: which trials are networks, which axes make panels, the linear
learner.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.errors import InputError
from sweep.results import frames, naming, selections
from workloads import metrics
from workloads.registry import lookup

STEP_SIZE = naming.STEP_SIZE
# Tasks per plotted point of an online metric; the paper bins the regression by two. Fewer where that leaves few points.
BIN_TASKS = {"slowly_changing_regression": 2}
FEWEST_BINS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What of a sweep a figure is asked to show."""

    arms: tuple[str, ...] = ()  # none: all
    metric: str | None = None  # None: what the sweep is judged by, and by which settings are selected in any case

    def shown(self, judged: str) -> str:
        """The metric that is shown. Raises InputError for one that does not exist."""
        if self.metric is not None:
            lookup(metrics.known(), self.metric.partition("/")[0], "metric")
        return self.metric or judged


ALL = Asked()


def finished(trials: pd.DataFrame, asked: Asked = ALL, *, always: Collection[str] = ()) -> pd.DataFrame:
    """The trials that ended, diverged ones included, of the arms that are asked for and those that are `always` there.

    Raises InputError for an arm that the sweep does not have, or of which nothing has ended.
    """
    there = trials[trials["status"].isin(frames.FINISHED)]
    if not asked.arms:
        return there
    for arm in asked.arms:
        lookup(dict.fromkeys(trials["arm"]), arm, "arm")
        if arm not in set(there["arm"]):
            raise InputError(f"no trial of arm {arm!r} has finished yet")
    return there[there["arm"].isin([*asked.arms, *always])]


def named(panels: pd.DataFrame, columns: list[str], trials: pd.DataFrame) -> pd.DataFrame:
    """Adds `panel`, the text above a panel; a single panel is named by its activation, or else by its network."""
    if columns:
        texts = [naming.setting(dict(zip(columns, row, strict=True))) for row in panels[columns].to_numpy(dtype=object)]
    else:
        known = trials["network.activation"].dropna() if "network.activation" in trials else pd.Series(dtype=str)
        known = known if len(known) else trials["network.name"]
        texts = [naming.words(", ".join(known.unique()))] * len(panels)
    return panels.assign(panel=texts)


def linear_lines(panels: pd.DataFrame, linear: pd.DataFrame, late: pd.DataFrame) -> pd.DataFrame:
    """For every panel the best setting of the linear learner: panel columns, `source` (its arm), group,
    candidates.
    """
    shared = [column for column in panels.columns if column not in (*frames.SHAPE, "arm")]
    best = selections.best_settings(linear, late, shared).rename(columns={"arm": "source"})
    return panels.merge(best, on=shared) if shared else panels.merge(best, how="cross")


def measured_on_linear(metric: str) -> bool:
    """Whether a linear learner has this metric too: what is measured inside a network it has not."""
    known = metrics.of(metric)
    return known is not None and known.origin in ("online", "tested")


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
