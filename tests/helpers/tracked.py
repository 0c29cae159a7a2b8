"""A small sweep, a ledger that tells of it from a dict, and what MLflow holds after a sync."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from sweep.ledger.commits import Done
from sweep.ledger.failures import Failure
from sweep.ledger.ledger import Ledger
from sweep.ledger.sweeps import SweepRecord
from sweep.tracking import sync as syncing
from sweep.tracking import writers
from sweep.tracking.sync import SyncReport
from sweep.tracking.writers import ApiWriter, writer_for
from sweep.trials import Trial

ATTEMPT = "20231114T221310-0123456789ab"  # began ten seconds before STARTED
STARTED = 1_700_000_000.25  # seconds; a trial's time is this plus its seed
STUDENT = math.tan(0.475 * math.pi)  # 12.7, between which 95 % of Student's t with one degree of freedom lie
CURVE = [(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, 32.0), (6, 64.0)]


@dataclass
class FakeLedger:
    """What a ledger tells its readers, from a dict: trial id -> metric -> [(task, value)]."""

    values: dict[str, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    fallen: dict[str, Failure] = field(default_factory=dict)

    def failures(self) -> dict[str, Failure]:
        return {name: failure for name, failure in self.fallen.items() if name not in self.statuses}

    def add(self, trial: Trial, values: dict[str, list[tuple[int, float]]], status: str = "done") -> None:
        self.values[trial.id] = values
        self.statuses[trial.id] = status

    def ends(self) -> dict[str, Done]:
        return self.done()

    def done(self) -> dict[str, Done]:
        return {
            name: Done(status, "pack", ATTEMPT, STARTED + int(name[-1]), 7)  # type: ignore[arg-type]
            for name, status in self.statuses.items()
        }

    def curves(self, ids: list[str], metrics: list[str] | None = None) -> pa.Table:
        rows = [
            (name, metric, task, 10 * task, value)
            for name in sorted(ids)
            if name in self.statuses
            for metric, curve in sorted(self.values[name].items())
            for task, value in curve
        ]
        trial, metric, task, step, value = zip(*rows, strict=True) if rows else ([],) * 5
        return pa.table(
            {
                "trial": pa.array(trial, pa.string()).dictionary_encode(),
                "metric": pa.array(metric, pa.string()).dictionary_encode(),
                "task": pa.array(task, pa.int32()),
                "step": pa.array(step, pa.int64()),
                "value": pa.array(value, pa.float64()),
            }
        )


def make_trial(step_size: float, seed: int, arm: str = "backprop") -> Trial:
    methods = {"l2": {"strength": 0.5}} if arm == "l2" else {}
    config = {
        "workload": {"name": "slowly_changing_regression", "tasks": 7},
        "network": {"name": "mlp", "width": 5},
        "optimizer": {"name": "sgd", "step_size": step_size},
        "methods": methods,
        "metrics": ["online_error", "stable_rank"],
        "semantics": {"engine": 1, "methods": {}},
        "seed": seed,
        "code": None,
    }
    return Trial(f"{arm}-{step_size}-{seed}", config, (arm,), f"{arm}-{step_size}")


def make_record(trials: list[Trial], **tracked: Any) -> SweepRecord:
    settings = {"points": 50, "metrics": 6, "trials": True} | tracked
    return SweepRecord("regression", "smoke", "workload: ...", {"track": settings, "commit": "abc"}, trials)


def small_sweep() -> tuple[SweepRecord, FakeLedger]:
    """Two settings with two seeds each: curves of the second seed are three times those of the first."""
    ledger = FakeLedger()
    trials = [make_trial(step_size, seed) for step_size in (0.1, 0.01) for seed in (0, 1)]
    for trial in trials:
        factor = 3.0 if trial.config["seed"] else 1.0
        curve = [(task, factor * value) for task, value in CURVE]
        ledger.add(trial, {"online_error": curve, "stable_rank": curve[::3]})
    return make_record(trials), ledger


def use_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes as to a tracking server, though to a database that the test can look into."""
    make = writer_for
    monkeypatch.setattr(syncing, "writer_for", lambda uri: ApiWriter(make(uri).client))
    monkeypatch.setattr(writers, "REQUESTS", 1)  # SQLite has one writer; threads would only wait for each other


def sync(record: SweepRecord, ledger: FakeLedger | Ledger, uri: str, **options: Any) -> SyncReport:
    return syncing.sync(record, ledger, uri, **options)  # type: ignore[arg-type]


def runs(uri: str, kind: str) -> dict[str, Any]:
    """The live runs of a kind, by the value of the tag that names them; fails where two have one name."""
    client = writer_for(uri).client
    experiment = client.get_experiment_by_name("regression@smoke")
    found = client.search_runs([experiment.experiment_id], f"tags.`pliant.kind` = '{kind}'")
    named = {run.data.tags[f"pliant.{kind}"]: run for run in found}
    assert len(named) == len(found)
    return named


def curve(uri: str, run: Any, metric: str) -> list[tuple[int, float]]:
    history = writer_for(uri).client.get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in history)


def at_end(sign: int) -> Any:
    """An end of the interval of two seeds' curves, CURVE and three times it: the mean is 2v, its standard error v."""
    return [(task, pytest.approx((2 + sign * STUDENT) * value)) for task, value in CURVE]


def rows(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that live runs have in the database, with what names a run in place of its random id."""
    database = sqlite3.connect(uri.removeprefix("sqlite:///"))
    query = (
        "select runs.run_uuid, group_concat(key || '=' || value, ' ') from runs join tags using (run_uuid)"
        " where lifecycle_stage = 'active' and key in ('pliant.kind', 'pliant.group', 'pliant.trial')"
        " group by runs.run_uuid"
    )
    names = {run: " ".join(sorted(tags.split(" "))) for run, tags in database.execute(query)}
    assert len(set(names.values())) == len(names)
    content: dict[str, list[tuple[Any, ...]]] = {}
    for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
        cursor = database.execute(f"select * from {table}")
        columns = [column for column, *_ in cursor.description]
        own = columns.index("run_uuid")
        content[table] = sorted(
            tuple(mended(names, value, names[row[own]]) for value in row) for row in cursor if row[own] in names
        )
    database.close()
    return content


def mended(names: dict[str, str], value: Any, own: str) -> Any:
    """A value without what differs between equal syncs: random ids, and the time of a sweep's first sync."""
    if isinstance(value, str):
        for run, name in names.items():
            value = value.replace(run, name)
    elif isinstance(value, int) and own == "pliant.kind=sweep" and value > STARTED * 1000 + 10_000:
        return "now"
    return value


def at_once(work: Callable[[], object]) -> None:
    failures: list[BaseException] = []
    gate = threading.Barrier(2)

    def enter() -> None:
        gate.wait()
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
