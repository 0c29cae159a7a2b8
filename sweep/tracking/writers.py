"""Two writers of runs with one meaning.

`ApiWriter` speaks MLflow's API to whatever is there; `TableWriter` writes a batch of runs as rows of MLflow's tables in
one transaction, ten times faster, where the tables are as it expects.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import shlex
import sqlite3
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import bindparam, event

from sweep.errors import TrackingError
from sweep.tracking import notes, views
from sweep.tracking.addresses import RELATIVE, shown, sqlite_path
from sweep.tracking.drafts import PARENT, RUN_NAME, Draft

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient
    from sqlalchemy import Engine, Table


REQUESTS = 4  # to a tracking server at a time
NAME_LENGTH, PARAM_LENGTH = 250, 6000  # characters, MLflow's limits
TAG_LENGTH = 8000
OWN_TAGS = (PARENT, RUN_NAME, notes.TAG, views.COLOR)  # of runs, besides those that begin with pliant.
RUN_COLUMNS = ("run_uuid", "name", "start_time", "experiment_id", "artifact_uri")
RUN_CONSTANTS = {
    "source_type": "UNKNOWN",
    "source_name": "",
    "entry_point_name": "",
    "source_version": "",
    "user_id": "unknown",
    "status": "RUNNING",
    "lifecycle_stage": "active",
}
METRIC_COLUMNS = ("run_uuid", "key", "value", "timestamp", "step", "is_nan")


class ApiWriter:
    """Writes runs through MLflow's API."""

    exclusive = False  # whether `turn` keeps every other sync of the sweep away
    rewrites = False  # whether `fill` replaces what a run holds; MLflow's API takes no params and points back

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def create(self, experiment: str, drafts: Sequence[Draft]) -> list[str]:
        """New runs with name and tags, status RUNNING; returns their ids."""

        def one(draft: Draft) -> str:
            run = self.client.create_run(
                experiment, start_time=draft.start, tags=draft.tags, run_name=draft.name[:NAME_LENGTH]
            )
            return str(run.info.run_id)

        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(one, drafts))

    def fill(self, drafts: Mapping[str, Draft]) -> None:
        """Give runs (by id) their params and points, then their status and end; rows they have stay single."""
        with ThreadPoolExecutor(REQUESTS) as pool:
            list(pool.map(self._fill_one, drafts.keys(), drafts.values()))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run; those it has besides stay."""
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def _fill_one(self, run_id: str, draft: Draft) -> None:
        from mlflow.entities import Metric, Param

        params = [Param(name, value[:PARAM_LENGTH]) for name, value in draft.params.items()]
        metrics = [Metric(metric, value, draft.end, task) for metric, task, value in draft.points]
        # A batch holds at most 100 params, and 1000 params and metrics together.
        for start in range(0, max(math.ceil(len(params) / 100), math.ceil(len(metrics) / 900))):
            self.client.log_batch(
                run_id,
                metrics=metrics[900 * start : 900 * (start + 1)],
                params=params[100 * start : 100 * (start + 1)],
            )
        if draft.status == "RUNNING":
            self.client.update_run(run_id, draft.status)
        else:
            self.client.set_terminated(run_id, draft.status, draft.end)


class TableWriter(ApiWriter):
    """Writes runs as rows of MLflow's tables, as `ApiWriter` makes them, a whole batch in one transaction."""

    rewrites = True

    def __init__(self, client: MlflowClient, engine: Engine, tables: Mapping[str, Table]) -> None:
        super().__init__(client)
        self.engine, self.tables = engine, tables
        self.exclusive = engine.dialect.name in ("sqlite", "postgresql")
        self.locations: dict[str, str] = {}  # experiment -> where its files are; asked once

    def create(self, experiment: str, drafts: Sequence[Draft]) -> list[str]:
        from mlflow.utils.uri import append_to_uri_path

        if not drafts:
            return []
        if experiment not in self.locations:
            self.locations[experiment] = self.client.get_experiment(experiment).artifact_location
        location = self.locations[experiment]
        ids = [_run_id() for _ in drafts]
        runs, tags = [], []
        for run_id, draft in zip(ids, drafts, strict=True):
            name = draft.name[:NAME_LENGTH]
            place = append_to_uri_path(location, run_id, "artifacts")  # type: ignore[no-untyped-call]
            values = (run_id, name, draft.start, int(experiment), place)
            runs.append(RUN_CONSTANTS | dict(zip(RUN_COLUMNS, values, strict=True)))
            tags += _tag_rows(run_id, draft)
        with self.engine.begin() as connection:
            connection.execute(self.tables["runs"].insert(), runs)
            connection.execute(self.tables["tags"].insert(), tags)
        return ids

    def fill(self, drafts: Mapping[str, Draft]) -> None:
        if not drafts:
            return
        rows: dict[str, list[dict[str, Any]]] = {"params": [], "metrics": [], "latest_metrics": [], "tags": []}
        for run_id, draft in drafts.items():
            for key, text in draft.params.items():
                rows["params"].append({"run_uuid": run_id, "key": key, "value": text[:PARAM_LENGTH]})
            last: dict[str, dict[str, Any]] = {}
            for metric, task, value in draft.points:
                values = (run_id, metric, value, draft.end, task, False)
                last[metric] = dict(zip(METRIC_COLUMNS, values, strict=True))
                rows["metrics"].append(last[metric])
            rows["latest_metrics"] += last.values()
            rows["tags"] += _tag_rows(run_id, draft)
        runs, tags = self.tables["runs"], self.tables["tags"]
        own = tags.c.key.like("pliant.%") | tags.c.key.in_(OWN_TAGS)  # those a person has set stay
        changed = runs.update().where(runs.c.run_uuid == bindparam("id"))
        columns: dict[str, Any] = {
            name: bindparam(f"new_{name}") for name in ("name", "start_time", "end_time", "status")
        }
        with self.engine.begin() as connection:
            for name, new in rows.items():
                table = self.tables[name]
                old = table.c.run_uuid.in_(list(drafts))
                connection.execute(table.delete().where(old & own if name == "tags" else old))
                if new:
                    connection.execute(table.insert(), new)
            connection.execute(changed.values(columns), [_run_row(*item) for item in drafts.items()])

    def relocate(self, experiment: Experiment) -> None:
        """Name an experiment's files, and its runs', relative to the server: earlier versions wrote absolute paths."""
        old = experiment.artifact_location.rstrip("/")
        experiments, runs = self.tables["experiments"], self.tables["runs"]
        own = int(experiment.experiment_id)
        moved = sqlalchemy.func.replace(runs.c.artifact_uri, f"{old}/", RELATIVE)
        with self.engine.begin() as connection:
            here = experiments.update().where(experiments.c.experiment_id == own)
            connection.execute(here.values(artifact_location=RELATIVE))
            connection.execute(runs.update().where(runs.c.experiment_id == own).values(artifact_uri=moved))

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        table = self.tables["tags"]
        rows = [{"run_uuid": run_id, "key": key, "value": value} for key, value in tags.items()]
        with self.engine.begin() as connection:
            connection.execute(table.delete().where(table.c.run_uuid == run_id, table.c.key.in_(list(tags))))
            connection.execute(table.insert(), rows)


