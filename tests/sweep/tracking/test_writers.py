"""Two ways of writing runs, to the tables and through the API, leave the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tracked import (
    at_end,
    at_once,
    curve,
    rows,
    runs,
    small_sweep,
    sync,
    use_the_api,
)

from sweep.errors import TrackingError
from sweep.tracking import turns
from sweep.tracking.addresses import check, with_driver
from sweep.tracking.sync import SyncReport
from sweep.tracking.writers import TableWriter, as_expected, writer_for


def test_both_writers_leave_the_same_rows(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, ledger = small_sweep()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "other.db")
    sync(record, ledger, uri)
    use_the_api(monkeypatch)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    sync(record, ledger, other)
    assert rows(other) == rows(uri)
    # Points of trials, of groups, of the arm and of the values of its axis, and their summaries; a value has its place.
    assert len(rows(uri)["metrics"]) == 4 * (7 + 3 + 1) + (2 + 1 + 2) * 3 * (7 + 3 + 1) + 2


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


def test_tables_that_were_half_made_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def dies(*_: Any) -> None:
        raise Killed

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with monkeypatch.context() as patched:
        patched.setattr("mlflow.store.db.utils._upgrade_db", dies)  # after the first tables
        with pytest.raises(Killed):
            writer_for(uri)
    assert any(path.stat().st_size > 0 for path in tmp_path.glob("mlflow.db.new-*"))
    writer = writer_for(uri)
    assert isinstance(writer, TableWriter)
    writer.engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_the_database_is_in_its_quick_mode(uri: str) -> None:
    writer = writer_for(uri)
    assert isinstance(writer, TableWriter)
    with writer.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def test_tables_of_another_shape_are_left_to_the_api() -> None:
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels import models  # noqa: F401, whose tables Base then knows
    from sqlalchemy import Column, Integer, MetaData

    tables = dict(Base.metadata.tables)
    assert as_expected(tables)
    changed = tables["params"].to_metadata(MetaData())
    changed.append_column(Column("version", Integer, nullable=False))
    assert not as_expected(tables | {"params": changed})


def test_files_are_named_relative_to_the_server_and_move_with_the_storage(uri: str, tmp_path: Path) -> None:
    record, ledger = small_sweep()
    sync(record, ledger, uri)
    [run] = runs(uri, "sweep").values()
    assert run.info.artifact_uri == f"mlflow-artifacts:/{run.info.run_id}/artifacts"


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
    check(postgres)
    monkeypatch.setattr(turns.fcntl, "flock", lambda *_: None)  # as between two machines
    place = str(tmp_path / "a")
    reports: list[SyncReport] = []
    at_once(lambda: reports.append(sync(record, ledger, postgres, artifact_root=place)))
    assert sorted(report.created for report in reports) == [0, 10]
    assert sync(record, ledger, postgres, artifact_root=place) == SyncReport(0, 0, 10)
    uri = with_driver(postgres)
    assert [len(runs(uri, kind)) for kind in ("sweep", "group", "trial")] == [1, 2, 4]
    trial = runs(uri, "trial")["backprop-0.01-1"]
    assert curve(uri, trial, "stable_rank") == [(0, 3.0), (3, 24.0), (6, 192.0)]
    group = runs(uri, "group")["backprop-0.01"]
    assert curve(uri, group, "online_error/ci_high") == at_end(1)
    writer = writer_for(uri)
    assert isinstance(writer, TableWriter) and writer.exclusive
    writer.engine.dispose()


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
                check(address)
                break
            except TrackingError:
                assert server.poll() is None and time.monotonic() < deadline
                threading.Event().wait(0.1)
        at_once(lambda: sync(record, ledger, address))
        assert sync(record, ledger, address) == SyncReport(0, 0, 10)
        assert [len(runs(address, kind)) for kind in ("sweep", "group", "trial")] == [1, 2, 4]
        group = runs(address, "group")["backprop-0.01"]
        assert curve(address, group, "online_error/ci_low") == at_end(-1)
        [run] = runs(address, "sweep").values()
        page = f"{address}/get-artifact?path=manifest.json&run_uuid={run.info.run_id}"
        with urllib.request.urlopen(page) as answer:
            assert json.load(answer) == record.manifest
    finally:
        server.terminate()
        server.wait()
