from __future__ import annotations

import csv
import http.server
import io
import json
import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest

from sweep.errors import TrackingError
from sweep.ledger.failures import Failure
from sweep.ledger.ledger import Done, Ledger, SweepRecord
from sweep.tracking import track
from sweep.trials import Trial

pytestmark = [
    # MLflow 3.17 asks SQLAlchemy 2.1 for a way of loading that is on its way out.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]

ATTEMPT = "20231114T221310-0123456789ab"  # began ten seconds before STARTED
STARTED = 1_700_000_000.25  # seconds; a trial's time is this plus its seed
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


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take seconds to make, so tests start from a copy of them."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    writer = track._writer(f"sqlite:///{path}")
    assert isinstance(writer, track._Database)
    writer.engine.dispose()
    return path


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path) -> Iterator[str]:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    yield uri
    writer = track._writer(uri)
    assert isinstance(writer, track._Database)
    writer.engine.dispose()


@pytest.fixture(params=["database", "server"])
def either_writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "server":
        use_the_api(monkeypatch)
    return str(request.param)


def use_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes as to a tracking server, though to a database that the test can look into."""
    make = track._writer
    monkeypatch.setattr(track, "_writer", lambda uri: track._Server(make(uri).client))
    monkeypatch.setattr(track, "REQUESTS", 1)  # SQLite has one writer; threads would only wait for each other


def sync(record: SweepRecord, ledger: FakeLedger | Ledger, uri: str, **options: Any) -> track.SyncReport:
    return track.sync(record, ledger, uri, **options)  # type: ignore[arg-type]


def runs(uri: str, kind: str) -> dict[str, Any]:
    """The live runs of a kind, by the value of the tag that names them; fails where two have one name."""
    client = track._writer(uri).client
    experiment = client.get_experiment_by_name("regression@smoke")
    found = client.search_runs([experiment.experiment_id], f"tags.`pliant.kind` = '{kind}'")
    named = {run.data.tags[f"pliant.{kind}"]: run for run in found}
    assert len(named) == len(found)
    return named


def curve(uri: str, run: Any, metric: str) -> list[tuple[int, float]]:
    history = track._writer(uri).client.get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in history)


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


# What is written


def test_a_run_for_the_sweep_each_arm_each_group_and_each_trial(uri: str) -> None:
    record, ledger = small_sweep()
    assert sync(record, ledger, uri) == track.SyncReport(created=8, updated=0, unchanged=0)
    groups, trials = runs(uri, "group"), runs(uri, "trial")
    assert set(groups) == {"backprop-0.1", "backprop-0.01"}
    assert set(trials) == {trial.id for trial in record.trials}
    # MLflow folds what has a parent: groups would not be drawn.
    assert not any("mlflow.parentRunId" in run.data.tags for run in groups.values())
    trial = trials["backprop-0.01-1"]
    assert "sweep trial backprop-0.01-1 --run" in trial.data.tags.pop("mlflow.note.content")
    assert trial.data.tags == {
        "mlflow.parentRunId": groups["backprop-0.01"].info.run_id,
        "mlflow.runName": "backprop 0.01, seed 1",
        "pliant.arm": "backprop",
        "pliant.group": "backprop-0.01",
        "pliant.kind": "trial",
        "pliant.layout": str(track.LAYOUT),
        "pliant.status": "done",
        "pliant.sweep": "regression@smoke",
        "pliant.trial": "backprop-0.01-1",
    }
    # What is the same for all trials is in the manifest.
    assert trial.data.params == {"optimizer.step_size": "0.01", "seed": "1"}
    assert groups["backprop-0.1"].data.params == {"optimizer.step_size": "0.1"}
    assert trial.info.status == "FINISHED"
    assert (trial.info.start_time, trial.info.end_time) == (1_699_999_990_000, 1_700_000_001_250)
    assert curve(uri, trial, "online_error") == [(task, 3 * value) for task, value in CURVE]
    assert curve(uri, trial, "stable_rank") == [(0, 3.0), (3, 24.0), (6, 192.0)]
    assert trial.data.metrics == {"online_error": 192.0, "stable_rank": 192.0, "final/online_error": 192.0}


def test_group_curves_are_mean_and_interval_over_seeds(uri: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    group = runs(uri, "group")["backprop-0.1"]
    # Values v and 3v: the mean is 2v, and of four equally likely resamples one is (v, v) and one (3v, 3v).
    assert curve(uri, group, "online_error/mean") == [(task, 2 * value) for task, value in CURVE]
    assert curve(uri, group, "online_error/ci_low") == CURVE
    assert curve(uri, group, "online_error/ci_high") == [(task, 3 * value) for task, value in CURVE]
    assert curve(uri, group, "stable_rank/mean") == [(0, 2.0), (3, 16.0), (6, 128.0)]
    late = {name: value for name, value in group.data.metrics.items() if name.startswith("final/")}
    assert late == {"final/online_error": 128, "final/online_error/ci_low": 64, "final/online_error/ci_high": 192}
    assert group.info.status == "FINISHED"
    assert group.info.end_time == 1_700_000_001_250


def test_files_of_the_sweep(uri: str, tmp_path: Path) -> None:
    record, ledger = small_sweep()
    record.trials.append(make_trial(0.1, 0, arm="l2"))
    figure = tmp_path / "arms.svg"
    figure.write_text("<svg/>")
    sync(record, ledger, uri, figures=[figure])
    [run] = runs(uri, "sweep").values()
    folder = tmp_path / "artifacts" / run.info.run_id / "artifacts"
    assert json.loads((folder / "manifest.json").read_text()) == record.manifest
    assert (folder / "figures" / "arms.svg").read_text() == "<svg/>"
    assert (folder / "regression.yaml").read_text() == record.file_text
    table = {row["trial"]: row for row in csv.DictReader(io.StringIO((folder / "trials.csv").read_text()))}
    assert len(table) == 5
    assert table["backprop-0.01-1"]["status"] == "done"
    assert table["backprop-0.01-1"]["optimizer.step_size"] == "0.01"
    assert table["backprop-0.01-1"]["l2.strength"] == ""
    assert table["l2-0.1-0"]["status"] == "pending"
    assert table["l2-0.1-0"]["l2.strength"] == "0.5"
    assert run.info.status == "RUNNING"
    assert (run.data.tags["pliant.trials"], run.data.tags["pliant.ended"]) == ("5", "4")

    assert sync(record, ledger, uri, figures=[figure]).updated == 0
    assert sync(record, ledger, uri).updated == 0
    figure.write_text("<svg></svg>")
    assert sync(record, ledger, uri, figures=[figure]) == track.SyncReport(0, 1, 7)
    assert (folder / "figures" / "arms.svg").read_text() == "<svg></svg>"


def test_curves_of_trials_are_thinned_and_their_metrics_few(uri: str) -> None:
    _, ledger = small_sweep()
    trial = make_trial(0.1, 0)
    names = ("dormant_fraction", "dormant_fraction/1", "online_error", "stable_rank")
    ledger.add(trial, {name: CURVE for name in names})
    sync(make_record([trial], points=3, metrics=3), ledger, uri)
    run = runs(uri, "trial")[trial.id]
    assert set(run.data.metrics) == {"online_error", "dormant_fraction", "stable_rank", "final/online_error"}
    assert curve(uri, run, "online_error") == [(0, 1.0), (3, 8.0), (6, 64.0)]
    group = runs(uri, "group")[trial.group]
    assert curve(uri, group, "online_error/mean") == CURVE  # one seed: a mean, and no interval
    means = {f"{name}/mean" for name in ("online_error", "dormant_fraction", "stable_rank")}
    assert set(group.data.metrics) == {*means, "final/online_error"}


@pytest.mark.parametrize(
    ("count", "limit", "kept"),
    [(3, 50, [0, 1, 2]), (1, 50, [0]), (7, 3, [0, 3, 6]), (7, 4, [0, 2, 4, 6]), (9, 2, [0, 8]), (9, 1, [8])],
)
def test_thinning_keeps_first_and_last(count: int, limit: int, kept: list[int]) -> None:
    assert track._thinned(count, limit).tolist() == kept


def test_thinning_is_even_and_repeats_nothing() -> None:
    gaps = np.diff(track._thinned(800, 50))
    assert len(gaps) == 49 and set(gaps) == {16, 17}


def test_a_diverged_trial_is_a_finished_run_with_a_tag(uri: str) -> None:
    record, ledger = small_sweep()
    broken = [(0, 5.0), (1, float("inf")), (2, float("nan"))]
    ledger.add(record.trials[1], {"online_error": broken}, status="diverged")
    sync(record, ledger, uri)
    run = runs(uri, "trial")["backprop-0.1-1"]
    assert (run.info.status, run.data.tags["pliant.status"]) == ("FINISHED", "diverged")
    assert curve(uri, run, "online_error") == [(0, 5.0)]
    group = runs(uri, "group")["backprop-0.1"]
    assert group.data.tags["pliant.diverged"] == "1"
    assert curve(uri, group, "online_error/mean") == [(0, 3.0), *CURVE[1:]]
    assert runs(uri, "group")["backprop-0.01"].data.tags["pliant.diverged"] == "0"
    assert runs(uri, "sweep")["regression@smoke"].data.tags["pliant.diverged"] == "1"


def test_trials_that_another_sweep_computed_say_so(uri: str) -> None:
    record, ledger = small_sweep()
    first, second, third, fourth = (trial.id for trial in record.trials)
    origins = {first: "elsewhere@paper", second: "regression@smoke", third: None}
    sync(record, ledger, uri, reused_from=origins)
    tags = {name: run.data.tags.get("pliant.reused_from") for name, run in runs(uri, "trial").items()}
    assert tags == {first: "elsewhere@paper", second: None, third: None, fourth: None}


def test_groups_only(uri: str) -> None:
    record, ledger = small_sweep()
    record.manifest["track"]["trials"] = False
    assert sync(record, ledger, uri) == track.SyncReport(created=4, updated=0, unchanged=0)
    assert runs(uri, "trial") == {}
    assert curve(uri, runs(uri, "group")["backprop-0.1"], "stable_rank/mean") == [
        (0, 2.0),
        (3, 16.0),
        (6, 128.0),
    ]


def test_progress_counts_trials(uri: str) -> None:
    record, ledger = small_sweep()
    told: list[tuple[int, int]] = []
    sync(record, ledger, uri, progress=lambda written, total: told.append((written, total)))
    assert told == [(2, 4), (4, 4)]


# Again, later, at once, and after a kill


def test_both_writers_leave_the_same_rows(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, ledger = small_sweep()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "other.db")
    sync(record, ledger, uri)
    use_the_api(monkeypatch)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    sync(record, ledger, other)
    assert rows(other) == rows(uri)
    # Points of trials, of groups and of the arm, and their summaries.
    assert len(rows(uri)["metrics"]) == 4 * (7 + 3 + 1) + (2 + 1) * 3 * (7 + 3 + 1)


def test_a_second_sync_changes_nothing(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    before = rows(uri)
    assert sync(record, ledger, uri) == track.SyncReport(created=0, updated=0, unchanged=8)
    assert rows(uri) == before


def test_a_group_waits_for_its_last_seed(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    last = record.trials[-1]
    values = ledger.values[last.id]
    del ledger.statuses[last.id]
    assert sync(record, ledger, uri).created == 7
    group = runs(uri, "group")[last.group]
    assert (group.info.status, group.data.metrics) == ("RUNNING", {})
    ledger.add(last, values)
    assert sync(record, ledger, uri).unchanged == 4  # all but the trial, its group, the arm and the sweep
    group = runs(uri, "group")[last.group]
    assert (group.info.status, group.data.metrics["online_error/mean"]) == ("FINISHED", 128.0)
    assert runs(uri, "sweep")["regression@smoke"].info.status == "FINISHED"


def test_a_sweep_that_grows_by_a_seed_gets_new_group_curves(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    before = {name: run.info.run_id for name, run in runs(uri, "trial").items()}
    third = make_trial(0.1, 2)
    ledger.add(third, {"online_error": [(task, 5 * value) for task, value in CURVE]})
    record.trials.append(third)
    # The arm's best setting, which is the other group, and its trials; a database's group is written in place.
    assert sync(record, ledger, uri).unchanged == (6 if either_writer == "database" else 4)
    groups, trials = runs(uri, "group"), runs(uri, "trial")
    assert curve(uri, groups["backprop-0.1"], "online_error/mean") == [(task, 3 * value) for task, value in CURVE]
    assert {name: run.info.run_id for name, run in trials.items() if name != third.id} == before
    parents = {run.data.tags["mlflow.parentRunId"] for run in trials.values()}
    assert parents == {run.info.run_id for run in groups.values()}
    assert sync(record, ledger, uri) == track.SyncReport(created=0, updated=0, unchanged=9)


@pytest.mark.parametrize("kill", ["_Database.create", "_Database.fill", "_Server._fill_one", "_Tracker._tag"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_sync_that_is_killed_is_completed_by_the_next(
    uri: str, kill: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, ledger = small_sweep()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "undisturbed.db")
    undisturbed = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    sync(record, ledger, undisturbed)

    class Killed(BaseException):
        pass

    owner, name = kill.split(".")
    owner_type = getattr(track, owner)
    real: Callable[..., Any] = getattr(owner_type, name)
    calls = 0

    def dies(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patched:
        if owner == "_Server":
            use_the_api(patched)
        patched.setattr(owner_type, name, dies)
        with pytest.raises(Killed):
            sync(record, ledger, uri)
    sync(record, ledger, uri)
    assert rows(uri) == rows(undisturbed)


def test_a_half_written_run_is_completed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a server, a run's rows come in several requests."""
    from mlflow.tracking import MlflowClient

    record, ledger = small_sweep()
    use_the_api(monkeypatch)

    def half(client: MlflowClient, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        real(client, run_id, metrics=metrics[:4], params=params[:1], tags=tags)
        if metrics:
            raise ConnectionError("the server went away")

    real = MlflowClient.log_batch
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", half)
        with pytest.raises(TrackingError, match="the server went away"):
            sync(record, ledger, uri)
    assert {run.info.status for run in runs(uri, "trial").values()} == {"RUNNING"}
    sync(record, ledger, uri)
    for name, run in runs(uri, "trial").items():
        assert run.info.status == "FINISHED" and len(run.data.params) == 2
        assert curve(uri, run, "online_error") == ledger.values[name]["online_error"]


def test_two_syncs_at_once_leave_no_duplicates(uri: str) -> None:
    record, ledger = small_sweep()
    at_once(lambda: sync(record, ledger, uri))
    assert [len(runs(uri, kind)) for kind in ("sweep", "group", "trial")] == [1, 2, 4]
    assert len(runs(uri, "arm")) == 1
    assert len(rows(uri)["metrics"]) == 143


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


def test_without_a_common_lock_one_run_of_a_pair_is_kept(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine writes all runs anew, after this one has looked and before it looks again."""
    record, ledger = small_sweep()
    use_the_api(monkeypatch)
    finish = track._Tracker._sync_groups
    passes = 0

    def meets_another(tracker: track._Tracker, *arguments: Any) -> set[str]:
        nonlocal passes
        passes += 1
        touched = finish(tracker, *arguments)
        if passes == 1:
            with monkeypatch.context() as blind:
                blind.setattr(track._Tracker, "_find", lambda *_: {})
                finish(track._Tracker(record, ledger, tracker.writer, tracker.experiment, None, None), *arguments)  # type: ignore[arg-type]
        return touched

    monkeypatch.setattr(track._Tracker, "_sync_groups", meets_another)
    sync(record, ledger, uri)
    assert passes == 2
    groups, trials = runs(uri, "group"), runs(uri, "trial")
    assert (len(groups), len(trials)) == (2, 4)
    for run in trials.values():
        assert run.data.tags[track.PARENT] == groups[run.data.tags["pliant.group"]].info.run_id


def test_tables_that_were_half_made_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def dies(*_: Any) -> None:
        raise Killed

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with monkeypatch.context() as patched:
        patched.setattr("mlflow.store.db.utils._upgrade_db", dies)  # after the first tables
        with pytest.raises(Killed):
            track._writer(uri)
    assert any(path.stat().st_size > 0 for path in tmp_path.glob("mlflow.db.new-*"))
    writer = track._writer(uri)
    assert isinstance(writer, track._Database)
    writer.engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_the_database_is_in_its_quick_mode(uri: str) -> None:
    writer = track._writer(uri)
    assert isinstance(writer, track._Database)
    with writer.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def test_tables_of_another_shape_are_left_to_the_api() -> None:
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels import models  # noqa: F401, whose tables Base then knows
    from sqlalchemy import Column, Integer, MetaData

    tables = dict(Base.metadata.tables)
    assert track._as_expected(tables)
    changed = tables["params"].to_metadata(MetaData())
    changed.append_column(Column("version", Integer, nullable=False))
    assert not track._as_expected(tables | {"params": changed})


# Where runs go, and whether they can


def test_default_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    storage = str(tmp_path)
    assert track.default_uri(storage) == f"sqlite:///{tmp_path}/mlflow.db"
    assert track.default_artifact_root(storage, "postgresql://host/db") == f"file://{tmp_path}/artifacts"
    assert track.default_artifact_root(storage, "sqlite:///x.db") is None  # beside it, relative to its server
    assert track.default_artifact_root(storage, "http://mlflow:5000") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert track.default_uri(storage) == "http://mlflow:5000"


def test_check_of_sqlite(tmp_path: Path, uri: str) -> None:
    track.check(uri)
    track.check(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    assert not (tmp_path / "new").exists()
    text = tmp_path / "notes.txt"
    text.write_text("not a database, and long enough not to pass for an empty one" * 20)
    with pytest.raises(TrackingError, match="notes.txt cannot be written: file is not a database"):
        track.check(f"sqlite:///{text}")
    with pytest.raises(TrackingError, match="cannot be created: .*notes.txt: Not a directory"):
        track.check(f"sqlite:///{text}/mlflow.db")


@pytest.mark.parametrize("wrong", ["ftp://me:s3cret@host/x", "./mlruns", "file:///tmp/mlruns", ""])
def test_check_names_what_a_uri_may_be(wrong: str) -> None:
    with pytest.raises(TrackingError, match="Allowed: http://") as caught:
        track.check(wrong)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["postgresql://me:s3@cret@host/db", "https://me:s3/cret@host", "mysql://me:s3 cret@host/db"]
)
def test_a_password_that_a_driver_would_cut_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"The password in \w+://\*\*\*@host[^\n]*\nWrite @ as %40") as caught:
        track.check(uri)
    assert "s3" not in str(caught.value) and "cret" not in str(caught.value)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_check_of_what_does_not_answer(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        TrackingError, match=rf"No MLflow tracking server answers at http://(\*\*\*@)?127.0.0.1:{closed_port}"
    ):
        track.check(f"http://user:secret@127.0.0.1:{closed_port}")
    with pytest.raises(TrackingError, match="cannot be opened") as caught:
        track.check(f"postgresql://user:secret@127.0.0.1:{closed_port}/mlflow")
    assert "secret" not in str(caught.value)
    monkeypatch.setattr(track, "PATIENCE", 0.1)
    with socket.socket() as silent, pytest.raises(TrackingError, match="No MLflow tracking server answers"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        track.check(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(("status", "told"), [(404, "is no MLflow tracking server"), (403, "refuses access")])
def test_check_of_a_server_that_is_something_else(status: int, told: str) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            with pytest.raises(TrackingError, match=told):
                track.check(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


def test_a_deleted_experiment_is_explained(uri: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    client = track._writer(uri).client
    client.delete_experiment(client.get_experiment_by_name("regression@smoke").experiment_id)
    with pytest.raises(TrackingError, match="was deleted in MLflow") as caught:
        sync(record, ledger, uri)
    [_, told] = str(caught.value).splitlines()
    setting, program, *rest = shlex.split(told.removeprefix("Bring it back: "))
    assert (setting, program) == (f"MLFLOW_TRACKING_URI={uri}", sys.executable)  # as it stands, from any folder
    assert rest == ["-m", "mlflow", "experiments", "restore", "--experiment-id", "1"]


# The whole line


@dataclass(frozen=True)
class FakePack:
    id: str
    members: tuple[Trial, ...]

    def to_json(self) -> str:
        return "{}"


def test_the_real_ledger_as_a_process_would(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.training.pack import Rows, Snapshot

    record, values = small_sweep()
    ledger = Ledger(str(tmp_path))
    ledger.save_sweep(record)
    attempt = ledger.open(FakePack("pack", tuple(record.trials)))
    table = values.curves([trial.id for trial in record.trials]).to_pandas()
    order = {trial.id: number for number, trial in enumerate(record.trials)}
    rows = Rows(
        ("online_error", "stable_rank"),
        table["trial"].map(order).to_numpy(np.int32),
        (table["metric"] == "stable_rank").to_numpy(np.int16),
        table["task"].to_numpy(np.int32),
        table["step"].to_numpy(np.int64),
        table["value"].to_numpy(),
    )
    attempt.commit(Snapshot(7, 70, rows, ["done"] * 4, [7] * 4, None, {}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    arguments = ["regression@smoke", "--storage", str(tmp_path)]
    assert track.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"created": 8, "updated": 0, "unchanged": 0}
    group = runs(uri, "group")["backprop-0.01"]
    assert curve(uri, group, "online_error/ci_high") == [(task, 3 * value) for task, value in CURVE]
    assert track.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"created": 0, "updated": 0, "unchanged": 8}
    assert track.main(["nothing@smoke", *arguments[1:]]) == 2
    assert "nothing" in capsys.readouterr().err


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A throwaway cluster on a socket of its own, run by a user it accepts (it refuses root)."""
    found = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if found is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    user = "nobody" if os.getuid() == 0 else ""
    programs = Path(found).resolve().parent

    def run(*command: object) -> None:
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd="/", user=user or None)

    with tempfile.TemporaryDirectory(prefix="pliant-postgres-") as folder:
        if user:
            shutil.chown(folder, user)
        data = Path(folder) / "data"
        run(programs / "initdb", "-D", data, "-U", "pliant", "--auth=trust", "--no-sync", "--encoding=UTF8")
        settings = f"-k {folder} -c listen_addresses= -c fsync=off"
        run(programs / "pg_ctl", "-D", data, "-o", settings, "-l", Path(folder) / "log", "-w", "start")
        try:
            yield f"postgresql://pliant@/postgres?host={quote(folder, safe='')}"
        finally:
            run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")


def test_postgres(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, ledger = small_sweep()
    track.check(postgres)
    monkeypatch.setattr(track.fcntl, "flock", lambda *_: None)  # as between two machines
    place = str(tmp_path / "a")
    reports: list[track.SyncReport] = []
    at_once(lambda: reports.append(sync(record, ledger, postgres, artifact_root=place)))
    assert sorted(report.created for report in reports) == [0, 8]
    assert sync(record, ledger, postgres, artifact_root=place) == track.SyncReport(0, 0, 8)
    uri = track._with_driver(postgres)
    assert [len(runs(uri, kind)) for kind in ("sweep", "group", "trial")] == [1, 2, 4]
    trial = runs(uri, "trial")["backprop-0.01-1"]
    assert curve(uri, trial, "stable_rank") == [(0, 3.0), (3, 24.0), (6, 192.0)]
    group = runs(uri, "group")["backprop-0.01"]
    assert curve(uri, group, "online_error/ci_high") == [(task, 3 * value) for task, value in CURVE]
    writer = track._writer(uri)
    assert isinstance(writer, track._Database) and writer.exclusive
    writer.engine.dispose()


def test_a_run_that_was_deleted_by_hand_comes_back(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    before = rows(uri)
    client = track._writer(uri).client
    deleted = [runs(uri, "trial")["backprop-0.1-1"], *runs(uri, "arm").values(), *runs(uri, "sweep").values()]
    for run in deleted:
        client.delete_run(run.info.run_id)
    assert rows(uri) != before
    assert sync(record, ledger, uri) == track.SyncReport(created=0, updated=3, unchanged=5)
    assert rows(uri) == before
    assert sync(record, ledger, uri) == track.SyncReport(created=0, updated=0, unchanged=8)


def test_what_a_sync_has_deleted_stays_away(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record, ledger = small_sweep()
    use_the_api(monkeypatch)
    sync(record, ledger, uri)
    third = make_trial(0.1, 2)
    ledger.add(third, {"online_error": CURVE})
    record.trials.append(third)
    sync(record, ledger, uri)  # the group's run is replaced, as MLflow takes no curve back
    assert sync(record, ledger, uri) == track.SyncReport(created=0, updated=0, unchanged=9)
    assert len(runs(uri, "group")) == 2


def failure_of(attempt: str, message: str = "the switch is on") -> Failure:
    return Failure(
        pack="pack",
        attempt=attempt,
        type="ArithmeticError",
        message=message,
        place="faulty.py:8",
        traceback="Traceback: ...",
        step=400,
        host="here",
        time=STARTED,
        deterministic=True,
    )


def test_a_failed_trial_says_why_until_it_is_done(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    last = record.trials[-1]
    del ledger.statuses[last.id]
    ledger.fallen[last.id] = failure_of(ATTEMPT)
    assert sync(record, ledger, uri).created == 8
    run = runs(uri, "trial")[last.id]
    assert (run.info.status, run.data.tags["pliant.status"]) == ("FAILED", "failed")
    assert run.data.tags["pliant.reason"] == "ArithmeticError: the switch is on (faulty.py:8)"
    assert "Traceback: ..." in run.data.tags["mlflow.note.content"]
    assert run.info.end_time - run.info.start_time == 10_250
    assert runs(uri, "group")[last.group].data.tags["pliant.failed"] == "1"
    assert "**1 failed**" in runs(uri, "sweep")["regression@smoke"].data.tags["mlflow.note.content"]
    assert sync(record, ledger, uri) == track.SyncReport(created=0, updated=0, unchanged=8)

    ledger.fallen[last.id] = failure_of(ATTEMPT.replace("2213", "2214"), "still on")
    sync(record, ledger, uri)
    assert "still on" in runs(uri, "trial")[last.id].data.tags["pliant.reason"]

    ledger.statuses[last.id] = "done"
    sync(record, ledger, uri)
    run = runs(uri, "trial")[last.id]
    assert (run.info.status, run.data.tags["pliant.status"]) == ("FINISHED", "done")
    assert "pliant.reason" not in run.data.tags and curve(uri, run, "stable_rank")
    assert runs(uri, "group")[last.group].info.status == "FINISHED"


def test_an_arm_is_its_best_setting(uri: str, either_writer: str) -> None:
    record, ledger = small_sweep()
    for trial in record.trials[2:]:  # step size 0.01 learns half as well
        doubled = [(task, 2 * value) for task, value in ledger.values[trial.id]["online_error"]]
        ledger.add(trial, {"online_error": doubled})
    sync(record, ledger, uri)
    [arm] = runs(uri, "arm").values()
    assert arm.info.run_name == "backprop 0.1"
    assert arm.data.params == {"optimizer.step_size": "0.1"}
    assert arm.data.metrics["final/online_error"] == 128
    assert curve(uri, arm, "online_error/mean") == [(task, 2 * value) for task, value in CURVE]
    assert "the best of its 2 settings" in arm.data.tags["mlflow.note.content"]
    for trial in record.trials[:2]:
        ledger.add(trial, {"online_error": [(task, 9 * value) for task, value in CURVE]})
    record.manifest["commit"] = "def"  # another run of the file
    sync(record, ledger, uri)
    [arm] = runs(uri, "arm").values()
    assert arm.info.run_name == "backprop 0.01"


def test_a_long_curve_of_an_arm_is_averaged_over_bins() -> None:
    assert [track._bin_width(tasks) for tasks in (1, 3, 20, 50, 800, 2000)] == [1, 1, 1, 5, 40, 100]
    assert track._bin_width(997) == 50  # no bin of the next widths fits a prime number


def test_files_are_named_relative_to_the_server_and_move_with_the_storage(uri: str, tmp_path: Path) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    [run] = runs(uri, "sweep").values()
    assert run.info.artifact_uri == f"mlflow-artifacts:/{run.info.run_id}/artifacts"


def test_a_database_of_an_earlier_version_is_brought_up_to_date(uri: str, tmp_path: Path) -> None:
    """Absolute places of files, groups below the sweep, all of a config as params, times that are all one."""
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    expected = rows(uri)
    old = "file:///moved/away/artifacts"
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        [sweep_run] = [name for (name,) in database.execute("select run_uuid from tags where value = 'sweep'")]
        database.execute("update experiments set artifact_location = ?", (old,))
        database.execute("update runs set artifact_uri = replace(artifact_uri, 'mlflow-artifacts:', ?)", (old,))
        database.execute("update runs set start_time = end_time, name = 'old' where run_uuid != ?", (sweep_run,))
        database.execute("delete from tags where key in ('pliant.layout', 'pliant.content', 'mlflow.note.content')")
        database.execute("update tags set value = 'old' where key = 'pliant.members'")
        database.execute(
            "insert into tags select ?, ?, run_uuid from tags where value = 'group'", (track.PARENT, sweep_run)
        )
        database.execute("insert into params select 'code', 'null', run_uuid from runs")
        arms = "select run_uuid from tags where value = 'arm'"
        database.execute(f"delete from runs where run_uuid in ({arms})")
        database.execute("delete from tags where run_uuid not in (select run_uuid from runs)")
    database.close()
    assert sync(record, ledger, uri).created == 1
    found = rows(uri)
    for table in ("tags", "metrics", "latest_metrics"):
        assert set(found[table]) == set(expected[table])
    assert [row for row in found["params"] if "pliant.kind=sweep" not in row[-1]] == expected["params"]
    assert sync(record, ledger, uri) == track.SyncReport(created=0, updated=0, unchanged=8)


@pytest.mark.slow
def test_a_tracking_server(uri: str, tmp_path: Path, closed_port: int) -> None:
    record, ledger = small_sweep()
    server = subprocess.Popen(
        [sys.executable, "-m", "sweep", "ui", "--storage", tmp_path, "--port", str(closed_port)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{closed_port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                track.check(address)
                break
            except TrackingError:
                assert server.poll() is None and time.monotonic() < deadline
                threading.Event().wait(0.1)
        at_once(lambda: sync(record, ledger, address))
        assert sync(record, ledger, address) == track.SyncReport(0, 0, 8)
        assert [len(runs(address, kind)) for kind in ("sweep", "group", "trial")] == [1, 2, 4]
        group = runs(address, "group")["backprop-0.01"]
        assert curve(address, group, "online_error/ci_low") == CURVE
        [run] = runs(address, "sweep").values()
        page = f"{address}/get-artifact?path=manifest.json&run_uuid={run.info.run_id}"
        with urllib.request.urlopen(page) as answer:
            assert json.load(answer) == record.manifest
    finally:
        server.terminate()
        server.wait()