def _tag_rows(run_id: str, draft: Draft) -> list[dict[str, str]]:
    tags = draft.tags | {RUN_NAME: draft.name[:NAME_LENGTH]}
    return [{"run_uuid": run_id, "key": key, "value": value[:TAG_LENGTH]} for key, value in tags.items()]


def _run_row(run_id: str, draft: Draft) -> dict[str, Any]:
    return {
        "id": run_id,
        "new_name": draft.name[:NAME_LENGTH],
        "new_start_time": draft.start,
        "new_end_time": draft.end,
        "new_status": draft.status,
    }


def _run_id() -> str:
    """32 hexadecimal digits, the first twelve the time in milliseconds, as in a UUID of version 7.

    Rows written together then lie together in the database's trees. Under random ids every row touches another page,
    and a commit costs the more the more runs there are.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def writer_for(tracking_uri: str) -> ApiWriter:
    """A writer for the server or database; a database is created where there is none."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking import MlflowClient

    # Errors are raised and told by `explained`; tracebacks in the log would say them twice.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if tracking_uri.startswith("sqlite:"):
        _prepare_sqlite(sqlite_path(tracking_uri))
    client = MlflowClient(tracking_uri)
    store = client._tracking_client.store
    if not isinstance(store, SqlAlchemyStore):
        return ApiWriter(client)
    engine = store.engine
    if engine.dialect.name == "sqlite" and not event.contains(engine, "connect", _relax):
        event.listen(engine, "connect", _relax)
        engine.dispose()  # the connections that were opened before it
    tables = Base.metadata.tables
    return TableWriter(client, engine, tables) if as_expected(tables) else ApiWriter(client)


