"""One trial by itself: what is known of it, and training it again to see whether the same comes out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweep.cluster.worker import Listener, Progress
from sweep.errors import InputError
from sweep.ledger.ledger import Ledger
from sweep.ledger.sweeps import SweepRecord
from sweep.packing import PlannedPack, path_of, shape_of
from sweep.trials import Trial, structure_key
from workloads.extensions import load_code
from workloads.paths import PATHS
from workloads.registry import unknown

EMITTED = ("lanes", "online")  # paths whose steps are C++ that is written for the trial at hand
ROUNDING = {"float32": 1e-3, "tf32": 1e-2, "float64": 1e-9}  # of a curve's points, after a task or so of steps


def facts(ledger: Ledger, prefix: str) -> dict[str, Any]:
    """Trial, sweep, arms, status, config and curves of the trial whose id begins with `prefix`. Raises InputError."""
    record, trial = located(ledger, ledger.find_trial(prefix))
    done = ledger.ends().get(trial.id)
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
    by_metric: dict[str, list[tuple[int, float]]] = {}
    for row in ledger.curves([trial_id]).to_pylist():
        by_metric.setdefault(row["metric"], []).append((row["task"], row["value"]))
    return by_metric


def alone(ledger: Ledger, trial_id: str, path: str | None = None) -> PlannedPack:
    """A pack of one trial, to be trained here: on `path`, or on the one that its results are from or would be.

    Raises InputError for an unknown path.
    """
    if path is not None and path not in PATHS:
        raise InputError(unknown(path, "path", PATHS))
    record, trial = located(ledger, trial_id)
    done = ledger.done().get(trial_id)
    if path is not None:
        reason = "as asked"
    elif done is not None:
        path, reason = json.loads(ledger.description(done.pack))["path"], "the path its results are from"
    else:
        load_code(dict(record.manifest.get("code", [])))
        path, reason = path_of(trial.config, "cpu")
    return PlannedPack(
        id=trial_id,
        trials=[trial],
        structure=structure_key(trial.config),
        path=path,
        reason=reason,
        device="cpu",
        shape=shape_of(trial.config),
        memory=0,
    )


def compare(
    ledger: Ledger, pack: PlannedPack, listener: Listener = lambda progress: None
) -> dict[str, tuple[float, float]]:
    """Metric -> (difference at its first point, largest) of a trial trained again and its curve in the ledger.

    Relative to the curve's largest magnitude. `pack` is from `alone`. Raises InputError for a trial that is not done.
    """
    from workloads.training.loop import run_pack
    from workloads.training.pack import Pack, Snapshot

    if pack.id not in ledger.done():
        raise InputError(f"trial {pack.id} is not done: there is nothing to compare with")
    record, trial = located(ledger, pack.id)
    began = time.monotonic()
    again: dict[str, list[float]] = {}

    def tell(step: int, *, finished: bool = False) -> None:
        seconds = time.monotonic() - began
        listener(Progress(pack.id, 1, step, pack.shape.steps, finished, 0, seconds, step, "again"))

    def report(snapshot: Snapshot) -> None:
        for name, value in zip(snapshot.rows.metric, snapshot.rows.value, strict=True):
            again.setdefault(snapshot.rows.names[name], []).append(float(value))
        tell(snapshot.step, finished=snapshot.checkpoint is None)

    tell(0)
    code = dict(record.manifest.get("code", []))
    run_pack(Pack(id=trial.id, members=[trial], path=pack.path, code=code), report, stepped=tell)
    recorded = {metric: [v for _, v in points] for metric, points in curves(ledger, trial.id).items()}
    return {
        metric: (first_difference(values, again.get(metric, [])), difference(values, again.get(metric, [])))
        for metric, values in recorded.items()
    }


def sources(ledger: Ledger, pack: PlannedPack) -> dict[str, Path]:
    """The C++ that a trial's steps are written in, and where each file is kept: found by training for a moment.

    `pack` is from `alone`. Raises InputError where its path has none.
    """
    from workloads import native
    from workloads.training.loop import run_pack
    from workloads.training.pack import Pack

    if pack.path not in EMITTED:
        raise InputError(f"path {pack.path} emits no C++: torch carries it out; {' and '.join(EMITTED)} do")
    native.check()
    record, trial = located(ledger, pack.id)
    code = dict(record.manifest.get("code", []))
    with native.recorded() as loaded, suppress(_Enough):
        run_pack(Pack(id=trial.id, members=[trial], path=pack.path, code=code), lambda snapshot: None, stepped=_enough)
    if not loaded:
        raise InputError(f"path {pack.path} has no C++ for the step of trial {pack.id}: torch carries it out, lifted")
    return loaded


class _Enough(Exception):
    """A pack has trained for as long as was wanted."""


def _enough(step: int) -> None:
    raise _Enough


def verdict(differences: Mapping[str, tuple[float, float]], dtype: str) -> str:
    """Whether differences between two runs of a trial are rounding, in a sentence."""
    first, largest = (max((d[i] for d in differences.values()), default=0.0) for i in (0, 1))
    rounding = ROUNDING[dtype]
    if largest == 0.0:
        return "the same to the last bit"
    if largest <= rounding:
        return f"the same up to rounding: {dtype} leaves up to {rounding:g} between two orders of summing"
    if math.isinf(largest):
        return "NOT the same: a curve ends elsewhere, or one of two values is no finite number"
    if first <= rounding:
        return f"rounding, which training has amplified: {first:.1g} apart at first, {largest:.1g} at most"
    return f"NOT the same: {first:.1g} apart at the first point already, where rounding in {dtype} makes {rounding:g}"


def first_difference(ours: list[float], theirs: list[float]) -> float:
    """`difference` at the first point alone, relative to the whole curve; infinite where one has none."""
    if not ours or not theirs:
        return 0.0 if ours == theirs else math.inf
    return difference([*ours], [theirs[0], *ours[1:]])


def difference(ours: list[float], theirs: list[float]) -> float:
    """max |a - b| / max |a|; infinite where the curves differ in length or only one of two values is finite."""
    if len(ours) != len(theirs):
        return math.inf
    scale = max((abs(v) for v in ours if math.isfinite(v)), default=0.0) or 1.0
    pairs = list(zip(ours, theirs, strict=True))
    if any(math.isfinite(a) != math.isfinite(b) for a, b in pairs):
        return math.inf
    return max((abs(a - b) / scale for a, b in pairs if math.isfinite(a)), default=0.0)
