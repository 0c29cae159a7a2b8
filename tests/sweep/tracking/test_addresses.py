"""Addresses of tracking: where runs go by default, and the sentence on what does not answer."""

from __future__ import annotations

import http.server
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import TrackingError
from sweep.tracking import addresses
from sweep.tracking.addresses import check, default_artifact_root, default_uri


def test_default_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    storage = str(tmp_path)
    assert default_uri(storage) == f"sqlite:///{tmp_path}/mlflow.db"
    assert default_artifact_root(storage, "postgresql://host/db") == f"file://{tmp_path}/artifacts"
    assert default_artifact_root(storage, "sqlite:///x.db") is None  # beside it, relative to its server
    assert default_artifact_root(storage, "http://mlflow:5000") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert default_uri(storage) == "http://mlflow:5000"


def test_check_of_sqlite(tmp_path: Path, uri: str) -> None:
    check(uri)
    check(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    assert not (tmp_path / "new").exists()
    text = tmp_path / "notes.txt"
    text.write_text("not a database, and long enough not to pass for an empty one" * 20)
    with pytest.raises(TrackingError, match="notes.txt cannot be written: file is not a database"):
        check(f"sqlite:///{text}")
    with pytest.raises(TrackingError, match="cannot be created: .*notes.txt: Not a directory"):
        check(f"sqlite:///{text}/mlflow.db")


@pytest.mark.parametrize("wrong", ["ftp://me:s3cret@host/x", "./mlruns", "file:///tmp/mlruns", ""])
def test_check_names_what_a_uri_may_be(wrong: str) -> None:
    with pytest.raises(TrackingError, match="Allowed: http://") as caught:
        check(wrong)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["postgresql://me:s3@cret@host/db", "https://me:s3/cret@host", "mysql://me:s3 cret@host/db"]
)
def test_a_password_that_a_driver_would_cut_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"The password in \w+://\*\*\*@host[^\n]*\nWrite @ as %40") as caught:
        check(uri)
    assert "s3" not in str(caught.value) and "cret" not in str(caught.value)


def test_check_of_what_does_not_answer(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        TrackingError, match=rf"No MLflow tracking server answers at http://(\*\*\*@)?127.0.0.1:{closed_port}"
    ):
        check(f"http://user:secret@127.0.0.1:{closed_port}")
    with pytest.raises(TrackingError, match="cannot be opened") as caught:
        check(f"postgresql://user:secret@127.0.0.1:{closed_port}/mlflow")
    assert "secret" not in str(caught.value)
    monkeypatch.setattr(addresses, "PATIENCE", 0.1)
    with socket.socket() as silent, pytest.raises(TrackingError, match="No MLflow tracking server answers"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        check(f"http://127.0.0.1:{silent.getsockname()[1]}")


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
                check(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
