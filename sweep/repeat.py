"""One trial by itself: what is known of it, and training it again to see whether the same comes out."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from sweep.errors import InputError
from sweep.ledger import Ledger, SweepRecord
from sweep.trials import Trial
from workloads.registry import unknown

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # characters of a sparkline


def facts(ledger: Ledger, prefix: str) -> dict[str, Any]:
    """Trial, sweep, arms, status, config and curves of the trial whose id begins with `prefix`. Raises InputError."""
    record, trial = located(ledger, ledger.find_trial(prefix))
    done = ledger.done().get(trial.id)
    failure = None if done else ledger.failures().get(trial.id)
    return {
        "trial": trial.id,
        "sweep": record.identity,
        "arms": list(trial.arms),
        "group": trial.group,
        "status": done.status if done else "failed" if failure else "not done",
        "failure": asdict(failure) if failure else None,
        "config": trial.config,
        "curves": {metric: [v for _, v in points] for metric, points in curves(ledger, trial.id).items()},
    }


def located(ledger: Ledger, trial_id: str) -> tuple[SweepRecord, Trial]:
    """A sweep that holds the trial, and the trial."""
    for name, scale in ledger.sweeps():
        record = ledger.sweep(name, scale)
        for trial in record.trials:
            if trial.id == trial_id:
                return record, trial
    raise InputError(f"no sweep in {ledger.storage.uri} holds trial {trial_id}")


def curves(ledger: Ledger, trial_id: str) -> dict[str, list[tuple[int, float]]]:
    """Metric -> (task, value) in order."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in ledger.curves([trial_id]).to_pylist():
        found.setdefault(row["metric"], []).append((row["task"], row["value"]))
    return found


def compare(ledger: Ledger, trial_id: str, path: str) -> dict[str, float]:
    """Metric -> largest difference between the trial trained again alone on `path` and its curve in the ledger.

    Relative to the curve's largest magnitude. Raises InputError for an unknown path or a trial that is not done.
    """
    from workloads.engine import PATHS
    from workloads.pack import Pack, Snapshot, run_pack

    if path not in PATHS:
        raise InputError(unknown(path, "path", PATHS))
    record, trial = located(ledger, trial_id)
    known = curves(ledger, trial_id)
    if not known:
        raise InputError(f"trial {trial_id} is not done: there is nothing to compare with")
    again: dict[str, list[float]] = {}

    def report(snapshot: Snapshot) -> None:
        for name, value in zip(snapshot.rows.metric, snapshot.rows.value, strict=True):
            again.setdefault(snapshot.rows.names[name], []).append(float(value))

    run_pack(Pack(id=trial_id, members=[trial], path=path, code=dict(record.manifest.get("code", []))), report)
    return {metric: difference([v for _, v in points], again.get(metric, [])) for metric, points in known.items()}


def difference(ours: list[float], theirs: list[float]) -> float:
    """max |a - b| / max |a|; infinite where the curves differ in length or only one of two values is finite."""
    if len(ours) != len(theirs):
        return math.inf
    scale = max((abs(v) for v in ours if math.isfinite(v)), default=0.0) or 1.0
    pairs = list(zip(ours, theirs, strict=True))
    if any(math.isfinite(a) != math.isfinite(b) for a, b in pairs):
        return math.inf
    return max((abs(a - b) / scale for a, b in pairs if math.isfinite(a)), default=0.0)


def sparkline(values: list[float]) -> str:
    """A curve in one line of text; a middle dot where a value is not finite."""
    if len(values) > WIDTH:
        values = [values[round(i * (len(values) - 1) / (WIDTH - 1))] for i in range(WIDTH)]
    finite = [v for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    span = (high - low) or 1.0
    return "".join(BARS[int((v - low) / span * (len(BARS) - 1))] if math.isfinite(v) else "·" for v in values)
