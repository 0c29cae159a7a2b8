"""A database of MLflow's, and a port where nothing answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_ports
from tracked import (
    use_the_api,
)

from sweep.tracking.writers import TableWriter, writer_for


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take seconds to make, so tests start from a copy of them."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    writer = writer_for(f"sqlite:///{path}")
    assert isinstance(writer, TableWriter)
    writer.engine.dispose()
    return path


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path) -> Iterator[str]:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    yield uri
    writer = writer_for(uri)
    assert isinstance(writer, TableWriter)
    writer.engine.dispose()


@pytest.fixture(params=["database", "server"])
def either_writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "server":
        use_the_api(monkeypatch)
    return str(request.param)


@pytest.fixture
def closed_port() -> int:
    return free_ports(1)[0]
