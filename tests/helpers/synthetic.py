"""A sweep with results that nobody computed: a real sweep file's trials, and curves as a test wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sweep.ledger.sweeps import SweepRecord
from sweep.results import frames
from sweep.spec.model import Spec
from sweep.spec.reading import parse
from sweep.trials import Trial, expand, planned_tasks
from workloads import kinds, metrics
from workloads.diagnostics import BINS

# trial, metric -> its value at each task, NaN from where it has none
Values = Callable[[Trial, str], np.ndarray]


@dataclass(frozen=True)
class Done:
    status: str
    tasks: int
    pack: str = "pack"
    attempt: str = "20260101T000000-00"
    began: float = 0.0
    finished: float = 60.0


@dataclass
class Synthetic:
    """A record with the ledger that holds its results."""

    record: SweepRecord
    statuses: dict[str, Done]
    rows: pd.DataFrame  # trial, metric, task, step, value

    def ends(self) -> Mapping[str, Done]:
        return self.statuses

    def done(self) -> Mapping[str, Done]:
        return self.statuses

    def failures(self) -> Mapping[str, Any]:
        return {}

    def curves(self, ids: Sequence[str], metrics: Sequence[str] | None = None) -> pa.Table:
        rows = self.rows[self.rows["trial"].isin(list(ids))]
        if metrics is not None:
            rows = rows[rows["metric"].isin(list(metrics))]
        kinds = {"trial": "category", "metric": "category", "task": "int32", "step": "int64"}
        table = rows.astype(kinds)
        for name in ("trial", "metric"):
            table[name] = table[name].cat.remove_unused_categories()
        return pa.Table.from_pandas(table, preserve_index=False)

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """What figures are given: trials and curves."""
        return frames.trials(self.record, self), frames.curves(self.record, self)  # type: ignore[arg-type]


# Some that a sweep may compare.
ARMS = {
    "sgd": "optimizer: sgd, step_size: [0.01, 0.003]",
    "adam": "optimizer: adam, step_size: [0.01, 0.001]",
    "linear": "optimizer: sgd, step_size: 0.003, network: {depth: 0}",
}


def regression(
    arms: Mapping[str, str],
    *,
    tasks: int,
    seeds: int,
    width: int,
    question: str = "",
    metrics: str = "online_error, effective_rank",
    more: str = "",
) -> str:
    """The text of a sweep on the regression; `arms` by label, `more`: lines of it at the end."""
    bodies = "".join(f"  {label}: {{{body}}}\n" for label, body in arms.items())
    return (
        (f"# {question}\n" if question else "")
        + f"workload: {{name: slowly_changing_regression, tasks: {tasks}, period: 100}}\n"
        + f"network: {{width: {width}}}\nseeds: {seeds}\narms:\n{bodies}metrics: [{metrics}]\n{more}"
    )


def flat(trial: Trial, metric: str) -> np.ndarray:
    """A curve that is the same at every task and differs a little between settings and seeds."""
    level = (int(trial.group, 16) % 97) / 97 + 0.01 * (trial.config["seed"] % 7)
    return np.full(planned_tasks(trial.config["workload"]), 0.1 + 0.5 * level)


def lost_at(task: int, values: Values = flat) -> Values:
    """Curves that end with a divergence in this task."""

    def cut(trial: Trial, metric: str) -> np.ndarray:
        curve = values(trial, metric).astype(float)
        curve[task:] = np.nan
        return curve

    return cut


def sweep(
    spec: str | Spec, values: Values = flat, *, pending: Callable[[Trial], bool] = lambda trial: False
) -> Synthetic:
    """A sweep file's text with results. A trial whose online curve ends early diverged there."""
    found = parse(spec, Path("synthetic.yaml")) if isinstance(spec, str) else spec
    trials = expand(found)
    statuses: dict[str, Done] = {}
    parts = []
    for trial in trials:
        if pending(trial):
            continue
        starts = _ends(trial.config["workload"])
        head = trial.config["metrics"][0]
        known = np.isfinite(values(trial, head))
        tasks = len(known) if known.all() else int(np.argmin(known))
        statuses[trial.id] = Done("done" if known.all() else "diverged", tasks)
        for metric in _names(trial.config):
            curve = values(trial, metric)
            at = _recorded(metric, trial.config, tasks, len(known))
            if len(at):
                parts.append(
                    pd.DataFrame(
                        {"trial": trial.id, "metric": metric, "task": at, "step": starts[at], "value": curve[at]}
                    )
                )
    empty = {"trial": [], "metric": [], "task": [], "step": [], "value": np.empty(0)}
    manifest: dict[str, Any] = {
        "commit": "abc123",
        "question": found.question,
        "arms": [arm.label for arm in found.arms],
        "figures": list(found.figures),
    }
    record = SweepRecord(found.name, found.scale, found.text, manifest, trials)
    return Synthetic(record, statuses, pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(empty))


def _ends(workload: Mapping[str, Any]) -> np.ndarray:
    """The step at which each task ends."""
    made = kinds.made(workload, 0)
    return np.array([made.task_start(task + 1) for task in range(made.tasks)])


def _names(config: Mapping[str, Any]) -> list[str]:
    matrices = range(1, config["network"].get("depth", 1) + 2)
    several = {
        "within_task": [f"within_task/{k}" for k in range(1, BINS + 1)],
        "singular_values": [f"singular_values/{matrix}/{decile}" for matrix in matrices for decile in range(11)],
    }
    return [name for metric in config["metrics"] for name in several.get(metric, [metric])]


def _recorded(metric: str, config: Mapping[str, Any], tasks: int, planned: int) -> np.ndarray:
    """The tasks at which a metric has a value, of a trial that completed `tasks`."""
    if metric.startswith("within_task"):
        asked = [0, 9, 99, 999, planned - 1]
    elif metric in metrics.from_origin("online", "tested"):
        asked = list(range(planned))
    else:
        asked = [task for task in range(planned) if task % config["every"] == 0 or task == planned - 1]
    return np.array(sorted({task for task in asked if task < tasks}), dtype=int)