def _prepare_sqlite(path: Path) -> None:
    """Make the database where there is none; set the mode in which pages are read while runs are written.

    MLflow cannot mend tables that were half made when it was killed, so they are made beside their place.
    """
    from mlflow.tracking import MlflowClient

    if not path.exists():
        for leftover in path.parent.glob(f"{path.name}.new-*"):
            leftover.unlink()
        new = path.with_name(f"{path.name}.new-{uuid.uuid4().hex}")
        _set_journal(new, "WAL")  # quicker by a third
        MlflowClient(f"sqlite:///{new}")._tracking_client.store.engine.dispose()
        _set_journal(new, "DELETE")  # all in one file again
        os.replace(new, path)
    _set_journal(path, "WAL")


def _set_journal(path: Path, mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")


def _relax(connection: sqlite3.Connection, _: object) -> None:
    """Commits that a power cut may take back, though not tear: the next sync writes them again."""
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA busy_timeout=20000")


def as_expected(tables: Mapping[str, Table]) -> bool:
    """Do the columns `TableWriter` fills exist, and are there none besides that must be filled?"""
    filled = {
        "runs": {*RUN_COLUMNS, *RUN_CONSTANTS, "end_time"},
        "tags": {"run_uuid", "key", "value"},
        "params": {"run_uuid", "key", "value"},
        "metrics": set(METRIC_COLUMNS),
        "latest_metrics": set(METRIC_COLUMNS),
    }
    for name, filled_here in filled.items():
        columns = tables[name].columns
        needed = {column.name for column in columns if not column.nullable and column.default is None}
        if not needed <= filled_here <= set(columns.keys()):
            return False
    return True


def experiment_for(writer: ApiWriter, identity: str, artifact_root: str | None, tracking_uri: str) -> Experiment:
    """The sweep's experiment, which is created where there is none."""
    from mlflow.exceptions import MlflowException

    client = writer.client
    experiment = client.get_experiment_by_name(identity)
    if experiment is None:
        try:
            # The tag makes MLflow's page open on runs and charts instead of language-model traces.
            client.create_experiment(identity, artifact_root, {"mlflow.experimentKind": "custom_model_development"})
        except MlflowException:
            if client.get_experiment_by_name(identity) is None:  # nobody else was quicker
                raise
        experiment = client.get_experiment_by_name(identity)
        assert experiment is not None
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"The experiment {identity} was deleted in MLflow, and its name stays taken.\n"
            f"Bring it back: MLFLOW_TRACKING_URI={shlex.quote(shown(tracking_uri))} {shlex.quote(sys.executable)}"
            f" -m mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    earlier = experiment.artifact_location.startswith("file:") and experiment.artifact_location.endswith("/artifacts")
    if artifact_root == RELATIVE and earlier and isinstance(writer, TableWriter):
        writer.relocate(experiment)
        experiment = client.get_experiment(experiment.experiment_id)
    return experiment
