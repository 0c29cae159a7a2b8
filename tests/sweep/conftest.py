"""Fixtures that the tests of the service share: a command line, and a small sweep that was run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import TINY, Command, stored, sweep_command, without_compiling

from workloads.data.folder import data_folder
from workloads.extensions import load_code


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `without_compiling`."""
    without_compiling(monkeypatch)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of the user's environment, and a cache of the test's own, but for data sets, which are dear to make."""
    for name in ("PLIANT_STORAGE", "PLIANT_DATA", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLIANT_DATA", str(data_folder()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    yield
    load_code({})  # takes a study's own code out of the registries


@pytest.fixture
def command(alone: None, uncompiled: None) -> Command:
    """`sweep ...` in this process: arguments -> how it ended, what it said."""
    return sweep_command


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage in which `tiny.yaml`, beside it, was run (4 trials, weights kept); copy it to change it."""
    folder = tmp_path_factory.mktemp("ran")
    return stored(folder / "tiny.yaml", TINY)


@pytest.fixture
def storage(ran: Path, tmp_path: Path) -> Path:
    """A copy of a storage in which the four trials of `tiny.yaml` are done."""
    shutil.copytree(ran, tmp_path / "storage")
    return tmp_path / "storage"
