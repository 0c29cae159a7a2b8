"""What a sweep that still trains comes to: its arms after the task that all of them have completed.

Read from a `SoFar` ledger. Of a sweep whose trials have all ended nothing here changes anything.
"""

from __future__ import annotations

import pandas as pd


def under_way(trials: pd.DataFrame) -> pd.Series[bool]:
    """Which of `frames.trials` have results and have not ended."""
    return (trials["status"] == "done") & (trials["ended"] < trials["tasks"])


def reach(trials: pd.DataFrame) -> int | None:
    """How many tasks every arm that is under way has completed; None where none is."""
    running = trials[under_way(trials)]
    return None if running.empty else int(running.groupby("arm", observed=True)["ended"].max().min())


def shortened(trials: pd.DataFrame, curves: pd.DataFrame, tasks: int | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both as if the sweep were planned to end after so many tasks, as `reach` has them; as they are for None.

    So arms are compared after the same tasks. A trial that has not come as far has no late performance yet.
    """
    if tasks is None:
        return trials, curves
    return trials.assign(tasks=trials["tasks"].clip(upper=tasks)), curves[curves["task"] < tasks]


def told(trials: pd.DataFrame) -> str:
    """What numbers of a sweep under way are, as a sentence; nothing where none is."""
    tasks = reach(trials)
    if tasks is None:
        return ""
    return f"So far: after {tasks:,} of {int(trials['tasks'].max()):,} tasks, which every arm under way has completed."
