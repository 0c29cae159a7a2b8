"""What a run is to hold: its name, tags, params and points, put together from trials and their curves."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sweep.results import naming
from workloads import metrics

if TYPE_CHECKING:
    import pandas as pd

    from sweep.results.intervals import Estimate
    from sweep.trials import Trial


Point: TypeAlias = tuple[str, int, float]  # metric, task, value
PARENT, RUN_NAME = "mlflow.parentRunId", "mlflow.runName"
GROUP_POINTS = 320  # per curve of a group run: as many as MLflow's page draws
ARM_BINS = 20  # points of an arm's headline curve


@dataclass(frozen=True, slots=True)
class Draft:
    """What a run is to hold. Times are in ms since 1970; all its points have that of its end."""

    name: str
    tags: dict[str, str]
    start: int
    end: int
    status: str = "FINISHED"  # when it is filled
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)  # increasing tasks within a metric


def thin_curves(frame: pd.DataFrame, limit: int) -> dict[str, list[Point]]:
    """Trial -> its points, at most `limit` a metric. frame as `State.frame` gives it."""
    if frame.empty:
        return {}
    trials, metrics = frame["trial"].to_numpy(), frame["metric"].to_numpy()
    tasks, values = frame["task"].to_numpy(), frame["value"].to_numpy()
    starts = np.flatnonzero(np.r_[True, (trials[1:] != trials[:-1]) | (metrics[1:] != metrics[:-1])])
    curves: dict[str, list[Point]] = defaultdict(list)
    for start, stop in zip(starts, np.r_[starts[1:], len(trials)], strict=True):
        kept = start + thinned(int(stop - start), limit)
        curves[trials[start]] += [
            (metrics[start], task, value)
            for task, value in zip(tasks[kept].tolist(), values[kept].tolist(), strict=True)
        ]
    return curves


def thinned(count: int, limit: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most `limit` of the indices below count, evenly spread: the last and, from two on, the first."""
    return np.rint(np.linspace(count - 1, 0, min(count, limit))).astype(np.int64)[::-1]


def bin_width(tasks: int) -> int:
    """Tasks per bin: at most ARM_BINS bins, and if one of the next few widths permits it no task left over."""
    least = math.ceil(tasks / ARM_BINS)
    return next((width for width in range(least, 2 * least + 1) if tasks % width == 0), least)


def band_curves(frame: pd.DataFrame) -> dict[str, list[Point]]:
    """Group -> the points of `<metric>/mean`, `/ci_low` and `/ci_high`; an interval needs two seeds."""
    from sweep.results.bands import bands

    if frame.empty:
        return {}
    keys = ["group", "metric", "task"]
    points = frame[keys].drop_duplicates().sort_values(keys)
    curve = points.groupby(["group", "metric"])["task"]
    count, place = curve.transform("size").tolist(), curve.cumcount().tolist()
    kept = {size: set(thinned(size, GROUP_POINTS).tolist()) for size in set(count)}
    shown = [at in kept[size] for at, size in zip(place, count, strict=True)]
    table = bands(frame.merge(points[shown], on=keys), keys)
    curves: dict[str, list[Point]] = defaultdict(list)
    for name in ("mean", "ci_low", "ci_high"):
        columns = table.loc[np.isfinite(table[name]), ["group", "metric", "task", name]]
        for group, metric, task, value in columns.itertuples(index=False):
            curves[group].append((f"{metric}/{name}", int(task), float(value)))
    return curves


def summary(name: str, estimate: Estimate) -> list[Point]:
    """A number of a run with its interval, as `name`, `/ci_low` and `/ci_high`; without what is not defined."""
    parts = {"": estimate.mean, "/ci_low": estimate.low, "/ci_high": estimate.high}
    return [(name + part, 0, value) for part, value in parts.items() if math.isfinite(value)]


def first_metrics(names: Iterable[str], limit: int) -> list[str]:
    """The metrics that are tracked: what judges and what is measured, then by name, then layers' and stretches'."""
    return metrics.ranked(names)[:limit]


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A config's fields as text, under the names of `sweep.results.frames.trials`, such as l2.strength."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            inner = "" if not prefix and name == "methods" else f"{prefix}{name}."
            flat |= flattened(value, inner)
        else:
            flat[prefix + name] = as_text(value)
    return flat


def params_of(groups: Mapping[str, Trial]) -> dict[str, dict[str, str]]:
    """Group -> MLflow's params: the settings that take several values in the sweep, where the group has them.

    What all trials share is in the sweep's file and manifest. groups: id -> one of its trials.
    """
    settings = {group: dict(naming.fields(trial.config)) for group, trial in groups.items()}
    values: dict[str, set[str]] = defaultdict(set)
    for fields in settings.values():
        for column, value in fields.items():
            if value is not None:
                values[column].add(as_text(value))
    return {
        group: {
            column: as_text(value) for column, value in fields.items() if value is not None and len(values[column]) > 1
        }
        for group, fields in settings.items()
    }


def as_text(value: Any) -> str:
    """A setting's value as MLflow shows it."""
    return value if isinstance(value, str) else json.dumps(value)


def arms_of(trial: Trial) -> str:
    """The arms a trial belongs to, as one text."""
    return ", ".join(trial.arms)


def milliseconds(seconds: float) -> int:
    """MLflow's unit of time."""
    return int(seconds * 1000)


def digest(value: Any) -> str:
    """16 hexadecimal digits that stand for a value of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
